"""The notebooks as jobs: what each reads and writes, its execution by papermill, and the form it is committed in."""

import ast
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
import psutil
from traitlets.config import Config

from lesion_utils.datasets import data_digest, data_folder, layout
from lesion_utils.digests import code_digest, digest, file_digest
from lesion_utils.paths import PROJECT, atomic_write, report_folder, resolve, run_folder, run_name
from lesion_utils.predictions import STAGE_NOTEBOOKS, leak_tables, parts_of, table_path
from lesion_utils.study import CLAIMS, STAGES, StudyParams

EDA, EVALUATION = "01_eda", "05_evaluation"
PACKAGE = PROJECT / "lesion_utils"
CHECKED_DATA = "checked/data.json"
PLACES = ("data", "ham10000", "isic2018", "weights")  # parameters that name a folder: what lies there counts, not where
NOTEBOOKS = (EDA, *STAGE_NOTEBOOKS.values(), EVALUATION)


@dataclass(frozen=True)
class Job:
    """One execution of one notebook; paths are relative to the run folder of the study."""

    notebook: str
    repeat: int
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    digest: str = ""

    @property
    def name(self) -> str:
        """The name of its executed notebook and report."""
        return run_name(self.notebook, self.repeat)


def notebook_path(notebook: str) -> Path:
    """The committed notebook."""
    return PROJECT / "notebooks" / f"{notebook}.ipynb"


