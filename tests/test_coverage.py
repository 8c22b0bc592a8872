"""The simulation behind the intervals, small; and what its full size found, which is tracked."""

import json
import runpy

import pandas as pd
import pytest

from lesion_utils.paths import PROJECT

SIMULATION = runpy.run_path(str(PROJECT / "benchmarks" / "coverage.py"))
FULL = json.loads((PROJECT / "benchmarks" / "coverage.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_lesion_interval_holds_the_truth_and_the_image_interval_does_not():
    found = SIMULATION["coverage"](0.8, studies=80, resamples=150, seed=1)
    # three standard errors of 80 studies below what 95% intervals should do
    assert (found["coverage by lesion"] >= 0.87).all()
    assert (found["coverage by image"] <= found["coverage by lesion"] - 0.02).all()
    assert found.loc["melanoma sensitivity", "coverage by image"] < 0.88
    assert (found["width by lesion"] > 1.15 * found["width by image"]).all()


def test_the_tracked_coverage_is_that_of_a_thousand_studies_and_as_promised():
    assert FULL["settings"]["studies"] == SIMULATION["STUDIES"] == 1000
    assert FULL["settings"]["resamples"] == SIMULATION["RESAMPLES"]
    assert FULL["settings"]["truth"] == pytest.approx(SIMULATION["true_values"](), abs=1e-4)
    for correlation in SIMULATION["CORRELATIONS"]:
        rows = pd.DataFrame.from_dict(FULL[f"correlation {correlation:g} within a lesion"], orient="index")
        assert rows.loc[["accuracy", "melanoma sensitivity"], "coverage by lesion"].between(0.93, 0.97).all()
        assert 0.90 <= rows.loc["balanced accuracy", "coverage by lesion"] <= 0.97
        assert (rows["coverage by image"] < rows["coverage by lesion"]).all()
    assert (rows["coverage by image"] <= rows["coverage by lesion"] - 0.05).all()  # at the largest correlation


def test_the_simulated_test_set_is_of_ham10000s_size(real_ham):
    cases = pd.read_csv(real_ham / "HAM10000_metadata.csv")
    views = cases.groupby(["dx", "lesion_id"]).size().groupby("dx").value_counts().unstack(fill_value=0)
    assert {name: tuple(row) for name, row in views.iterrows()} == SIMULATION["LESIONS"]
