"""The command for somebody's confusion matrix: known truth, every way to paste it, and what is no matrix."""

import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import SHARED
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, f1_score, matthews_corrcoef
from typer.testing import CliRunner

from lesion_utils.checks.matrix import CLASS_COUNTS, judge_matrix, read_case_mix
from lesion_utils.checks.parse_matrix import read
from lesion_utils.cli import app
from lesion_utils.datasets import ham10000
from lesion_utils.errors import InputError

# the counts of a published system, 938 images
PUBLISHED = """
Confusion matrix, without normalization
[[ 13   1   3   0   3   6   0]
 [  0  26   2   2   0   0   0]
 [  1   1  42   2  11  18   0]
 [  0   0   0   2   1   3   0]
 [  0   2   6   0  19  12   0]
 [  3   3   7   0  10 726   2]
 [  1   0   0   0   0   3   7]]

              precision    recall  f1-score   support

       akiec       0.72      0.50      0.59        26
         bcc       0.79      0.87      0.83        30
"""
NAMES = list(ham10000.CLASSES)
HAM, SINGLE = CLASS_COUNTS["ham10000"], CLASS_COUNTS["single-image lesions of ham10000"]
SMALL = pd.DataFrame([[50, 4, 6], [3, 40, 0], [10, 1, 90]], index=["mel", "nv", "bkl"], columns=["mel", "nv", "bkl"])


def read_matrix(text):
    return read(text).matrix


def judged(text=PUBLISHED, **options):
    return judge_matrix(read_matrix(text), **options)


def lesion(*words, text=None):
    return CliRunner().invoke(app, ["matrix", *map(str, words)], input=text)


# ------------------------------------------------------------------------------------------------------- known truth


def assert_is_the_published_one(verdict):
    numbers = verdict.numbers
    assert verdict.counts.to_numpy().sum() == 938
    assert numbers.at["accuracy", "value"] == pytest.approx(835 / 938)
    assert numbers.at["majority baseline accuracy", "value"] == pytest.approx(751 / 938)
    assert tuple(numbers.loc["balanced accuracy", ["value", "low", "high"]].round(3)) == pytest.approx(
        (0.621, 0.54, 0.71), abs=0.006
    )
    melanoma = verdict.by_class.loc["mel"]
    assert (melanoma["hits"], melanoma["n"]) == (19, 39)
    assert (round(melanoma["recall_low"], 2), round(melanoma["recall_high"], 2)) == (0.34, 0.64)
    rare = verdict.by_class.loc["df"]
    assert (rare["hits"], rare["n"], rare["note"]) == (2, 6, "too few: n < 10")
    assert numbers.at["balanced accuracy", "note"] == "rests on few images (df, n = 6)"
    assert (round(rare["recall_low"], 2), round(rare["recall_high"], 2)) == (0.10, 0.70)
    assert verdict.by_class.at["vasc", "note"] == "few: n < 20"
    assert verdict.by_class.at["akiec", "note"] == ""
    malignant = numbers.loc["malignant sensitivity"]
    assert malignant[["value", "low", "high"]].round(3).tolist() == pytest.approx([0.674, 0.574, 0.760], abs=1e-3)
    assert numbers.at["malignant specificity", "value"] == pytest.approx(812 / 843)
    found = " ".join(verdict.findings)
    assert "df: 6" in found
    assert "differ from HAM10000's" in found and "single-image lesions" in found and "not estimable" not in found


def test_the_published_matrix():
    assert_is_the_published_one(judged(dataset="ham10000"))


@pytest.mark.real_data
def test_the_published_matrix_as_it_is_in_its_file():
    files = sorted((SHARED / "seeds").glob("001*"))
    if not files:
        pytest.skip("no seed 001 in ../shared/seeds")
    assert_is_the_published_one(judged(files[0].read_text(), dataset="ham10000"))
    done = lesion(files[0], "--dataset", "ham10000")
    assert done.exit_code == 1
    assert "0.62 (0.54-0.71)" in done.output and "0.49 (0.34-0.64)" in done.output


def test_the_data_sets_counts_are_those_of_its_table(real_ham):
    table = ham10000.metadata(real_ham)
    alone = table[table["lesion_id"].map(table["lesion_id"].value_counts()) == 1]
    assert table["label"].value_counts().to_dict() == HAM
    assert alone["label"].value_counts().to_dict() == SINGLE


matrices = (
    st.integers(2, 5)
    .flatmap(lambda k: st.lists(st.lists(st.integers(0, 30), min_size=k, max_size=k), min_size=k, max_size=k))
    .filter(lambda rows: sum(any(row) for row in rows) > 1)
)


# ------------------------------------------------------------------------------------------------- another case mix


def test_the_published_matrix_at_the_case_mix_of_ham10000():
    verdict = judged(dataset="ham10000", case_mix=read_case_mix("ham10000"))
    row = verdict.at_case_mix.loc["accuracy"]
    recalls = verdict.by_class["recall"]
    assert row["value"] == pytest.approx(sum(HAM[name] * recalls[name] for name in NAMES) / 10015)
    assert row[["value", "low", "high"]].round(3).tolist() == pytest.approx([0.836, 0.81, 0.86], abs=2e-3)
    assert row["n"] == 938 and "df, n = 6" in row["note"]
    assert verdict.at_case_mix.at["majority baseline accuracy", "value"] == pytest.approx(6705 / 10015)
    # the mix changes no sensitivity of a single class, but that of the malignant classes together
    assert verdict.at_case_mix.at["melanoma sensitivity", "value"] == pytest.approx(19 / 39)
    malignant = (327 * (13 + 1 + 3) / 26 + 514 * 26 / 30 + 1113 * (2 + 19) / 39) / (327 + 514 + 1113)
    assert verdict.at_case_mix.at["malignant sensitivity", "value"] == pytest.approx(malignant)


