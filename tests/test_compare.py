"""The command that compares two classifiers on the same images: known differences, pairing, groups, bad input."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from lesion_utils.checks.compare import COMPARED, compare_predictions
from lesion_utils.checks.predictions import read_predictions
from lesion_utils.cli import app
from lesion_utils.tracked import tracked_folder

CLASSES = ["bkl", "mel", "nv"]


@pytest.fixture
def tables(tmp_path):
    """Two tables of 300 images of 200 lesions; B gets 25 more images right than A, 15 of them melanomas of women."""
    rng = np.random.default_rng(0)
    n = 300
    lesions = np.concatenate([np.arange(200), np.arange(100)])
    labels = np.repeat(["mel", "nv", "bkl"], [40, 130, 30])[lesions]
    sex = np.where(np.arange(n) % 2 == 0, "female", "male")
    frame = pd.DataFrame({"image_id": [f"i{number}" for number in range(n)], "lesion_id": lesions, "label": labels})
    frame["sex"] = sex
    truth = frame["label"].map(CLASSES.index).to_numpy()
    wrong = rng.permutation(n)[:120]
    wrong = np.union1d(wrong, np.flatnonzero((labels == "mel") & (sex == "female"))[:20])
    first = truth.copy()
    first[wrong] = (truth[wrong] + 1) % 3
    mended = np.flatnonzero((labels == "mel") & (sex == "female") & (first != truth))[:15]
    others = np.flatnonzero((first != truth) & (labels == "nv"))[:10]
    second = first.copy()
    second[[*mended, *others]] = truth[[*mended, *others]]
    noise = rng.dirichlet([1, 1, 1], n) * 0.3
    paths = []
    for name, answers in {"a.csv": first, "b.csv": second}.items():
        scores = noise + 0.7 * np.eye(3)[answers]
        table = pd.concat([frame, pd.DataFrame(scores, columns=[f"p_{label}" for label in CLASSES])], axis=1)
        table.to_csv(tmp_path / name, index=False)
        paths.append(tmp_path / name)
    return paths


@pytest.fixture
def studies(tables):
    """The same tables as tracked predictions of two studies: the test split of the first run, and validation of one."""
    for study, table, splits in (("one", tables[0], ["test", "validation"]), ("some/two", tables[1], ["test"])):
        folder = tracked_folder(study) / "cnn" / "r0"
        folder.mkdir(parents=True)
        for split in splits:
            (folder / f"{split}.csv.gz").write_bytes(gzip.compress(table.read_bytes()))
    return ["one/cnn", "some/two/cnn"]


def lesion(*words):
    return CliRunner().invoke(app, ["compare", *map(str, words)])


def compared(first, second, **options):
    return compare_predictions(read_predictions(first), read_predictions(second), resamples=1000, **options)


def test_recipes_of_studies_are_compared_by_name_or_folder_as_their_tables_are(tables, studies):
    expected = json.loads(lesion(*tables, "--json", "--resamples", "200").stdout)
    for given in (studies, [studies[0], tracked_folder("some/two") / "cnn"], [tables[0], studies[1]]):
        found = json.loads(lesion(*given, "--json", "--resamples", "200").stdout)
        assert found["numbers"] == expected["numbers"] and found["second"].endswith("cnn")


def test_a_split_or_recipe_that_a_study_has_not_is_refused(studies):
    done = lesion(*studies, "--split", "validation")
    assert done.exit_code == 2 and "no table of the validation split" in done.output and "--split" in done.output
    done = lesion(studies[0], "some/two/other")
    assert done.exit_code == 2 and "some/two/other does not exist" in done.output


@pytest.mark.parametrize("spoil", [lambda data: data[:-20], lambda data: b"no gzip", lambda data: b""])
def test_a_damaged_gzip_file_is_refused(studies, spoil):
    file = tracked_folder("one") / "cnn/r0/test.csv.gz"
    file.write_bytes(spoil(file.read_bytes()))
    done = lesion(*studies)
    assert done.exit_code == 2 and str(file) in done.output and "Expected a CSV" in done.output


def test_the_difference_is_that_of_the_images_that_only_one_gets_right(tables):
    found = compared(*tables)
    assert found.numbers.at["accuracy", "value"] == pytest.approx(25 / 300)
    assert found.agreement["only B right"] == 25 and found.agreement["only A right"] == 0
    assert sum(found.agreement.values()) == 300
    assert found.numbers.at["accuracy", "verdict"] == "higher" and set(COMPARED) <= set(found.numbers.index)
    assert found.numbers.at["accuracy", "second"] - found.numbers.at["accuracy", "first"] == pytest.approx(25 / 300)


def test_a_table_compared_with_itself_shows_no_difference(tables):
    found = compared(tables[0], tables[0])
    assert (found.numbers["value"] == 0).all() and not found.numbers["verdict"].isin(["higher", "lower"]).any()


def test_the_other_order_gives_the_opposite_difference(tables):
    one, other = compared(*tables).numbers, compared(*tables[::-1]).numbers
    assert one["value"].to_numpy() == pytest.approx(-other["value"].to_numpy())
    assert one["low"].to_numpy() == pytest.approx(-other["high"].to_numpy(), abs=1e-12)


def test_rows_in_another_order_are_matched_by_their_ids(tables, tmp_path):
    shuffled = tmp_path / "shuffled.csv"
    pd.read_csv(tables[1]).sample(frac=1, random_state=0).to_csv(shuffled, index=False)
    pd.testing.assert_frame_equal(compared(*tables).numbers, compared(tables[0], shuffled).numbers)


def test_ids_may_differ_in_their_ending(tables, tmp_path):
    renamed = tmp_path / "renamed.csv"
    table = pd.read_csv(tables[1])
    table.assign(image_id=table["image_id"].str.upper() + ".jpg").to_csv(renamed, index=False)
    pd.testing.assert_frame_equal(compared(*tables).numbers, compared(tables[0], renamed).numbers)


def test_pairing_makes_the_interval_narrower(tables):
    """The accuracies differ by lesion far more than their difference does."""
    row = compared(*tables).numbers.loc["accuracy"]
    share = row["first"]
    alone = 2 * 1.96 * np.sqrt(2 * share * (1 - share) / 300)
    assert row["high"] - row["low"] < 0.8 * alone


def test_a_group_shows_where_the_difference_is(tables):
    groups = compared(*tables).groups.set_index(["group", "metric"])
    female, male = (groups.loc[(sex, "melanoma sensitivity")] for sex in ("female", "male"))
    assert female["value"] * female["n"] == pytest.approx(15) and female["low"] > 0
    assert male["value"] == 0 and groups.loc[("female", "melanoma specificity"), "n"] + female["n"] == 150
    accuracy = groups.loc[("male", "accuracy")]
    assert accuracy["value"] * accuracy["n"] + groups.loc[("female", "accuracy"), "value"] * 150 == pytest.approx(25)


def test_what_is_drawn_can_be_named(tables, tmp_path):
    """With all images of a sex drawn together there are two units: nothing is estimable."""
    result = lesion(*tables, "--by", "sex", "--json", "--resamples", 100)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["resampled by"] == "sex" and found["lesions"] == 2
    result = lesion(*tables, "--by", "patient")
    assert result.exit_code == 2 and "patient" in result.output and "--by" in result.output


def test_classes_without_probabilities_are_compared(tables, tmp_path):
    paths = []
    for path in tables:
        table = pd.read_csv(path)
        scores = table[[f"p_{name}" for name in CLASSES]].to_numpy()
        plain = table[["image_id", "lesion_id", "label"]].assign(y_pred=np.array(CLASSES)[scores.argmax(1)])
        paths.append(tmp_path / f"plain_{path.name}")
        plain.to_csv(paths[-1], index=False)
    found = compared(*paths)
    assert found.numbers.at["accuracy", "value"] == pytest.approx(25 / 300) and "macro AUC" not in found.numbers.index


def test_other_images_are_refused(tables, tmp_path):
    fewer = tmp_path / "fewer.csv"
    pd.read_csv(tables[1]).iloc[:-1].to_csv(fewer, index=False)
    result = lesion(tables[0], fewer)
    assert result.exit_code == 2 and "i299" in result.output
    other = tmp_path / "other.csv"
    pd.read_csv(tables[1]).assign(label="nv").to_csv(other, index=False)
    assert lesion(tables[0], other).exit_code == 2


def test_the_page_has_the_numbers_and_needs_no_network(tables, tmp_path):
    page = tmp_path / "page.html"
    result = lesion(*tables, "--html", page, "--resamples", 100)
    assert result.exit_code == 0 and "a.csv" in result.output and "+0.08" in result.output
    html = page.read_text()
    assert "better" in html and "http://" not in html.replace("http://www.w3.org", "") and 'src="data:' in html
    assert lesion(*tables, "--html", tables[0]).exit_code == 2


# ------------------------------------------------------------------------------------ the same in other words


def rewritten(path, tmp_path, change):
    change(pd.read_csv(path)).to_csv(tmp_path / "rewritten.csv", index=False)
    return tmp_path / "rewritten.csv"


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda of: of.rename(columns={"p_mel": "p_MEL"}).assign(label=of["label"].str.upper().replace("NV", "nv")),
        lambda of: of.rename(columns={"p_mel": "p_Melanoma"}).replace({"label": {"mel": "Melanoma"}}),
        lambda of: of.assign(image_id="images/test/" + of["image_id"] + ".jpg"),
        lambda of: of.assign(lesion_id=of["lesion_id"].astype(float)),
        lambda of: of.drop(columns="lesion_id"),
    ],
    ids=["case", "full name", "folder", "lesions as 1.0", "no lesions"],
)
@pytest.mark.parametrize("swap", [False, True])
def test_the_same_table_in_other_words_compares_the_same(tables, tmp_path, change, swap):
    first, second = tables[0], rewritten(tables[1], tmp_path, change)
    if swap:
        same, found = compared(tables[1], first), compared(second, first)
    else:
        same, found = compared(*tables), compared(first, second)
    shown = ["accuracy", "balanced accuracy", "macro AUC"]
    pd.testing.assert_frame_equal(
        found.numbers.loc[shown, ["value", "low", "high", "n", "lesions"]],
        same.numbers.loc[shown, ["value", "low", "high", "n", "lesions"]],
    )
    assert found.unit == "lesion"


def test_decimal_commas_compare_the_same(tables, tmp_path):
    pd.read_csv(tables[1]).to_csv(tmp_path / "german.csv", index=False, sep=";", decimal=",")
    pd.testing.assert_frame_equal(compared(*tables).numbers, compared(tables[0], tmp_path / "german.csv").numbers)


def test_images_of_one_table_only_are_left_out_if_asked(tables, tmp_path):
    fewer = rewritten(tables[1], tmp_path, lambda of: of.iloc[40:])
    result = lesion(tables[0], fewer)
    assert result.exit_code == 2 and "40 only in a.csv" in result.output and "--common" in result.output
    result = lesion(tables[0], fewer, "--common", "--json", "--resamples", 200)
    found = json.loads(result.stdout)
    assert found["images"] == 260 and any("40 only in a.csv" in note for note in found["notes"])
    others = rewritten(tables[1], tmp_path, lambda of: of.assign(image_id="x" + of["image_id"]))
    assert lesion(tables[0], others, "--common").exit_code == 2


def test_too_few_draws_for_a_verdict_are_named(tables):
    few = compare_predictions(*map(read_predictions, tables), resamples=100)
    assert any("--resamples" in note for note in few.notes)
    assert not few.numbers["verdict"].isin(["higher", "lower"]).any()
    many = compare_predictions(*map(read_predictions, tables))
    assert not any("--resamples" in note for note in many.notes) and many.numbers.at["accuracy", "verdict"] == "higher"
