"""The prediction table: what is written is read, and what breaks the contract is told."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from lesion_utils.errors import InputError
from lesion_utils.paths import seal
from lesion_utils.predictions import build, classes_of, is_leaky, probabilities, read, table_path, validate, write
from lesion_utils.recipes import Recipe
from lesion_utils.study import StudyParams

CLASSES = ["bkl", "mel", "nv"]


def cases_of(n: int = 40) -> pd.DataFrame:
    """Test cases whose ids look like numbers, after two training cases."""
    names = [f"{number:04}" for number in range(n)]
    cases = pd.DataFrame({"image_id": names, "lesion_id": [name[:-1] for name in names], "age": 3.0, "split": "test"})
    cases["label"] = np.resize(CLASSES, n)
    seen = cases[:2].assign(image_id=["a", "b"], split="train")
    return pd.concat([seen, cases], ignore_index=True)


def scores_of(n: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([0.02, 1, 1], n).astype(np.float32)  # some are tiny


def table_of() -> pd.DataFrame:
    return build(cases_of()[2:], CLASSES, scores_of())


def write_test(study: StudyParams, scores: np.ndarray, recipe: str = "cnn") -> None:
    made = {"recipe": study.recipes[recipe].identity, "seed": study.training_seed, "leaky": False}
    write(study.model_folder(recipe), cases_of(), {"test": scores}, made)


@pytest.fixture
def written(tiny_study) -> np.ndarray:
    """The test scores of the recipe ``cnn``, as they were before they were written."""
    write_test(tiny_study, scores_of())
    return scores_of()


def refused(study, recipe: str = "cnn", split: str = "test") -> str:
    with pytest.raises(InputError) as error:
        read(study, recipe, split)
    return str(error.value)


# build, write, read


def test_a_table_holds_ids_labels_and_one_probability_a_class():
    table = table_of()
    assert list(table.columns) == ["image_id", "lesion_id", "label", "p_bkl", "p_mel", "p_nv"]
    assert classes_of(table) == CLASSES
    assert probabilities(table).shape == (40, 3) and probabilities(table).dtype == np.float64


def test_scores_belong_to_the_cases_whatever_their_index():
    cases = pd.DataFrame({"image_id": ["a", "b"], "lesion_id": ["a", "b"], "label": ["nv", "mel"]}, index=[7, 3])
    table = build(cases, CLASSES, np.array([[0.1, 0.2, 0.7], [0.2, 0.5, 0.3]]))
    assert table.loc[table["image_id"] == "b", "p_mel"].item() == 0.5


def test_what_is_written_is_read_to_five_digits_and_written_again_the_same(tiny_study, written):
    table = read(tiny_study, "cnn", "test")
    names = ["image_id", "lesion_id", "label"]
    assert table[names].to_numpy().tolist() == cases_of()[2:][names].to_numpy().tolist()
    assert np.allclose(probabilities(table), written, rtol=5e-5, atol=5e-8)
    before = table_path(tiny_study, "cnn", 0, "test").read_bytes()
    write_test(tiny_study, probabilities(table))
    assert table_path(tiny_study, "cnn", 0, "test").read_bytes() == before
    assert max(map(len, re.findall(rb",0\.0*(\d+)", before))) == 5


def test_only_a_leaky_table_says_so():
    assert "leaky" not in table_of() and not is_leaky(table_of())
    table = build(cases_of()[2:], CLASSES, scores_of(), leaky=True)
    assert is_leaky(table) and classes_of(table) == CLASSES
    assert not is_leaky(table.assign(leaky="False"))


def test_each_split_has_its_table_and_what_made_it_beside(tiny_study, output):
    provenance = {"recipe": {}, "seed": 7, "leaky": False}
    folder = output / "runs" / "tiny" / "models" / "cnn" / "r0" / "predictions"
    write(folder.parent, cases_of(), {"train": scores_of(2), "test": scores_of()}, provenance)
    assert sorted(path.name for path in folder.iterdir()) == ["test.csv", "test.json", "train.csv", "train.json"]
    beside = json.loads((folder / "test.json").read_text())
    assert (beside["classes"], beside["n"], beside["split"], beside["seed"]) == (CLASSES, 40, "test", 7)
    assert (beside["trained_on"], beside["known"]) == (
        2,
        cases_of()[2:]["lesion_id"].isin(cases_of()[:2]["lesion_id"]).sum(),
    )
    assert json.loads((folder / "train.json").read_text())["known"] == 2
    assert pd.read_csv(folder / "train.csv")["image_id"].tolist() == ["a", "b"]


def test_a_write_that_fails_leaves_no_table_that_looks_whole(tiny_study, written):
    spoilt = written.copy()
    spoilt[3] = np.nan
    with pytest.raises(InputError, match=r"row 5 \("):
        write_test(tiny_study, spoilt)
    assert np.allclose(probabilities(read(tiny_study, "cnn", "test")), written, atol=1e-5)


def test_each_run_has_its_table(tiny_study, written):
    second, others = tiny_study.model_copy(update={"run": 1}), scores_of(seed=1)
    write_test(second, others)
    for study, run, scores in ((tiny_study, 1, others), (second, None, others), (tiny_study, None, written)):
        assert np.allclose(probabilities(read(study, "cnn", "test", run=run)), scores, atol=1e-5)


# what is refused on reading


@pytest.mark.parametrize(
    ("recipe", "notebook"), [("cnn", "02_baseline_cnn"), ("cnn_over", "03_augmentation_rebalancing")]
)
def test_a_missing_table_tells_the_command_that_makes_it(tiny_study, recipe, notebook):
    message = refused(tiny_study, recipe)
    assert f"{recipe}/r0/predictions/test" in message and "does not exist" in message
    assert f"Fix: make study STUDY=tiny, or run notebooks/{notebook}.ipynb" in message


@pytest.mark.parametrize("name", ["test.csv", "test.json"])
def test_half_a_table_is_a_missing_table(tiny_study, written, name):
    table_path(tiny_study, "cnn", 0, "test").with_name(name).unlink()
    assert "does not exist" in refused(tiny_study) and "Fix: make study STUDY=tiny" in refused(tiny_study)


def test_a_table_made_by_another_recipe_or_seed_is_refused(tiny_study, written):
    changed = Recipe(**tiny_study.recipes["cnn"].model_dump() | {"batch_size": 16})
    for update in ({"baseline": {"cnn": changed}}, {"seed": 5}):
        message = refused(tiny_study.model_copy(update=update))
        assert ("seed" if "seed" in update else "recipe") in message and "Fix: make study STUDY=tiny" in message


def test_a_recipe_that_the_study_does_not_have_is_named(tiny_study):
    assert "'resnet'" in refused(tiny_study, "resnet") and "cnn, cnn_over" in refused(tiny_study, "resnet")


@pytest.mark.parametrize("cell", ["", "high", "nan"])
def test_a_written_probability_that_is_no_number_is_refused(tiny_study, written, cell):
    path = table_path(tiny_study, "cnn", 0, "test")
    table = pd.read_csv(path, dtype=str)
    table.loc[4, "p_mel"] = cell
    table.to_csv(path, index=False)
    seal(path)
    message = refused(tiny_study)
    assert str(path) in message and "p_mel" in message and "row 6 (" in message


# the contract


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop(columns=["lesion_id", "label"]), r"lesion_id, label.*Expected image_id, .*p_"),
        (lambda t: t.drop(columns=["p_mel", "p_nv"]), r"'bkl'.* p_<class> for each of two or more"),
        (lambda t: t[:0], "has no rows"),
        (lambda t: pd.concat([t, t[4:5]]), "duplicate image_id"),
        (lambda t: t.assign(label="df"), r"'df'.*bkl, mel, nv"),
        (lambda t: t.assign(p_mel=t["p_mel"].where(t.index != 7)), r"p_mel.*row 9 \("),
        (lambda t: t.assign(p_mel=t["p_mel"] + 0.01 * (t.index == 7)), r"sum to 1.*row 9 \("),
        (lambda t: t.assign(p_mel=-0.5, p_nv=1.5, p_bkl=0.0), r"from 0 to 1"),
        (lambda t: t.assign(p_mel=np.inf), "from 0 to 1"),
    ],
    ids=["column", "classes", "empty", "twice", "label", "missing", "sum", "negative", "infinite"],
)
def test_each_broken_contract_is_told(spoil, message):
    with pytest.raises(InputError, match=f"theirs.csv.*{message}"):
        validate(spoil(table_of()), "theirs.csv")


def test_a_good_table_comes_back_as_it_is():
    table = table_of()
    assert validate(table, "ours.csv") is table
    rounded = table.round(4)  # sums are then off by a little
    assert validate(rounded, "theirs.csv") is rounded
