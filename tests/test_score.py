"""The command for somebody's prediction table: known truth, the page, and every way a table can be wrong."""

import json
import re
import xml.etree.ElementTree as ElementTree
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from conftest import SHARED
from prediction_tables import CLASSES_P, named_only, table_of
from typer.testing import CliRunner

from lesion_utils.checks import predictions as score_table
from lesion_utils.checks.predictions import read_metadata, read_predictions
from lesion_utils.checks.score import as_dict, estimate_cells, score
from lesion_utils.cli import app
from lesion_utils.datasets import ham10000
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, judge
from lesion_utils.evaluation.operating import choose, judge_at
from lesion_utils.paths import PROJECT

TABLE = table_of([20, 12, 25, 60], views=2)
VALIDATION = table_of([20, 12, 25, 60], views=2, seed=1).assign(
    image_id=lambda table: "val" + table["image_id"], lesion_id=lambda table: "val" + table["lesion_id"]
)
HTML_CELL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def described(table):
    """``table`` with age, sex and site, the same for all images of a lesion."""
    lesion = pd.factorize(table["lesion_id"])[0]
    return table.assign(age=(lesion * 7) % 90, sex=np.where(lesion % 2, "male", "female"), localization="back")


@pytest.fixture
def written(tmp_path):
    def write(table, name="predictions.csv"):
        table.to_csv(tmp_path / name, index=False)
        return tmp_path / name

    return write


def lesion(*words):
    return CliRunner().invoke(app, ["score", "--resamples", "100", *map(str, words)])


def read(written, table, **options):
    return read_predictions(written(table), **options)


# --------------------------------------------------------------------------- columns as notebooks and papers name them


def test_usual_names_of_columns_are_recognised_and_reported(written):
    table = TABLE.rename(columns={"image_id": "filename", "label": "y_true"} | {p: f"prob{p[1:]}" for p in CLASSES_P})
    found = read(written, table)
    assert found.frame[CLASSES_P].equals(read(written, TABLE, names={}).frame[CLASSES_P])
    assert any("y_true as label" in note and "prob_mel as p_mel" in note for note in found.notes)
    assert not any("as label" in note for note in read(written, TABLE).notes)
    by_class = read(written, TABLE.rename(columns={p: p[2:].upper() for p in CLASSES_P}))
    assert score(by_class, resamples=100).numbers.at["accuracy", "value"] == pytest.approx(
        score(read(written, TABLE), resamples=100).numbers.at["accuracy", "value"]
    )


def test_names_that_are_not_usual_or_not_clear_are_asked_for(written):
    odd = TABLE.rename(columns={"label": "expert", "image_id": "picture"})
    refused = lesion(written(odd))
    assert refused.exit_code == 2 and "--image-id" in refused.stderr
    assert lesion(written(odd), "--image-id", "picture", "--label", "expert").exit_code == 0
    two = TABLE.assign(y_true=TABLE["label"], dx=TABLE["label"]).drop(columns="label")
    refused = lesion(written(two))
    assert refused.exit_code == 2 and "y_true" in refused.stderr and "--label" in refused.stderr
    assert lesion(written(TABLE), "--label", "nothing").exit_code == 2


def test_classes_that_differ_in_case_only_are_the_same_unless_both_exist(written):
    upper = read(written, TABLE.assign(label=TABLE["label"].str.upper()))
    assert upper.frame["label"].equals(read(written, TABLE).frame["label"])
    assert any("differ in case only" in note and "MEL" in note for note in upper.notes)
    both = pd.DataFrame({"image_id": list("abcd"), "label": ["nv", "NV"] * 2, "predicted": ["nv", "NV"] * 2})
    assert set(read(written, both).frame["label"]) == {"nv", "NV"}


