"""What a study shows: a provenance stamp and an HTML report for each notebook, and the index of all."""

import base64
import functools
import importlib.metadata
import io
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import nbformat
import yaml
from PIL import Image

from lesion_utils.cases import data_title, layout
from lesion_utils.digests import file_digest
from lesion_utils.errors import InputError
from lesion_utils.evaluation.sentences import cell
from lesion_utils.paths import PROJECT, atomic_write, read_json, report_folder, run_folder, run_name, write_json
from lesion_utils.pipeline import NOTEBOOKS, Job, depends_on, plan, values
from lesion_utils.study import CLAIMS, PUBLISHED, StudyParams, load_study

TEMPLATES = Path(__file__).parent / "templates"
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    autoescape=lambda name: str(name).endswith(".html.j2"),
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"whole": "{:,}".format, "cell": lambda text: text.replace("|", "\\|")}
_COLOURS = 128  # of an embedded picture
PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "scikit-learn", "imbalanced-learn", "Augmentor", "papermill")


def render(template: str, **values: Any) -> str:
    """The text of ``template``, a file in ``templates/``, with ``values``; whatever they hold is text, not markup."""
    return _ENVIRONMENT.get_template(template).render(**values)


def write_page(path: Path, template: str, **values: Any) -> None:
    """Writes ``render(template, **values)`` to ``path``; raises InputError if it cannot be written."""
    try:
        with atomic_write(path) as beside:
            beside.write_text(render(template, **values), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}). Fix: choose another path.") from error


def stamp(params: StudyParams, notebook: str, error: str, seconds: float) -> dict[str, Any]:
    """What made a run of ``notebook``: commit, data digest, parameters, versions, duration, and how it ended."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        **{"study": params.study, "notebook": notebook, "run": params.run},
        **{"status": "failed" if error else "done", "error": error},
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "duration": f"{seconds:.0f} s",
        "commit": _commit(),
        "versions": {"python": platform.python_version()} | versions,
        "lock": file_digest(str(PROJECT / "requirements.lock")),
        "machine": f"{platform.system()} {platform.machine()}",
        **depends_on(params, notebook),
        "parameters": values(params, notebook),
    }


def _commit() -> str:
    """The commit, marked dirty if anything but the reports differs from it."""
    git = functools.partial(subprocess.check_output, cwd=PROJECT, text=True, stderr=subprocess.DEVNULL)
    try:
        commit = git(["git", "rev-parse", "--short=12", "HEAD"]).strip()
        changed = git(["git", "status", "--porcelain", "--", ".", ":!reports"])
    except (OSError, subprocess.CalledProcessError):
        return "unknown (not a git checkout)"
    return f"{commit} (dirty: the tree had uncommitted changes)" if changed else commit


def write_stamp(params: StudyParams, notebook: str, error: str, seconds: float) -> None:
    """Writes the stamp beside the executed notebook, or beside the failed one."""
    folder, file = run_folder(params.study), f"{run_name(notebook, params.run)}.json"
    (folder / "failed" / file).unlink(missing_ok=True)
    write_json(folder / ("failed" if error else "stamps") / file, stamp(params, notebook, error, seconds))


def write_report(params: StudyParams, name: str) -> None:
    """The HTML report of the executed notebook ``name``: readable off line, code folded, stamped."""
    from nbconvert import HTMLExporter  # slow to import, needed by few commands

    folder = run_folder(params.study)
    made = read_json(folder / "stamps" / f"{name}.json", f"make study STUDY={params.study}")
    shown = [(key, value if isinstance(value, str) else _as_yaml(value)) for key, value in made.items() if value]
    book = nbformat.read(folder / "executed" / f"{name}.ipynb", as_version=4)
    for code in (part for part in book.cells if part.cell_type == "code"):
        code.outputs = [_smaller(output) for output in code.outputs if output.get("name") != "stderr"]
    folded = dict.fromkeys(("exclude_input_prompt", "exclude_output_prompt", "exclude_anchor_links"), True)
    exporter = HTMLExporter(extra_template_basedirs=[str(TEMPLATES)], template_name="report", **folded)
    heading = f"{name} - study {params.study} on {data_title(params)}"
    html, _ = exporter.from_notebook_node(book, {"metadata": {"name": heading}, "stamp": shown})
    with atomic_write(report_folder(params.study) / f"{name}.html") as beside:
        beside.write_text(html, encoding="utf-8")


def _smaller(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The output with its picture in ``_COLOURS`` colours, which a plot does not miss: a third of the size."""
    if picture := output.get("data", {}).get("image/png"):
        kept = io.BytesIO()
        with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
            image.convert("RGB").quantize(_COLOURS).save(kept, "PNG", optimize=True)
        output.data["image/png"] = base64.b64encode(kept.getvalue()).decode()
    return output


def write_reports(params: StudyParams) -> Path:
    """The reports of all notebooks of the study that were executed, and the index; returns the index's path."""
    folder = run_folder(params.study)
    for job in plan(params):
        if all((folder / made).is_file() for made in (f"stamps/{job.name}.json", f"executed/{job.name}.ipynb")):
            write_report(params, job.name)
    return write_index(params)


