"""The log of the search behind params/recommended.yml, from the trainings of the study `search`.

    .venv/bin/python -m benchmarks.search <folder of HAM10000>     # seconds; writes reports/ham10000/search.csv

One row per recipe and fold, judged on validation alone, after all views of a picture were averaged. The strength of the
prior correction is fitted on four fifths of the lesions and judged on the fifth, in turn; log loss is after temperature
scaling, whose one number is fitted on the same images. Minutes are those of the machine that `backend` ran on, which
trained about 14 recipes at a time.
"""

import sys

import pandas as pd

from lesion_utils import predictions
from lesion_utils.evaluation import PredictionTable, judge
from lesion_utils.evaluation.calibration import apply_temperature, fit_temperature
from lesion_utils.evaluation.metric_list import PRIOR_CORRECTED
from lesion_utils.paths import PROJECT
from lesion_utils.prior import correct_prior
from lesion_utils.study import load_study

RESULTS = PROJECT / "reports" / "ham10000" / "search.csv"
DIGITS = 4


def main(data: str) -> None:
    study, rows = load_study("search", data=data), []
    for name in study.recipes:
        for run in range(study.runs):
            params = study.model_copy(update={"run": run})
            table = PredictionTable(predictions.read(params, name, "validation"), params.resamples, name=name)
            wanted = ["balanced accuracy", PRIOR_CORRECTED, "macro AUC", "accuracy"]
            judged = judge(correct_prior(table), wanted=wanted)["value"].to_dict()
            judged |= judge(apply_temperature(table, fit_temperature(table)), wanted=["log loss"])["value"].to_dict()
            minutes = predictions.read_history(params, name, run)["seconds"].sum() / 60
            made = predictions.read_provenance(params, name, "validation")
            about = {"recipe": name, "fold": params.fold, "n": len(table), "lesions": table.lesions}
            ran = {"minutes": round(minutes, 1), "backend": made["backend"], "commit": made["commit"]}
            rows.append(about | {key: round(value, DIGITS) for key, value in judged.items()} | ran)
    pd.DataFrame(rows).to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main(sys.argv[1])
