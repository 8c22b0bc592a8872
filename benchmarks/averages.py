"""What does it bring to average the networks of the study `recommended_full`? Computed from its tracked tables.

    .venv/bin/python -m benchmarks.averages     # a minute; writes averages.json and the page of performance

The probabilities of the networks of a fold are averaged, in validation and in test; then everything is judged as for
one network: five folds by lesion, prior correction and temperature fitted on validation.
"""

import itertools
import os
import tempfile
from pathlib import Path

from benchmarks.page import markdown, renew
from lesion_utils import predictions
from lesion_utils.claims.differences import run_differences
from lesion_utils.evaluation import PredictionTable, judge
from lesion_utils.evaluation.calibration import apply_temperature, calibration, fit_temperature
from lesion_utils.evaluation.metric_list import PRIOR_CORRECTED
from lesion_utils.evaluation.sentences import cell
from lesion_utils.paths import write_json
from lesion_utils.prior import correct_prior
from lesion_utils.rounding import number
from lesion_utils.study import StudyParams, load_study
from lesion_utils.tracked import take_all

RESULTS = Path(__file__).with_suffix(".json")
WANTED = (PRIOR_CORRECTED, "macro AUC", "melanoma sensitivity at specificity 0.9")


def averaged(params: StudyParams, names: tuple[str, ...], split: str) -> PredictionTable:
    """The table of the mean probabilities of the recipes ``names``."""
    frames = [predictions.read_runs(params, name, split) for name in names]
    mean = []
    for of_run in zip(*frames, strict=True):
        columns = [f"p_{name}" for name in predictions.classes_of(of_run[0])]
        assert all(frame["image_id"].equals(of_run[0]["image_id"]) for frame in of_run)
        mean.append(of_run[0].assign(**(sum(frame[columns] for frame in of_run) / len(of_run))))
    return PredictionTable(mean, params.resamples, name=" + ".join(names))


def main() -> None:
    params, rows, tables = load_study("recommended_full"), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        take_all(params, Path(folder))
        os.environ["LESION_OUTPUT"] = folder
        for count in range(1, len(params.recipes) + 1):
            for names in itertools.combinations(params.recipes, count):
                validation, test = (averaged(params, names, split) for split in ("validation", "test"))
                tables[test.name] = correct_prior(test, validation)
                judged = judge(tables[test.name], params.judging, wanted=WANTED)
                scaled = apply_temperature(test, fit_temperature(validation))
                errors = {
                    label: round(calibration(of)["value"].iloc[0], 4)
                    for label, of in (("raw", test), ("scaled", scaled))
                }
                rows[test.name] = {name: cell(row) for name, row in judged.iterrows()} | errors
        first = tables[next(iter(params.recipes))]
        for name in list(tables)[1:]:
            differences = run_differences(tables[name], first, WANTED, params.judging)
            rows[name] |= {
                f"{metric}, gain": cell(row, edges=[0.0], sign="+") for metric, row in differences.iterrows()
            }
    write_json(RESULTS, {"n": len(test), "lesions": test.lesions, "rows": rows})
    heads = ["networks", *WANTED, "calibration error", "after temperature scaling"]
    lines = []
    for name, row in rows.items():
        texts = [row[metric] + (f"; {row[gain]}" if (gain := f"{metric}, gain") in row else "") for metric in WANTED]
        lines.append([name, *texts, number(row["raw"]), number(row["scaled"])])
    n = f"n = {len(test):,} images of {test.lesions:,} lesions, each tested once; 95% CIs over lesions and runs. "
    n += f"After the semicolon: minus {next(iter(rows))}."
    renew("averages", f"{markdown(heads, lines)}\n\n{n}")


if __name__ == "__main__":
    main()