@pytest.mark.parametrize("digits", [2, 3])
def test_rounded_probabilities_need_not_sum_to_one_but_missing_ones_are_refused(written, digits):
    rounded = TABLE.assign(**TABLE[CLASSES_P].round(digits))
    assert (rounded[CLASSES_P].sum(axis=1) - 1).abs().max() >= 0.5 * 10**-digits
    read(written, rounded)
    with pytest.raises(InputError, match="do not sum to 1"):
        read(written, rounded.assign(p_mel=(rounded["p_mel"] + 0.05 * (TABLE.index == 3)).round(digits)))


def test_a_submission_is_joined_with_its_truth(written, tmp_path):
    submission = written(TABLE.drop(columns=["label", "lesion_id"]).rename(columns={"image_id": "image"}))
    refused = lesion(submission)
    assert refused.exit_code == 2 and "--truth" in refused.stderr
    one_hot = pd.get_dummies(TABLE["label"]).astype(float).assign(image=TABLE["image_id"] + ".jpg")
    named = TABLE[["image_id", "label"]].sample(frac=1, random_state=0)
    for truth in (one_hot, named):
        found = json.loads(lesion(submission, "--truth", written(truth, "truth.csv"), "--json").stdout)
        accuracy = next(row["value"] for row in found["numbers"] if row["metric"] == "accuracy")
        assert accuracy == pytest.approx(
            score(read(written, TABLE, names={}), resamples=100).numbers.at["accuracy", "value"]
        )
        submission = written(TABLE.drop(columns=["label", "lesion_id"]).rename(columns={"image_id": "image"}))
    refused = lesion(submission, "--truth", written(named[5:], "truth.csv"))
    assert refused.exit_code == 2 and "5 image(s)" in refused.stderr
    two_ones = one_hot.assign(mel=1.0)
    assert lesion(submission, "--truth", written(two_ones, "truth.csv")).exit_code == 2


@pytest.mark.slow
@pytest.mark.parametrize("known_as", ["{}", "{}.png", "{}.PNG", "new5/{}.png", "/data/new5/{}.jpg"])
def test_ids_that_are_paths_find_their_truth_and_their_lesion(written, known_as):
    submission = TABLE.drop(columns=["label", "lesion_id"]).assign(image_id="../new5/" + TABLE["image_id"] + ".png")
    truth = TABLE[["image_id", "label"]].assign(image_id=TABLE["image_id"].map(known_as.format))
    cases = described(TABLE[["image_id", "lesion_id"]]).assign(image_id=truth["image_id"])
    words = ["--truth", written(truth, "truth.csv"), "--metadata", written(cases, "cases.csv"), "--json"]
    found, plain = (
        json.loads(done.stdout)
        for done in (lesion(written(submission), *words), lesion(written(described(TABLE), "plain.csv"), "--json"))
    )
    assert found["numbers"] == plain["numbers"] and found["subgroups"] == plain["subgroups"]
    assert found["lesions"] == TABLE["lesion_id"].nunique()


@pytest.mark.parametrize("known_as", ["other/{}.png", "my_new5/{}.png", "x{}"])
def test_ids_of_other_folders_or_names_are_other_images(written, known_as):
    submission = TABLE.drop(columns=["label", "lesion_id"]).assign(image_id="../new5/" + TABLE["image_id"] + ".png")
    truth = TABLE[["image_id", "label"]].assign(image_id=TABLE["image_id"].map(known_as.format))
    refused = lesion(written(submission), "--truth", written(truth, "truth.csv"))
    assert refused.exit_code == 2 and "../new5/" in refused.stderr and truth["image_id"].iloc[0] in refused.stderr


def test_an_id_that_fits_two_images_finds_none(written):
    submission = TABLE.drop(columns=["label", "lesion_id"])
    truth = TABLE[["image_id", "label"]]
    for names in (("{}.png", "{}.jpg"), ("a/{}.png", "b/{}.png")):
        twice = pd.concat([truth.assign(image_id=truth["image_id"].map(name.format)) for name in names])
        refused = lesion(written(submission), "--truth", written(twice, "truth.csv"))
        assert refused.exit_code == 2 and f"{len(TABLE)} image(s)" in refused.stderr


