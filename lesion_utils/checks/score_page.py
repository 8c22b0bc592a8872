"""A score on one page that a clinician can read: the answer first, details after, nothing from outside."""

import base64
from io import BytesIO
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lesion_utils.checks.score import Score, estimate_cells
from lesion_utils.figures import reliability_diagram
from lesion_utils.predictions import labelled

SHOWN = 10  # missed images that are named


def page_values(score: Score) -> dict[str, Any]:
    """What the template ``score.html.j2`` shows of ``score``, besides ``in_words``."""
    cells = [estimate_cells(row, score.by_lesion) for _, row in score.numbers.iterrows()]
    numbers = score.numbers.assign(shown=[shown for shown, _ in cells], counts=[counts for _, counts in cells])
    titles = {"overall": "All classes", "view": "Diagnoses of interest", "class": "Each class"}
    groups = score.groups.groupby(["variable", "group"], sort=False) if len(score.groups) else ()
    return {
        "percent": percent,
        "missed_rows": score.missed.head(SHOWN).to_dict("records"),
        "numbers": {title: numbers[numbers["kind"] == kind].to_dict("records") for kind, title in titles.items()},
        "groups": {names: rows.to_dict("records") for names, rows in groups},
        "figure": _embedded(score) if score.reliability else None,
        "figure_text": _described(score.reliability),
    }


def percent(row: pd.Series, level: str = "95% CI ") -> str:
    """A share with its interval as a reader gets it; ``level`` is empty where it is said next to the share."""
    if np.isnan(row["value"]):
        return f"not estimable ({row['note']})"
    interval = row["note"] if np.isnan(row["low"]) else f"{level}{100 * row['low']:.1f}-{100 * row['high']:.1f}%"
    return f"{100 * row['value']:.1f}% ({'leaky; ' if row['leaky'] else ''}{interval})"


def _embedded(score: Score) -> str:
    """The reliability diagram as the address of an image that is inside the page."""
    figure = reliability_diagram(score.reliability, labelled("Stated and observed", score.table.leaky))
    buffer = BytesIO()
    with plt.rc_context({"svg.hashsalt": "score"}):  # the same page from the same table
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _described(curves: dict[str, pd.DataFrame]) -> str:
    """The diagram in words, for readers who cannot see it."""
    sentences = ["Reliability diagram."]
    for name, curve in curves.items():
        points = [f"{row['stated']:.2f}: {row['value']:.2f}" for _, row in curve.dropna(subset=["value"]).iterrows()]
        sentences.append(f"{name}, stated probability: observed share. {'; '.join(points) or 'Nothing is estimable'}.")
    return " ".join(sentences)
