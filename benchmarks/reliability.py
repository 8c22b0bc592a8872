"""What damage, kills and bad input do: the counts of tests/faults/, and their page docs/reliability.md.

    make faults     (all of tests/faults/, then this)

The tests write benchmarks/reliability.json, one key for each kind of fault; this renews the page.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.page import markdown, renew
from lesion_utils.paths import PROJECT

RESULTS, PAGE = Path(__file__).with_suffix(".json"), PROJECT / "docs" / "reliability.md"
TITLES = {"artefacts": "Damaged files", "kills": "Kills and stops", "inputs": "Generated inputs"}
COUNTS = ("tried", "handled", "lost", "orphans", "hangs", "tracebacks", "silent")  # of those that a kind counts


def text(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A section for each kind of fault: its counts, and its rows as a table."""
    return "\n\n".join(_section(TITLES[key], results[key]) for key in TITLES if key in results)


def _section(title: str, kind: Mapping[str, Any]) -> str:
    columns = list(dict.fromkeys(name for row in kind["rows"] for name in row))
    table = markdown(columns, [[_cell(row.get(name)) for name in columns] for row in kind["rows"]])
    counts = ", ".join(f"{name}: {kind[name]:,}" for name in COUNTS if name in kind)
    return f"### {title}\n\n{counts[0].upper()}{counts[1:]}.\n\n{table}"


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):  # outcomes and how often
        return ", ".join(f"{name} ({count})" if len(value) > 1 else name for name, count in value.items()) or "–"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    renew("faults", text(json.loads(RESULTS.read_text(encoding="utf-8"))), PAGE)
