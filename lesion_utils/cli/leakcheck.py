"""Checking a split. Exit codes: 0 clean, 1 two splits share something, 2 unusable input."""

from pathlib import Path
from typing import Annotated

import typer

from lesion_utils.checks.split import PAIRS, Names
from lesion_utils.checks.split import leakcheck as check_split
from lesion_utils.cli.exits import unusable_input_exits_2
from lesion_utils.cli.options import Melanoma
from lesion_utils.cli.printing import finish
from lesion_utils.tables import read_table

DEFAULTS = Names()
EXAMPLES = 3  # shown of each kind


def leakcheck(
    split: Annotated[Path, typer.Argument(metavar="SPLIT.csv", help="a row per image: image_id, lesion_id, dx, split")],
    images: Annotated[Path | None, typer.Option(help="folder of <image_id>.jpg, to compare pictures, too")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, with every linked image")] = False,
    melanoma: Melanoma = None,
    image_id: Annotated[str, typer.Option(metavar="COLUMN")] = DEFAULTS.image_id,
    lesion_id: Annotated[str | None, typer.Option(metavar="COLUMN", help="default: lesion_id, if it exists")] = None,
    label: Annotated[str, typer.Option(metavar="COLUMN")] = DEFAULTS.label,
    split_column: Annotated[str, typer.Option("--split", metavar="COLUMN")] = DEFAULTS.split,
    train: Annotated[str, typer.Option(metavar="NAME", help="value for training in that column")] = DEFAULTS.train,
    validation: Annotated[str, typer.Option(metavar="NAME", help="may be absent")] = DEFAULTS.validation,
    test: Annotated[str, typer.Option(metavar="NAME")] = DEFAULTS.test,
    threads: Annotated[int, typer.Option(min=1, help="threads that open pictures")] = 2,
) -> None:
    """Check a split from any source: does the test split share lesions or images with training?"""
    with unusable_input_exits_2():
        expected = f"{image_id}, {lesion_id or 'lesion_id'} (where lesions are known), {label}, {split_column}"
        names = Names(image_id, lesion_id, label, split_column, train, validation, test)
        check = check_split(read_table(split, expected), images, names, melanoma, threads, split)
    finish(check.as_dict(), "leakcheck.txt.j2", as_json, check.leak, name=split.name, pairs=PAIRS, examples=EXAMPLES)
