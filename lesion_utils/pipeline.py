"""The notebooks as jobs: what each reads and writes, its execution by papermill, and the form it is committed in."""

import ast
import functools
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from unittest.mock import patch

import nbformat
import psutil
from traitlets.config import Config

from lesion_utils import tracked
from lesion_utils.cases import EDA, case_table_files, data_digest, layout
from lesion_utils.claims.declared import claims_of_study
from lesion_utils.digests import code_digest, digest
from lesion_utils.errors import InputError, first_ten
from lesion_utils.paths import (
    JOB,
    PROJECT,
    atomic_write,
    is_intact,
    report_folder,
    resolve,
    run_folder,
    run_name,
    seal,
    written_in,
)
from lesion_utils.predictions import PROVENANCE, STAGE_NOTEBOOKS, TEST_READS, leak_tables, splits_of, table_path
from lesion_utils.study import STAGES, StudyParams, assignments

EVALUATION = "05_evaluation"
INDEX, CARD, ITEMS = "index.html", "model_card.html", "reporting_items.html"  # pages of every study
LOCAL = "local.html"  # beside the list of the project's studies: those that were run here
PACKAGE = PROJECT / "lesion_utils"
checked = "checked/{}.json".format  # the file that says that `data`, `pixels` or the weights of a stage could be read
PLACES = ("data", "ham10000", "isic2018", "weights")  # parameters that name a folder: its content counts, not its path
_PLOTS = ("confusion_matrix.png", "confusion_matrix_normalised.png", "class_errors.png", "curves.png")
EVALUATED = (*_PLOTS, "predictions.csv", "classification_report.txt")  # by `lesion evaluate`, for an exported model


@dataclass(frozen=True)
class Job:
    """One execution of one notebook; paths are relative to the run folder of the study."""

    notebook: str
    run: int
    inputs: list[str]
    outputs: list[str]
    depends_on: dict[str, Any]

    @property
    def name(self) -> str:
        return run_name(self.notebook, self.run)


def rule_name(study: str, job: str, several: bool) -> str:
    """The name of a job of ``study`` in the graph, which may hold ``several`` studies."""
    return f"{study.replace('/', '.')}.{job}" if several else job


def notebook_path(notebook: str) -> Path:
    return PROJECT / "notebooks" / f"{notebook}.ipynb"


