"""How a file is damaged, and what a command that reads it makes of that."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lesion_utils.errors import InputError

HANDLED = ("right", "made again", "left out", "refused")
BROKEN = ("lost", "traceback", "silent")
OTHER_TYPES = (b"[]", b"{}", b"null", b'"x"')


class Outcome(NamedTuple):
    what: str  # one of HANDLED or BROKEN
    detail: str


def damages(path: Path, other: Path | None = None) -> dict[str, list[bytes | None]]:
    """What ``path`` can hold after each kind of damage; None: it is missing. ``other`` is the same artefact of another
    recipe or notebook.
    """
    data = path.read_bytes()
    kinds: dict[str, list[bytes | None]] = {
        "missing": [None],
        "empty": [b""],
        "truncated": [data[: len(data) * percent // 100] for percent in (10, 50, 95)],
        "byte changed": [flipped(data, len(data) * percent // 100) for percent in (3, 50, 97)],
        "other type": [*OTHER_TYPES] if path.suffix == ".json" else [],
        "of another": [other.read_bytes()] if other else [],
    }
    return {kind: [content for content in contents if content != data] for kind, contents in kinds.items()}


def flipped(data: bytes, at: int) -> bytes:
    """``data`` with one byte changed: a digit near ``at`` becomes another digit, so that the file stays plausible."""
    digits = [place for place in range(at, min(at + 400, len(data))) if data[place : place + 1].isdigit()]
    at = digits[0] if digits else min(at, len(data) - 1)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def put(path: Path, content: bytes | None) -> None:
    """Gives ``path`` another content, also where it is gone."""
    path.unlink(missing_ok=True)
    if content is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def outcome_of(read: Callable[[], object], expected: object, printed: Callable[[], str]) -> Outcome:
    """What becomes of ``read()``, whose right value is ``expected``. ``printed()``: what it has printed."""
    try:
        value = read()
    except InputError as error:
        return Outcome("refused" if "Fix: " in str(error) else "lost", str(error))
    except Exception as error:
        return Outcome("traceback", f"{type(error).__name__}: {error}")
    text = printed()
    if json.dumps(value, default=str) != json.dumps(expected, default=str):
        first = next(
            (at for at, pair in enumerate(zip(str(value), str(expected), strict=False)) if pair[0] != pair[1]), 0
        )
        return Outcome("silent", f"{str(value)[first:][:100]!r} instead of {str(expected)[first:][:100]!r}")
    return Outcome("made again" if "again" in text else "right", text)