@settings(max_examples=25)
@given(matrices)
def test_at_its_own_case_mix_a_matrix_keeps_its_numbers(rows):
    counts = pd.DataFrame(rows)
    own = {f"class {name + 1}": float(n) for name, n in counts.sum(axis=1).items()}
    verdict = judge_matrix(counts, class_counts=list(own.values()), case_mix=own, resamples=20)
    both = verdict.at_case_mix.index.intersection(verdict.numbers.index)
    assert {"accuracy", "macro F1", "Matthews correlation", "majority baseline accuracy"} <= set(both)
    expected = verdict.numbers.loc[both, "value"].tolist()
    assert verdict.at_case_mix.loc[both, "value"].tolist() == pytest.approx(expected, nan_ok=True)
    for name, precision in verdict.by_class["precision"].items():
        assert verdict.at_case_mix.at[f"precision {name}", "value"] == pytest.approx(precision, nan_ok=True)


@pytest.mark.slow
def test_accuracy_at_another_case_mix_covers_in_simulation():
    rng, recalls, sizes = np.random.default_rng(0), np.array([0.6, 0.8, 0.95]), np.array([40, 80, 300])
    truth, covered = recalls @ [0.5, 0.3, 0.2], 0
    for seed in range(100):
        hits = rng.binomial(sizes, recalls)
        counts = pd.DataFrame(np.diag(hits) + np.roll(np.diag(sizes - hits), 1, axis=1), list("abc"), list("abc"))
        mixed = judge_matrix(counts, case_mix={"a": 50, "b": 30, "c": 20}, resamples=200, seed=seed).at_case_mix
        covered += mixed.at["accuracy", "low"] <= truth <= mixed.at["accuracy", "high"]
    assert 88 <= covered <= 99


def test_the_command_takes_a_named_case_mix_or_a_table(tmp_path):
    assert sum(CLASS_COUNTS["isic2018"].values()) == 1512
    printed = lesion("-", "--dataset", "ham10000", "--case-mix", "ham10000", text=PUBLISHED).stdout
    assert "0.84 (0.81-0.86)" in printed.split("as frequent as in ham10000")[1]
    assert "as frequent as" not in lesion("-", text=SMALL.to_csv()).stdout
    path = tmp_path / "mix.csv"
    path.write_text("class,count\nMEL,10\nnv,80\nbkl,10\n")
    result = json.loads(lesion("-", "--case-mix", path, "--json", text=SMALL.to_csv()).stdout)
    accuracy = next(row["value"] for row in result["at_case_mix"] if row["metric"] == "accuracy")
    assert accuracy == pytest.approx(0.1 * 50 / 60 + 0.8 * 40 / 43 + 0.1 * 90 / 101)
    assert result["case_mix"] == str(path)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ("class,count\nmel,1\nnv,2\n", ["bkl", "Fix:"]),
        ("class,n\nmel,1\n", ["missing column(s) count"]),
        ("class,count\nmel,1\nmel,1\n", ["duplicate class", "mel"]),
        ("class,count\nmel,-1\nnv,2\nbkl,1\n", ["row 2", "count"]),
        ("class,count\nmel,0\nnv,0\nbkl,0\n", ["case mix"]),
        (None, ["isic2018", "class and count"]),
    ],
)
def test_a_case_mix_that_does_not_fit_is_refused(tmp_path, table, named):
    path = tmp_path / "mix.csv"
    if table:
        path.write_text(table)
    done = lesion("-", "--case-mix", path, text=SMALL.to_csv())
    assert done.exit_code == 2 and all(fact in done.stderr for fact in named)
    if table:
        path.write_text("class,count\na,1\nb,1\nc,1\n")
        done = lesion("-", "--case-mix", path, text="a 5 1 0\nb 0 6 1\nc 0 0 0")
        assert done.exit_code == 2 and "no image of c" in done.stderr


