"""Folders of a study, and how its files are written and read.

A file is written under another name, then renamed. The digest of what was written is kept in ``runs/digests/``, and
compared when the file is read: what was damaged or edited since is made again or refused, never used.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from platformdirs import user_cache_path

from lesion_utils.errors import InputError

BY_HAND = "LESION_BY_HAND"  # set in notebooks that no job of a study runs, where JOB is not set
JOB = "LESION_JOB"
PROJECT = Path(__file__).resolve().parents[1]
IS_CHECKOUT = (PROJECT / "pyproject.toml").is_file()  # otherwise PROJECT is a folder of installed packages
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")  # endings of pictures that people hand in


def require_suffix(path: Path, suffix: str, what: str) -> None:
    if path.suffix != suffix:
        raise InputError(f"{path.name!r} cannot be {what}. Expected a name that ends in {suffix}.")


def resolve(path: str | Path) -> Path:
    """The absolute path of ``path``, a relative one taken from the project root; links are not followed."""
    return Path(os.path.abspath(PROJECT / Path(path).expanduser()))


def from_working_folder(path: Path) -> Path:
    """``path`` as a person reads it: from the working folder where it is below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def output_root() -> Path:
    """The folder that holds ``runs/`` and ``reports/``: the project, or ``LESION_OUTPUT`` (used by tests); the user's
    folder for caches where the package is installed without a checkout.
    """
    return resolve(os.environ.get("LESION_OUTPUT") or (PROJECT if IS_CHECKOUT else user_cache_path("lesion-utils")))


def data_root() -> Path:
    """``data/``, or the folder ``LESION_DATA``: where `lesion fetch` puts datasets and weights, and studies look."""
    return resolve(os.environ.get("LESION_DATA", "data"))


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
        file = made.with_suffix(".json")
        if is_intact(file) and made_from.items() <= read_json(file, missing={}).items():
            return made
    return path if path.with_suffix(".json").is_file() else of_batch(path)


def content_digest(path: Path) -> str:
    """32 hex digits of the SHA-256 of a file, or of the names and contents of all files in a folder."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        text = "".join(f"{file.relative_to(path)} {content_digest(file)}\n" for file in files)
        return hashlib.sha256(text.encode()).hexdigest()[:32]
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _kept_digest(path: Path) -> Path | None:
    """The file with the digest of ``path``; None outside ``runs/`` and ``reports/``."""
    path, root = Path(os.path.abspath(path)), output_root()
    inside = any(path.is_relative_to(root / folder) for folder in ("runs", "reports"))
    return root / "runs" / "digests" / f"{path.relative_to(root)}.digest" if inside else None


def seal(path: Path, digest: str | None = None) -> None:
    """Keeps the digest of the file or folder ``path`` as it is now."""
    if kept := _kept_digest(path):
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(kept)
        temporary.write_text(digest or content_digest(path), encoding="utf-8")
        os.replace(temporary, kept)


def is_intact(path: Path) -> bool:
    """Whether ``path`` has the content with which it was written, as far as that is known."""
    kept = _kept_digest(path)
    if kept is None or not kept.is_file():
        return True
    return path.exists() and (kept.read_bytes() == content_digest(path).encode() or _is_committed(path))


def _is_committed(path: Path) -> bool:
    """Whether git tracks ``path`` and has the same content, as after a pull."""
    words = ["git", "status", "--porcelain", "--ignored", "--", path.name]
    try:
        return not subprocess.check_output(words, cwd=path.parent, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return False


def is_usable(path: Path) -> bool:
    """Whether ``path`` exists and is intact; what is not intact is said in one line, for it is made again."""
    if path.exists() and not is_intact(path):
        _say_made_again(path)
        return False
    return path.exists()


def _say_made_again(path: Path) -> None:
    print(f"{path} is not as it was written: it is made again", file=sys.stderr, flush=True)


def require_intact(path: Path, fix: str) -> Path:
    """``path``; raises InputError with the ``fix`` if it is missing or not as it was written."""
    if not path.exists():
        raise InputError(f"{path} does not exist: the step that makes it has not run. Fix: {fix}")
    if not is_intact(path):
        raise InputError(f"{path} is not as it was written: it is damaged, or was edited or replaced. Fix: {fix}")
    return path


def written_in(folder: Path) -> list[Path]:
    """The files whose digest was kept when they were written into ``folder``, whether they still exist or not."""
    kept = _kept_digest(folder)
    return sorted(folder / file.stem for file in kept.with_suffix("").glob("[!.]*.digest")) if kept else []


def remove(path: Path) -> None:
    """Removes a file or folder, and what is known of its content."""
    kept = _kept_digest(path)
    for there in (path, *([kept, kept.with_suffix("")] if kept else [])):
        shutil.rmtree(there) if there.is_dir() else there.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """A name beside ``path`` that no other process has, on none of the machines that may share its folder."""
    return path.with_name(f".{path.stem}.{os.uname().nodename}.{os.getpid()}{path.suffix}")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write to; it replaces ``path`` only if no error occurs. A device or a pipe is written
    to as it is: replacing /dev/null would break the machine.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        digest = content_digest(temporary)
        os.replace(temporary, path)
        seal(path, digest)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes ``text``, unless ``path`` has the same content."""
    if path.is_file() and path.read_bytes() == text.encode():
        seal(path)
    else:
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as readable JSON, keys in the order given, unless ``path`` has the same content."""
    write_text(path, json.dumps(value, indent=1, default=str) + "\n")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of ``table`` as dictionaries for JSON, without its index; missing values are None."""
    return json.loads(table.to_json(orient="records", double_precision=15))


@contextmanager
def reading(path: Path, fix: str) -> Iterator[None]:
    """Turns what a file with another content than we write raises when it is used into InputError with the ``fix``."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{path} is not as it was written ({reason}). Fix: {fix}") from error


def read_json(path: Path, fix: str = "", missing: Any = None, keys: Sequence[str] = ()) -> Any:
    """Reads what an earlier step wrote, with at least ``keys``; without it ``missing``, or InputError with the ``fix``
    where that is None. What is not as it was written is InputError, too; without a ``fix`` it counts as missing.
    """
    if missing is not None and not path.is_file():
        return missing
    try:
        require_intact(path, fix)
        with reading(path, fix):
            value = json.loads(path.read_text(encoding="utf-8"))
            if lacking := [key for key in keys if key not in value]:
                raise ValueError(f"no key {lacking[0]!r}")
            if missing is not None and type(value) is not type(missing):
                raise ValueError(f"it holds a {type(value).__name__}, not a {type(missing).__name__}")
        return value
    except InputError:
        if missing is None or fix:
            raise
        _say_made_again(path)
        return missing
