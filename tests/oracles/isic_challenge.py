"""Writes isic_challenge.json: what the ISIC challenge's own scorer says of some made-up predictions.

    python3.13 -m venv oracle && oracle/bin/pip install isic-challenge-scoring==5.6.0
    oracle/bin/python tests/oracles/isic_challenge.py

The scorer needs Python 3.13 and is no part of the study's environment, so its answers are recorded. Each example holds
its own cases, in thousandths, and their weights. The scorer counts an answer whose highest probability stands twice as
undecided, thus as wrong; the example "tied answers" records that.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from isic_challenge_scoring import metrics

CLASSES = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
LEVELS = (0.5, 0.8, 0.88, 0.95)


def predictions(rng: np.random.Generator, n: int, step: int, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    """Truth (n,) and probabilities in thousandths (n, 7), multiples of ``step``; without ``tied``, one highest each."""
    truth = rng.permutation(
        np.r_[np.repeat(np.arange(7), 4), rng.choice(7, n - 28, p=[0.03, 0.05, 0.11, 0.02, 0.11, 0.66, 0.02])]
    )
    rows = []
    for true in truth:
        while True:
            raw = rng.dirichlet(np.ones(7)) + 0.35 * (np.arange(7) == true)
            parts = np.floor(raw / raw.sum() * 1000 / step).astype(int)
            parts[rng.integers(7)] += 1000 // step - parts.sum()
            if tied or (parts == parts.max()).sum() == 1:
                break
        rows.append(parts * step)
    return truth, np.array(rows)


def scored(truth: np.ndarray, thousandths: np.ndarray, weights: np.ndarray) -> dict:
    true = pd.DataFrame(np.eye(7)[truth], columns=CLASSES)
    stated = pd.DataFrame(thousandths / 1000, columns=CLASSES)
    weight = pd.Series(weights, dtype=float)
    of_class = {
        name: {
            "auc": float(metrics.auc(true[name], stated[name], weight)),
            "average_precision": float(metrics.average_precision(true[name], stated[name], weight)),
            "auc_above_sensitivity": {
                str(level): float(metrics.auc_above_sensitivity(true[name], stated[name], weight, level))
                for level in LEVELS
            },
        }
        for name in CLASSES
    }
    balanced = float(metrics.balanced_multiclass_accuracy(true, stated, weight))
    return {"balanced_accuracy": balanced, "classes": of_class}


def main() -> None:
    rng = np.random.default_rng(2018)
    examples = {}
    for name, n, step, tied, weighted in (
        ("distinct scores", 120, 1, False, False),
        ("tied scores", 120, 50, False, False),
        ("weights", 80, 50, False, True),
        ("tied answers", 80, 100, True, False),
    ):
        truth, thousandths = predictions(rng, n, step, tied)
        weights = rng.integers(0, 4, n) if weighted else np.ones(n, int)
        weights[[int(np.flatnonzero(truth == index)[0]) for index in range(7)]] = 1  # every class weighs something
        examples[name] = {
            "truth": truth.tolist(),
            "thousandths": thousandths.tolist(),
            "weights": weights.tolist(),
            "scorer": scored(truth, thousandths, weights),
        }
    about = {"isic-challenge-scoring": version("isic-challenge-scoring"), "scikit-learn": version("scikit-learn")}
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps({"versions": about, "classes": CLASSES, "examples": examples}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