HANDED = {
    "s1_three_decimals": ("accuracy", 0.783),
    "s2_spelling_differs": ("accuracy", 0.783),
    "s3_notebook_columns": ("accuracy", 0.783),
    "s6_two_classes_brier": ("Brier score", 0.129),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", [*HANDED, "s5_submission"])
def test_a_handed_table_has_its_right_answer(name):
    if not (file := SHARED / "cases" / f"{name}.csv").is_file():
        pytest.skip("no ../shared/cases")
    done = lesion(file, "--json")
    if name not in HANDED:
        assert done.exit_code == 2 and "--truth" in done.stderr
        return
    metric, value = HANDED[name]
    rows = {row["metric"]: row["value"] for row in json.loads(done.stdout)["numbers"]}
    assert rows[metric] == pytest.approx(value, abs=0.0005)


# ------------------------------------------------------------------------------------------------------- known truth


def test_the_numbers_are_the_judges(written):
    found = score(read(written, TABLE), read_predictions(written(VALIDATION, "v.csv")), resamples=200)
    point = choose(PredictionTable(VALIDATION), specificity=0.9)
    pd.testing.assert_frame_equal(found.numbers, judge(PredictionTable(TABLE, 200)))
    pd.testing.assert_frame_equal(found.at_point, judge_at(point, PredictionTable(TABLE, 200), 0.05))
    assert found.point.threshold == point.threshold and found.caution == ""
    missed = TABLE[(TABLE["label"] == "mel") & (TABLE["p_mel"] < point.threshold)]
    assert found.missed["image_id"].tolist() == missed["image_id"].tolist()
    assert found.findings == [] and found.by_lesion


def test_without_validation_the_operating_point_is_optimistic(written):
    found = score(read(written, TABLE), resamples=100)
    assert "optimistic" in found.caution
    assert set(found.at_point["caution"]) == {found.caution}
    assert "optimistic" in lesion(written(TABLE)).stdout.lower()


def test_without_lesions_images_are_counted_and_that_is_said(written):
    predictions = read(written, TABLE.drop(columns="lesion_id"))
    assert not predictions.by_lesion and "too narrow" in predictions.notes[0]
    found = score(predictions, resamples=100)
    assert found.table.lesions == len(found.table) == len(TABLE)
    assert as_dict(found)["resampled by"] == "image"
    assert "bootstrapped by image" in lesion(written(TABLE.drop(columns="lesion_id"))).stdout


@pytest.mark.parametrize("lesions", [None, TABLE["image_id"], [f"case {k}" for k in range(len(TABLE))]])
def test_lesions_that_are_not_known_are_not_counted(written, lesions):
    table = TABLE.drop(columns="lesion_id") if lesions is None else TABLE.assign(lesion_id=lesions)
    page = written(table).with_name("page.html")
    done = lesion(written(table), "--html", page)
    assert done.exit_code == 0 and "bootstrapped by image" in done.stdout and "too narrow" in done.stdout
    assert ("each image has its own lesion_id" in done.stdout) == (lesions is not None)
    assert not re.search(r"images, [\d,]+ lesions|images \(lesions\)|\d \(\d+\)|by lesion", done.stdout)
    text = re.sub(r"\s+", " ", Page(page.read_text(encoding="utf-8")).text)
    assert not re.search(r"images, [\d,]+ lesions|images \(lesions\)|\d \(\d+\)|by lesion", text)
    answer = text[text.index("The answer") : text.index("At the operating point")]
    assert "too narrow" in answer and "CIs by image" in text
    assert as_dict(score(read(written, table), resamples=100))["lesions"] is None


def test_known_lesions_are_counted(written):
    done = lesion(written(TABLE), "--html", written(TABLE).with_name("page.html"))
    assert "234 images, 117 lesions" in done.stdout and "images (lesions)" in done.stdout
    page = Page(written(TABLE).with_name("page.html").read_text(encoding="utf-8")).text
    assert "too narrow" not in page + done.stdout and "images (lesions)" in page and "CIs by lesion" in page


def test_lesions_are_looked_at_after_metadata_has_named_them(written):
    cases = read_metadata(written(TABLE[["image_id"]].assign(lesion_id=TABLE["image_id"]), "cases.csv"))
    assert not read(written, TABLE.drop(columns="lesion_id"), cases=cases).by_lesion


def test_what_is_missed_is_said_with_its_denominator_also_where_nothing_is(written):
    found = score(read(written, TABLE), resamples=100)
    never = found.missed.loc[found.missed["lesion_missed"], "lesion_id"].nunique()
    assert len(found.missed) > 0
    counts = f"{len(found.missed)} of 50 melanoma images are missed; {never} of 25 lesions"
    said = lesion(written(TABLE)).stdout
    assert counts in said and found.missed["image_id"].iloc[0] in said
    sure = TABLE.copy()
    sure[CLASSES_P] = np.eye(4)[pd.Categorical(TABLE["label"], categories=["bkl", "df", "mel", "nv"]).codes]
    done = lesion(written(sure))
    assert "0 of 50 melanoma images are missed; 0 of 25 lesions" in done.stdout
    assert "Nothing was found" in done.stdout


def test_the_specificity_of_a_rare_view_is_not_marked_as_few(written):
    numbers = score(read(written, table_of([20, 12, 15, 60], views=1)), resamples=100).numbers
    cells = {name: estimate_cells(row, True)[0] for name, row in numbers.iterrows()}
    assert "few" in cells["melanoma sensitivity"] and "few" not in cells["melanoma specificity"]
    assert "few" in cells["melanoma specificity at sensitivity 0.9"]  # its threshold hangs on the few
    small = numbers.loc["melanoma specificity"].copy()
    small["n"] = 19
    assert "few" in estimate_cells(small, True)[0]


def test_lesions_and_groups_can_come_from_metadata(written):
    cases = read_metadata(written(described(TABLE).rename(columns={"sex": "sex "}), "cases.csv"))
    predictions = read(written, TABLE.drop(columns="lesion_id"), cases=cases)
    assert predictions.by_lesion
    assert predictions.frame["lesion_id"].tolist() == TABLE["lesion_id"].tolist()
    groups = score(predictions, cases=cases, resamples=100).groups
    assert {"sex", "age", "site"} == set(groups["variable"])
    alone = score(read(written, described(TABLE)), resamples=100).groups
    pd.testing.assert_frame_equal(groups, alone)


def test_metadata_of_other_images_is_refused_and_contradicting_lesions_too(written):
    cases = written(described(TABLE).iloc[:50].drop(columns="lesion_id"), "cases.csv")
    done = lesion(written(TABLE), "--metadata", cases)
    assert done.exit_code == 2 and "184 of 234" in done.stderr
    half = written(TABLE.iloc[:50], "half.csv")
    done = lesion(written(TABLE.drop(columns="lesion_id")), "--metadata", half)
    assert done.exit_code == 2 and "no lesion_id in 184 row(s): row 52" in done.stderr
    other = written(TABLE.assign(lesion_id=["x", *TABLE["lesion_id"][1:]]), "other.csv")
    done = lesion(written(TABLE), "--metadata", other)
    assert done.exit_code == 2 and "les00000 and x" in done.stderr


def test_predicted_classes_are_enough(written):
    found = score(read(written, named_only(TABLE)), resamples=100)
    whole = judge(PredictionTable(TABLE, 100))
    for name in ("accuracy", "balanced accuracy", "melanoma sensitivity"):
        pd.testing.assert_series_equal(
            found.numbers.loc[name, ["value", "low", "high"]], whole.loc[name, ["value", "low", "high"]]
        )
    assert found.at_point.at["sensitivity", "value"] == whole.at["melanoma sensitivity", "value"]
    assert found.calibration.empty and not found.reliability
    done = lesion(written(named_only(TABLE)))
    assert done.exit_code == 0 and "without probabilities" in done.stdout


def test_classes_of_other_names_are_named_by_the_reader(written):
    other = TABLE.rename(columns={"p_mel": "p_c3"}).replace({"label": {"mel": "c3"}})
    unknown = score(read(written, other), resamples=100)
    assert unknown.view == "" and unknown.point is None and "--melanoma" in unknown.notes[-1]
    assert lesion(written(other)).exit_code == 0
    named = score(read(written, other), melanoma="c3", malignant=["c3", "bkl"], resamples=100)
    known = score(read(written, TABLE), resamples=100)
    assert named.point.threshold == known.point.threshold
    assert named.numbers.at["malignant sensitivity", "n"] == 90
    for options in (["--melanoma", "scc"], ["--malignant", "bkl,df,c3,nv"]):
        done = lesion(written(other), *options)
        assert done.exit_code == 2 and ("no class scc" in done.stderr or "not all" in done.stderr)


# ------------------------------------------------------------------------------------------------------------ findings


def exits_1(said, *words):
    done = lesion(*words)
    assert done.exit_code == 1 and f"FOUND: {said}" in done.stdout.replace("\n", " "), done.output


def test_a_guess_is_not_better_than_the_majority_and_its_auc_not_than_a_half(written):
    rng = np.random.default_rng(0)
    guess = TABLE.copy()
    guess[CLASSES_P] = rng.permutation(TABLE[CLASSES_P].to_numpy())
    found = " ".join(score(read(written, guess), resamples=100).findings)
    assert "0.513" in found and "largest class" in found and "melanoma AUC" in found
    exits_1("accuracy", written(guess))


def test_every_number_of_a_leaky_table_says_so(written, tmp_path):
    leaky = written(described(TABLE).assign(leaky=True))
    done = lesion(leaky, "--html", tmp_path / "page.html")
    assert done.exit_code == 1 and "FOUND: leaky" in done.stdout
    page = (tmp_path / "page.html").read_text()
    assert "Leaky: the model has seen" in page and page.count("leaky: expected calibration error") == 2
    cells = re.findall(r'<td class="value">([^<]*)', page) + re.findall(r"<small>(\d[^<]*-[^<]*)", page)
    numbers = [line for line in done.stdout.splitlines() if re.search(r"\d \(\d", line) and "images, " not in line]
    for shown in (cells, numbers):
        assert len(shown) > 30
        assert not [one for one in shown if "leaky" not in one and "not estimable" not in one]


def test_validation_that_shares_lesions_or_images(written):
    shares = VALIDATION.assign(lesion_id=[*TABLE["lesion_id"][:4], *VALIDATION["lesion_id"][4:]])
    exits_1("validation shares", written(TABLE), "--validation", written(shares, "shares.csv"))
    without = TABLE.drop(columns="lesion_id")
    exits_1("validation shares", written(without), "--validation", written(without, "same.csv"))


def test_a_lesion_under_two_labels(written):
    table = TABLE.copy()
    table.loc[0, "label"] = "nv"
    exits_1("1 lesion(s) have images under more than one label: les00000", written(table))


def test_too_good_to_be_true_on_ham10000s_classes(written):
    table = table_of([12] * 7, views=1, classes=list(ham10000.CLASSES))
    sure = np.eye(7)[np.repeat(np.arange(7), 12)] * 0.93 + 0.01
    table[table.filter(like="p_").columns] = sure
    exits_1("balanced accuracy 1 on", written(table))
    other = table.rename(columns={"p_vasc": "p_scc"}).replace({"label": {"vasc": "scc"}})
    assert score(read(written, other), resamples=100).findings == []


# ------------------------------------------------------------------------------------------------------------ the page


class Page(HTMLParser):
    """Tags and texts of a page; every tag that needs an end has one."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page_of(written, table, *options):
    path = written(table).with_name("page.html")
    done = lesion(written(table), "--html", path, *options)
    assert done.exit_code in (0, 1), done.output
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_answers_first_and_needs_nothing_from_outside(written):
    page = page_of(written, described(TABLE), "--validation", written(VALIDATION, "v.csv"), "--prevalence", "0.02")
    found = score(read(written, TABLE), read_predictions(written(VALIDATION, "v.csv")), resamples=100)
    row = found.at_point.loc["sensitivity"]
    answer = f"{100 * row['value']:.0f}% (95% CI {100 * row['low']:.0f}-{100 * row['high']:.0f}%)"
    text = re.sub(r"\s+", " ", page.text)
    order = [
        answer,
        "2 of 100 patients have melanoma",
        "Missed melanoma",
        "sex: female",
        "calibrated?",
        "never tested",
        "All numbers",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert found.missed["image_id"].iloc[0] in text
    assert text.count("Not a medical device") == 2 and "skin tone" in text
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "object", "form"}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert not re.match(r"https?:|//|file:", attributes.get("src") or attributes.get("href") or "")


def test_the_figure_is_inside_the_page_and_described_in_words(written):
    images = [attributes for tag, attributes in page_of(written, TABLE).tags if tag == "img"]
    assert len(images) == 1 and images[0]["alt"].startswith("Reliability diagram. melanoma, stated probability")
    kind, _, data = images[0]["src"].partition(";base64,")
    assert kind == "data:image/svg+xml" and ElementTree.fromstring(b64decode(data)).tag.endswith("svg")


def test_the_same_table_gives_the_same_page(written, tmp_path):
    for name in ("one.html", "two.html"):
        assert lesion(written(TABLE), "--html", tmp_path / name).exit_code == 0
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


@pytest.mark.parametrize(
    "table", [named_only(TABLE), TABLE.drop(columns="lesion_id"), table_of([9, 3, 5, 20], views=1)]
)
def test_pages_of_tables_that_lack_something(written, table):
    page = page_of(written, table)
    assert "The answer" in page.text and "nan" not in page.text.lower().replace("nand", "")


def test_a_class_that_is_too_rare_is_not_estimable(written):
    page = page_of(written, table_of([20, 12, 5, 60]))
    assert "Not estimable: no operating point for melanoma" in re.sub(r"\s+", " ", page.text)
    result = as_dict(score(read(written, table_of([20, 12, 5, 60])), resamples=100))
    assert result["threshold"] is None and result["at the operating point"][0]["value"] is None


def test_html_and_formulas_in_cells_do_no_harm(written):
    table = described(TABLE)
    table.loc[table.index[table["label"] == "mel"], "image_id"] = [
        f"{HTML_CELL}{number}" for number in range((table["label"] == "mel").sum())
    ]
    table["sex"] = table["sex"].replace({"male": "=HYPERLINK(1)\x1b[31m"})
    table = table.rename(columns={"p_df": "p_<b>df</b>"}).replace({"label": {"df": "<b>df</b>"}})
    page = page_of(written, table)
    assert not {"script", "b"} & {tag for tag, _ in page.tags}
    assert sum(tag == "img" for tag, _ in page.tags) == 1
    assert "<script>alert(1)</script>" in page.text and "=HYPERLINK(1)" in page.text and "<b>df</b>" in page.text
    assert "\x1b" not in lesion(written(table)).output
    refused = lesion(written(table.assign(label="\x1b[31mx")))
    assert refused.exit_code == 2 and "\x1b" not in refused.output


# ------------------------------------------------------------------------------------------------------------- refused


def spoilt(row, column, value):
    table = TABLE.astype(object)
    table.loc[row, column] = value
    return table


BAD = {
    "no image_id": (TABLE.drop(columns="image_id"), "missing column(s) image_id"),
    "no label": (TABLE.drop(columns="label"), "no true classes"),
    "no answer": (TABLE.filter(["image_id", "label"]), "neither probabilities (columns p_<class>) nor a column"),
    "one probability": (TABLE.drop(columns=["p_bkl", "p_df", "p_nv"]), "p_<class> for each of two or more classes"),
    "a class without a column": (TABLE.drop(columns="p_nv"), "label without a column p_<class> in 120 row(s): row 116"),
    "an unknown label": (spoilt(3, "label", "scc"), "label without a column p_<class> in 1 row(s): row 5 ('scc')"),
    "an empty label": (spoilt(3, "label", ""), "no label in 1 row(s): row 5"),
    "a NaN label": (spoilt(3, "label", "nan"), "no label in 1 row(s): row 5"),
    "an empty image_id": (spoilt(3, "image_id", " "), "no image_id in 1 row(s): row 5"),
    "an empty lesion_id": (spoilt(3, "lesion_id", ""), "no lesion_id in 1 row(s): row 5"),
    "a repeated image_id": (spoilt(3, "image_id", "img00000"), "in 2 row(s): row 2 ('img00000'), row 5 ('img00000')"),
    "repeated rows": (pd.concat([TABLE, TABLE.iloc[:1]]), "row 2 ('img00000'), row 236 ('img00000')"),
    "a NaN": (spoilt(3, "p_mel", "nan"), "probability in p_mel in 1 row(s): row 5 ('nan')"),
    "an empty probability": (spoilt(3, "p_mel", ""), "probability in p_mel in 1 row(s): row 5 ('')"),
    "infinity": (spoilt(3, "p_mel", "inf"), "probability in p_mel in 1 row(s): row 5 ('inf')"),
    "a negative probability": (spoilt(3, "p_mel", "-0.1"), "probability in p_mel in 1 row(s): row 5 ('-0.1')"),
    "words": (TABLE.assign(p_mel="high"), "probability in p_mel in 234 row(s): row 2 ('high')"),
    "decimal commas": (spoilt(3, "p_mel", "0,5"), "row 5 ('0,5')"),
    "a row that does not sum to one": (spoilt(3, "p_mel", "0.99"), "not sum to 1 (within 0.001) in 1 row(s): row 5"),
    "one class only": (TABLE[TABLE["label"] == "mel"], "every label is 'mel'"),
    "an empty prediction": (named_only(TABLE).assign(predicted=""), "no predicted class in 234 row(s): row 2"),
    "a label that is no class": (named_only(TABLE).assign(label=TABLE["p_mel"]), "classes. Expected up to 50"),
    "no row": (TABLE.iloc[:0], "no rows"),
    "an age of words": (described(TABLE).assign(age="old"), "age in years in 234 row(s)"),
}  # fmt: skip


@pytest.mark.parametrize(("table", "said"), BAD.values(), ids=BAD.keys())
def test_a_table_that_breaks_a_rule_is_refused_with_its_rows(written, table, said):
    done = lesion(written(table))
    assert done.exit_code == 2 and said in done.stderr, done.output
    assert done.stderr.startswith("error: ") and not done.stdout


def test_files_that_are_no_tables(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "nul").write_bytes(b"\0" * 1000)
    (tmp_path / "ragged").write_text("image_id,label\na,b,c,d\n")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2_000_000_000)  # takes no room on the disk
    said = {
        "": "a folder",
        "missing": "does not exist",
        "empty": "no rows",
        "binary": "",
        "nul": "",
        "ragged": "",
        "huge": "2,000 MB",
    }
    for name, words in said.items():
        done = lesion(tmp_path / name)
        assert done.exit_code == 2 and words in done.stderr and isinstance(done.exception, SystemExit), name


def test_more_images_than_memory_holds_are_refused(written, monkeypatch):
    monkeypatch.setattr("lesion_utils.checks.score.MOST_DRAWS", 100 * len(TABLE))
    assert lesion(written(TABLE)).exit_code == 0
    with pytest.raises(InputError, match=r"--resamples 100"):
        score(read(written, TABLE), resamples=101)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--prevalence", "1"], "between 0 and 1"),
        (["--specificity", "0"], "between 0 and 1"),
        (["--html", "."], "--html ."),
        (["--html", "nowhere/page.html"], "existing folder"),
        (["--validation", "missing.csv"], "does not exist"),
        (["--validation", "x" * 5000], "cannot be read (File name too long)"),
        (["--metadata", "missing.csv"], "does not exist"),
    ],
)
def test_options_that_do_not_fit_are_refused(written, options, said):
    done = lesion(written(TABLE), *options)
    assert done.exit_code == 2 and said in done.stderr


def test_the_page_does_not_take_the_place_of_a_table(written):
    done = lesion(written(TABLE), "--html", written(TABLE))
    assert done.exit_code == 2 and "one of the tables that are read" in done.stderr


def test_a_page_that_cannot_be_written_is_refused(written, monkeypatch):
    def full(self, *_, **__):
        raise OSError(28, "No space left on device")

    path = written(TABLE)
    monkeypatch.setattr("pathlib.Path.write_text", full)
    done = lesion(path, "--html", path.with_name("page.html"))
    assert done.exit_code == 2 and "cannot be written (No space left on device)" in done.stderr


def test_validation_of_another_model_is_refused(written):
    for other, said in (
        (table_of([12] * 3, classes=["bkl", "mel", "nv"]), "bkl, mel, nv"),
        (named_only(VALIDATION), "predicted classes only"),
    ):
        done = lesion(written(TABLE), "--validation", written(other, "v.csv"))
        assert done.exit_code == 2 and said in done.stderr


# ------------------------------------------------------------------------------------------------------------ the rest


def test_json_holds_what_was_found(written):
    done = lesion(written(described(TABLE)), "--json")
    result = json.loads(done.stdout)
    assert done.exit_code == 0 and result["images"] == 234 and result["lesions"] == 117
    assert {row["metric"] for row in result["calibration"]} >= {"expected calibration error, melanoma"}
    assert all(set(row) >= {"stated", "value"} for row in result["reliability"]["melanoma"])
    assert result["subgroups"] and result["findings"] == [] and "optimistic" in result["caution"]


def test_a_column_predicted_next_to_probabilities_is_compared(written):
    right = TABLE.assign(predicted=named_only(TABLE)["predicted"])
    assert read(written, right).notes == []
    assert "234 row(s)" in read(written, right.assign(predicted="x")).notes[0]


def test_the_documented_example_is_read(tmp_path):
    text = (PROJECT / "docs" / "prediction_table.md").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    (tmp_path / "example.csv").write_text("\n".join(lines))
    table = read_predictions(tmp_path / "example.csv").frame
    assert len(table) == 3 and table["lesion_id"].nunique() == 2
    for column in ("image_id", "label", "lesion_id", "predicted", *score_table.DESCRIBING):
        assert f"`{column}`" in text


@pytest.mark.parametrize("word", ["True", "1", "1.0", "yes", "T"])
def test_every_way_to_say_leaky_counts(written, word):
    done = lesion(written(described(TABLE).assign(leaky=word)))
    assert done.exit_code == 1 and "FOUND: leaky" in done.stdout


def test_another_word_in_column_leaky_is_refused(written):
    assert lesion(written(described(TABLE).assign(leaky="no"))).exit_code == 0
    done = lesion(written(described(TABLE).assign(leaky="perhaps")))
    assert done.exit_code == 2 and "leaky" in done.output and "perhaps" in done.output
