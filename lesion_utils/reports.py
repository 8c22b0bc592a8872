"""What a study shows: a stamp and a page for each notebook, its first page, model card and reporting items."""

import html
import importlib.metadata
import itertools
import os
import platform
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import yaml

from lesion_utils import pipeline
from lesion_utils.cases import data_title, layout, read_written_cases
from lesion_utils.claims.differences import effect_of
from lesion_utils.claims.rules import near_chance
from lesion_utils.digests import commit, file_digest
from lesion_utils.errors import InputError
from lesion_utils.paths import (
    PROJECT,
    read_json,
    reading,
    report_folder,
    require_intact,
    run_folder,
    run_name,
    write_json,
)
from lesion_utils.pipeline import CARD, EVALUATION, INDEX, ITEMS, LOCAL, NOTEBOOKS, Job, depends_on, plan, values
from lesion_utils.predictions import STAGE_NOTEBOOKS, TEST_READS
from lesion_utils.rendering import ENVIRONMENT, TEMPLATES, as_yaml, render, write_page
from lesion_utils.study import PUBLISHED, StudyParams, load_study, study_names

_HEADLINE = ("balanced accuracy", "macro AUC", "accuracy", "majority baseline accuracy", "melanoma sensitivity")
# on real data, beside those that re-run the published systems
_OWN_STUDIES = (
    "ham10000",
    "isic9",
    "imbalance",
    "imbalance_fine_tuned",
    "recommended_full",
    "recommended_isic9",
    "isic9_folds",
)
_NOT_STORED = ("quick", "recommended", "search")  # studies of the project whose pages git ignores
PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "scikit-learn", "imbalanced-learn", "Augmentor", "papermill")


def stamp(params: StudyParams, notebook: str, error: str, seconds: float) -> dict[str, Any]:
    """What made a run of ``notebook``: commit, data digest, parameters, versions, duration, and how it ended."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        **{"study": params.study, "notebook": notebook, "run": params.run},
        **{"status": "failed" if error else "done", "error": error},
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "duration": f"{seconds:.0f} s",
        "commit": commit(PROJECT),
        "versions": {"python": platform.python_version()} | versions,
        "lock": file_digest(PROJECT / "requirements.lock"),
        "machine": f"{platform.system()} {platform.machine()}",
        **depends_on(params, notebook),
        "parameters": values(params, notebook),
    }


def write_stamp(params: StudyParams, notebook: str, error: str, seconds: float) -> None:
    """Writes the stamp beside the executed notebook, or beside the failed one."""
    folder, file = run_folder(params.study), f"{run_name(notebook, params.run)}.json"
    (folder / "failed" / file).unlink(missing_ok=True)
    write_json(folder / ("failed" if error else "stamps") / file, stamp(params, notebook, error, seconds))


def write_report(params: StudyParams, name: str, pages: dict[str, str] | None = None) -> None:
    """The page of the executed notebook ``name``: readable off line, code folded, stamped. ``pages``: of ``_pages``."""
    from lesion_utils.notebook_html import notebook_parts  # slow to import, needed by few commands

    folder, pages = run_folder(params.study), pages or _pages(params, plan(params))
    made = read_json(folder / "stamps" / f"{name}.json", params.command)
    executed = require_intact(folder / "executed" / f"{name}.ipynb", params.command)
    notebooks = os.path.relpath(PROJECT / "notebooks", report_folder(params.study))
    cells, headings = notebook_parts(nbformat.read(executed, as_version=4), notebooks)
    page = {
        "title": f"{name} - study {params.study} on {data_title(params)}",
        **{"cells": cells, "contents": [heading for heading in headings if 1 < heading[0] < 4]},
        **{"stamp": made, "nav": _navigation(params, f"{name}.html", pages)},
    }
    write_page(report_folder(params.study) / f"{name}.html", "notebook.html.j2", **page)


def _title(job: Job, runs: int) -> str:
    """The notebook's first heading: its question."""
    book = nbformat.read(pipeline.notebook_path(job.notebook), as_version=4)
    return book.cells[0].source.splitlines()[0].lstrip("# ") + (f" (run {job.run})" if runs > 1 else "")


def _pages(params: StudyParams, jobs: list[Job]) -> dict[str, str]:
    """The study's pages in the order of reading, by file name: their titles."""
    pages, folder = {INDEX: f"Study {params.study}"}, run_folder(params.study)
    for job in jobs:
        if (folder / f"stamps/{job.name}.json").is_file() and (folder / f"executed/{job.name}.ipynb").is_file():
            pages[f"{job.name}.html"] = _title(job, params.runs)
    return pages | {CARD: "Model card", ITEMS: "Reporting items"}