def write_index(params: StudyParams) -> Path:
    """``index.html``: one row per notebook and run that the study plans, done or not; returns its path."""
    rows = [_row(params, job) for job in plan(params)]
    idle = NOTEBOOKS.keys() - {row["notebook"] for row in rows}
    rows += [{"notebook": notebook, "name": notebook, "status": "no recipe"} for notebook in idle]
    rows.sort(key=lambda row: list(NOTEBOOKS).index(row["notebook"]))  # the runs of a notebook are in order already
    last: dict = next((row["stamp"] for row in reversed(rows) if "stamp" in row), {})
    page = {
        "rows": rows,
        "stamp": [(name, last[name]) for name in ("commit", "data digest", "finished") if last],
        **{"params": params, "data": data_title(params), "layout": layout(params)},
        "exported": [name for name, recipe in params.recipes.items() if recipe.exports],
    }
    path = report_folder(params.study) / "index.html"
    write_page(path, "index.html.j2", **page)
    return path


def _row(params: StudyParams, job: Job) -> dict[str, Any]:
    folder, name = run_folder(params.study), job.name
    row: dict[str, Any] = {"notebook": job.notebook, "name": name, "run": job.run, "status": "not run"}
    stamps = [path for kind in ("failed", "stamps") if (path := folder / kind / f"{name}.json").is_file()]
    if not stamps:
        return row
    row["stamp"] = stamp = read_json(stamps[0], "")
    row |= {key: stamp[key] for key in ("status", "duration", "error")}
    asked = StudyParams(**stamp["parameters"])
    row["parameters"] = _as_yaml(asked.model_dump(mode="json", exclude_defaults=True, exclude={"study"}))
    if stamp["status"] == "failed":
        return row
    made_from = stamp | {"parameters": {key: stamp["parameters"].get(key) for key in job.depends_on["parameters"]}}
    changed = {key for key, value in job.depends_on.items() if made_from.get(key) != value}
    if changed - {"code digest"}:
        return row | {"status": "out of date"}
    if changed:
        row["status"] = f"done by the code of {stamp['commit']}"
    row["numbers"] = read_json(path, "") if (path := folder / "numbers" / f"{name}.json").is_file() else {}
    row["link"] = f"{name}.html" if (report_folder(params.study) / f"{name}.html").is_file() else None
    return row


def _as_yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=60) if value else ""


def write_claims_page(rows: list[dict[str, Any]]) -> Path:
    """Writes ``claims.json`` and ``index.html`` of the published systems; ``rows`` are those of ``collect_claims``."""
    from lesion_utils.claims import verdicts  # slow to import, needed by few commands

    folder, studies = report_folder(PUBLISHED), []
    names = [f"{PUBLISHED}/{path.stem}" for path in sorted(CLAIMS.parent.glob("*.yml")) if path != CLAIMS]
    for study in [name + size for name in names for size in ("", "_full")]:
        index = report_folder(study) / "index.html"
        if index.is_file() or study in names:  # the full size where it was run
            link = os.path.relpath(index, folder) if index.is_file() else ""
            studies.append({"link": link, "params": load_study(study)})
    linked = [row | {"linked": bool(row["report"]) and (folder / str(row["report"])).is_file()} for row in rows]
    write_json(folder / "claims.json", rows)
    page = {"summary": verdicts.summary(rows), "studies": studies, "rows": verdicts.shown(linked)}
    write_page(folder / "index.html", "published.html.j2", **page)
    return folder / "index.html"


def documents() -> dict[Path, str]:
    """The pages that are generated from tracked results, by path: two of docs/, and the README's answers."""
    from lesion_utils.claims import verdicts  # slow to import, needed by few commands

    rows = verdicts.shown(read_json(PROJECT / "reports" / PUBLISHED / "claims.json", "lesion claims"))
    results = {study: _tracked_results(study) for study in ("ham10000", "isic9")}
    best = results["ham10000"]["rows"][results["ham10000"]["chosen"], "test"]["balanced accuracy"]
    answer = render("answer.md.j2", claims={row["id"]: row for row in rows}, best=best, cell=cell)
    start, end = "<!-- answer: written by `lesion refresh-readme` -->\n", "<!-- end of answer -->"
    readme = PROJECT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(start)
    return {
        PROJECT / "docs" / "claims.md": render("claims.md.j2", rows=rows, summary=verdicts.summary(rows)),
        PROJECT / "docs" / "results.md": render("results.md.j2", studies=results, cell=cell),
        readme: f"{before}{start}\n{answer}\n{end}{rest.split(end)[1]}",
    }


def _tracked_results(study: str) -> dict[str, Any]:
    """Rows by recipe, split and metric, and leaks by leak, set of images and metric."""
    results = read_json(PROJECT / "reports" / study / "results.json", f"make study STUDY={study}")
    tables: dict[str, dict] = {"rows": {}, "leaks": {}}
    for name, first, second in (("rows", "recipe", "split"), ("leaks", "leak", "on")):
        for row in results[name]:
            tables[name].setdefault((row[first], row[second]), {})[row["metric"]] = row
    return tables | {"chosen": results["chosen on validation"]}