def parameters_cell(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The one cell tagged ``parameters``."""
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    return cell


def parameters(notebook: str) -> dict[str, Any]:
    """The parameters that a notebook uses, with the values of its parameters cell."""
    cell = parameters_cell(nbformat.read(notebook_path(notebook), as_version=4))
    return {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value)
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign)
    }


def plan(params: StudyParams) -> list[Job]:
    """The jobs of a study in order; a stage without a recipe has none."""
    found = ["cases.csv"]
    if layout(params).corrected:
        found.append(reports_from_runs(params.study) + "/corrections.csv")
    jobs = [_job(params, EDA, 0, inputs=[CHECKED_DATA], outputs=found)]
    tables: dict[str, list[str]] = {stage: [] for stage in STAGES}
    for stage, notebook in STAGE_NOTEBOOKS.items():
        for repeat in range(params.runs) if getattr(params, stage) else ():
            made = [
                str(table_path(params.study, recipe, repeat, split).relative_to(run_folder(params.study)))
                for recipe in getattr(params, stage)
                for split in parts_of(params, recipe)
            ]
            if repeat == 0:
                made += [
                    str(path.relative_to(run_folder(params.study)))
                    for name, leak in params.leaks.items()
                    if leak.recipe in getattr(params, stage)
                    for path in leak_tables(params, name)
                ]
            made += [name.removesuffix(".csv") + ".json" for name in made]
            needed = [CHECKED_DATA, *([checked_weights(stage)] if wants_weights(params, stage) else [])]
            if stage == "rebalancing":
                needed += [name for name in tables["baseline"] if f"/r{repeat}/" in name]
            jobs.append(_job(params, notebook, repeat, inputs=needed, outputs=made))
            tables[stage] += made
    if everything := [name for names in tables.values() for name in names]:
        jobs.append(
            _job(
                params,
                EVALUATION,
                0,
                inputs=["cases.csv", *everything],
                outputs=[reports_from_runs(params.study) + "/results.json"],
            )
        )
    return jobs


def reports_from_runs(study: str) -> str:
    """The report folder of a study as seen from its run folder."""
    return os.path.relpath(report_folder(study), run_folder(study))


def _job(params: StudyParams, notebook: str, repeat: int, outputs: list[str], **kwargs: list[str]) -> Job:
    name = run_name(notebook, repeat)
    outputs = [f"executed/{name}.ipynb", f"stamps/{name}.json", f"numbers/{name}.json", *outputs]
    return Job(notebook, repeat, outputs=outputs, digest=job_digest(params, notebook), **kwargs)


def job_digest(params: StudyParams, notebook: str) -> str:
    """Changes with what a notebook's result depends on, and with nothing else.

    That is: the parameters it uses, the data (not their place), the weights (not their place), its own source and
    the modules of the package it imports; and of published systems, what they claim.
    """
    elsewhere = (*PLACES, "run")
    used = {name: value for name, value in values(params, notebook).items() if name not in elsewhere}
    recipes = [recipe for stage in STAGES if stage in used for recipe in getattr(params, stage).values()]
    weights = [recipe.backbone.weights_digest(params.weights) for recipe in recipes]
    asked = [file_digest(str(CLAIMS))] if notebook == EVALUATION and params.is_published else []
    return digest([used, data_digest(params), weights, notebook_digest(notebook), *asked])


def wants_weights(params: StudyParams, stage: str) -> bool:
    """Whether a recipe of the stage starts from weights that have to be there."""
    return any(recipe.backbone.weights != "none" for recipe in getattr(params, stage).values())


def checked_weights(stage: str) -> str:
    """The file that says that the weights of a stage could be loaded."""
    return f"checked/{stage}.json"


def check_digest(params: StudyParams, stage: str | None = None) -> str:
    """Changes with the data (or the weights of ``stage``) and the code that reads them."""
    if stage is None:
        return digest([data_digest(params), code_digest((PACKAGE / "audit" / "images.py").read_text(encoding="utf-8"))])
    recipes = getattr(params, stage).values()
    networks = [recipe.backbone.model_dump() for recipe in recipes]
    weights = [recipe.backbone.weights_digest(params.weights) for recipe in recipes]
    return digest([networks, weights, code_digest((PACKAGE / "models.py").read_text(encoding="utf-8"))])


def exported(params: StudyParams) -> dict[str, str]:
    """The recipes of the study that export their model, with the notebook that trains them."""
    return {name: STAGE_NOTEBOOKS[params.stage_of(name)] for name, recipe in params.recipes.items() if recipe.exports}


def exported_images(params: StudyParams) -> list[Path]:
    """The folders with the images on which exported models were reported; none if no recipe exports."""
    if not exported(params):
        return []
    return [data_folder(params), *([resolve(params.isic2018)] if params.isic2018 else [])]


EVALUATED = (  # what `lesion evaluate` makes of an exported model
    *("confusion_matrix.png", "confusion_matrix_normalised.png", "class_errors.png", "curves.png"),
    *("predictions.csv", "classification_report.txt"),
)


def evaluate_digest() -> str:
    """Changes with what judges an exported model."""
    return code_digest((PACKAGE / "cli" / "evaluate.py").read_text(encoding="utf-8"))


def report_digest() -> str:
    """Changes with what makes the reports' pages."""
    parts = [PACKAGE / "reports.py", *sorted(path for path in (PACKAGE / "templates").rglob("*") if path.is_file())]
    return digest([path.read_text(encoding="utf-8") for path in parts])


def notebook_digest(notebook: str) -> str:
    """Changes with the source of a notebook's cells and the modules of the package it imports."""
    cells = nbformat.read(notebook_path(notebook), as_version=4).cells
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    return digest([code_digest(source), [cell.source for cell in cells]])


def values(params: StudyParams, notebook: str) -> dict[str, Any]:
    """The study's values of the parameters that a notebook uses, as plain data; folders from the project root."""
    used = {name: value for name, value in params.model_dump(mode="json").items() if name in parameters(notebook)}
    folders = {name: os.path.relpath(resolve(used[name]), PROJECT) for name in PLACES if used.get(name)}
    return used | folders


def execute(params: StudyParams, notebook: str) -> tuple[str, float]:
    """Runs ``notebook`` for the study and repeat of ``params``; returns the error's text ('' if none) and seconds.

    The executed notebook lies in ``executed/``, or in ``failed/`` if a cell, the kernel or the time failed.
    """
    name = run_name(notebook, params.run)
    executed, failed = (run_folder(params.study) / kind / f"{name}.ipynb" for kind in ("executed", "failed"))
    beside = executed.with_name(f".{name}.ipynb")
    for path in (executed, failed):
        path.parent.mkdir(parents=True, exist_ok=True)
    began, error = time.time(), ""
    try:
        _papermill(notebook, beside, values(params, notebook), stdout_file=sys.stdout, stderr_file=sys.stderr)
    except Exception as problem:  # a dead kernel and a time-out are no PapermillExecutionError
        error = f"{getattr(problem, 'ename', type(problem).__name__)}: {getattr(problem, 'evalue', problem)}"
    if beside.exists():
        os.replace(beside, failed if error else executed)
    if not error:
        failed.unlink(missing_ok=True)
    return error, time.time() - began


def _papermill(notebook: str, output: Path | None, parameters: dict, **options: Any) -> nbformat.NotebookNode:
    import papermill  # slow to import, needed by few commands

    # The kernel is reached through files instead of ports: no race for a port, nothing open to the network.
    with tempfile.TemporaryDirectory(prefix="lesion") as sockets, patch.dict(os.environ, JUPYTER_RUNTIME_DIR=sockets):
        os.environ.pop("LESION_THREADS", None)  # for nbval alone; here `threads` is a parameter
        return papermill.execute_notebook(
            notebook_path(notebook),
            output,
            parameters,
            kernel_name="python3",
            cwd=PROJECT / "notebooks",
            progress_bar=False,
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
            **options,
        )


def die_with(pid: int) -> None:
    """Ends this process and all it started as soon as process ``pid`` is gone, also if that was killed hard."""
    parent = psutil.Process(pid)

    def watch() -> None:
        while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
        for child in psutil.Process().children(recursive=True):
            child.kill()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The form in which an executed notebook is committed: text outputs and counts, no picture, no time, no path."""
    cells = []
    for number, cell in enumerate(notebook.cells):
        kept = {"id": f"cell-{number:02d}", "metadata": {}, "source": cell.source}
        if tags := [tag for tag in cell.metadata.get("tags", []) if tag != "papermill-error-cell-tag"]:
            kept["metadata"] = {"tags": tags}
        if cell.cell_type == "markdown":
            cells.append(nbformat.v4.new_markdown_cell(**kept))
        else:
            outputs = [_without_pictures(output) for output in cell.outputs]
            cells.append(nbformat.v4.new_code_cell(execution_count=cell.execution_count, outputs=outputs, **kept))
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def _without_pictures(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    if "data" not in output:
        return output
    kept = {kind: value for kind, value in output.data.items() if not kind.startswith("image/")}
    return nbformat.from_dict(output | {"data": kept, "metadata": {}})


def refresh(notebook: str) -> None:
    """Executes a committed notebook at its own values, in place, and cleans it (``lesion refresh-notebooks``)."""
    book = clean(_papermill(notebook, None, {}))
    with atomic_write(notebook_path(notebook)) as beside:
        nbformat.write(book, beside)
