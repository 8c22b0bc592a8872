"""A first study on a person's own images."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
import yaml

from lesion_utils.cases import check_cases
from lesion_utils.cli.common import harmless, unusable_input_exits_2
from lesion_utils.datasets import LAYOUTS
from lesion_utils.datasets.own import Own, tables_in
from lesion_utils.datasets.registry import study_datasets
from lesion_utils.errors import InputError, first_ten
from lesion_utils.paths import PROJECT, write_text
from lesion_utils.study import study_names, validate
from lesion_utils.tables import read_table
from lesion_utils.views import CLASS_NAMES, code_of

UNKNOWN = "unknown"
HEAD = """\
# A first study on own images. Run it: make study STUDY={name}.yml
# Add the recommended network: transfer: {{efficientnet_lite0: {{like: recommended/efficientnet_lite0}}}}
# docs/your_own_data.md explains each key."""


def new(
    name: Annotated[str, typer.Argument(help="name of the study; its file is NAME.yml in the working folder")],
    data: Annotated[Path, typer.Option(help="folder of the images")],
    dataset: Annotated[str | None, typer.Option(help=f"one of {', '.join(study_datasets())}")] = None,
    metadata: Annotated[str | None, typer.Option(help="table of the images, as a path from the data folder")] = None,
    column: Annotated[list[str] | None, typer.Option(help="NAME=COLUMN, as label=diagnosis; repeatable")] = None,
) -> None:
    with unusable_input_exits_2():
        name, folder = name.removesuffix(".yml"), Path(os.path.abspath(data.expanduser()))
        target = Path(f"{name}.yml").absolute()
        if target.exists() or name in study_names():
            raise InputError(f"a study {name!r} exists ({target.name}). Fix: choose another name; nothing was written.")
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder. Expected the folder of the images. Fix: correct --data.")
        columns = dict(_pair(text) for text in column or [])
        dataset = dataset or _layout_of(folder, Own(by_folder=False, columns=columns, metadata=metadata))
        place = os.path.relpath(folder, PROJECT) if folder.is_relative_to(PROJECT) else str(folder)
        values: dict[str, Any] = {"study": name, "dataset": dataset, "data": place}
        labels = None
        if dataset in LAYOUTS and isinstance(module := LAYOUTS[dataset].module, Own):
            module = replace(module, columns=columns, metadata=metadata or _table_beside(module, folder))
            table, labels = module.table_file(folder), module.read(folder)["label"].value_counts().sort_index()
            if table:
                values["metadata"] = os.path.relpath(table, folder)
                values["columns"] = module.columns_of(table, read_table(table, module.EXPECTED))
            values["classes"] = {label: _kind(label) for label in labels.index}
        values["baseline"] = {"small_cnn": {"phases": [{"epochs": 20}]}}
        check_cases(validate(values, target.name))
        write_text(target, _text(values, labels))
    typer.echo(harmless(f"{target.name}: {LAYOUTS[dataset].title}"))
    if asked := [label for label, kind in values.get("classes", {}).items() if kind == UNKNOWN]:
        typer.echo(harmless(f"In {target.name}, write benign, malignant or melanoma beside {first_ten(asked)}."))
        typer.echo("As long as a class is unknown, reports say nothing about malignant lesions.")
    typer.echo(f"Run it: make study STUDY={target.name}")


def _pair(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not equals:
        raise InputError(f"--column {text}: expected NAME=COLUMN. Fix: --column label={text}")
    return name, column


def _layout_of(folder: Path, own_table: Own) -> str:
    """The layout of ``folder``; InputError with a question where several would do."""
    found = [name for name in study_datasets() if not LAYOUTS[name].made_up and LAYOUTS[name].recognised(folder)]
    published = [name for name in found if not LAYOUTS[name].own]
    if own_table.columns or own_table.metadata:  # which say how a table is to be read
        found = [name for name in found if name == "folders"] + ["table"] * own_table.recognised(folder)
        published = []
    if not found:
        return "table" if tables_in(folder) else "folders"  # whose reader says what is wrong
    if len(found) == 1:
        return found[0]
    for name in published:
        try:
            LAYOUTS[name].module.read(folder, None)
            return name
        except InputError as error:
            found[found.index(name)] = f"{name} ({error})"
    fix = "Fix: --dataset with one of them."
    raise InputError(f"{folder}: what says the class of an image? It may be {' or '.join(found)}. {fix}")


def _table_beside(module: Own, folder: Path) -> str | None:
    """The table beside class folders that says which images belong together."""
    tables = tables_in(folder) if module.by_folder else []
    known = {path.name: module.columns_of(path, read_table(path, module.EXPECTED)) for path in tables}
    fitting = [name for name, of in known.items() if "image_id" in of and {"lesion_id", "patient_id"} & of.keys()]
    if len(fitting) > 1:
        question = f"{folder}: which table says the lesions or patients? It may be {' or '.join(fitting)}."
        raise InputError(f"{question} Fix: --metadata with one of them.")
    return fitting[0] if fitting else None


def _kind(label: str) -> str:
    code = code_of(label)
    if code is None:
        return UNKNOWN
    return "melanoma" if code == "mel" else "malignant" if CLASS_NAMES[code]["malignant"] else "benign"


def _text(values: dict[str, Any], labels: pd.Series | None) -> str:
    """The study's file: a key in each line, with a remark where the person has a choice."""
    remarks = {
        "dataset": "how the images are arranged (docs/your_own_data.md)",
        "data": "the folder of the images",
        "metadata": "the table of the images, in that folder",
        "columns": "which of its columns says what",
        "classes": "each is benign, malignant, melanoma (malignant, too) or unknown",
        "baseline": "what is trained: see params/quick.yml for more",
    }
    lines = [HEAD.format(name=values["study"])]
    for key, value in values.items():
        remark = f"   # {remarks[key]}" if key in remarks else ""
        if key != "classes" or labels is None:
            lines.append(f"{key}: {_yaml(value)}{remark}")
            continue
        lines.append(f"{key}:{remark}")
        for label, kind in value.items():
            asked = "malignant? write benign, malignant or melanoma; " if kind == UNKNOWN else ""
            lines.append(f"  {_yaml(label)}: {kind}   # {asked}{labels[label]:,} images")
    return "\n".join(lines) + "\n"


def _yaml(value: Any) -> str:
    text = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False)
    return text.strip()[1:-1]
