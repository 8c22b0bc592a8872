"""Is the recommended recipe better than each published system on the images that the system itself was judged on?

    .venv/bin/python -m benchmarks.own_test_sets     # a minute; writes own_test_sets.json and the page of performance

Nothing is trained. 001 and 002: their published confusion matrix against our predictions of the same images of
HAM10000, each by the network of the fold that has not seen the lesion (study `recommended_full`). 000, 003 and 004: the
images on which we judged them corrected and trained again; there the two are compared case by case. Intervals of a
published matrix are by image, all others by lesion. Differences from a published matrix: Newcombe's interval.

Rule, fixed before the first run: better, if the 95% CI of the difference in balanced accuracy lies above 0.
"""

import os
import tempfile
from pathlib import Path

import pandas as pd

from benchmarks.page import renew
from lesion_utils import predictions
from lesion_utils.claims.declared import Matrix, read_ledger
from lesion_utils.claims.measured import Measured, difference, measure_published
from lesion_utils.evaluation import PredictionTable, compare, judge
from lesion_utils.evaluation.sentences import cell
from lesion_utils.paths import write_json
from lesion_utils.study import StudyParams, load_study
from lesion_utils.tracked import take_all

RESULTS = Path(__file__).with_suffix(".json")
RECIPE, METRICS = "efficientnet_lite0", ("balanced accuracy", "accuracy", "melanoma sensitivity")
PUBLISHED = {  # the claim with the confusion matrix, and the split of the study that has its images
    "001": ("001_accuracy", "published/001_as_run", "validation"),
    "002": ("002_accuracy_in_its_table", "published/002_as_run", "validation"),
}
AGAIN = {  # the study in which it was corrected and trained again, its recipe, and the study that has our predictions
    "000, second model": ("published/000b_corrected", "corrected", "recommended_full"),
    "003": ("published/003_corrected", "copies", "recommended_isic9"),
    "004": ("published/004_corrected", "copies", "recommended_isic9"),
}


def tables_of(study: str, recipe: str, split: str) -> list[pd.DataFrame]:
    """The tables of all runs; those of all folds are pooled, as one."""
    params: StudyParams = load_study(study)
    return [frame.drop(columns="fold", errors="ignore") for frame in predictions.read_runs(params, recipe, split)]


def of_images(frames: list[pd.DataFrame], images: pd.Series) -> PredictionTable:
    """``frames`` of the ``images`` alone, all of which must be there."""
    chosen = [frame[frame["image_id"].isin(images)].reset_index(drop=True) for frame in frames]
    assert all(len(frame) == len(images) for frame in chosen), "an image was not predicted"
    return PredictionTable(chosen, name="the recommended recipe")


def against_published(claim: str, study: str, split: str) -> dict:
    """The rows of a system whose published matrix is that of ``claim``."""
    first = next(iter(load_study(study).recipes))
    images = tables_of(study, first, split)[0]
    matrix = next(of.estimand for of in read_ledger() if of.id == claim)
    assert isinstance(matrix, Matrix)
    counts = dict(zip(matrix.classes, map(sum, matrix.matrix), strict=True))
    assert images["label"].value_counts().to_dict() == counts, f"{study}: the matrix of {claim} is of other images"
    table = of_images(tables_of("recommended_full", RECIPE, "test"), images["image_id"])
    rows = {}
    for metric, ours in judge(table, wanted=METRICS).iterrows():
        its = measure_published(matrix.model_copy(update={"metric": metric}))
        own = Measured(ours["value"], ours["low"], ours["high"], ours["n"])
        found = difference(own, its)
        kept = {"value": found.value, "low": found.low, "high": found.high}
        rows[str(metric)] = {"its": cell(its._asdict()), "ours": cell(ours), "difference": kept}
    return {"judged on": "its published matrix; the same images", "n": len(table), "rows": rows}


def against_trained_again(study: str, recipe: str, ours_in: str) -> dict:
    """The rows of a system that was corrected and trained again."""
    frames = tables_of(study, recipe, "test")
    its = PredictionTable(frames, name=study)
    table = of_images(tables_of(ours_in, RECIPE, "test"), frames[0]["image_id"])
    differences, rows = compare(table, its, METRICS), {}
    of_its, ours = (judge(of, wanted=METRICS) for of in (its, table))
    for metric in METRICS:
        kept = differences.loc[metric, ["value", "low", "high"]].to_dict()
        rows[metric] = {"its": cell(of_its.loc[metric]), "ours": cell(ours.loc[metric]), "difference": kept}
    return {"judged on": "corrected and trained again; the same test images", "n": len(table), "rows": rows}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        studies = {"recommended_full", *(study for _, study, _ in PUBLISHED.values())}
        studies |= {name for study, _, ours in AGAIN.values() for name in (study, ours)}
        for study in sorted(studies):
            take_all(load_study(study), Path(folder))
        os.environ["LESION_OUTPUT"] = folder
        found = {system: against_published(*of) for system, of in PUBLISHED.items()}
        found |= {system: against_trained_again(*of) for system, of in AGAIN.items()}
    write_json(RESULTS, dict(sorted(found.items())))
    renew("own test sets", table(dict(sorted(found.items()))))


def table(results: dict) -> str:
    """The results as Markdown: a line per system and metric."""
    lines = [
        "| system | judged on | metric | the system | our recipe | ours minus the system's |",
        "|---|---|---|---|---|---|",
    ]
    for system, of in results.items():
        for metric, row in of["rows"].items():
            verdict = ""
            if metric == METRICS[0]:
                low, high = row["difference"]["low"], row["difference"]["high"]
                verdict = ": better" if low > 0 else ": worse" if high < 0 else ": not shown to be better"
            about = [system, f"{of['judged on']}, n = {of['n']:,}"] if metric == METRICS[0] else ["", ""]
            texts = [*about, metric, row["its"], row["ours"], cell(row["difference"], edges=[0.0], sign="+") + verdict]
            lines.append(f"| {' | '.join(texts)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