def _navigation(params: StudyParams, page: str, pages: dict[str, str]) -> list[tuple[str, str, str]]:
    """Links from ``page``: (what, address, title) of the list of all studies, the index, and the pages beside it."""
    names = list(pages)
    at = names.index(page)
    studies = report_folder("") / (INDEX if _is_stored(params.study) else LOCAL)
    links = [("up", os.path.relpath(studies, report_folder(params.study)), "All studies")]
    links += [("index", INDEX, pages[INDEX])] if at else []
    links += [("prev", names[at - 1], pages[names[at - 1]])] if at > 1 else []
    return links + [("next", name, pages[name]) for name in names[at + 1 : at + 2]]


def write_reports(params: StudyParams) -> Path:
    """All pages of the study, of the notebooks those that were executed; returns the index's path.

    Pages of notebooks and runs that the study no longer plans are removed.
    """
    jobs = plan(params)
    planned = {f"{job.name}.html" for job in jobs} | {INDEX, CARD, ITEMS}
    for page in report_folder(params.study).glob("*.html"):
        if page.name not in planned:
            page.unlink()
    pages = _pages(params, jobs)
    for job in jobs:
        if f"{job.name}.html" in pages:
            write_report(params, job.name, pages)
    return write_index(params)


def write_index(params: StudyParams) -> Path:
    """The first page of a study: its answer, and a line per notebook and run that it plans, done or not.

    Writes the model card, the reporting items and the list of all studies, too; returns the path of the first page.
    """
    jobs, folder = plan(params), report_folder(params.study)
    pages, rows = _pages(params, jobs), list[dict[str, Any]]()
    for notebook in NOTEBOOKS:
        idle = {"name": notebook, "title": _title(Job(notebook, 0, [], [], {}), 1), "status": "no recipe"}
        rows += [_row(params, job) for job in jobs if job.notebook == notebook] or [idle]
    last: dict = next((row["stamp"] for row in reversed(rows) if "stamp" in row), {})
    outcome: dict[str, Any] = {"results": None, "claims": []}
    if any(row["name"] == EVALUATION and row["status"].startswith("done") for row in rows):
        outcome = _outcome(folder)
    chosen = (outcome["results"] or {}).get("chosen", "")
    ledger = report_folder(PUBLISHED) / INDEX
    facts = {
        **{"params": params, "data": data_title(params), "layout": layout(params), "rows": rows, "last": last},
        **{"recipe": params.recipes.get(chosen), "cases": None, "counts": None, **outcome},
        "trained": STAGE_NOTEBOOKS[params.stage_of(chosen)] if chosen in params.recipes else "",
        "stamp": {key: last[key] for key in last if key not in ("notebook", "run", "status", "parameters")},
        "ledger": os.path.relpath(ledger, folder) if ledger.is_file() else "",
        "reads": TEST_READS if (folder / TEST_READS).is_file() else "",
        "exported": [name for name, recipe in params.recipes.items() if recipe.exports],
        "evaluation": f"{EVALUATION}.html" if f"{EVALUATION}.html" in pages else "",
    }
    with suppress(InputError):  # without notebook 01 there are no cases
        facts["cases"] = cases = read_written_cases(params)
        of_split = cases.groupby("split", sort=False)
        facts["counts"] = of_split.agg(images=("image_id", "size"), lesions=("lesion_id", "nunique"))
    for page in (INDEX, CARD):
        write_page(folder / page, f"{page}.j2", nav=_navigation(params, page, pages), **facts)
    topics = reporting_items(folder, facts)  # reads the pages that its items lead to
    answers = [bool(item["answer"]) for items in topics.values() for item in items]
    facts |= {"topics": topics, "total": len(answers), "answered": sum(answers)}
    write_page(folder / ITEMS, f"{ITEMS}.j2", nav=_navigation(params, ITEMS, pages), **facts)
    write_studies_page()
    return folder / INDEX


def _outcome(folder: Path) -> dict[str, Any]:
    """What notebook 05 wrote into the report folder of a study: ``results``, None without, and rows of ``claims``."""
    path = folder / "results.json"
    results = _results(path) if path.is_file() else None
    return {"results": results, "claims": read_json(folder / "claims.json", f"make study STUDY={folder.name}", [])}


def _results(path: Path) -> dict[str, Any]:
    """The results in the file ``path``: ``rows`` by recipe and split and by metric, ``leaks`` by leak and set of images
    and by metric, the recipe ``chosen``, and of the ``split`` judged last: ``recipes`` by name and metric, ``best``,
    and ``remedies``, the differences to the reference by recipe and measure, each with its ``effect``.
    """
    fix = f"make study STUDY={path.parent.name}"
    results = read_json(path, fix)
    with reading(path, fix):
        return _by_recipe(results)


