"""Is the recommended recipe better than each published system on the images that the system itself was judged on?

    .venv/bin/python -m benchmarks.own_test_sets     # a minute; writes own_test_sets.json and the page of performance

Nothing is trained. 001 and 002: their published confusion matrix against our predictions of the same images of
HAM10000, each by the network of the fold that has not seen the lesion (study `recommended_full`). 000, 003 and 004: the
system corrected and trained again; the two are compared case by case, over lesions and runs. The published Test of 003
and 004 has too few images, so both are also compared in five folds of all. A published matrix and ours of the same
images are judged by image; their differences have Newcombe's interval, as if of independent images: too wide. Against
000, our networks, one per fold, count as one run, so our interval lacks the variation between trainings.

Rule, fixed before the first run: better, if the 95% CI of the difference in balanced accuracy lies above 0. That run
could not estimate it on the small sets of 001 and 002 (a bootstrap over lesions needs ten of each class). Only then
were they judged as `lesion matrix` does, and two rows were added: our balanced accuracy after prior correction (a
published matrix cannot be corrected), and our melanoma sensitivity at its specificity, on our ROC curve there.
"""

import os
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from benchmarks.page import markdown, renew
from lesion_utils import predictions
from lesion_utils.claims.declared import Matrix, read_ledger
from lesion_utils.claims.measured import Measured, difference, measure_published
from lesion_utils.evaluation import PredictionTable, compare, judge
from lesion_utils.evaluation.metric_list import PRIOR_CORRECTED
from lesion_utils.evaluation.prediction_table import CORRECTED
from lesion_utils.evaluation.sentences import NOT_ESTIMABLE, cell
from lesion_utils.paths import write_json
from lesion_utils.prior import correct_prior
from lesion_utils.study import Judging, load_study
from lesion_utils.tracked import take_all

RESULTS = Path(__file__).with_suffix(".json")
OURS, RECIPE = "recommended_full", "efficientnet_lite0"  # study and recipe
METRICS = ("balanced accuracy", PRIOR_CORRECTED, "accuracy", "melanoma sensitivity")
PUBLISHED = {  # the claim with the confusion matrix, and the split of the study that has its images
    "001": ("001_accuracy", "published/001_as_run", "validation"),
    "002": ("002_accuracy_in_its_table", "published/002_as_run", "validation"),
}
AGAIN = {  # our study, and the study and the recipe of the system
    "000 (scaled-down)": (OURS, "published/000b_corrected", "corrected"),
    "003": ("recommended_isic9", "published/003_corrected", "copies"),
    "003 (five folds)": ("isic9_folds", "isic9_folds", "system_003"),
    "004": ("recommended_isic9", "published/004_corrected", "copies"),
    "004 (five folds)": ("isic9_folds", "isic9_folds", "system_004"),
}


@cache  # several systems are judged on the same tables of ours
def tables_of(study: str, recipe: str, split: str) -> PredictionTable:
    """The tables of all runs, those of test with their corrected classes."""
    params = load_study(study)
    table = PredictionTable(predictions.read_runs(params, recipe, split), params.resamples, name=study)
    return correct_prior(table, tables_of(study, recipe, "validation")) if split == "test" else table


def of_images(table: PredictionTable, images: pd.Series) -> PredictionTable:
    """``table`` of the ``images`` alone, all of which must be there; all folds as one."""
    chosen = [frame[frame["image_id"].isin(images)].drop(columns="fold", errors="ignore") for frame in table.frames]
    assert all(len(frame) == len(images) for frame in chosen), "an image was not predicted"
    return PredictionTable([frame.reset_index(drop=True) for frame in chosen], table.resamples, name=table.name)


