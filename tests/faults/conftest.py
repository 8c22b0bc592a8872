"""The counts of this folder's tests, which `make faults` keeps in benchmarks/reliability.json."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lesion_utils.paths import write_json

RESULTS: dict[str, dict[str, Any]] = {}


@pytest.fixture(scope="session")
def results() -> dict[str, dict[str, Any]]:
    """What each file of tests adds under its key: the ``rows`` of its table, and how many faults were ``tried``,
    ``handled``, ``lost``, ended in ``tracebacks``, or were ``silent``.
    """
    return RESULTS


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == 0 and (target := os.environ.get("LESION_FAULTS")):
        file = Path(target)
        before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        write_json(file, before | RESULTS)
