"""Prediction tables, histories and provenance kept beside the reports, from which a study is judged again.

``reports/<study>/predictions/`` has ``cases.csv.gz`` and, in ``<training>/r<run>/``, each table and the history as gzip
CSV and ``provenance.json``. A file whose content is unchanged is not written again.
"""

import gzip
import io
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from lesion_utils.cases import case_table_files, data_title, read_written_cases
from lesion_utils.digests import bytes_digest, digest, file_digest
from lesion_utils.errors import InputError
from lesion_utils.paths import (
    atomic_write,
    of_batch,
    output_root,
    read_json,
    remove,
    report_folder,
    require_intact,
    write_json,
    write_text,
)
from lesion_utils.predictions import PROVENANCE, STAGE_NOTEBOOKS, passes, read_csv
from lesion_utils.study import ARMS, StudyParams, arm_name

CASES = "cases.csv.gz"
PAGES = "pages.json"  # which tables the pages of a study were made from, and their content
FROM_TRACKED = "LESION_FROM_PREDICTIONS"  # set: `train` takes tracked tables, whatever code made them, and never trains
# judging needs no others
_CASE_COLUMNS = ("image_id", "lesion_id", "label", "split", "published_split", "test_fold", "validation_fold")
_README = Path(__file__).parent / "templates" / "predictions.md"


def tracked_folder(study: str) -> Path:
    return output_root() / "reports" / study / "predictions"


def tracked_training(folder: Path) -> Path | None:
    """Where the training in ``folder`` (``runs/<study>/models/<name>/r<run>``) is tracked, if it is."""
    place = os.path.relpath(of_batch(folder), output_root() / "runs")
    study, _, training = place.partition("/models/")
    kept = tracked_folder(study) / training
    return kept if training and (kept / PROVENANCE).is_file() else None


def trainings(params: StudyParams) -> list[tuple[str, int]]:
    """Name and run of each training of a study."""
    runs = dict.fromkeys(params.recipes, params.runs)
    runs |= {arm_name(name, arm): leak.runs for name, leak in params.leaks.items() for arm in ARMS}
    return [(name, run) for name, count in runs.items() for run in range(count)]


def keep(params: StudyParams, notebook: str = "") -> None:
    """Keeps the cases of a study and what ``notebook`` trained in the run of ``params``, as far as it is complete;
    removes trainings that the study no longer has. A study whose notebook 01 has not run keeps nothing.
    """
    if not case_table_files(params)["corrected"].is_file():
        return
    target, planned = tracked_folder(params.study), trainings(params)
    cases = read_written_cases(params)
    _keep(target / CASES, cases[[name for name in _CASE_COLUMNS if name in cases]].to_csv(index=False))
    (target / "README.md").write_text(_README.read_text("utf-8").format(params.study, data_title(params)), "utf-8")
    for name, run in planned:
        folder = params.model_folder(name, run)
        is_of_run = run == params.run if name in params.recipes else params.run == 0  # run 0 trains all runs of leaks
        if is_of_run and STAGE_NOTEBOOKS[params.stage_of(name)] == notebook and (folder / PROVENANCE).is_file():
            _keep_training(folder, target / name / f"r{run}", params.command)
    for folder in target.glob("*/r*"):
        if (folder.parent.name, int(folder.name[1:])) not in planned:
            remove(folder)


def _keep_training(folder: Path, target: Path, fix: str) -> None:
    files = {"history.csv": folder / "history.csv"}
    splits = {}
    common = read_json(folder / PROVENANCE, fix)
    for about in (folder / "predictions").glob("*.json"):
        files[f"{about.stem}.csv"] = about.with_suffix(".csv")
        splits[about.stem] = {key: value for key, value in read_json(about, fix).items() if key not in common}
    texts = {name: require_intact(path, fix).read_text("utf-8") for name, path in files.items()}
    for name, text in texts.items():
        _keep(target / f"{name}.gz", text)
    digests = {name: bytes_digest(text.encode()) for name, text in sorted(texts.items())}
    write_json(target / PROVENANCE, common | {"splits": dict(sorted(splits.items())), "digests": digests})


def _keep(path: Path, text: str) -> None:
    """Writes ``text`` as gzip, without time and system, unless ``path`` has the same content."""
    with suppress(InputError):  # damaged: it is written again
        if path.is_file() and _text(path) == text:
            return
    packer = zlib.compressobj(9, wbits=31, strategy=zlib.Z_FILTERED)  # 5% smaller than usual for columns of numbers
    packed = bytearray(packer.compress(text.encode()) + packer.flush())
    packed[9] = 255  # the system: unknown
    with atomic_write(path) as temporary:
        temporary.write_bytes(packed)


def _text(path: Path) -> str:
    """The content of a tracked file; raises InputError where it is missing or damaged."""
    try:
        return gzip.decompress(require_intact(path, _restore(path)).read_bytes()).decode("utf-8")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}). Fix: {_restore(path)}") from error