def against_published(ours: PredictionTable, claim: str, study: str, split: str) -> dict:
    """The rows of a system whose published matrix is that of ``claim``; ``ours`` are our predictions, its images among
    them.
    """
    images = tables_of(study, next(iter(load_study(study).recipes)), split).frame
    its = next(of.estimand for of in read_ledger() if of.id == claim)
    assert isinstance(its, Matrix)
    classes, counts = list(its.classes), dict(zip(its.classes, map(sum, its.matrix), strict=True))
    assert images["label"].value_counts().to_dict() == counts, f"{study}: the matrix of {claim} is of other images"

    def number(metric: str, matrix: tuple[tuple[int, ...], ...]) -> Measured:
        return measure_published(its.model_copy(update={"metric": metric, "matrix": matrix}))

    table, rows = of_images(ours, images["image_id"]), {}
    named = dict.fromkeys(METRICS, np.asarray(table.classes)[table.predicted])
    for metric, answers in (named | {PRIOR_CORRECTED: table.frame[CORRECTED]}).items():
        asked = "balanced accuracy" if metric == PRIOR_CORRECTED else metric
        of_ours = number(asked, as_tuples(confusion_matrix(table.frame["label"], answers, labels=classes)))
        rows[metric] = of_both(of_ours, number(asked, its.matrix))
    specificity = round(number("melanoma specificity", its.matrix).value, 3)
    metric = f"melanoma sensitivity at specificity {specificity:g}"
    on_curve = judge(table, Judging(specificity=specificity), wanted=[metric]).loc[metric]
    rows[metric] = of_both(as_measured(on_curve), number("melanoma sensitivity", its.matrix))
    return {"judged on": "its published matrix; the same images", "n": len(table), "rows": rows}


def as_tuples(matrix: np.ndarray) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())


def as_measured(row: pd.Series) -> Measured:
    return Measured(*row[["value", "low", "high", "n"]])


def of_both(ours: Measured, its: Measured, change: Measured | None = None) -> dict:
    """Three numbers, each with the ends of its interval; ``change`` is by default that of independent numbers."""
    numbers = {"its": its, "ours": ours, "difference": change or difference(ours, its)}
    return {
        name: {end: shortened(getattr(of, end)) for end in ("value", "low", "high")} for name, of in numbers.items()
    }


def shortened(number: float) -> float | None:
    return None if np.isnan(number) else round(float(number), 4)


def against_trained_again(own: str, study: str, recipe: str) -> dict:
    """The rows of a system that was corrected and trained again, and of our recipe in the study ``own``."""
    ours, its = tables_of(own, RECIPE, "test"), tables_of(study, recipe, "test")
    if own != study:
        ours = of_images(ours, its.frame["image_id"])
    wanted = (*METRICS, "melanoma sensitivity at specificity 0.9")
    numbers = judge(ours, wanted=wanted), judge(its, wanted=wanted), compare(ours, its, wanted)
    rows = {}
    for metric in wanted:
        rows[metric] = of_both(*(as_measured(of.loc[metric]) for of in numbers))
    return {"judged on": "corrected and trained again; the same test images", "n": len(ours), "rows": rows}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        judged = [study for _, study, _ in PUBLISHED.values()]
        for study in {OURS, *judged, *(study for *both, _ in AGAIN.values() for study in both)}:
            take_all(load_study(study), Path(folder))
        os.environ["LESION_OUTPUT"] = folder
        ours = tables_of(OURS, RECIPE, "test")
        found = {system: against_published(ours, *of) for system, of in PUBLISHED.items()}
        found |= {system: against_trained_again(*of) for system, of in AGAIN.items()}
    results = {system: {"verdict": verdict(of["rows"]), **of} for system, of in sorted(found.items())}
    write_json(RESULTS, results)
    renew("own test sets", table(results))


def verdict(rows: dict) -> str:
    """What the rule says of the ``rows`` of a system."""
    low, high = (rows[METRICS[0]]["difference"][end] for end in ("low", "high"))
    if low is None:
        return NOT_ESTIMABLE
    return "better" if low > 0 else "worse" if high < 0 else "not shown to be better"


def table(results: dict) -> str:
    """The results as Markdown: a line per system and metric."""
    heads = ["system", "judged on", "metric", "the system", "our recipe", "ours minus the system's"]
    lines = []
    for system, of in results.items():
        about = [system, f"{of['judged on']}, n = {of['n']:,}"]
        for metric, row in of["rows"].items():
            change = cell(row["difference"], edges=[0.0], sign="+")
            change += f": {of['verdict']}" if metric == METRICS[0] and of["verdict"] != NOT_ESTIMABLE else ""
            lines.append([*about, metric, cell(row["its"]), cell(row["ours"]), change])
            about = ["", ""]
    return markdown(heads, lines)


if __name__ == "__main__":
    main()
