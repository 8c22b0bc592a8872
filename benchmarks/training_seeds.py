"""Do the verdicts on remedies for class imbalance stand with three training seeds per fold instead of one?

    make study FULL=1 STUDY=imbalance DATA=<folder of HAM10000> WEIGHTS=<folder>     # some two hours
    .venv/bin/python -m benchmarks.training_seeds    # writes training_seeds.json and its table in docs/performance.md

Both studies have the same five folds. `imbalance` trains each recipe once per fold, and its tables are tracked.
`imbalance_full` trains it twice more, with other seeds. Only what they say of the remedies is compared.
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page import markdown, renew
from lesion_utils.claims.differences import effect_of
from lesion_utils.evaluation.sentences import cell
from lesion_utils.paths import PROJECT, read_json, write_json

RESULTS = Path(__file__).with_suffix(".json")
KEPT = ("recipe", "measure", "runs", "n", "lesions", "value", "low", "high", "verdict")


def compared(few: list[dict[str, Any]], many: list[dict[str, Any]]) -> tuple[str, str]:
    """The table of the differences ``many``, in which a cell says what ``few`` said instead if that was something else;
    and a sentence on how many did, and on the widths of the intervals.
    """
    before = {(row["recipe"], row["measure"]): row for row in few}
    assert [*before] == [(row["recipe"], row["measure"]) for row in many]
    cells: dict[str, list[str]] = {}
    changed, ratios, better = 0, [], []
    for row in many:
        name, old = row["recipe"], before[row["recipe"], row["measure"]]
        ratios.append((row["high"] - row["low"]) / (old["high"] - old["low"]))
        effect, was = (effect_of(row["measure"], of["verdict"]).partition(":")[0] for of in (row, old))
        text = cell(row, edges=[0.0], sign="+") + (f": {effect}" if effect in ("better", "worse") else "")
        if effect != was:
            changed, text = changed + 1, f"{text} ({old['runs']} runs: {was})"
        if effect == "better":
            better.append(f"`{name}` ({row['measure']})")
        cells.setdefault(name, []).append(text)
    heads = ["recipe", *dict.fromkeys(row["measure"] for row in many)]
    table = markdown(heads, [[name, *texts] for name, texts in cells.items()])
    new, old, width = many[0], few[0], float(np.median(ratios))
    return table, (
        f"Of {len(many)} verdicts, {changed} changed. *Better* with {new['runs']} runs: {', '.join(better) or 'none'}. "
        f"An interval of {new['runs']} runs is {width:.2f} times as wide as that of {old['runs']} (median). "
        f"n = {new['n']:,} images of {new['lesions']:,} lesions, each tested once per seed."
    )


def differences(study: str) -> list[dict[str, Any]]:
    """What the remedies of ``study`` change, as its results on disk say."""
    results = read_json(PROJECT / "reports" / study / "results.json", "make study FULL=1 STUDY=imbalance")
    return [{key: row[key] for key in KEPT} for row in results["differences"]]


def main() -> None:
    write_json(RESULTS, many := differences("imbalance_full"))
    renew("training seeds", "\n\n".join(compared(differences("imbalance"), many)))


if __name__ == "__main__":
    main()