def _by_recipe(results: dict[str, Any]) -> dict[str, Any]:
    tables: dict[str, dict] = {"rows": {}, "leaks": {}}
    for name, first, second in (("rows", "recipe", "split"), ("leaks", "leak", "on")):
        for row in results[name]:
            tables[name].setdefault((row[first], row[second]), {})[row["metric"]] = row
    chosen, split = results["chosen on validation"], list(tables["rows"])[-1][1]
    recipes = {recipe: metrics for (recipe, of), metrics in tables["rows"].items() if of == split}
    best = recipes[chosen]
    headline = [metric for metric in _HEADLINE if metric in best and best[metric]["value"] is not None]
    judged = {"chosen": chosen, "split": split, "recipes": recipes, "best": best, "metrics": headline}
    bound = best.get("balanced accuracy", {}).get("low")  # of results that do not say it themselves
    classes = sum(metric.startswith("sensitivity ") for metric in best if best[metric].get("kind") == "class")
    unlearnt = "" if bound is None or not classes else near_chance(bound, classes)
    judged |= {"not_learnt": results.get("not learnt", unlearnt)}
    judged["remedies"] = remedies = dict[str, dict[str, Any]]()
    for row in results.get("differences", []):  # which older results lack
        effect = effect_of(row["measure"], row["verdict"]).partition(":")[0]
        remedies.setdefault(row["recipe"], {})[row["measure"]] = row | {"effect": effect}
    return tables | judged | {"leaky": any(row["accuracy"].get("leaky") for row in recipes.values())}


