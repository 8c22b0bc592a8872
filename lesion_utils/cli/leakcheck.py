"""Checking somebody's split. Exit codes: 0 clean, 1 parts that share something, 2 unusable input."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lesion_utils.checks.split import Names
from lesion_utils.checks.split import leakcheck as check_split
from lesion_utils.cli.exits import harmless, unusable_input_exits_2
from lesion_utils.cli.options import Melanoma
from lesion_utils.tables import read_table

DEFAULTS = Names()


def leakcheck(
    split: Annotated[Path, typer.Argument(metavar="SPLIT.csv", help="a row an image: image_id, lesion_id, dx, split")],
    images: Annotated[
        Path | None,
        typer.Option(help="folder of the pictures, <image_id>.jpg: compares pixels and finds near-duplicates"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, with every image that is tied")] = False,
    melanoma: Melanoma = None,
    image_id: Annotated[str, typer.Option(metavar="COLUMN")] = DEFAULTS.image_id,
    lesion_id: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="by default lesion_id, if it is there")
    ] = None,
    label: Annotated[str, typer.Option(metavar="COLUMN")] = DEFAULTS.label,
    split_column: Annotated[str, typer.Option("--split", metavar="COLUMN")] = DEFAULTS.split,
    train: Annotated[str, typer.Option(metavar="NAME", help="what that column calls training")] = DEFAULTS.train,
    validation: Annotated[str, typer.Option(metavar="NAME", help="may be absent")] = DEFAULTS.validation,
    test: Annotated[str, typer.Option(metavar="NAME")] = DEFAULTS.test,
    threads: Annotated[int, typer.Option(min=1, help="that open pictures")] = 2,
) -> None:
    """Check a split, ours or anybody's: does the test part share lesions or images with training?

    Counts the test images with the same id, the same lesion and, with --images, the same pixels or a near-duplicate
    in training, all and melanoma; likewise validation against training and test against validation. Warns of a test
    part made of lesions with one image, or with other class frequencies than the whole, and gives the accuracy of
    always naming the most frequent class. Without --images, or without lesion ids (or where each image has its own), it
    says what was not checked.

    \b
    Examples:
      lesion leakcheck split.csv
      lesion leakcheck split.csv --images HAM10000_images --json
      lesion leakcheck folds.csv --split fold --train 0 --test 1 --label diagnosis --melanoma MM

    \b
    Exit codes: 0 clean, warnings or not; 1 two parts share something; 2 unusable input.
    """
    with unusable_input_exits_2():
        expected = f"{image_id}, {lesion_id or 'lesion_id'} (where lesions are known), {label}, {split_column}"
        names = Names(image_id, lesion_id, label, split_column, train, validation, test)
        found = check_split(read_table(split, expected), images, names, melanoma, threads, split)
    typer.echo(json.dumps(found.as_dict(), indent=1) if as_json else harmless(found.text(split.name)))
    raise typer.Exit(1 if found.found else 0)
