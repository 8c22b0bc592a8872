"""A score on one page that a clinician can read: the answer first, details after, nothing from outside."""

import base64
from io import BytesIO
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lesion_utils.checks.score import Score, counted, estimate_cells, missed_counts
from lesion_utils.evaluation.calibration import calibration_sentence
from lesion_utils.evaluation.subgroups import groups_caveat
from lesion_utils.figures import reliability_diagram

SHOWN = 10  # missed images that are named


def percent(row: pd.Series, said: bool = False) -> str:
    """A share with its interval as a reader gets it; ``said``: that it is one stands beside."""
    if np.isnan(row["value"]):
        return f"not estimable ({row['note']})"
    value, leaky = f"{100 * row['value']:.1f} %", "leaky; " if row["leaky"] else ""
    told = f"{value} ({leaky}{row['note']})"
    if not np.isnan(row["low"]):
        level = "" if said else "95 % interval "
        told = f"{value} ({leaky}{level}{100 * row['low']:.1f} to {100 * row['high']:.1f} %)"
    return told.replace(" %", "\u00a0%")  # no line ends before a %


def page_values(score: Score, name: str) -> dict[str, Any]:
    """What the template ``score.html.j2`` shows of ``score``, of the table called ``name``."""
    cells = [estimate_cells(row, score.by_lesion) for _, row in score.numbers.iterrows()]
    numbers = score.numbers.assign(shown=[shown for shown, _ in cells], counts=[counts for _, counts in cells])
    shown: dict[str, Any] = {
        "score": score,
        "name": name,
        "percent": percent,
        "known": score.point_known,
        "point": score.point_told[:1].upper() + score.point_told[1:],
        "missed": missed_counts(score) if score.point_known else "",
        "missed_rows": score.missed.head(SHOWN).to_dict("records"),
        "numbers": {
            title: numbers[numbers["kind"] == kind].to_dict("records")
            for kind, title in (("overall", "All classes"), ("view", "Diagnoses of interest"), ("class", "Each class"))
        },
        "calibration": [counted(calibration_sentence(row), score.by_lesion) for _, row in score.calibration.iterrows()],
        "unit": "lesion" if score.by_lesion else "image",
        "counts_head": "images (lesions)" if score.by_lesion else "images",
        "figure": None,
    }
    if len(score.groups):
        by_group = score.groups.groupby(["variable", "group"], sort=False)
        shown |= {"groups": {names: rows.to_dict("records") for names, rows in by_group}}
        shown["reading"] = groups_caveat(score.groups)
    if score.reliability:
        shown["figure"] = _embedded(score.reliability, "Stated and observed" + (" (leaky)" if score.leaky else ""))
        shown["figure_text"] = _in_words(score.reliability)
    return shown


def _embedded(curves: dict[str, pd.DataFrame], title: str) -> str:
    """The reliability diagram as the address of an image that is inside the page."""
    figure = reliability_diagram(curves, title)
    buffer = BytesIO()
    with plt.rc_context({"svg.hashsalt": "score"}):  # the same page from the same table
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _in_words(curves: dict[str, pd.DataFrame]) -> str:
    """What the diagram shows, for those who cannot see it."""
    told = []
    for name, curve in curves.items():
        points = [f"{row['stated']:.2f}: {row['value']:.2f}" for _, row in curve.dropna(subset=["value"]).iterrows()]
        told.append(f"{name}, stated probability: share observed. {'; '.join(points) or 'nothing is estimable'}.")
    return "Reliability diagram. " + " ".join(told)