def reporting_items(folder: Path, facts: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The items of ``reporting_items.yml`` by topic, with the ``answer`` that ``facts`` give, empty where the item was
    not done, and the ``link`` to the heading of a page in ``folder`` that its ``place`` names.
    """
    topics = yaml.safe_load((TEMPLATES / "reporting_items.yml").read_text(encoding="utf-8"))
    for item in itertools.chain.from_iterable(topics.values()):
        item["answer"] = " ".join(ENVIRONMENT.from_string(item.get("answer", "")).render(**facts).split())
        name, _, words = ENVIRONMENT.from_string(item.get("place", "")).render(**facts).partition("#")
        page = folder / f"{name}.html"
        if name and not page.is_file():
            item |= {"answer": "", "why": f"{name} has not run in this study"}
        elif name:
            headings = re.findall(r'<h[1-6] id="([^"]+)">(.*?)</h', page.read_text(encoding="utf-8"), re.DOTALL)
            named = [at for at in headings if words and re.search(words, f"{at[0]} {at[1]}", re.IGNORECASE)]
            anchor, text = named[0] if named else ("", "")
            shown = html.unescape(re.sub("<.*?>", "", text)) or {"index": "first page"}.get(name, name)
            item |= {"link": f"{page.name}#{anchor}".rstrip("#"), "place": shown}
    return topics


def write_studies_page() -> Path:
    """Writes the list of the project's studies, ``reports/index.html``, and ``local.html`` beside it, the list of all
    that were run here, which git ignores; returns the path of the first.
    """
    folder = report_folder("")
    write_page(folder / INDEX, "studies.html.j2", **_studies(folder))
    nav = [("up", INDEX, "The studies of the project")]
    write_page(folder / LOCAL, "studies.html.j2", nav=nav, **_studies(folder, here=True))
    return folder / INDEX


def _is_stored(study: str) -> bool:
    """Whether git tracks the pages of ``study``."""
    return study in _OWN_STUDIES or study.startswith(f"{PUBLISHED}/")


def _studies(folder: Path, here: bool = False) -> dict[str, Any]:
    """The studies of the project, with the answers of those whose reports in ``folder`` are tracked: the list stays as
    it is when somebody runs another study. ``here``: instead all studies that have pages in ``folder``.
    """
    claims: dict[str, list] = {}
    ledger = folder / PUBLISHED / "claims.json"
    for row in read_json(ledger, "lesion claims", []):
        with reading(ledger, "lesion claims"):
            claims.setdefault(f"{PUBLISHED}/{str(row['report']).split('/')[0]}", []).append(row)
    known = [name for name in study_names() for name in (name, f"{name}_full")]
    further = {path.parent.relative_to(folder).as_posix() for path in folder.rglob(CARD)} - {*known} if here else ()
    studies = []
    for name in [*known, *sorted(further)]:
        is_written = (folder / name / INDEX).is_file() and (here or _is_stored(name))
        if not (is_written if here else _is_stored(name) or name in _NOT_STORED):
            continue
        params = load_study(name) if name in known and (is_written or not name.endswith("_full")) else None
        if params is None and not is_written:
            continue
        study = {"name": name, "params": params, "made_up": params is not None and layout(params).made_up}
        study |= {
            "link": f"{name}/{INDEX}" if is_written else "",
            "data": data_title(params) if params else "Own study",
        }
        studies.append(study | (_outcome(folder / name) if is_written else {}) | {"claims": claims.get(name, [])})
    published = f"{PUBLISHED}/{INDEX}"
    return {"studies": studies, "here": here, "published": published if (folder / published).is_file() else ""}


def _row(params: StudyParams, job: Job) -> dict[str, Any]:
    folder, name = run_folder(params.study), job.name
    row: dict[str, Any] = {"name": name, "title": _title(job, params.runs), "status": "not run"}
    stamps = [path for kind in ("failed", "stamps") if (path := folder / kind / f"{name}.json").is_file()]
    if not stamps:
        return row
    row["stamp"] = stamp = read_json(stamps[0], params.command)
    row |= {key: stamp[key] for key in ("status", "duration", "error")}
    asked = StudyParams(**stamp["parameters"])
    row["parameters"] = as_yaml(asked.model_dump(mode="json", exclude_defaults=True, exclude={"study"}))
    if stamp["status"] == "failed":
        return row
    made_from = stamp | {"parameters": {key: stamp["parameters"].get(key) for key in job.depends_on["parameters"]}}
    changed = {key for key, value in job.depends_on.items() if made_from.get(key) != value}
    if changed - {"code digest"}:
        return row | {"status": "out of date"}
    if changed:
        row["status"] = f"done by the code of {stamp['commit']}"
    made = [folder / path for path in job.outputs if "/predictions/" in path and path.endswith(".json")]
    commits = {read_json(path, params.command, {}).get("commit", stamp["commit"]) for path in made}
    row["trained by"] = ", ".join(sorted(commits - {stamp["commit"]}))
    row["numbers"] = read_json(folder / "numbers" / f"{name}.json", params.command, {})
    row["link"] = f"{name}.html" if (report_folder(params.study) / f"{name}.html").is_file() else None
    return row


def write_claims_page(rows: list[dict[str, Any]]) -> Path:
    """Writes ``claims.json`` and ``index.html`` of the published systems; ``rows`` are those of ``collect_claims``."""
    from lesion_utils.claims import verdicts  # slow to import, needed by few commands
    from lesion_utils.notebook_html import markdown

    folder, studies = report_folder(PUBLISHED), []
    names = [name for name in study_names() if name.startswith(f"{PUBLISHED}/")]
    for study in [name + size for name in names for size in ("", "_full")]:
        index = report_folder(study) / INDEX
        if index.is_file() or study in names:  # the full size where it was run
            link = os.path.relpath(index, folder) if index.is_file() else ""
            studies.append({"link": link, "params": load_study(study)})
    linked = [row | {"linked": bool(row["report"]) and (folder / str(row["report"])).is_file()} for row in rows]
    write_json(folder / "claims.json", rows)
    ledger, nav = verdicts.ledger(linked), [("up", f"../{INDEX}", "All studies")]
    # its links are those of the README
    answer = markdown(_answer(ledger["rows"], report_folder("")), os.path.relpath(PROJECT, folder))
    write_page(folder / INDEX, "published.html.j2", nav=nav, answer=answer, studies=studies, **ledger)
    write_studies_page()
    return folder / INDEX


def _answer(rows: list[dict[str, Any]], reports: Path) -> str:
    """The answer of all studies as Markdown: a row per system, and what helps. ``rows``: of the ledger of claims;
    ``reports``: the folder with the results of studies.
    """
    studies = (*_OWN_STUDIES, f"{PUBLISHED}/003_corrected", f"{PUBLISHED}/004_corrected")
    files = {study: reports / study / "results.json" for study in studies}
    results = {study: _results(file) for study, file in files.items() if file.is_file()}
    own = read_json(PROJECT / "benchmarks" / "own_test_sets.json", missing={})
    return render("answer.md.j2", claims={row["id"]: row for row in rows}, results=results, own=own)


def documents() -> dict[Path, str]:
    """The pages that are generated from tracked results, by path: two of docs/, the README's answers, the studies."""
    from lesion_utils.claims import verdicts  # slow to import, needed by few commands
    from lesion_utils.claims.declared import other_sentences

    ledger = verdicts.ledger(read_json(PROJECT / "reports" / PUBLISHED / "claims.json", "lesion claims"))
    results = {study: _results(PROJECT / "reports" / study / "results.json") for study in _OWN_STUDIES}
    answer = _answer(ledger["rows"], PROJECT / "reports")
    start, end = "<!-- answer: written by `lesion refresh-readme` -->\n", "<!-- end of answer -->"
    readme = PROJECT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(start)
    return {
        PROJECT / "docs" / "claims.md": render("claims.md.j2", **ledger, others=other_sentences()),
        PROJECT / "docs" / "results.md": render("results.md.j2", studies=results),
        PROJECT / "reports" / INDEX: render("studies.html.j2", **_studies(PROJECT / "reports")),
        readme: f"{before}{start}\n{answer}\n{end}{rest.split(end)[1]}",
    }
