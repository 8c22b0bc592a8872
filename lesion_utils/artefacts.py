"""Where the artefacts of a study lie and how they are written: beside their place, then renamed."""

import ast
import functools
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from lesion_utils.errors import InputError
from lesion_utils.params import PROJECT, StudyParams, output_root


def run_folder(study: str) -> Path:
    """``runs/<study>``: everything that a study computes; deleting it loses nothing a rerun does not restore."""
    return output_root() / "runs" / study


def report_folder(study: str) -> Path:
    """``reports/<study>``: what a study shows."""
    return output_root() / "reports" / study


def cache_folder(kind: str) -> Path:
    """``runs/cache/<kind>``: content-keyed files that studies share."""
    return output_root() / "runs" / "cache" / kind


def run_name(notebook: str, repeat: int) -> str:
    """The name of one execution of a notebook: ``02_baseline_cnn``, and from the second repeat on ``…_r1``."""
    return f"{notebook}_r{repeat}" if repeat else notebook


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yields a name beside ``path`` to write to; it takes the place of ``path`` only if nothing went wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as readable JSON, keys in the order given."""
    with writing(path) as beside:
        beside.write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of ``table`` as JSON takes them, without its index; what is missing is None."""
    return json.loads(table.to_json(orient="records", double_precision=15))


def read_json(path: Path, cure: str) -> Any:
    """Reads what an earlier step wrote; raises InputError with the ``cure`` if it is not there."""
    if not path.is_file():
        raise InputError(f"{path} does not exist: the step that makes it has not run. Cure: {cure}")
    return json.loads(path.read_text(encoding="utf-8"))


def digest(value: Any) -> str:
    """16 hex digits that change with any change of the JSON form of ``value``."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def publish_numbers(params: StudyParams, notebook: str, numbers: dict[str, Any]) -> None:
    """Records the key numbers of this execution of ``notebook`` for the index of the study's reports."""
    write_json(run_folder(params.study) / "numbers" / f"{run_name(notebook, params.repeat)}.json", numbers)


def read_into(path: str, buffer: bytearray) -> tuple[int, bytearray]:
    """Reads a file into ``buffer``, or a larger one where it does not fit: its size in bytes, and the buffer.

    Of many files this is several times as fast as ``Path.read_bytes``. Raises InputError if there is no such file.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            buffer = bytearray(2 * size) if size > len(buffer) else buffer
            return file.readinto(memoryview(buffer)[:size]), buffer
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}). Cure: restore this file.") from error


def bytes_digest(data: bytes | memoryview) -> str:
    """32 hex digits of the SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()[:32]


def file_digest(path: str) -> str:
    """``bytes_digest`` of a file's bytes; raises InputError if there is no such file."""
    size, buffer = read_into(path, bytearray())
    return bytes_digest(memoryview(buffer)[:size])


def code_digest(source: str) -> str:
    """Changes with ``source`` (Python text) and with every package module that it imports, however indirectly."""
    found: dict[str, str] = {}
    todo = _package_imports(source)
    while todo:
        path = todo.pop()
        if (name := str(path.relative_to(PROJECT))) not in found:
            found[name] = path.read_text(encoding="utf-8")
            todo |= _package_imports(found[name])
    return digest([source, sorted(found.items())])


def _package_imports(source: str) -> set[Path]:
    paths = set()
    for name in _imported(source):
        if name.split(".")[0] == "lesion_utils":
            place = PROJECT / name.replace(".", "/")
            paths |= {path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()}
    return paths


@functools.cache  # the same modules are asked for by every digest
def _imported(source: str) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
            names.add(node.module)
    return frozenset(names)
