"""Digests of values, files and code: what an artefact was made from, in a few characters."""

import ast
import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT


def digest(value: Any) -> str:
    """16 hex digits that change with any change of the JSON form of ``value``."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
        raise InputError(f"{path} cannot be read ({error}). Fix: restore this file.") from error


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
