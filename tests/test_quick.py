"""The quick study learns what the phantom holds, and nothing where there is nothing to learn."""

import numpy as np
import pytest
from trained import train_in

from lesion_utils import predictions
from lesion_utils.cases import make_case_tables
from lesion_utils.claims.rules import ABOVE_CHANCE
from lesion_utils.evaluation import PredictionTable, judge
from lesion_utils.study import load_study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def quick(tmp_path_factory, threads):
    """The quick study with its transfer recipe, and its cases."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LESION_OUTPUT", str(tmp_path_factory.mktemp("quick")))
        params = load_study("quick", threads=threads)
        yield params, make_case_tables(params)["corrected"]


def validation_balanced_accuracy(params, cases, trained):
    held_out = cases[cases["split"] == "validation"]
    table = predictions.build(held_out, trained.classes, trained.probabilities["validation"])
    return judge(PredictionTable(table, params.resamples)).loc["balanced accuracy"]


def test_the_transfer_recipe_finds_part_of_the_signal(quick):
    params, cases = quick
    (name,) = params.transfer
    row = validation_balanced_accuracy(params, cases, train_in(params, name, cases))
    assert 0.40 <= row["value"] <= 0.85


def test_with_permuted_training_labels_it_finds_nothing(quick):
    params, cases = quick
    (name,) = params.transfer
    cases = cases.copy()
    training = cases["split"] == "train"
    # labels are permuted between lesions, so that a lesion keeps one
    lesions = cases[training].groupby("lesion_id")["label"].first()
    permuted = dict(zip(lesions.index, np.random.default_rng(0).permutation(lesions), strict=True))
    cases.loc[training, "label"] = cases.loc[training, "lesion_id"].map(permuted)
    row = validation_balanced_accuracy(params, cases, train_in(params, name, cases))
    assert row["low"] <= 1 / 7 + ABOVE_CHANCE  # the rule by which a model learnt nothing
