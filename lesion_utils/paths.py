"""Folders of a study, and how its files are written: under another name, then renamed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from lesion_utils.errors import InputError

BY_HAND = "LESION_BY_HAND"  # set in notebooks that no job of a study runs, where JOB is not set
JOB = "LESION_JOB"
PROJECT = Path(__file__).resolve().parents[1]
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")  # endings of pictures that people hand in


def require_suffix(path: Path, suffix: str, what: str) -> None:
    if path.suffix != suffix:
        raise InputError(f"{path.name!r} cannot be {what}. Expected a name that ends in {suffix}.")


def resolve(path: str | Path) -> Path:
    """The absolute path of ``path``, a relative one taken from the project root; links are not followed."""
    return Path(os.path.abspath(PROJECT / Path(path).expanduser()))


def output_root() -> Path:
    """The folder that holds ``runs/`` and ``reports/``: the project, or ``LESION_OUTPUT`` (used by tests)."""
    return resolve(os.environ.get("LESION_OUTPUT", PROJECT))


def run_folder(study: str) -> Path:
    """``runs/<study>``: all that a study computes; ``runs/by_hand/<study>`` in a notebook that no job of it runs."""
    return output_root() / "runs" / ("by_hand" if os.environ.get(BY_HAND) else "") / study


def of_batch(path: Path) -> Path:
    """Where a job of the study has the file that is at ``path`` by hand, where only notebooks run by hand write."""
    runs = output_root() / "runs"
    return runs / path.relative_to(runs / "by_hand") if path.is_relative_to(runs / "by_hand") else path


def report_folder(study: str) -> Path:
    """``reports/<study>``: the pages of a study; ``runs/by_hand/<study>/reports`` in a notebook that no job runs."""
    return run_folder(study) / "reports" if os.environ.get(BY_HAND) else output_root() / "reports" / study


def cache_folder(kind: str) -> Path:
    """``runs/cache/<kind>``: files that studies share, named by their content."""
    return output_root() / "runs" / "cache" / kind


def run_name(notebook: str, run: int) -> str:
    """The name of one execution of a notebook: ``02_baseline_cnn``, from run 1 on ``…_r1``."""
    return f"{notebook}_r{run}" if run else notebook


def current(path: Path, made_from: dict[str, Any]) -> Path:
    """``path``; by hand that of the study's jobs where only its .json has all of ``made_from``, or only it exists."""
    for made in (path, of_batch(path)):
        if made_from.items() <= read_json(made.with_suffix(".json"), missing={}).items():
            return made
    return path if path.with_suffix(".json").is_file() else of_batch(path)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write to; it replaces ``path`` only if no error occurs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(
        f".{path.stem}.{os.uname().nodename}.{os.getpid()}{path.suffix}"
    )  # machines may share it
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as readable JSON, keys in the order given, unless ``path`` has the same content."""
    text = json.dumps(value, indent=1, default=str) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of ``table`` as dictionaries for JSON, without its index; missing values are None."""
    return json.loads(table.to_json(orient="records", double_precision=15))


def read_json(path: Path, fix: str = "", missing: Any = None) -> Any:
    """Reads what an earlier step wrote; without it ``missing``, or InputError with the ``fix`` where that is None."""
    if not path.is_file():
        if missing is not None:
            return missing
        raise InputError(f"{path} does not exist: the step that makes it has not run. Fix: {fix}")
    return json.loads(path.read_text(encoding="utf-8"))