def parameters(notebook: str) -> dict[str, Any]:
    """The parameters that a notebook uses, with the values of its parameters cell."""
    cells = nbformat.read(notebook_path(notebook), as_version=4).cells
    (cell,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    return {name: ast.literal_eval(value) for name, value in assignments(cell.source).items()}


def plan(params: StudyParams) -> list[Job]:
    """The jobs of a study in order; a stage without a recipe has none."""
    jobs: list[Job] = []
    for notebook, files_of in NOTEBOOKS.items():
        files = files_of(params, jobs)
        reasons = depends_on(params, notebook) if files else {}  # of all runs: it reads the state of every image
        for run, (inputs, outputs) in enumerate(files):
            name = run_name(notebook, run)
            own = [f"executed/{name}.ipynb", f"stamps/{name}.json", f"numbers/{name}.json"]
            jobs.append(Job(notebook, run, inputs, own + outputs, reasons))
    return jobs


Files: TypeAlias = tuple[list[str], list[str]]  # inputs and outputs of one run of a notebook


def _eda(params: StudyParams, jobs: list[Job]) -> list[Files]:
    corrections = [f"{reports_from_runs(params.study)}/corrections.csv"] if layout(params).corrected else []
    return [([checked("data")], [*_case_tables(params), *corrections])]


def _training(stage: str, params: StudyParams, jobs: list[Job]) -> list[Files]:
    recipes, files = getattr(params, stage), []
    weights = [checked(stage)] if wants_weights(params, stage) else []
    for run in range(params.runs) if recipes else ():
        tables = [table_path(params, name, run, split) for name in recipes for split in splits_of(params, name)]
        for leak in params.model_copy(update={"run": run}).leaks_of(stage):
            tables += leak_tables(params, leak)
        compared = [job for job in jobs if job.run == run] if stage == "rebalancing" else []
        inputs = [checked("data"), *weights, *_case_tables(params), *_prediction_tables(compared)]
        files.append((inputs, _with_json(params, tables)))
    return files


def _evaluation(params: StudyParams, jobs: list[Job]) -> list[Files]:
    names = ["results.json", TEST_READS, *(["claims.json"] if claims_of_study(params.study) else [])]
    inputs, outputs = _prediction_tables(jobs), [f"{reports_from_runs(params.study)}/{name}" for name in names]
    return [([*_case_tables(params), *inputs], outputs)] if inputs else []


# Of each notebook: inputs and outputs of each of its runs, from the study and the jobs of the notebooks above it.
NOTEBOOKS: dict[str, Callable[[StudyParams, list[Job]], list[Files]]] = {
    EDA: _eda,
    **{notebook: functools.partial(_training, stage) for stage, notebook in STAGE_NOTEBOOKS.items()},
    EVALUATION: _evaluation,
}


def _prediction_tables(jobs: list[Job]) -> list[str]:
    return [path for job in jobs for path in job.outputs if "/predictions/" in path]


def _case_tables(params: StudyParams) -> list[str]:  # which notebook 01 writes and all others read
    return _with_json(params, dict.fromkeys(case_table_files(params).values()))


def _with_json(params: StudyParams, paths: Iterable[Path]) -> list[str]:
    """``paths`` and the JSON beside each, as seen from the run folder."""
    both = [path.with_suffix(suffix) for path in paths for suffix in (path.suffix, ".json")]
    return [str(path.relative_to(run_folder(params.study))) for path in both]


def reports_from_runs(study: str) -> str:
    """The report folder of a study as seen from its run folder."""
    return os.path.relpath(report_folder(study), run_folder(study))


def depends_on(params: StudyParams, notebook: str) -> dict[str, Any]:
    """What a notebook's result depends on, and nothing else: the parameters it uses, digests of data and weights (not
    their folders), of its cells and the modules that it imports, and declarations of the claims that it judges.
    """
    used = {name: value for name, value in values(params, notebook).items() if name not in (*PLACES, "run")}
    recipes = [recipe for stage in STAGES if stage in used for recipe in getattr(params, stage).values()]
    claims = claims_of_study(params.study) if notebook == EVALUATION else []
    cells = nbformat.read(notebook_path(notebook), as_version=4).cells
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    return {
        "parameters": used,
        "data digest": data_digest(params),
        "weights digests": [recipe.backbone.weights_digest(params.weights) for recipe in recipes],
        "code digest": digest([code_digest(source), [cell.source for cell in cells]]),
        "claims digests": [claim.declaration for claim in claims],
    }


def edited(params: StudyParams) -> dict[str, list[str]]:
    """The files that are no longer as jobs made them, by job: damaged, or written by a person or another program.

    Snakemake itself makes missing outputs again, so of these only what a training keeps beside its tables is listed.
    """
    folder, found = run_folder(params.study), dict[str, list[Path]]()
    for job in plan(params):
        outputs = [Path(os.path.normpath(folder / path)) for path in job.outputs]
        trained = dict.fromkeys(path.parents[1] for path in outputs if path.parent.name == "predictions")
        changed = [path for path in outputs if path.exists() and not is_intact(path)]
        found[job.name] = changed + [path for of in trained for path in written_in(of) if not is_intact(path)]
    for name, run in tracked.trainings(params):
        kept = tracked.tracked_folder(params.study) / name / f"r{run}"
        if (params.model_folder(name, run) / PROVENANCE).is_file() and (damaged := tracked.damaged(kept)):
            run = run if name in params.recipes else 0  # which trains all runs of leaks
            found[run_name(STAGE_NOTEBOOKS[params.stage_of(name)], run)] += damaged
    pages = [*sorted(report_folder(params.study).glob("*.html")), report_folder(params.study) / tracked.PAGES]
    cases = tracked.tracked_folder(params.study) / tracked.CASES
    lists = [report_folder("") / page for page in (INDEX, LOCAL)]
    found["reports"] = [path for path in (*pages, cases, *lists) if not is_intact(path)]
    return {name: [os.path.relpath(path, folder) for path in paths] for name, paths in found.items() if paths}


def refuse_edited(params: StudyParams) -> None:
    """Raises InputError if any file that pages are made from is not as its job made it."""
    if files := [path for job, paths in edited(params).items() if job != "reports" for path in paths]:
        problem = f"not as the jobs of study {params.study!r} made them: {first_ten(files)}"
        raise InputError(f"{problem}, in {run_folder(params.study)}. Fix: {params.command}")


def wants_weights(params: StudyParams, stage: str) -> bool:
    return any(recipe.backbone.weights != "none" for recipe in getattr(params, stage).values())


def module_digest(module: str) -> str:
    """Changes with a module of the package, such as ``models.py``, and with the modules that it imports."""
    return code_digest((PACKAGE / module).read_text(encoding="utf-8"))


def report_digest() -> str:
    """Changes with the code and templates of the reports' pages."""
    templates = sorted(path for path in (PACKAGE / "templates").rglob("*") if path.is_file())
    code = [PACKAGE / "reports.py", PACKAGE / "notebook_html.py"]
    return digest([path.read_text(encoding="utf-8") for path in (*code, *templates)])


def values(params: StudyParams, notebook: str) -> dict[str, Any]:
    """The study's values of the parameters that a notebook uses, as plain data; folders from the project root."""
    used = params.model_dump(mode="json", include=set(parameters(notebook)))
    folders = {name: os.path.relpath(resolve(used[name]), PROJECT) for name in PLACES if used.get(name)}
    return used | folders


def execute(
    params: StudyParams, notebook: str, limit: int | None = None, cell_limit: int | None = None
) -> tuple[str, float]:
    """Runs ``notebook`` for the study and run of ``params``; returns the error's text ('' if none) and seconds. The
    notebook is in ``executed/``, or in ``failed/`` if a cell or the kernel failed or time ran out: after ``limit``
    seconds, or ``cell_limit`` seconds in one cell.
    """
    name = run_name(notebook, params.run)
    executed, failed = (run_folder(params.study) / kind / f"{name}.ipynb" for kind in ("executed", "failed"))
    unfinished = executed.with_name(f".{name}.ipynb")
    for folder in (executed.parent, failed.parent):
        folder.mkdir(parents=True, exist_ok=True)
    start, error, ended = time.time(), "", threading.Event()
    options = {"stdout_file": sys.stdout, "stderr_file": sys.stderr, "execution_timeout": cell_limit}
    options |= {"shutdown_kernel": "immediate"} if cell_limit else {}  # an interrupted one prints its traceback
    with _at_most(limit, ended):
        try:
            _papermill(notebook, unfinished, values(params, notebook), **options)
        except Exception as problem:  # also a dead kernel and a time-out, which papermill does not wrap
            error = f"{getattr(problem, 'ename', type(problem).__name__)}: {getattr(problem, 'evalue', problem)}"
            fix = "Fix: run the same command again, with a longer limit or none; it goes on from the last checkpoint."
            if ended.is_set():
                error = f"it took longer than --timeout {limit} (seconds). {fix}"
            elif type(problem).__name__ == "CellTimeoutError":
                error = f"a cell took longer than --cell-timeout {cell_limit} (seconds). {fix}"
    if not error:
        failed.unlink(missing_ok=True)
    if unfinished.exists():
        os.replace(unfinished, failed if error else executed)
        seal(failed if error else executed)
    return error, time.time() - start


@contextmanager
def _at_most(seconds: int | None, ended: threading.Event) -> Iterator[None]:
    """After ``seconds`` sets ``ended`` and kills what this process has started, such as a kernel, or still starts."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5 if ended.is_set() else seconds):
            ended.set()
            for child in psutil.Process().children(recursive=True):
                child.kill()

    if seconds:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _papermill(notebook: str, output: Path | None, parameters: dict, **options: Any) -> nbformat.NotebookNode:
    import papermill  # slow to import, needed by few commands

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # its errors are raised, too
    # The kernel is reached through files instead of ports: no race for a port, nothing open to the network.
    with tempfile.TemporaryDirectory(prefix="lesion") as sockets, patch.dict(os.environ, JUPYTER_RUNTIME_DIR=sockets):
        os.environ.pop("LESION_THREADS", None)  # for nbval alone; here `threads` is a parameter
        os.environ[JOB] = "1"
        options |= {"kernel_name": "python3", "cwd": PROJECT / "notebooks", "progress_bar": False}
        options["config"] = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        return papermill.execute_notebook(notebook_path(notebook), output, parameters, **options)


def die_with(pid: int) -> None:
    """Ends this process and all it started as soon as process ``pid`` is gone, also if that was killed hard."""
    try:
        parent = psutil.Process(pid)
    except psutil.NoSuchProcess:
        os._exit(1)

    def watch() -> None:
        while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
        for child in psutil.Process().children(recursive=True):
            child.kill()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The form in which an executed notebook is committed: outputs and counts, no time, no path."""
    for number, cell in enumerate(notebook.cells):
        tags = [tag for tag in cell.metadata.get("tags", []) if tag != "papermill-error-cell-tag"]
        cell.id, cell.metadata = f"cell-{number:02d}", {"tags": tags} if tags else {}
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return notebook


def refresh(notebook: str) -> None:
    """Executes a committed notebook at its own values, in place, and cleans it (``lesion refresh-notebooks``)."""
    book = clean(_papermill(notebook, None, {}))
    with atomic_write(notebook_path(notebook)) as temporary:
        nbformat.write(book, temporary)