@settings(max_examples=25)
@given(matrices)
def test_numbers_agree_with_scikit_learn_and_lie_in_their_intervals(rows):
    counts = np.array(rows)
    truth, predicted = (np.repeat(side.ravel(), counts.ravel()) for side in np.indices(counts.shape))
    verdict = judge_matrix(pd.DataFrame(counts), class_counts=counts.sum(axis=1), resamples=50)
    numbers = verdict.numbers
    if counts.sum(1).all():
        assert numbers.at["balanced accuracy", "value"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    else:
        assert np.isnan(numbers.at["balanced accuracy", "value"])
        assert any("no image of" in finding for finding in verdict.findings)
    assert numbers.at["Matthews correlation", "value"] == pytest.approx(matthews_corrcoef(truth, predicted), abs=1e-12)
    assert numbers.at["accuracy", "value"] == pytest.approx((truth == predicted).mean())
    weighted = f1_score(truth, predicted, average="weighted", zero_division=0)
    assert numbers.at["weighted F1", "value"] == pytest.approx(weighted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one class everywhere: 0 / 0
        kappa = cohen_kappa_score(truth, predicted)
    assert numbers.at["Cohen's kappa", "value"] == pytest.approx(kappa, nan_ok=True)
    for index, specificity in enumerate(verdict.by_class["specificity"]):
        rest = truth != index
        expected = (predicted[rest] != index).mean() if rest.any() else np.nan
        assert specificity == pytest.approx(expected, nan_ok=True)
    for table, name in ((verdict.by_class, "recall"), (verdict.by_class, "precision"), (verdict.predictive, "ppv")):
        known = table[table[name].notna()]
        assert (known[f"{name}_low"] <= known[name] + 1e-12).all()
        assert (known[name] <= known[f"{name}_high"] + 1e-12).all()
    here = verdict.predictive[verdict.predictive["of_this_matrix"]].set_index("view")
    assert here["ppv"].tolist() == pytest.approx(verdict.by_class.loc[here.index, "precision"].tolist(), nan_ok=True)


def test_a_class_without_image_and_prediction_weighs_nothing_in_the_weighted_f1():
    verdict = judge_matrix(pd.DataFrame([[8, 2, 0], [1, 9, 0], [0, 0, 0]]), resamples=20)
    truth, predicted = np.repeat([0, 0, 1, 1], [8, 2, 1, 9]), np.repeat([0, 1, 0, 1], [8, 2, 1, 9])
    assert verdict.numbers.at["weighted F1", "value"] == pytest.approx(f1_score(truth, predicted, average="weighted"))


def test_many_images_are_no_trouble():
    few, many = (judge_matrix(SMALL * times, resamples=100).numbers for times in (1, 1_000_000))
    assert many["value"].tolist() == pytest.approx(few["value"].tolist())
    assert many.at["Matthews correlation", "low"] == pytest.approx(many.at["Matthews correlation", "value"], abs=1e-3)


def test_wilson_intervals_are_scipys():
    row = judged().by_class.iloc[1]
    low, high = binomtest(26, 30).proportion_ci(method="wilson")
    assert (row["recall_low"], row["recall_high"]) == pytest.approx((low, high), abs=1e-12)


def test_predictive_values_at_another_prevalence():
    # sensitivity 0.9, specificity 0.8, at 1%: 0.009 / (0.009 + 0.198)
    verdict = judge_matrix(pd.DataFrame([[90, 10], [40, 160]], ["mel", "nv"], ["mel", "nv"]), prevalences=[0.01])
    row = verdict.predictive.iloc[0]
    assert (row["view"], row["prevalence"]) == ("melanoma", 0.01)
    assert row["ppv"] == pytest.approx(0.009 / 0.207)
    assert row["npv"] == pytest.approx(0.792 / 0.793)
    # the standard logit interval by hand
    spread = 1.959964 * np.sqrt(0.1 / 90 + 0.8 / (0.2 * 200))
    odds = np.array([row["ppv_low"], row["ppv_high"]]) / (1 - np.array([row["ppv_low"], row["ppv_high"]]))
    assert np.log(odds) == pytest.approx(np.log(0.009 / 0.198) + np.array([-spread, spread]))


def test_a_classifier_without_a_miss_still_has_an_interval():
    row = judge_matrix(pd.DataFrame([[9, 0], [0, 9]], ["mel", "nv"], ["mel", "nv"]), prevalences=[0.1]).predictive.iloc[
        0
    ]
    assert row["ppv"] == 1 and 0 < row["ppv_low"] < 0.95 and row["ppv_high"] == 1


def test_balanced_accuracy_covers_in_simulation():
    rng = np.random.default_rng(0)
    recalls, supports = np.array([0.6, 0.8, 0.95]), np.array([40, 80, 300])
    covered = 0
    for seed in range(60):
        hits = rng.binomial(supports, recalls)
        counts = np.diag(hits) + np.roll(np.diag(supports - hits), 1, axis=1)
        row = judge_matrix(pd.DataFrame(counts), resamples=200, seed=seed).numbers.loc["balanced accuracy"]
        covered += row["low"] <= recalls.mean() <= row["high"]
    assert covered >= 52


# ------------------------------------------------------------------------------------------- what is found, what not


def counts_like(like, n=2000):
    return np.round(np.array([like[name] for name in NAMES]) * n / sum(like.values())).astype(int)


def of_supports(supports, names=NAMES):
    wrong = supports // 4
    counts = np.diag(supports - wrong)
    counts[np.arange(len(supports)), (np.arange(len(supports)) + 1) % len(supports)] = wrong
    return pd.DataFrame(counts, names, names)


def test_a_test_set_like_the_data_set_is_clean():
    verdict = judge_matrix(of_supports(counts_like(HAM)), dataset="ham10000")
    assert verdict.findings == []


def test_random_samples_of_the_data_set_raise_no_alarm():
    rng = np.random.default_rng(0)
    shares = np.array(list(HAM.values())) / sum(HAM.values())
    found = [
        judge_matrix(of_supports(rng.multinomial(2000, shares)), dataset="ham10000", resamples=2).findings
        for _ in range(20)
    ]
    assert sum(any("differ from HAM10000" in finding for finding in one) for one in found) == 0


@pytest.mark.parametrize(
    ("supports", "said"),
    [
        (counts_like(SINGLE), "single-image lesions"),
        (np.full(7, 100), "balanced"),
        (np.array([300, 300, 300, 300, 20, 20, 20]), "df: 300 of 115"),
        (np.array([100, 100, 400, 50, 500, 800, 50]), "differ from HAM10000's"),
    ],
)
def test_supports_that_betray_their_test_set(supports, said):
    verdict = judge_matrix(of_supports(supports), dataset="ham10000", class_counts=supports)
    assert said in " ".join(verdict.findings)


def test_accuracy_that_is_not_above_the_majority():
    found = judged("mel nv\n5 45\n20 430").findings
    assert any("0.9," in finding and "nv" in finding for finding in found)
    assert judged("mel nv\n40 10\n10 440").findings == []


def test_too_good_to_be_true():
    counts = pd.DataFrame(np.diag([100] * 7) + 1, NAMES, NAMES)
    assert any("a leak is likely" in finding for finding in judge_matrix(counts).findings)
    assert not any(
        "leak" in one
        for one in judge_matrix(counts.set_axis(list("abcdefg")).set_axis(list("abcdefg"), axis=1)).findings
    )


def test_names_are_not_guessed():
    assert list(judged().counts.index) == [f"class {i}" for i in range(1, 8)]
    assert not any("melanoma" in name for name in judged().numbers.index)
    assert set(judged().predictive["view"]) == set(judged().counts.index)
    named = judged(dataset="ham10000")
    assert list(named.counts.index) == NAMES and "alphabetical" in " ".join(named.notes)


def test_views_can_be_set():
    numbers = judge_matrix(SMALL, melanoma="bkl", malignant=["mel", "nv"]).numbers
    assert numbers.at["melanoma sensitivity", "value"] == pytest.approx(90 / 101)
    assert numbers.at["malignant sensitivity", "value"] == pytest.approx(97 / 103)


# -------------------------------------------------------------------------------------------------- how it is pasted


def crosstab(frame, margins):
    cases = frame.stack().repeat(frame.stack().to_numpy()).index.to_frame(index=False)
    cases.columns = ["true", "predicted"]
    return str(pd.crosstab(cases["true"], cases["predicted"], margins=margins))


WRITTEN = {
    "csv": SMALL.to_csv(),
    "csv with blanks": SMALL.to_csv().replace(",", " , "),
    "tabs": SMALL.to_csv(sep="\t"),
    "semicolons": SMALL.to_csv(sep=";"),
    "pandas": SMALL.to_string(),
    "header only": SMALL.to_csv(index=False),
    "row names only": SMALL.to_csv(header=False),
    "blanks and title": "Confusion matrix, without normalization\n\n  mel nv bkl\n"
    + SMALL.to_string(header=False)
    + "\nend",
    "markdown": "| true | mel | nv | bkl |\n|---|:-:|---|---|\n"
    + "\n".join(f"| {name} | {' | '.join(map(str, row))} |" for name, row in SMALL.T.items()),
    "other column order": SMALL[["nv", "bkl", "mel"]].to_csv(),
    "crosstab": crosstab(SMALL, margins=False),
    "crosstab with totals": crosstab(SMALL, margins=True),
    "windows line ends and a byte order mark": SMALL.to_csv().replace("\n", "\r\n"),
}
UNNAMED = {
    "numpy": str(SMALL.to_numpy()),
    "numpy of floats": str(SMALL.to_numpy(float)),
    "repr": f"cm = {SMALL.to_numpy()!r}",
    "json": json.dumps(SMALL.to_numpy().tolist(), indent=1),
    "csv": SMALL.to_csv(index=False, header=False),
    "blanks": SMALL.to_string(index=False, header=False),
    "pandas": str(pd.DataFrame(SMALL.to_numpy())),
    "pandas csv": pd.DataFrame(SMALL.to_numpy()).to_csv(),
    "a list next to it": f"labels [0 1 2]\n{SMALL.to_numpy()}\nsupports: [60, 43, 101]",
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN.keys())
def test_a_matrix_with_names_is_read(written):
    read = read_matrix(written)
    assert sorted(read.index) == sorted(SMALL.index)
    pd.testing.assert_frame_equal(
        read.loc[SMALL.index, SMALL.columns], SMALL.astype(float), check_names=False, check_index_type=False
    )


@pytest.mark.parametrize("written", UNNAMED.values(), ids=UNNAMED.keys())
def test_a_matrix_without_names_is_read_and_can_be_named(written):
    assert read_matrix(written).to_numpy().tolist() == SMALL.to_numpy().tolist()
    named = judge_matrix(read_matrix(written), classes=list(SMALL.index)).counts
    assert named.index.tolist() == named.columns.tolist() == list(SMALL.index)


@given(matrices)
def test_what_numpy_prints_is_read(rows):
    assume(len(rows) == 2 or np.sum(rows[:-1], axis=0).tolist() != rows[-1])  # totals are refused
    assert read_matrix(f"text\n{np.array(rows)}\n").to_numpy().tolist() == rows


@given(st.text(alphabet=" \n\t,;|[]-+.0123456789ab\"'%e", max_size=200))
def test_any_text_is_read_or_refused(text):
    try:
        read = read_matrix(text)
    except InputError:
        return
    assert read.shape[0] == read.shape[1] and read.index.is_unique


def test_long_rubbish_is_refused_at_once():
    for text in ("[" * 300_000, "[[1]" + " " * 300_000 + "x", "1 " * 150_000, "[1]" * 100_000, "[[1]]" * 60_000):
        with pytest.raises(InputError):
            judge_matrix(read_matrix(text))


def test_shares_become_counts_by_supports():
    supports = SMALL.sum(axis=1)
    for scale, digits in ((1, 2), (100, 0)):
        shares = SMALL.div(supports, axis=0).mul(scale).round(digits)
        verdict = judge_matrix(shares, class_counts=supports.tolist())
        assert verdict.counts.sum(axis=1).tolist() == supports.tolist()
        assert (verdict.counts - SMALL).abs().to_numpy().max() <= 1
        assert "off by up to 1" in " ".join(verdict.notes)
    exact = judge_matrix(SMALL, class_counts=supports.tolist())
    assert exact.counts.equals(SMALL.rename_axis(index="true", columns="predicted").astype(np.int64))


# a matrix of 949 images, and what papers print of it
COUNTS = pd.DataFrame(
    [
        [19, 3, 3, 0, 1, 0, 0],
        [1, 26, 2, 0, 1, 0, 0],
        [2, 2, 54, 1, 6, 10, 0],
        [0, 0, 1, 14, 0, 1, 0],
        [1, 0, 6, 0, 24, 8, 0],
        [2, 5, 24, 1, 31, 687, 1],
        [0, 0, 0, 0, 0, 1, 10],
    ],
    NAMES,
    NAMES,
)
IMAGES = COUNTS.sum(axis=1).tolist()
PERCENT = {
    "row": COUNTS.div(COUNTS.sum(axis=1), axis=0) * 100,
    "column": COUNTS / COUNTS.sum() * 100,
    "matrix": COUNTS / COUNTS.to_numpy().sum() * 100,
}


def listed(numbers):
    return ",".join(f"{number:.0f}" for number in numbers)


@pytest.mark.parametrize("of", PERCENT)
def test_whole_numbers_that_may_be_percentages_are_asked_about(of):
    printed = PERCENT[of].round().astype(int)
    sums = printed.sum(axis=1) if of == "row" else printed.sum() if of == "column" else printed.to_numpy().sum()
    assert not np.all(sums == 100)  # rounding shows
    refused = lesion("-", text=printed.to_csv())
    assert refused.exit_code == 2 and not refused.stdout and "percentages" in refused.stderr
    counts = listed(printed.sum(axis=1))
    assert f"--class-counts {counts}" in refused.stderr  # the answer for counts
    taken = json.loads(lesion("-", "--class-counts", counts, "--json", text=printed.to_csv()).stdout)
    assert taken["counts"] == printed.to_numpy().tolist()


@pytest.mark.parametrize("digits", [0, 1, 2])
@pytest.mark.parametrize(("of", "scale"), [("row", 1), ("matrix", 1), ("row", 100), ("matrix", 100)])
def test_shares_of_rows_or_of_all_images_become_counts(of, scale, digits):
    shares = (PERCENT[of] / 100 * scale).round(digits + (2 if scale == 1 else 0))
    if digits or scale == 1:
        refused = lesion("-", text=shares.to_csv())
        assert refused.exit_code == 2 and "normalised" in refused.stderr and "--class-counts" in refused.stderr
    verdict = judge_matrix(shares, class_counts=IMAGES, resamples=2)
    assert verdict.counts.sum(axis=1).tolist() == IMAGES
    most = int(re.search(r"off by up to (\d+)", " ".join(verdict.notes))[1])
    assert (verdict.counts - COUNTS).abs().to_numpy().max() <= most <= (15, 3, 1)[digits]


def test_shares_of_columns_get_advice_that_works():
    shares = PERCENT["column"].round(1)
    for options in ([], ["--class-counts", listed(IMAGES)]):
        refused = lesion("-", *options, text=shares.to_csv())
        assert refused.exit_code == 2 and "column" in refused.stderr and "--rows predicted" in refused.stderr
    turned = PERCENT["row"].round(1).T.to_csv()  # true classes in the columns
    assert "--rows predicted" in lesion("-", text=turned).stderr
    done = lesion("-", "--rows", "predicted", "--class-counts", listed(IMAGES), "--json", text=turned)
    assert np.abs(np.array(json.loads(done.stdout)["counts"]) - COUNTS.to_numpy()).max() <= 1


def test_a_balanced_test_of_100_images_each_is_asked_about_and_then_judged():
    text = of_supports(np.full(7, 100)).to_csv()
    assert "percentages" in lesion("-", text=text).stderr
    done = lesion("-", "--class-counts", listed([100] * 7), text=text)
    assert done.exit_code == 0 and "Confusion matrix of 700 images" in done.stdout


@pytest.mark.parametrize(
    "counts",
    [
        [[103, 0, 0], [2, 98, 0], [0, 1, 99]],  # a percentage of 103, or a row that sums to 103 by rounding one number
        [[90, 8, 5], [2, 95, 3], [1, 1, 98]],  # a row of 103: three roundings cannot explain it
        [[80, 10, 10], [1, 9, 0], [0, 2, 18]],  # only one row of 100
        [[20, 4, 6], [3, 20, 4], [10, 1, 26]],  # 94 images
        [[200, 4, 6], [3, 20, 4], [10, 1, 26]],
    ],
)
def test_counts_that_cannot_be_percentages_are_not_asked_about(counts):
    assert judge_matrix(pd.DataFrame(counts), resamples=2).counts.to_numpy().tolist() == counts


def test_class_counts_that_do_not_fit_are_named_by_row():
    for matrix, wrong in ((PERCENT["row"].round(), "df"), (PERCENT["matrix"].round(1), "nv"), (COUNTS, "bkl")):
        images = [n + 400 * (name == wrong) for name, n in zip(NAMES, IMAGES, strict=True)]
        if wrong == "df":
            images[3] = 0
        with pytest.raises(InputError, match=f"--class-counts.*{wrong}: "):
            judge_matrix(matrix, class_counts=images)
    empty = PERCENT["matrix"].round(0).assign(df=0)
    empty.loc["df"] = 0  # as if all its cells were below 0.5%
    with pytest.raises(InputError, match="df: 0"):
        judge_matrix(empty, class_counts=IMAGES)


# ---------------------------------------------------------------------------------- which side is true, and other forms

# 50 melanomas, of which 40 are found; 250 nevi, of which 30 are called melanoma
SIDES = {
    "corner, rows true": (
        "| true / predicted | mel | nv |\n|---|---|---|\n| mel | 40 | 10 |\n| nv | 30 | 220 |",
        "true",
    ),
    "corner, rows predicted": ("predicted \\ actual,mel,nv\nmel,40,30\nnv,10,220", "predicted"),
    "arrows": ("Predicted → Actual ↓;mel;nv\nmel;40;10\nnv;30;220", "true"),
    "corner alone": ("| Prediction | mel | nv |\n|---|---|---|\n| mel | 40 | 30 |\n| nv | 10 | 220 |", "predicted"),
    "names of rows": (
        "| | mel | nv |\n|---|---|---|\n| Predicted mel | 40 | 30 |\n| Predicted nv | 10 | 220 |",
        "predicted",
    ),
    "names of columns": (
        "|  | Pred: mel | Pred: nv |\n|---|---|---|\n| **mel** | 40 | 10 |\n| **nv** | 30 | 220 |",
        "true",
    ),
    "caret": ("          Reference\nPrediction  mel  nv\n       mel   40  30\n       nv    10 220", "predicted"),
    "R table": ("     predicted\ntruth mel  nv\n  mel  40  10\n  nv   30 220", "true"),
    "crosstab": (
        "True       mel   nv  All\nPredicted\nmel         40   30   70\nnv          10  220  230\nAll 50 250 300",
        "predicted",
    ),
    "two cells above": ("Predicted class\tTrue class\n\tmel\tnv\nmel\t40\t30\nnv\t10\t220", "predicted"),
    "a sentence": ("Rows are the predicted classes, columns the true ones.\nmel nv\n40 30\n10 220", "predicted"),
    "report": (
        "mel nv\n40 30\n10 220\n\n precision recall f1-score support\nmel 0.57 0.80 0.67 50\nnv 0.96 0.88 0.92 250",
        "predicted",
    ),
    "Weka": (" a b <-- classified as\n 40 10 | a = mel\n 30 220 | b = nv", "true"),
    "LaTeX": (
        r"""\begin{tabular}{lrr}
\toprule & \multicolumn{2}{c}{Reference} \\ \midrule
Prediction & mel & nv \\
mel & \textbf{40} & 30 \\ nv & 10 & 220 \\ % counts
\end{tabular}""".replace(r"30 \\ nv", "30 \\\\\nnv"),
        "predicted",
    ),
    "HTML": (
        "<table><tr><th>true</th><th>mel</th><th>nv</th></tr><tr><th>mel</th><td>40</td><td>10</td></tr>"
        "<tr><th>nv</th><td>30</td><td>220</td></tr></table>",
        "true",
    ),
}


@pytest.mark.parametrize(("text", "rows"), SIDES.values(), ids=SIDES.keys())
def test_words_say_which_side_is_true(text, rows):
    reading = read(text)
    assert (reading.side.rows, reading.side.is_sure) == (rows, True)
    assert reading.matrix.loc[["mel", "nv"], ["mel", "nv"]].to_numpy().tolist() == [[40, 10], [30, 220]]
    printed = lesion("-", text=text).stdout
    assert f"Rows were read as {rows} classes" in printed and "other way" not in printed
    assert re.search(r"melanoma sensitivity +0\.80 ", printed)


def test_without_words_both_readings_are_shown_and_an_option_decides():
    text = "mel nv\n40 10\n30 220"
    printed = lesion("-", text=text).stdout
    assert re.search(r"melanoma sensitivity +0\.80 ", printed) and "--rows predicted" in printed
    assert re.search(r"other way.*melanoma sensitivity 0\.571", printed)
    other = json.loads(lesion("-", "--rows", "predicted", "--json", text=text).stdout)
    sensitivity = next(row for row in other["numbers"] if row["metric"] == "melanoma sensitivity")
    assert sensitivity["value"] == pytest.approx(40 / 70) and not any("other way" in note for note in other["notes"])
    assert "other way" not in lesion("-", text="mel nv\n40 10\n10 220").stdout
    assert lesion("-", "--rows", "up", text=text).exit_code == 2


def test_words_that_contradict_each_other_are_refused_unless_an_option_decides():
    text = "Rows are the true classes.\n| predicted / actual | mel | nv |\n|---|---|---|\n"
    text += "| mel | 40 | 30 |\n| nv | 10 | 220 |"
    refused = lesion("-", text=text)
    assert refused.exit_code == 2 and "contradict" in refused.stderr and "--rows" in refused.stderr
    assert read(text, "predicted").matrix.to_numpy().tolist() == [[40, 10], [30, 220]]


@pytest.mark.parametrize(
    "text",
    [
        "| | mel | nv |\n|---|---|---|\n| mel | 1,040 (80.0%) | 260 (20%) |\n| nv | 30 | 2,220 |",
        "|  | mel | nv |\n|---|---|---|\n| mel | TP = 1040 | FN: 260 |\n| nv | 30 FP | 2220 (TN) |",
        "| | mel | nv | recall |\n|---|---|---|---|\n| mel | 1040 | 260 | 0.80 |\n| nv | 30 | 2220 | 0.99 |",
        '{"labels": ["mel", "nv"], "matrix": [[1040, 260], [30, 2220]]}',
        "Counts of 3,550 pictures\n\n| | Melanoma (MEL) | nevi |\n|-|-|-|\n|melanoma | 1040 | 260|\n|NV | 30 | 2220|",
    ],
)
def test_cells_and_names_as_papers_write_them(text):
    reading = read(text)
    assert reading.matrix.to_numpy().tolist() == [[1040, 260], [30, 2220]]
    assert judge_matrix(reading.matrix).numbers.at["melanoma sensitivity", "value"] == pytest.approx(0.8)


def test_a_matrix_without_names_takes_those_of_the_report_beside_it():
    report = "  precision recall f1-score support\n nv 0.96 0.88 0.92 250\n mel 0.57 0.80 0.67 50\n accuracy 0.87 300"
    assert read(f"[[220 30]\n [10 40]]\n\n{report}").matrix.index.tolist() == ["nv", "mel"]
    refused = lesion("-", text=report)
    assert refused.exit_code == 2 and "40 of 50" in refused.stderr and "0.87" in refused.stderr


def test_class_counts_that_fit_another_order_of_names_are_not_named():
    order = ["akiec", "bcc", "bkl", "df", "nv", "mel", "vasc"]
    counts = of_supports(counts_like(HAM)).loc[order, order].to_numpy()
    refused = lesion("-", "--dataset", "ham10000", text=str(counts))
    assert refused.exit_code == 2 and ",".join(order) in refused.stderr
    named = lesion("-", "--dataset", "ham10000", "--classes", ",".join(order), text=str(counts))
    assert named.exit_code == 0, named.output


def test_full_names_are_those_of_the_dataset_and_unknown_classes_are_named():
    full = dict(
        zip(
            NAMES,
            [
                "Actinic keratoses",
                "Basal cell carcinoma",
                "Benign keratosis-like lesions",
                "Dermatofibroma",
                "Melanoma",
                "Melanocytic nevi",
                "Vascular lesions",
            ],
            strict=True,
        )
    )
    table = of_supports(counts_like(HAM)).rename(index=full, columns=full)
    result = json.loads(lesion("-", "--dataset", "ham10000", "--json", text=table.to_csv()).stdout)
    assert result["classes"] == NAMES
    printed = lesion("-", text="mel spitz nv\n40 5 5\n3 20 7\n1 2 200").stdout
    assert re.search(r"not known to be malignant or benign.*spitz", printed)
    assert "not known to be" not in lesion("-", text="mel bkl nv\n40 5 5\n3 20 7\n1 2 200").stdout


# file: (options, exit code, metrics and classes with their numbers, words)
HANDED = {
    "a1_rows_predicted_corner": ([], 0, {"melanoma sensitivity": 0.8, "melanoma specificity": 0.88}, []),
    "a2_rows_predicted_names": ([], 0, {"malignant sensitivity": 0.8}, []),
    "a3_caret_reference": ([], 0, {"melanoma sensitivity": 0.8, "melanoma specificity": 0.88}, []),
    "a5_paper_columns_true": ([], 0, {"melanoma sensitivity": 0.8}, []),
    "b1_unnamed_other_order": (["--dataset", "ham10000"], 2, {}, ["akiec,bcc,bkl,df,nv,mel,vasc"]),
    "c1_bold_two_classes": ([], 0, {"malignant sensitivity": 0.8, "malignant specificity": 0.88}, []),
    "d1_caption_number": ([], 0, {"melanoma sensitivity": 0.8, "accuracy": 260 / 300}, []),
    "e1_cells_with_tn_fp": ([], 0, {"malignant sensitivity": 0.8, "malignant specificity": 0.88}, []),
    "e2_cells_with_percent": ([], 0, {"malignant sensitivity": 0.8, "malignant specificity": 0.88}, []),
    "e4_percent_cells_then_metrics": ([], 2, {}, ["--class-counts"]),
    "f1_frame_then_report": ([], 0, {"accuracy": 293 / 353, "melanoma sensitivity": 40 / 55}, []),
    "g1_crosstab_with_totals": ([], 0, {"accuracy": 260 / 300, "1": 0.8}, []),
    "g2_crosstab_without_totals": ([], 0, {"accuracy": 260 / 300, "1": 0.8}, []),
    "h1_recall_column": ([], 0, {"mel": 40 / 52, "nv": 220 / 256, "bkl": 33 / 45}, []),
    "i1_weka": ([], 0, {"melanoma": 40 / 52, "nevus": 220 / 254, "keratosis": 33 / 45}, []),
    "j1_latex": ([], 0, {"mel": 40 / 52, "nv": 220 / 256, "bkl": 33 / 45}, []),
    "k1_report_alone": ([], 2, {}, ["classification report", "0.83", "40 of 55"]),
    "n2_dataset_full_names": (["--dataset", "ham10000"], 0, {"melanoma sensitivity": 50 / 111}, []),
    "n3_one_name_with_code": ([], 0, {"malignant sensitivity": 80 / 97, "malignant specificity": 220 / 256}, []),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", HANDED)
def test_a_handed_case_has_its_right_answer(name):
    options, code, known, words = HANDED[name]
    file = SHARED / "cases" / f"{name}.txt"
    if not file.is_file():
        pytest.skip("no ../shared/cases")
    done = lesion(file, "--json", *options)
    assert (done.exit_code == 2) == (code == 2), done.output
    assert all(word in done.output for word in words)
    if code != 2:
        result = json.loads(done.stdout)
        found = {row["metric"]: row["value"] for row in result["numbers"]}
        found |= {str(row["class"]): row["recall"] for row in result["by_class"]}
        assert {of: found[of] for of in known} == pytest.approx(known)


# ------------------------------------------------------------------------------------------------- what is no matrix


BAD = {
    "": "empty",
    "  \n ": "empty",
    "no numbers here": "no row of numbers",
    "[[1 2]\n [3]]": "line 2 has 1 numbers, line 1 has 2",
    "a,1,2\nb,3\nc,4,5\n": "not square",
    "1 2\n3 4\n5 6": "3 x 2",
    "1 2 3\n4 5 6": "2 x 3",
    "[[1 2]\n [3 4]]\n\n[[5 6]\n [7 8]]": "more than one matrix in the text, at lines 1 and 4",
    "a 1 2\nb 3 4\nthen\na 5 6\nb 7 8": "more than one matrix in the text, at lines 1 and 4",
    "[[1 2 ... 3]\n [4 5 ... 6]]": "shortened",
    "[[1 x]\n [2 3]]": "'x' is not a number",
    "a 1 2 3\nb 4 oops 6\nc 7 8 9": "line 2: 'oops' is not a number",
    "5 1 6\n3 4 7\n8 5 13": "sums",
    "a b Total\n5 1 7\n3 4 7": "says 7 at place 1, but the cells before it sum to 6",
    "a b\nc 1 2\nd 3 4": "c, d; and a, b",
    "a 1 2\na 3 4": "duplicate",
    "5 -1\n3 4": "negative",
    "5 nan\n3 4": "finite",
    "5 inf\n3 4": "finite",
    "5 1.5\n3 4": "row class 1, column class 2",
    "0 0\n0 0": "zeros",
    "5 3\n0 0": "one class, class 1",
    "[[]] -1": "no row of numbers",
    "[[5]]": "one class, class 1",
    "1 0\n0 1": "counts or shares",
    "0.9 0.1\n0.2 0.8": "normalised",
    "0.97 0.33\n0.03 0.67": "normalised",
    "45.5 4.5\n10.2 39.8": "normalised",
    "90.5 9.5\n20.0 80.0": "normalised",
    "1e300 1\n1 1": "at most 1,000,000,000",
    str(np.eye(51, dtype=int).tolist()): "up to 50",
}


@pytest.mark.parametrize(("text", "said"), BAD.items(), ids=BAD.values())
def test_what_is_no_matrix_of_counts_is_refused(text, said):
    with pytest.raises(InputError, match=None) as refused:
        judged(text)
    assert said in str(refused.value)
    done = lesion("-", text=text)
    assert done.exit_code == 2 and done.stderr.startswith("error: ") and not done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--classes", "a,b"], "2 different names for a matrix of 3 classes"),
        (["--classes", "a,a,b"], "2 different names"),
        (["--classes", "nv,mel,bkl"], "Fix: leave out --classes"),
        (["--class-counts", "60,43"], "expected 3 whole numbers"),
        (["--class-counts", "60,43,x"], "whole numbers"),
        (["--class-counts", "60,43,inf"], "expected 3 whole numbers"),
        (["--class-counts", "60,43,99"], "bkl: 101, expected 99"),
        (["--supports", "60,43,101"], "Fix: --class-counts 60,43,101"),
        (["--dataset", "ham10000"], "Fix: name them with --classes"),
        (["--dataset", "isic"], "dataset 'isic'"),
        (["--melanoma", "scc"], "no class scc"),
        (["--malignant", "mel,scc"], "no class scc"),
        (["--prevalence", "0"], "between 0 and 1"),
        (["--prevalence", "5"], "between 0 and 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, said):
    done = lesion("-", *options, text=SMALL.to_csv())
    assert done.exit_code == 2 and said in done.stderr


# ------------------------------------------------------------------------------------------------------- the command


def test_a_clean_matrix_exits_0_and_a_finding_1():
    clean = lesion("-", text=SMALL.to_csv())
    assert clean.exit_code == 0 and "Nothing was found" in clean.stdout
    done = lesion("-", text="mel nv\n3 4\n20 430")
    assert done.exit_code == 1 and re.search(r"FOUND: .*10 images \(mel: 7\)", done.stdout)


def test_json_holds_what_the_text_says(tmp_path):
    path = tmp_path / "matrix.txt"
    path.write_text(PUBLISHED)
    done = lesion(path, "--dataset", "ham10000", "--prevalence", "0.01", "--prevalence", "0.1", "--json")
    assert done.exit_code == 1
    result = json.loads(done.stdout)
    assert result["n"] == 938 and result["classes"] == NAMES and len(result["findings"]) == 2
    numbers = {row["metric"]: row for row in result["numbers"]}
    assert numbers["balanced accuracy"]["value"] == pytest.approx(0.62146, abs=1e-5)
    assert numbers["majority baseline accuracy"]["low"] is None
    assert {0.01, 0.1} < {row["prevalence"] for row in result["predictive"]}
    assert "by image" in result["interval"]


def test_what_is_shown_is_not_called_not_estimable_and_narrow_intervals_have_a_digit_more():
    printed = lesion("-", "--dataset", "ham10000", "--prevalence", "0.01", text=PUBLISHED).stdout
    assert re.search(r"0\.33 \(0\.10-0\.70\) .*too few: n < 10", printed) and "not estimable" not in printed
    assert re.search(r"balanced accuracy .*rests on few images \(df, n = 6\)", printed)
    assert re.search(r"0\.99\d \(0\.99\d-0\.99\d\)", printed) and "(0.99 to 1.00)" not in printed


def test_balanced_accuracy_without_small_classes_has_no_note():
    assert judge_matrix(SMALL, resamples=50).numbers.at["balanced accuracy", "note"] == ""


def test_the_text_says_that_intervals_are_by_image():
    assert "too narrow" in lesion("-", text=SMALL.to_csv()).stdout.lower()


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2_000_000_000)  # takes no room on the disk
    for name, said in (("missing", "cannot be read"), ("", "cannot be read"), ("binary", "UTF-8"), ("huge", "1 MB")):
        done = lesion(tmp_path / name)
        assert done.exit_code == 2 and said in done.stderr, name
    assert "1 MB" in lesion("-", text="1 2\n3 4\n" + " " * 1_000_000).stderr


def test_names_cannot_command_the_terminal():
    done = lesion("-", text="a\x1b[31m,b\u202e\n50,4\n3,40\n")
    assert done.exit_code == 0 and "\x1b" not in done.output and "\u202e" not in done.output
    refused = lesion("-", text="a\x1b[31m,a\x1b[31m\n50,4\n3,40\n")
    assert refused.exit_code == 2 and "\x1b" not in refused.output


@pytest.mark.parametrize(
    "text",
    [
        "y_pred \\ y_true,mel,nv\nmel,40,30\nnv,10,220",
        "| Vorhergesagt \\ Tatsächlich | mel | nv |\n|-|-|-|\n| mel | 40 | 30 |\n| nv | 10 | 220 |",
        "Zeilen: Vorhersage, Spalten: Wahrheit\n,mel,nv\nmel,40,30\nnv,10,220",
        "Output class in rows, target class in columns\n,mel,nv\nmel,40,30\nnv,10,220",
        ",mel (true),nv (true)\nmel (pred),40,30\nnv (pred),10,220",
    ],
)
def test_words_of_other_programs_and_languages_say_which_side_is_true(text):
    reading = read(text)
    assert reading.side.rows == "predicted" and reading.side.is_sure
    assert reading.matrix.loc["mel"].tolist() == [40, 10]
