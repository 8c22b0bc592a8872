"""A study judged again from its tracked tables alone, and compared with what is tracked of its reports."""

import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lesion_utils import tracked
from lesion_utils.claims.results import judge_study, write_results
from lesion_utils.claims.verdicts import collect_claims, judge_claims, write_claims
from lesion_utils.errors import InputError
from lesion_utils.paths import output_root, read_json, report_folder
from lesion_utils.progress import QUIET
from lesion_utils.study import PUBLISHED, load_study, study_file

EXACT = 1e-9  # numbers further apart differ
_JUDGED = ("results.json", "claims.json")
_WORDS = ("verdict", "chosen on validation")  # other texts say nothing that was computed
_NAMES = ("id", "recipe", "leak", "split", "on", "metric", "measure")  # of a row


def studies() -> dict[str, bool]:
    """The studies with results among the reports, and whether each can be judged again by its name."""
    reports = output_root() / "reports"
    names = sorted(path.parent.relative_to(reports).as_posix() for path in reports.glob("**/results.json"))
    return {name: not left_out(name) for name in names}


def left_out(study: str) -> str:
    """Why ``study``, which has results, cannot be judged again by its name, or ""."""
    if not (tracked.tracked_folder(study) / tracked.CASES).is_file():
        return "no tracked tables, so nothing can be computed again"
    try:
        study_file(study)
    except InputError:
        return f"left out, because params/ has no file of it. To verify it: lesion verify <its folder>/{study}.yml"
    return ""


def judged_again(names: Sequence[str]) -> Iterator[tuple[str, list[str], str]]:
    """Of each study its name, its ``differences``, and why it could not be judged, or "": several studies at a time."""
    if len(names) < 2:
        yield from map(_judged, names)
        return
    processes, fresh = min(os.cpu_count() or 1, len(names)), get_context("spawn")
    with ProcessPoolExecutor(processes, fresh, _start_worker) as pool:
        yield from pool.map(_judged, names)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ[QUIET] = "1"  # the studies are counted, not what each computes


def _judged(name: str) -> tuple[str, list[str], str]:
    try:
        return name, differences(name), ""
    except InputError as error:
        return name, [], str(error)


def differences(study: str) -> list[str]:
    """How the tracked results of ``study`` differ from those that its tracked tables give; empty where they agree.

    Raises InputError where its tables are not tracked or cannot be used.
    """
    params = load_study(study)
    study = params.study
    if not (tracked.tracked_folder(study) / tracked.CASES).is_file():
        raise InputError(
            f"study {study!r} has no tracked tables in {tracked.tracked_folder(study)}. Fix: {params.command}"
        )
    found = [f"{_short(path)} has another content than its provenance says" for path in tracked.changed_files(study)]
    found += tracked.changed_pages(study)
    with tempfile.TemporaryDirectory(prefix="lesion-verify-") as folder:
        tracked.take_all(params, Path(folder))
        before = _read(study)
        with patch.dict(os.environ, LESION_OUTPUT=folder):
            try:
                _, *results = judge_study(params)
                write_results(params, *results)
                write_claims(params, judge_claims(params))
            except InputError as error:
                if not found:
                    raise
                return [*found, str(error).replace(f"{folder}/", "")]  # what was changed cannot even be judged
            found += _compared(before, _read(study), study)
    return found


def _read(study: str) -> dict[str, Any]:
    paths = [report_folder(study) / name for name in _JUDGED]
    return {path.name: read_json(path) for path in paths if path.is_file()}


def ledger_differences() -> list[str]:
    """The same of the ledger of all claims, which follows from the claims that each study judged."""
    path = report_folder(PUBLISHED) / "claims.json"
    return list(_compared(read_json(path, "lesion claims"), collect_claims(), _short(path))) if path.is_file() else []


def _compared(before: Any, now: Any, where: str) -> Iterator[str]:
    before, now = (_by_name(value) if isinstance(value, list) else value for value in (before, now))
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before | now:
            yield from _compared(before.get(key), now.get(key), f"{where}, {key}")
    elif isinstance(before, str) and isinstance(now, str) and not where.endswith(_WORDS):
        return
    elif before != now and not (_is_number(before) and _is_number(now) and abs(before - now) <= EXACT):
        yield f"{where}: " + ", ".join(
            f"{word} {'nothing' if value is None else 'a row' if isinstance(value, dict) else value}"
            for word, value in (("tracked", before), ("computed", now))
        )


def _by_name(rows: list[Any]) -> dict[str, Any]:
    named = [[str(row[key]) for key in _NAMES if key in row] if isinstance(row, dict) else [] for row in rows]
    return {", ".join(names) or str(place): row for place, (names, row) in enumerate(zip(named, rows, strict=True))}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _short(path: Path) -> str:
    return path.relative_to(output_root()).as_posix()