def _restore(path: Path) -> str:
    return f"git checkout -- {path}; where it is not tracked, remove {path.parent} and run the study"


def _provenance(training: Path, fix: str = "") -> dict[str, Any]:
    file = training / PROVENANCE
    return read_json(file, _restore(file) if file.is_file() else fix, keys=("splits", "digests"))


def damaged(training: Path) -> list[Path]:
    """The files of the tracked ``training`` that are missing, cannot be read, or are not what its provenance says."""
    try:
        digests = _provenance(training)["digests"]
    except InputError:
        return [training / PROVENANCE]
    return [path for name, content in digests.items() if not _is(path := training / f"{name}.gz", content)]


def _is(path: Path, content: str) -> bool:
    try:
        return bytes_digest(_text(path).encode()) == content
    except InputError:
        return False


def tracked_digest(study: str) -> str:
    """Changes with any table or history that is tracked of a study."""
    files = sorted(tracked_folder(study).glob(f"*/r*/{PROVENANCE}"))
    return digest([_provenance(file.parent)["digests"] for file in files])


def sign_pages(study: str) -> None:
    """Notes in ``pages.json`` which tables the pages of a study were made from, and the content of each page."""
    folder = report_folder(study)
    pages = {page.name: file_digest(page) for page in sorted(folder.glob("*.html"))}
    write_json(folder / PAGES, {"tables": tracked_digest(study), "pages": pages})


def changed_pages(study: str) -> list[str]:
    """What is wrong with the pages of a study: made from other tables, edited, or missing."""
    folder = report_folder(study)
    signed = read_json(folder / PAGES, f"make study STUDY={study}", keys=("tables", "pages"))
    found = [] if signed["tables"] == tracked_digest(study) else [f"{study}: the pages were made from other tables"]
    for name, content in signed["pages"].items():
        if not (folder / name).is_file():
            found.append(f"{study}/{name} is missing")
        elif file_digest(folder / name) != content:
            found.append(f"{study}/{name} is not as it was made")
    return found


def read_runs(params: StudyParams, recipe: str, split: str) -> list[pd.DataFrame]:
    """What ``predictions.read_runs`` gives, from the tracked tables; InputError where one is missing or damaged."""
    folder, frames = tracked_folder(params.study) / recipe, []
    for run in range(params.runs):
        path = folder / f"r{run}" / f"{split}.csv.gz"
        frames.append(read_csv(io.StringIO(_text(path)), path, params.classes))
    return passes(frames, params.folds)


def agrees(training: Path, made_from: dict[str, Any]) -> bool:
    """Whether the folder ``training`` says that it was made from all that is in ``made_from``."""
    file = training / PROVENANCE
    return made_from.items() <= read_json(file, _restore(file), keys=["recipe"]).items()


def required(kept: Path | None, folder: Path, made_from: dict[str, Any]) -> Path:
    """``kept``; raises InputError if it is None or was made from another recipe, seed or split than ``made_from``."""
    if kept and agrees(kept, made_from):
        return kept
    problem = "were made with another recipe, seed or split" if kept else "do not exist"
    where = kept or f"of {folder.parent.name}/{folder.name}"
    raise InputError(f"the tracked tables {where} {problem}. Fix: run the study without --from-predictions.")


def changed_files(study: str) -> list[Path]:
    """The tracked tables and histories of a study that are ``damaged``."""
    return [path for training in sorted(tracked_folder(study).glob("*/r*")) for path in damaged(training)]


def take(kept: Path, folder: Path) -> dict[str, Any]:
    """Unpacks the tracked training ``kept`` into ``folder``, as if it had been trained there, but without its model;
    returns its provenance. Raises InputError for a file that is not what the provenance says.
    """
    if changed := damaged(kept):
        raise InputError(f"{changed[0]} has another content than its provenance says. Fix: {_restore(changed[0])}")
    return _unpack(kept, folder)


def _unpack(kept: Path, folder: Path, fix: str = "") -> dict[str, Any]:
    provenance = _provenance(kept, fix)
    splits, digests = provenance.pop("splits"), provenance.pop("digests")
    if read_json(folder / PROVENANCE, missing={}) != provenance:
        remove(folder)
    for name in digests:
        path = folder / name if name == "history.csv" else folder / "predictions" / name
        write_text(path, _text(kept / f"{name}.gz"))
    for split, counts in splits.items():
        write_json(folder / "predictions" / f"{split}.json", counts | provenance)
    write_json(folder / PROVENANCE, provenance)
    return provenance


def take_all(params: StudyParams, output: Path) -> None:
    """Unpacks all that is tracked of a study into ``output``, as if it had run there; InputError where it is not."""
    source, runs = tracked_folder(params.study), output / "runs" / params.study
    with atomic_write(runs / "cases.csv") as temporary:
        temporary.write_text(_text(source / CASES), "utf-8")
    for name, run in trainings(params):
        _unpack(source / name / f"r{run}", runs / "models" / name / f"r{run}", params.command)
