"""Digests of values, files and code."""

import ast
import functools
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT, cache_folder, content_digest, read_json, write_json
from lesion_utils.progress import steps


def digest(value: Any) -> str:
    """16 hex digits that change with any change of the JSON form of ``value``."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def bytes_digest(data: bytes | memoryview) -> str:
    """32 hex digits of the SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()[:32]


def file_digest(path: str | Path) -> str:
    """``bytes_digest`` of a file's bytes; raises InputError if it cannot be read."""
    try:
        if Path(path).is_fifo():  # it would be waited for without end
            raise OSError("it is a named pipe")
        if Path(path).is_dir():
            raise OSError("it is a folder")
        return content_digest(Path(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}). Fix: restore this file.") from error


def file_digests(folder: Path, files: Sequence[Path]) -> list[str]:
    """``file_digest`` of each of ``files`` in ``folder``; one whose size and times are as before is not read."""
    index = cache_folder("contents") / f"{digest(str(folder.resolve()))}.json"
    known, stats = read_json(index, missing={}), [path.stat() for path in files]
    marks = {
        os.path.relpath(path, folder): [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        for path, stat in zip(files, stats, strict=True)
    }
    new = [name for name, mark in marks.items() if known.get(name, [])[:3] != mark]
    if new:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            read = pool.map(file_digest, (folder / name for name in new))
            content = dict(zip(new, steps(read, "hashing files", len(new)), strict=True))
        known = {name: [*mark, content.get(name) or known[name][3]] for name, mark in marks.items()}
        just = (time.time() - 1) * 1e9  # a file may be written again within one tick of the clock
        with suppress(OSError):  # where nothing can be kept, all are read again
            write_json(index, {name: mark for name, mark in known.items() if mark[2] < just})
    return [known[name][3] for name in marks]


def commit(project: Path = PROJECT) -> str:
    """The commit of ``project``, marked dirty if a tracked file that is no report differs from it, or if there is more
    code. A new file of anybody's own, such as a study, changes nothing that the commit says.
    """
    made_by = _git(project, "rev-parse", "--short=12", "HEAD")
    changed = _git(project, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!reports")
    added = _git(project, "ls-files", "--others", "--exclude-standard", "--", "lesion_utils", "notebooks", "Snakefile")
    if made_by is None or changed is None:
        return "unknown (not a git checkout)"
    return made_by.strip() + (" (dirty: the tree had uncommitted changes)" if changed or added else "")


@functools.lru_cache(maxsize=64)  # a commit never changes
def text_at(made_by: str, path: str, project: Path = PROJECT) -> str | None:
    """The file ``path`` (from the root of ``project``) at a commit, named as by ``commit``; None if unknown."""
    return _git(project, "show", f"{made_by.split()[0]}:./{path}")


def _git(project: Path, *arguments: str) -> str | None:
    try:
        return subprocess.check_output(["git", *arguments], cwd=project, text=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None


def code_digest(source: str) -> str:
    """Changes with ``source`` (Python text) and with every package module that it imports, directly or not."""
    modules: dict[str, str] = {}
    todo = set(_package_imports(source))
    while todo:
        path = todo.pop()
        if (name := str(path.relative_to(PROJECT))) not in modules:
            modules[name] = path.read_text(encoding="utf-8")
            todo |= _package_imports(modules[name])
    return digest([source, sorted(modules.items())])


@functools.cache  # every digest asks for the same modules
def _package_imports(source: str) -> frozenset[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    modules = [PROJECT / name.replace(".", "/") for name in names if name.split(".")[0] == "lesion_utils"]
    files = [file for module in modules for file in (module.with_suffix(".py"), module / "__init__.py")]
    return frozenset(filter(Path.is_file, files))
