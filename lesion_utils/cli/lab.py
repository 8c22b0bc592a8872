"""Notebooks of a study in JupyterLab."""

import ast
import os
import sys
from pprint import pformat
from typing import Annotated

import typer

from lesion_utils.cli.common import Full, Study, unusable_input_exits_2
from lesion_utils.errors import InputError
from lesion_utils.paths import output_root, require_intact, run_folder, run_name
from lesion_utils.pipeline import NOTEBOOKS
from lesion_utils.predictions import STAGE_NOTEBOOKS
from lesion_utils.study import assignments, load_study


def open(
    study: Study,
    notebook: Annotated[str, typer.Argument(help="number of the notebook: 01 to 05")],
    run: Annotated[int, typer.Option(min=0, help="which run of the notebook")] = 0,
    full: Full = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="only print the address")] = False,
) -> None:
    with unusable_input_exits_2():
        params = load_study(study, full=full)
        without = [name for stage, name in STAGE_NOTEBOOKS.items() if not getattr(params, stage)]
        numbers = {name[:2]: name for name in NOTEBOOKS if name not in without}
        if notebook.zfill(2) not in numbers:
            problem = f"study {params.study!r} has no notebook {notebook!r}. Expected one of: {', '.join(numbers)}"
            raise InputError(f"{problem}. Fix: lesion open {study} {min(numbers)}")
        name = numbers[notebook.zfill(2)]
        if run >= (runs := params.runs if name in STAGE_NOTEBOOKS.values() else 1):
            problem = f"notebook {name} of study {params.study!r} has no run {run}. Expected --run 0 to {runs - 1}"
            raise InputError(f"{problem}. Fix: lesion open {study} {notebook}")
        name = run_name(name, run)
        executed = require_intact(run_folder(params.study) / "executed" / f"{name}.ipynb", params.command)
    copy = output_root() / "runs" / "by_hand" / params.study / f"{name}.ipynb"  # what a batch made stays as it is
    if copy.is_file():
        typer.echo(f"{copy} was opened before and stays as you left it. Remove it for a new copy.")
    else:
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(_with_one_parameter_cell(executed.read_text(encoding="utf-8")), encoding="utf-8")
        typer.echo(copy)
    address = f"/lab/tree/{copy.relative_to(output_root()).as_posix()}"
    words = ["jupyter", "lab", f"--ServerApp.root_dir={output_root()}", f"--LabApp.default_url={address}"]
    words += ["--allow-root"] if os.getuid() == 0 else []  # as `make lab`
    os.execv(sys.executable, [sys.executable, "-m", *words, *(["--no-browser"] if no_browser else [])])


def _with_one_parameter_cell(notebook: str) -> str:
    """``notebook`` with the study's values in place of its defaults. Papermill writes them into a second cell, which
    would undo what a person changes in the first.
    """
    import nbformat  # slow

    book = nbformat.reads(notebook, as_version=4)
    tagged = {tag: cell for cell in book.cells for tag in cell.metadata.get("tags", [])}
    if injected := tagged.get("injected-parameters"):
        lines = ["# The values of the study. Change them here, then run all cells."]
        for name, value in assignments(injected.source).items():
            lines.append(f"{name} = {pformat(ast.literal_eval(value), width=100, sort_dicts=False)}")
        tagged["parameters"].source = "\n".join(lines)
        book.cells.remove(injected)
    return nbformat.writes(book)
