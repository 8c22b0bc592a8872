"""What published systems claim: the ledger, the rule, what each kind of claim is measured by, and all together."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import SHARED
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import binomtest
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from lesion_utils import predictions
from lesion_utils.checks.matrix import CLASS_COUNTS
from lesion_utils.claims import declared, verdicts
from lesion_utils.claims.declared import Claim, Data, Matrix, Share, claims_of_study, read_ledger
from lesion_utils.claims.measured import Measured, StudyTables, measure_published
from lesion_utils.claims.rules import decide, not_converged, not_learnt
from lesion_utils.claims.verdicts import collect_claims, judge_claims, ledger, row_of, shown, summary, write_claims
from lesion_utils.cli import app
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, compare, judge
from lesion_utils.evaluation.bootstrap import over_runs, percentile_interval, region_p
from lesion_utils.evaluation.metric_list import PRIOR_CORRECTED
from lesion_utils.paths import PROJECT, report_folder, run_folder, seal, write_json, write_text
from lesion_utils.prior import correct_prior
from lesion_utils.reports import write_claims_page
from lesion_utils.study import StudyParams, load_study

LEDGER = read_ledger()
ENDS = st.floats(-2, 2, allow_nan=False)
CNN = {"phases": [{"epochs": 2}], "monitor": "val_accuracy"}
COPIED = CNN | {"offline_copies": {"before_split": True}, "allow_leak": True, "keep": "last"}


def claim(estimand, direction="higher", margin=0.02, **fields):
    stated = {"id": "000_x", "states": "So it is."}
    given = {"estimand": estimand, "direction": direction, "margin": margin} if estimand else {"why": "so"}
    return Claim.model_validate(stated | given | fields)


def letters(text: str) -> str:
    return re.sub(r"[^a-z0-9%.]+", " ", text.lower()).strip()


# the ledger


def test_the_ledger_holds_every_system_and_no_claim_twice():
    assert {claim.id[:3] for claim in LEDGER} == {"000", "001", "002", "003", "004"}
    assert len({claim.id for claim in LEDGER}) == len(LEDGER)


@pytest.mark.real_data
@pytest.mark.parametrize("system", sorted({claim.id[:3] for claim in LEDGER}))
def test_every_quote_stands_in_the_systems_own_text(system):
    texts = sorted((SHARED / "seeds").glob(f"{system}_*.txt"))
    if not texts:
        pytest.skip("no texts of the systems in ../shared/seeds")
    text = " ".join(texts[0].read_text(encoding="utf-8").split())
    quotes = {one.id: one.words for one in LEDGER if one.id.startswith(system) and one.quote}
    assert not [name for name, words in quotes.items() if words not in text]
    listed = [words for of_reason in declared.other_sentences()[system].values() for words in of_reason]
    sentences = re.split(r"(?<=[.!?])\s+|\n+", texts[0].read_text(encoding="utf-8"))
    for sentence in (re.sub(r"^[#*\-\s]*(\d+\.)?\s*", "", line) for line in sentences):
        said = letters(sentence)
        is_claim = any(said in letters(words) or letters(words) in said for words in quotes.values())
        assert len(said) < 10 or is_claim or sentence.startswith(tuple(listed)), sentence


@pytest.mark.parametrize("study", sorted({one.study for one in LEDGER if one.study}))
def test_every_study_recipe_and_part_that_is_named_is_there(study):
    if not (PROJECT / "params" / f"{study}.yml").is_file():
        pytest.skip(f"params/{study}.yml is not there yet")
    params = load_study(study)
    for estimand in (one.estimand for one in claims_of_study(study)):
        named = [getattr(estimand, key, None) for key in ("recipe", "reference")]
        assert {name for name in named if name} <= set(params.recipes)
        assert getattr(estimand, "split", None) in (None, *params.held_out_splits)
        view = getattr(estimand, "metric", "").split(" ")[0]
        assert view != "carcinoma" or view in params.judging.views
        if getattr(estimand, "reference_with_copies", None) is False:
            assert "validation_copies" in predictions.splits_of(params, estimand.recipe)


def with_entry(tmp_path, **changed):
    value = {"id": "000_x", "quote": "q", "direction": "higher", "margin": 0.1}
    value |= {"estimand": {"kind": "data", "study": "a", "fact": "images"}} | changed
    path = tmp_path / "claims.yml"
    path.write_text(yaml.safe_dump([{key: one for key, one in value.items() if one is not ...}]), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"verdict": "holds"}, ["verdict"]),
        ({"estimand": {"kind": "guess"}}, ["key `estimand`", "'guess'"]),
        ({"estimand": {"kind": "data", "study": "a", "fact": "beauty"}}, ["estimand.data", "beauty", "class share"]),
        ({"estimand": {"kind": "data", "study": "a", "fact": "class share"}}, ["estimand.data", "`of:"]),
        ({"estimand": {"kind": "data", "study": "a", "fact": "fill shown"}}, ["estimand.data", "`recipe:"]),
        (
            {"estimand": {"kind": "data", "study": "a", "fact": "lowest ids", "published_split": "test"}},
            ["estimand.data", "`published_split: test`", "lowest ids"],
        ),
        ({"estimand": {"kind": "data", "study": "a", "fact": "category code", "of": "mel"}}, ["`names`"]),
        ({"quote": ...}, ["`quote`", "`states`"]),
        ({"states": "more"}, ["`quote`", "`states`"]),
        ({"direction": "equals"}, ["equals", "`published`"]),
        ({"margin": ...}, ["`margin`"]),
        ({"margin": -1}, ["margin", "0"]),
        ({"margin": math.inf}, ["margin", "finite"]),
        ({"why": "because"}, ["`why`"]),
        ({"estimand": ...}, ["`estimand`"]),
        ({"id": "x"}, ["id"]),
    ],
)
def test_a_claim_that_is_not_complete_is_refused_by_its_name(tmp_path, changed, names):
    with pytest.raises(InputError) as refused:
        read_ledger(with_entry(tmp_path, **changed))
    for name in ["claims.yml", changed.get("id", "000_x"), *names]:
        assert name in str(refused.value)


def test_an_invalid_ledger_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.yml"):
        read_ledger(tmp_path / "none.yml")
    path = with_entry(tmp_path)
    assert [claim.id for claim in read_ledger(path)] == ["000_x"]
    other = tmp_path / "other.yml"
    for text, name in ((path.read_text() * 2, "000_x"), ("a: 1", "dict"), ("- [", "YAML"), ("- 1", "number 1")):
        other.write_text(text)
        with pytest.raises(InputError, match=f"other.yml.*{name}"):
            read_ledger(other)
        other.unlink()


# the rule


@pytest.mark.parametrize(
    ("direction", "margin", "published", "region"),
    [
        ("equals", 0.03, 0.7, (0.67, 0.73)),
        ("at_least", 0.03, 0.7, (0.67, math.inf)),
        ("at_most", 0.03, 0.7, (-math.inf, 0.73)),
        ("higher", 0.02, None, (0.02, math.inf)),
        ("lower", 0.02, None, (-math.inf, -0.02)),
        ("not_higher", 0.02, None, (-math.inf, 0.02)),
        ("no_difference", 0.02, None, (-0.02, 0.02)),
    ],
)
def test_each_direction_has_its_region(direction, margin, published, region):
    facts = {"kind": "data", "study": "s", "fact": "images"}
    assert claim(facts, direction, margin, published=published).region == pytest.approx(region)


def test_a_declaration_changes_with_what_is_measured_and_when_it_holds_and_not_with_words():
    facts = {"kind": "data", "study": "s", "fact": "images"}
    first = claim(facts)
    assert claim(facts, note="n", states="In other words.", declared="after").declaration == first.declaration
    others = [claim(facts | {"fact": "classes"}), claim(facts, "lower"), claim(facts, margin=0.03)]
    others.append(claim(facts, published=1.0))
    assert len({first.declaration, *(other.declaration for other in others)}) == 5


def decided(claim, number, scaled=""):
    """The row of one claim alone, with its verdict."""
    return decide([claim], [row_of(claim, number, scaled)])[0]


@given(st.tuples(ENDS, ENDS).map(sorted), st.floats(0.001, 1), st.floats(-2, 2))
def test_without_p_values_a_verdict_is_what_every_number_of_the_interval_says(interval, margin, published):
    facts = claim({"kind": "data", "study": "s", "fact": "images"}, "equals", margin, published=published)
    low, high = (round(end, 4) for end in interval)
    region = facts.region
    numbers = np.clip([low, high, *region], low, high)
    says = {region[0] <= number <= region[1] for number in numbers}
    row = decided(facts, Measured(low, low, high, 9))
    assert row["verdict"] == ("undecided" if len(says) == 2 else "holds" if says == {True} else "does not hold")
    assert row["p"] is None and "why" not in row


def test_without_an_interval_there_is_no_verdict():
    facts = claim({"kind": "data", "study": "s", "fact": "images"})
    row = decided(facts, Measured(math.nan, math.nan, math.nan, 9, "too few"))
    assert (row["verdict"], row["why"]) == ("cannot be checked here", "too few")


METRIC = {"kind": "metric", "study": "s", "recipe": "a", "metric": "accuracy"}
CONTRAST = METRIC | {"reference": "b"}
NUMBER = Measured(0.5, 0.4, 0.6, 100, runs=3, p_holds=0.001, p_fails=1.0)


def test_a_scaled_run_judges_a_difference_and_no_absolute_figure():
    gap = {"kind": "training", "study": "s", "recipe": "a", "quantity": "gap"}
    for value in (METRIC, gap):
        row = decided(claim(value), NUMBER, "64 px instead of 180")
        assert (row["verdict"], row["scaled"], row["measured"], row["n"]) == ("not measurable here", True, None, 100)
        assert row["why"].endswith("64 px instead of 180")
        assert shown([row])[0]["here"] == ""
        assert decided(claim(value), NUMBER)["verdict"] == "holds" and "why" not in decided(claim(value), NUMBER)
    for contrast in (CONTRAST, gap | {"reference": "b"}):
        row = decided(claim(contrast), NUMBER, "64 px")
        assert row["verdict"] == "holds" and row["scaled"] is True
    row = decided(claim({"kind": "data", "study": "s", "fact": "images"}), Measured(0.5, 0.4, 0.6, 100), "64 px")
    assert row["verdict"] == "holds" and row["scaled"] is False


def test_what_bars_a_verdict_is_said_and_only_few_runs_still_show_the_number():
    few = decided(claim(CONTRAST), NUMBER._replace(runs=1, barred="one run per arm, 3 needed for a verdict"))
    assert (few["verdict"], few["measured"]) == ("not measurable here", 0.5) and "one run" in few["why"]
    assert shown([few])[0]["here"].startswith("0.50 ")
    nothing = decided(claim(CONTRAST), NUMBER._replace(barred="b learnt nothing", hidden=True))
    assert (nothing["verdict"], nothing["measured"], nothing["why"]) == (
        "not measurable here",
        None,
        "b learnt nothing",
    )
    assert shown([nothing])[0]["here"] == ""


def test_p_values_of_one_study_are_adjusted_together_and_barred_claims_do_not_count():
    ids = ["000_a", "000_b", "000_c", "000_d"]
    claims = [claim(CONTRAST, id=name) for name in ids[:3]] + [claim(CONTRAST | {"study": "t"}, id="000_d")]
    numbers = [NUMBER._replace(p_holds=p) for p in (0.02, 0.03, 0.04, 0.04)]
    rows = decide(claims, [row_of(*pair) for pair in zip(claims, numbers, strict=True)])
    assert [row["p"] for row in rows] == pytest.approx([0.06, 0.06, 0.06, 0.04])
    assert [row["verdict"] for row in rows] == ["undecided"] * 3 + ["holds"]
    assert "3 claims" in rows[0]["family"] and "s" in rows[0]["family"].split()
    numbers[1] = numbers[1]._replace(barred="b learnt nothing", hidden=True)
    numbers[0] = numbers[0]._replace(p_holds=1.0, p_fails=0.02)
    rows = decide(claims, [row_of(*pair) for pair in zip(claims, numbers, strict=True)])
    assert [row["p"] for row in rows] == pytest.approx([0.04, None, 0.04, 0.04])
    assert [row["verdict"] for row in rows] == ["does not hold", "not measurable here", "holds", "holds"]
    assert "Holm" in shown(rows)[0]["here"] and "0.04" in shown(rows)[0]["here"]


def test_a_row_says_why_there_is_no_verdict():
    row = decided(claim(METRIC), Measured(math.nan, math.nan, math.nan, 3, "df: 3 lesions, at least 10 needed", runs=3))
    assert (row["measured"], row["low"], row["verdict"]) == (None, None, "cannot be checked here")
    assert row["why"] == "df: 3 lesions, at least 10 needed"
    (line,) = shown([decided(claim(METRIC, declared="after", note="It is so."), NUMBER)])
    assert line["remarks"][1:] == ["It is so."] and "after" in line["remarks"][0]
    table = verdicts.claims_table([decided(claim(METRIC, declared="after", note="It is so."), NUMBER)])
    assert table.loc[line["id"], ["claim", "measured here", "verdict"]].tolist() == [
        line[key] for key in ("claim", "here", "verdict")
    ]
    assert table["remarks"].iloc[0].endswith("; It is so.")
    unmeasured = claim(None, why="it is about deaths", declared="after")
    (line,) = shown(decide([unmeasured], [row_of(unmeasured)]))
    assert line["remarks"] == ["it is about deaths"] and line["here"] == ""


@pytest.mark.parametrize(
    ("published", "margin", "verdict"),
    [(0.87, 0.005, "reproduced"), (0.873, 0.0005, "reproduced"), (0.88, 0.005, "not reproduced")],
)
def test_a_figure_of_its_own_table_is_judged_by_arithmetic_and_its_precision_told_apart(published, margin, verdict):
    own = {"kind": "matrix", "matrix": MATRIX, "classes": ("bcc", "mel", "nv"), "metric": "accuracy"}  # 89 of 102
    row = decided(claim(own, "equals", margin, published=published), measure_published(Matrix(**own)))
    assert row["verdict"] == verdict and row["low"] < 0.85 < 0.9 < row["high"]  # as an interval it would be undecided
    (line,) = shown([row])
    assert line["precision"] == "95% CI 0.79-0.92; n = 102"
    assert (abs(float(line["number"]) - published) <= margin) == (verdict == "reproduced")
    other = Matrix(**own, case_mix=None)
    at_least = claim(other.model_dump(), "at_least", 0, published=0.8)
    assert decided(at_least, measure_published(other))["verdict"] == "undecided"


@pytest.mark.parametrize(
    ("low", "high", "margin", "shows"),
    [(0.7597, 0.811, 0.76, "0.7597-0.8110"), (0.7603, 0.811, 0.76, "0.7603-0.8110"), (0.74, 0.811, 0.76, "0.74-0.81")],
)
def test_an_interval_has_the_digits_that_decide_the_verdict(low, high, margin, shows):
    difference = {"kind": "metric", "study": "s", "recipe": "a", "metric": "accuracy"}
    row = decided(claim(difference, "higher", margin), Measured(0.784, low, high, 1345))
    (line,) = shown([json.loads(json.dumps(row))])
    assert f"95% CI {shows};" in line["here"]
    assert row["verdict"] == ("holds" if low >= margin else "undecided")


def test_every_recipe_of_a_claim_has_words_for_readers_and_no_other_name_has():
    estimands = [one.estimand for one in LEDGER if one.estimand]
    named = {getattr(of, key, None) for of in estimands for key in ("recipe", "reference")} - {None}
    assert named == set(declared._RECIPES)
    assert "first model" in declared.in_words("esteva_as_run") and declared.in_words("unknown") == "unknown"


def test_the_page_of_published_systems_says_only_what_was_measured(output):
    page = write_claims_page(collect_claims()).read_text()
    answer = page.split('class="answer"')[1].split("</div>\n<h2")[0]
    assert "0.25 (0.22-0.28) higher" in answer and "not clearly different" in answer
    assert answer.count("not measured yet") == 2 and not re.search(
        r"\b(None|nan)\b|by cannot|\(counted\)\. Acc", answer
    )


def test_claims_are_counted_by_kind_and_only_the_primary_measurement():
    claims = [
        claim(CONTRAST, quote="It works.", states=None),
        claim(METRIC, quote="It works.", states=None, id="000_y", below="000_x"),
        claim(CONTRAST, id="000_z"),
    ]
    rows = decide(claims, [row_of(one, NUMBER) for one in claims])
    counts = ledger(rows)["counts"]
    assert [counts[kind]["holds"] for kind in ("model", "data", "output", "finding")] == [1, 0, 0, 1]
    assert sum(sum(of.values()) for of in counts.values()) == 2
    model, data, output, finding = summary(rows).split("; ")
    assert "holds 1" in model and "holds 1" in finding and "holds" not in data + output


# models that learnt, and references that converged


def guesses(skill, seed, k=4, n=400):
    """A prediction table whose right class gets ``skill`` more in its logits."""
    rng, truth = np.random.default_rng(seed), np.arange(n) % k
    logits = rng.normal(size=(n, k)) + skill * np.eye(k)[truth]
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    names = [f"c{number}" for number in range(k)]
    ids = [f"i{number}" for number in range(n)]
    cases = pd.DataFrame({"image_id": ids, "lesion_id": ids, "label": np.array(names)[truth]})
    return predictions.build(cases, names, scores)


def test_models_that_learnt_are_told_from_those_that_did_not():
    assert not not_learnt(PredictionTable([guesses(2, seed) for seed in range(3)], 200))
    assert "learnt nothing" in not_learnt(PredictionTable([guesses(0, seed) for seed in range(3)], 200))
    mixed = [guesses(2, 0), guesses(0, 1), guesses(0, 2)]  # one lucky run does not speak for the recipe
    assert "learnt nothing" in not_learnt(PredictionTable(mixed, 200))
    assert not not_learnt(PredictionTable([guesses(1, 0), guesses(2, 1)], 200))  # two runs cannot say how runs vary
    constant = guesses(2, 0).assign(p_c0=0.97, p_c1=0.01, p_c2=0.01, p_c3=0.01)
    assert "chance 0.25" in not_learnt(PredictionTable(constant, 200))


@pytest.mark.parametrize(
    ("losses", "stopped", "converged"),
    [([5, 4, 3, 2, 2, 2, 2, 2, 2, 2], False, True), (range(10, 0, -1), False, False), (range(10, 0, -1), True, True)],
)
def test_a_reference_that_still_improves_has_not_converged(losses, stopped, converged):
    epochs = 10 + 5 * stopped
    recipe = {"phases": [{"epochs": epochs}], "monitor": "val_loss"}
    params = StudyParams(study="late", baseline={"cnn": recipe})
    folder = run_folder("late") / "models" / "cnn" / "r0"
    folder.mkdir(parents=True)
    pd.DataFrame({"val_loss": list(losses)}).to_csv(folder / "history.csv", index=False)
    assert (not_converged(params, "cnn") == "") == converged


# intervals and verdicts on simulated studies, whose truth is known


LESIONS = 250
DRAWN = np.random.default_rng(5).multinomial(LESIONS, np.full(LESIONS, 1 / LESIONS), 400)
WEIGHTS = np.vstack([np.ones(LESIONS), DRAWN]).T / LESIONS


def simulated(rng, runs, spread):
    """Of each run a mean over lesions, on all of them and in draws; the truth is 0: (runs, 1 + draws)."""
    shared, own = rng.normal(0, 0.5, LESIONS), rng.normal(0, 0.3, (runs, LESIONS))
    return (shared + own + rng.normal(0, spread, (runs, 1))) @ WEIGHTS


@pytest.mark.slow
@pytest.mark.parametrize("runs", [3, 5, 10])
@pytest.mark.parametrize("spread", [0.0, 0.01, 0.03, 0.05])
def test_two_level_intervals_hold_the_truth_as_often_as_they_say(runs, spread):
    rng = np.random.default_rng(7)
    ends = [percentile_interval(over_runs(simulated(rng, runs, spread), seed)[1:]) for seed in range(1200)]
    covered = np.mean([low <= 0 <= high for low, high in ends])
    assert 0.93 - 0.0125 <= covered <= 0.97 + 0.0125  # two standard errors of 1,200 studies


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_false_verdicts_are_rare_in_a_family_and_true_effects_are_found(spread):
    rng = np.random.default_rng(3)
    claims = [claim(CONTRAST, "higher", 0.0, id=f"000_{name}") for name in "abcde"]

    def verdicts_of(effect):
        rows = []
        for number, one in enumerate(claims):
            draws = over_runs(effect + simulated(rng, 5, spread), number)[1:]
            p = region_p(draws, one.region)
            rows.append(row_of(one, Measured(0.0, -1.0, 1.0, 9, runs=5, **p)))
        return [row["verdict"] for row in decide(claims, rows)]

    false = np.mean([{*verdicts_of(0.0)} != {"undecided"} for _ in range(300)])
    assert false <= 0.05 + 2 * (0.05 * 0.95 / 300) ** 0.5
    power = np.mean([verdict == "holds" for _ in range(60) for verdict in verdicts_of(0.2)])
    assert power > 0.8


# what needs no study


def test_a_published_share_is_held_against_its_baseline():
    share = {"kind": "share", "what": "a", "baseline_is": "b"}
    fixed = measure_published(Share(**share, share=0.8, n=70, baseline=0.6))
    assert (fixed.value, fixed.low, fixed.high, fixed.n) == pytest.approx(
        (0.2, 0.6918 - 0.6, 0.8769 - 0.6, 70), abs=1e-3
    )
    # Newcombe's own example (a): 56 of 70 against 48 of 80
    both = measure_published(Share(**share, share=0.8, n=70, baseline=0.6, baseline_n=80))
    assert (both.value, both.low, both.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


MATRIX = ((13, 1, 2), (4, 26, 2), (1, 3, 50))


def test_a_published_matrix_is_judged_as_the_command_does():
    def number(metric):
        return measure_published(Matrix(kind="matrix", matrix=MATRIX, classes=("bcc", "mel", "nv"), metric=metric))

    truth, named = [np.repeat(codes, [13, 1, 2, 4, 26, 2, 1, 3, 50]) for codes in np.divmod(np.arange(9), 3)]
    macro = number("macro F1")
    assert macro.value == pytest.approx(f1_score(truth, named, average="macro"))
    assert macro.low < macro.value < macro.high < macro.low + 0.3
    accuracy, above = number("accuracy"), number("above the majority")
    assert above[:3] == pytest.approx([end - 54 / 102 for end in accuracy[:3]])
    assert number("recall mel")[:4] == pytest.approx(number("melanoma sensitivity")[:4])
    assert number("recall mel").n == 32
    with pytest.raises(InputError, match=r"charm.*accuracy"):
        number("charm")


def test_published_matrices_and_means_of_shares_give_their_known_numbers():
    known = {
        "001_accuracy_at_ham10000": (0.836, 0.81, 0.86),
        "002_discerns": (0.408, 0.36, 0.46),
        "002_accuracy_in_its_table": (566 / 802, 0.67, 0.74),
        "002_malignant_sensitivity": (104 / 157, 0.59, 0.73),
        "000_balanced_accuracy": (0.637, 0.59, 0.68),
        "000_test_melanoma": (0.58, 0.50, 0.65),
        "004_validation_in_its_log": (0.789, 0.77, 0.81),
    }
    rows = {entry.id: decided(entry, measure_published(entry.estimand)) for entry in LEDGER if entry.id in known}
    for name, numbers in known.items():
        row = rows[name]
        assert [row["measured"], row["low"], row["high"]] == pytest.approx(numbers, abs=0.006), name
        assert row["declared"] == "after"
    assert rows["002_discerns"]["verdict"] == "does not hold"
    for name, said in (("002_accuracy_in_its_table", "reproduced"), ("004_validation_in_its_log", "not reproduced")):
        assert rows[name]["verdict"] == said
    # the interval of a mean of shares is as wide as that of any classes with this mean
    estimand = next(entry.estimand for entry in LEDGER if entry.id == "000_balanced_accuracy")
    sizes = np.array(list(CLASS_COUNTS["isic2018"].values()))
    for seed in range(50):
        recalls = np.random.default_rng(seed).dirichlet(np.ones(7)) * 7 * estimand.share
        spread = np.sqrt((recalls * (1 - recalls) / sizes).sum()) / 7 if (recalls < 1).all() else 0
        assert 1.96 * spread <= measure_published(estimand).high - estimand.share + 1e-9


# what a study measures


def scored(cases, skill, seed):
    """Scores, (n, 3), of a model of some skill."""
    rng = np.random.default_rng(seed)
    truth = np.searchsorted(["bkl", "mel", "nv"], cases["label"])
    scores = np.exp(rng.normal(size=(len(cases), 3)) + skill * np.eye(3)[truth])
    return scores / scores.sum(1, keepdims=True)


@pytest.fixture
def study():
    """Two recipes with tables, one with copies before the split, and their histories; three runs."""
    recipes = {"plain": CNN, "copied": COPIED, "also": COPIED | {"dropout": 0.5}}
    params = StudyParams(study="published/made_up", resamples=200, runs=3, baseline=recipes)
    labels = np.repeat(["bkl", "mel", "nv"], [60, 80, 160])
    ids = [f"i{k}" for k in range(len(labels))]
    cases = pd.DataFrame({"image_id": ids, "isic_id": ids, "lesion_id": [f"l{k // 2}" for k in range(300)]})
    cases = cases.assign(label=labels, path="a/b.jpg", age=50, published_split="train")
    cases["split"] = np.where(np.arange(300) % 3 == 0, "validation", np.where(np.arange(300) % 3 == 1, "train", "test"))
    run_folder(params.study).mkdir(parents=True)
    cases.to_csv(run_folder(params.study) / "cases.csv", index=False)
    for run in range(3):
        at = params.model_copy(update={"run": run})
        for number, (name, recipe) in enumerate(params.recipes.items()):
            rows = cases
            if recipe.offline_copies:
                copies = cases.sample(90, random_state=run)
                copies = copies.assign(image_id=copies["image_id"] + "-copy", split="validation_copies")
                learnt = cases.sample(30, random_state=9).pipe(
                    lambda one: one.assign(image_id=one["image_id"] + "-copy2")
                )
                rows = pd.concat([cases, copies, learnt.assign(split="train")], ignore_index=True)
            scores = {
                split: scored(rows[rows["split"] == split], 1 + number + (split == "validation_copies"), run)
                for split in predictions.splits_of(params, name)
            }
            correct = round((0.7 if name == "plain" else 0.8 + 0.03 * run) * (rows["split"] == "train").sum())
            provenance = {"recipe": recipe.identity, "seed": run, "leaky": recipe.allow_leak}
            provenance |= {"training_correct": correct}
            predictions.write(at.model_folder(name), rows, scores, provenance)
            history = pd.DataFrame({"val_accuracy": [0.5, 0.6, 0.4]})
            history.to_csv(run_folder(params.study) / "models" / name / f"r{run}" / "history.csv", index=False)
    return params


def tables(params, recipe, split="validation", runs=range(3)):
    return [predictions.read(params, recipe, split, run) for run in runs]


def compared(arm, reference, **options):
    return compare(PredictionTable(arm, 200), PredictionTable(reference), **options)


def measured(params, **estimand):
    estimand = {"study": params.study} | estimand
    return StudyTables(params).measure(claim(estimand).estimand)


def test_a_value_is_that_of_the_judge(study):
    number = measured(study, kind="metric", recipe="plain", metric="melanoma two-way accuracy", split="test")
    row = judge(PredictionTable(tables(study, "plain", "test"), 200)).loc["melanoma two-way accuracy"]
    assert number == Measured(*row[["value", "low", "high"]], 100, runs=3)
    table = tables(study, "plain", "test")
    among = [one[one["label"] != "nv"] for one in table]
    number = measured(study, kind="metric", recipe="plain", metric="melanoma AUC", split="test", among=["mel", "bkl"])
    assert (
        number.value == judge(PredictionTable(among, 200)).loc["melanoma AUC", "value"]
        and number.n == len(among[0]) < 100
    )
    with pytest.raises(InputError, match=r"df.*bkl, mel, nv"):
        measured(study, kind="metric", recipe="plain", metric="melanoma AUC", among=["df"])
    with pytest.raises(InputError, match="charm"):
        measured(study, kind="metric", recipe="plain", metric="charm")
    with pytest.raises(InputError, match="'none'"):
        measured(study, kind="metric", recipe="none", metric="accuracy")


def test_a_figure_as_a_system_reported_it_is_of_originals_and_copies(study):
    number = measured(study, kind="metric", recipe="copied", metric="accuracy", with_copies=True)
    each = [
        judge(PredictionTable(pd.concat([one, copies], ignore_index=True), 200)).loc["accuracy"]
        for one, copies in zip(tables(study, "copied"), tables(study, "copied", "validation_copies"), strict=True)
    ]
    assert number.value == pytest.approx(np.mean([row["value"] for row in each])) and number.n == 190
    values, lows = ([row[key] for row in each] for key in ("value", "low"))
    between = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / 3**0.5  # of the runs, whose copies differ
    assert number.value - number.low == pytest.approx(math.hypot(number.value - np.mean(lows), between))
    plain = {"kind": "metric", "recipe": "plain", "metric": "accuracy"}
    assert measured(study, **plain, with_copies=True) == measured(study, **plain)


def test_a_difference_is_paired_by_lesion_and_run(study):
    number = measured(study, kind="metric", recipe="copied", reference="plain", metric="accuracy")
    row = compared(tables(study, "copied"), tables(study, "plain")).loc["accuracy"]
    assert number[:3] == tuple(row[["value", "low", "high"]]) and not number.barred
    asked = claim({"kind": "metric", "study": study.study, "recipe": "copied", "metric": "accuracy"}, margin=0.5)
    number = StudyTables(study).measure(asked.estimand, asked.region)
    assert number.p_holds is not None and number.p_holds < 0.05 < number.p_fails  # it is far above 0.5
    once = study.model_copy(update={"runs": 1})
    number = measured(once, kind="metric", recipe="copied", reference="plain", metric="accuracy")
    row = compared(tables(once, "copied")[0], tables(once, "plain")[0]).loc["accuracy"]
    assert number[:3] == tuple(row[["value", "low", "high"]]) and "one run" in number.barred


def test_copies_are_held_against_originals_by_independent_draws(study):
    once = study.model_copy(update={"runs": 1})
    number = measured(
        once,
        kind="metric",
        with_copies=True,
        reference_with_copies=False,
        recipe="copied",
        reference="plain",
        metric="accuracy",
    )
    both = pd.concat([tables(once, "copied")[0], tables(once, "copied", "validation_copies")[0]], ignore_index=True)
    row = compared(both, tables(once, "plain")[0], paired=False).loc["accuracy"]
    assert number[:7] == (*row[["value", "low", "high"]], 190, "", True, 1)
    same = {"kind": "metric", "recipe": "also", "reference": "copied", "metric": "accuracy", "with_copies": True}
    others = [
        pd.concat([one, copies])
        for one, copies in zip(tables(once, "also"), tables(once, "also", "validation_copies"), strict=True)
    ]
    assert measured(once, **same).value == pytest.approx(compared(others[0], both).loc["accuracy", "value"])
    three = measured(
        study,
        kind="metric",
        with_copies=True,
        reference_with_copies=False,
        recipe="copied",
        reference="plain",
        metric="accuracy",
    )
    assert three.low < three.value < three.high and "one run" in number.barred and not three.barred


@pytest.mark.slow
@pytest.mark.parametrize("split", ["validation", "test"])
def test_balanced_accuracies_are_compared_after_each_arms_own_prior_correction(study, split):
    def corrected(recipe):
        given = [PredictionTable(tables(study, recipe, name)) for name in dict.fromkeys((split, "validation"))]
        return correct_prior(*given) if split == "test" else correct_prior(given[0])

    number = measured(study, kind="metric", recipe="also", reference="plain", metric="balanced accuracy", split=split)
    arms, names = (corrected("also"), corrected("plain")), ["balanced accuracy", PRIOR_CORRECTED]
    plain, expected = compare(*arms, names)["value"]
    assert number.value == pytest.approx(expected) and number.value != pytest.approx(plain, abs=1e-6)
    alone = measured(study, kind="metric", recipe="also", metric="balanced accuracy", split=split)
    assert alone.value == pytest.approx(judge(arms[0]).at["balanced accuracy", "value"])  # no contrast: as it is


def test_a_model_that_learnt_nothing_is_no_arm_of_a_contrast(study):
    for run in range(3):
        path = predictions.table_path(study, "also", run, "test")
        pd.read_csv(path).assign(p_bkl=0.1, p_mel=0.8, p_nv=0.1).to_csv(path, index=False)
        seal(path)
    contrast = {"kind": "metric", "split": "test", "metric": "melanoma sensitivity"}
    for recipe, reference in (("also", "plain"), ("plain", "also")):
        unfit = measured(study, **contrast, recipe=recipe, reference=reference)
        assert unfit.barred.startswith("also learnt nothing") and unfit.hidden
    other = measured(study, **contrast, recipe="copied", reference="plain")
    assert not other.barred and other.low <= other.value <= other.high
    assert not measured(study, **contrast, recipe="also").barred  # no contrast: the model is judged as it is


def test_two_arms_with_the_same_predictions_are_no_contrast(study):
    for run in range(3):
        text = predictions.table_path(study, "plain", run, "test").read_text()
        write_text(predictions.table_path(study, "also", run, "test"), text)
    number = measured(study, kind="metric", split="test", metric="accuracy", recipe="also", reference="plain")
    assert "same model" in number.barred and number.hidden


def test_training_accuracy_is_that_of_the_kept_model_on_its_cases(study):
    assert measured(study, kind="training", recipe="plain", quantity="accuracy").value == pytest.approx(0.7)
    last = measured(study, kind="training", recipe="copied", quantity="accuracy")
    assert last.value == pytest.approx(0.83, abs=0.005) and last.n == 130  # its copies in training count
    ends = [binomtest(round(hit * 130), 130).proportion_ci(method="wilson") for hit in (0.8, 0.83, 0.86)]
    between = stats.t.ppf(0.975, 2) * 0.03 / 3**0.5
    assert last.value - last.low == pytest.approx(
        math.hypot(last.value - np.mean([one.low for one in ends]), between), abs=0.005
    )
    accuracy = judge(PredictionTable(tables(study, "plain"), 200)).loc["accuracy"]
    gap = measured(study, kind="training", recipe="plain", quantity="gap")
    assert gap.value == pytest.approx(0.7 - accuracy["value"]) and gap.n == 100
    best = binomtest(70, 100).proportion_ci(method="wilson")
    below = math.hypot(0.7 - best.low, accuracy["high"] - accuracy["value"])
    assert gap.low == pytest.approx(gap.value - below) and gap.low < gap.value < gap.high
    against = measured(study, kind="training", recipe="copied", reference="plain", quantity="gap")
    held_out = measured(study, kind="metric", recipe="copied", reference="plain", metric="accuracy")
    assert against.value == pytest.approx(0.13 - held_out.value, abs=0.005)
    assert against.low < 0.13 - held_out.high and against.high > 0.13 - held_out.low  # both parts vary
    predictions.table_path(study, "plain", 2, "validation").with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"r2/predictions/validation.json.*Fix: make study STUDY=published/made_up"):
        measured(study, kind="training", recipe="plain", quantity="gap")


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ({"fact": "images"}, 300),
        ({"fact": "images", "published_split": "test"}, 0),
        ({"fact": "classes"}, 3),
        ({"fact": "malignant classes"}, 0),  # melanoma alone is no further view
        ({"fact": "class share", "of": "mel"}, 80 / 300),
        ({"fact": "classes with fewer images", "of": "mel"}, 1),
        ({"fact": "largest to smallest class"}, 160 / 60),
        ({"fact": "shared with training"}, 0.5),
        (
            {
                "fact": "category code",
                "of": "mel",
                "names": {"mel": "Melanoma", "nv": "Melanocytic nevi", "bkl": "Keratosis"},
            },
            2,
        ),
    ],
)
def test_a_fact_of_the_cases_is_counted(study, fact, value):
    number = measured(study, kind="data", **fact)
    assert number.value == number.low == number.high == pytest.approx(value)


@pytest.mark.parametrize(("misplaced", "value"), [([], 1), (["bkl", "nv"], 28 / 30)])
def test_a_published_test_split_of_the_lowest_ids_is_told_from_another(study, misplaced, value):
    path = run_folder(study.study) / "cases.csv"
    cases = pd.read_csv(path)
    place = cases.groupby("label").cumcount()
    split = pd.Series(np.where(place < 10, "test", "train"))
    number = 2 * place + cases["label"].map({"bkl": 0, "mel": 1000, "nv": 15})  # the ids of two classes overlap
    number += 31 * ((place == 4) & cases["label"].isin(misplaced))  # between the ids of training
    ids = split.str.title() + "/" + cases["label"] + "/ISIC_" + number.map("{:07d}".format)
    cases.assign(image_id=ids, published_split=split).to_csv(path, index=False)
    found = measured(study, kind="data", fact="lowest ids")
    assert (found.value, found.n) == (pytest.approx(value), 30)
    assert isinstance(found.n, int)  # JSON would hold a NumPy integer as text


def test_facts_of_copies_and_facts_that_cannot_be_counted(study):
    cases = pd.read_csv(run_folder(study.study) / "cases.csv")
    copies = tables(study, "copied", "validation_copies")[0]
    shown = pd.concat([cases.loc[cases["split"] == "validation", "lesion_id"], copies["lesion_id"]])
    number = measured(study, kind="data", fact="shared with training", recipe="copied")
    originals = cases.loc[cases["split"] == "train", "lesion_id"]
    learnt = pd.concat([originals, cases.sample(30, random_state=9)["lesion_id"]])
    assert number.value == pytest.approx(shown.isin(learnt).mean())
    assert number.value > shown.isin(originals).mean()
    assert number.n == 190
    with pytest.raises(InputError, match=r"df.*nv, mel, bkl"):
        measured(study, kind="data", fact="class share", of="df")
    with pytest.raises(InputError, match="bkl, nv"):
        measured(study, kind="data", fact="category code", of="mel", names={"mel": "Melanoma"})


def test_the_fill_that_a_training_noted_is_measured_without_keras(study, monkeypatch):
    about = predictions.read_provenance(study, "plain", "validation", 0)["path"].with_suffix(".json")
    before = about.read_text()
    write_json(about, json.loads(before) | {"fill": [0.25, 1000]})
    monkeypatch.setattr("lesion_utils.claims.measured.visible_area_and_fill", None)
    try:
        number = measured(study, kind="data", fact="fill shown", recipe="plain")
    finally:
        write_text(about, before)
    assert (number.value, number.n) == (0.25, 1000)


def test_a_claim_that_was_changed_after_its_models_were_trained_is_declared_after(study, monkeypatch):
    value = claim({"kind": "metric", "study": study.study, "recipe": "plain", "metric": "accuracy"}, margin=0.5)
    monkeypatch.setattr(declared, "claims_of_study", lambda name: [value] if name == study.study else [])
    for run in range(3):
        about = predictions.table_path(study, "plain", run, "validation").with_suffix(".json")
        write_json(about, json.loads(about.read_text()) | {"commit": f"c{run} (dirty)"})
    same = value.model_dump(mode="json", exclude_defaults=True)
    for then, expected in [
        ([same], "before"),
        ([same | {"note": "in other words"}], "before"),
        (None, "before"),  # no history here: the ledger's own word
        ([], "after"),
        ([same | {"id": "000_y"}], "after"),
        ([same | {"margin": 0.4}], "after"),
        ([{"id": value.id, "how": "in a form of old"}], "after"),
    ]:
        text = None if then is None else yaml.safe_dump(then)
        old = {"c0 (dirty)": yaml.safe_dump([same]), "c1 (dirty)": text, "c2 (dirty)": yaml.safe_dump([same])}
        monkeypatch.setattr(declared, "text_at", lambda commit, path, texts=old: texts[commit])
        (row,) = judge_claims(study)
        assert row["declared"] == expected and row["trained_at"] == ["c0 (dirty)", "c1 (dirty)", "c2 (dirty)"]


def test_a_study_judges_its_claims_and_writes_them(study, monkeypatch):
    value = claim({"kind": "metric", "study": study.study, "recipe": "plain", "metric": "accuracy"})
    monkeypatch.setattr(declared, "claims_of_study", lambda name: [value] if name == study.study else [])
    (row,) = judge_claims(study)
    assert row["report"] == "made_up/05_evaluation.html" and row["verdict"] == "holds"
    assert row["estimand"] == "accuracy of plain on validation, published/made_up"
    (line,) = shown([row])
    assert "n = 100" in line["here"] and "3 runs" in line["here"]
    write_claims(study, [row])
    assert json.loads((report_folder(study.study) / "claims.json").read_text()) == [row]
    reads = pd.read_csv(report_folder(study.study) / "test_reads.csv")
    assert len(reads) == 9 and set(reads["purpose"]) == {"claims judged"} and set(reads["split"]) == {"test"}
    judge_claims(study)  # nothing new was read
    assert pd.read_csv(report_folder(study.study) / "test_reads.csv").equals(reads)
    table = predictions.table_path(study, "also", 1, "test")
    write_text(table, table.read_text().replace("nv", "mel", 1))
    judge_claims(study)
    again = pd.read_csv(report_folder(study.study) / "test_reads.csv")
    assert again[:9].equals(reads) and again[9:][["recipe", "run"]].values.tolist() == [["also", 1]]
    other = StudyParams(study="another")
    write_claims(other, judge_claims(other))
    assert not report_folder("another").exists()
    bad = claim({"kind": "metric", "study": study.study, "recipe": "plain", "metric": "charm"})
    monkeypatch.setattr(declared, "claims_of_study", lambda name: [bad])
    with pytest.raises(InputError, match=r"000_x.*charm"):
        judge_claims(study)


# all together


def test_claims_of_all_studies_come_together_in_the_order_of_the_ledger():
    study = "published/003_as_run"
    first, second = [claim for claim in claims_of_study(study) if not isinstance(claim.estimand, Data)][:2]
    number = Measured(0.3, 0.1, 0.5, 16, runs=3, p_holds=1.0, p_fails=0.004)
    rows = decide([first, second], [row_of(first, number), row_of(second, number)])
    rows[0]["quote"] = "in other words, as the ledger had them then"
    rows[1]["declaration"] = "another"
    folder = report_folder(study)
    folder.mkdir(parents=True)
    (folder / "claims.json").write_text(json.dumps(rows))
    (folder / "05_evaluation.html").write_text("made up")
    (folder / "index.html").write_text("made up")
    collected = {row["id"]: row for row in collect_claims()}
    assert list(collected) == [claim.id for claim in LEDGER]
    assert collected[first.id] == decided(first, number)
    assert collected[first.id]["verdict"] == "does not hold"
    assert collected[second.id]["measured"] is None and "changed: make study STUDY=" in collected[second.id]["why"]
    for entry in LEDGER:
        row = collected[entry.id]
        if isinstance(entry.estimand, Matrix | Share):
            assert row["measured"] is not None and row["verdict"] != "cannot be checked here"
        elif entry.study != study:
            assert row["verdict"] == "cannot be checked here"
            assert row["why"] == (entry.why or f"not run: make study STUDY={entry.study} DATA=<folder>")
            assert row["measured"] is None
    page = write_claims_page(list(collected.values()))
    assert json.loads((report_folder("published") / "claims.json").read_text()) == list(collected.values())
    html = page.read_text()
    assert '<a href="003_as_run/index.html">published/003_as_run</a>' in html
    assert html.count('<a href="003_as_run/05_evaluation.html">003_as_run</a>') >= 1
    assert 'name="viewport"' in html and "published/claims" not in html
    assert html.count("<tr id=") == len(LEDGER)


def test_a_collected_claim_keeps_the_number_and_the_verdict_of_its_study():
    difference = claim(CONTRAST | {"study": "quick"})
    numbers = [NUMBER._replace(value=0.30004), Measured(math.nan, math.nan, math.nan, 3, "too few", runs=3)]
    numbers += [
        NUMBER._replace(barred="b learnt nothing", hidden=True),
        NUMBER._replace(runs=1, barred="one run per arm"),
    ]
    for number in numbers:
        row = json.loads(json.dumps(decided(difference, number)))
        assert decide([difference], [verdicts._collected(difference, row)]) == [row]


def test_the_table_tells_every_claim_and_the_command_prints_it():
    done = CliRunner().invoke(app, ["claims"])
    assert done.exit_code == 0
    rows = json.loads((report_folder("published") / "claims.json").read_text())
    kinds = tuple(f"| {words} |" for words in ledger(rows)["kinds"].values())
    counted = [line.split("|")[2:-1] for line in done.output.splitlines() if line.startswith(kinds)]
    assert sum(int(count) for line in counted for count in line) == sum(one.below is None for one in LEDGER)
    lines = [line for line in done.output.splitlines() if line.startswith("| ") and "**" in line]
    assert len(lines) == len(LEDGER)
    assert {line.replace("\\|", "").count("|") for line in lines} == {6, 8}  # published figures have two columns more
    of_002 = done.output[done.output.index("**System 002, ") : done.output.index("**System 003, ")]
    coded = next(line for line in of_002.splitlines() if "Melanocytic nevi" in line)
    assert r"\|Melanocytic nevi \| 5 \|" in coded and "holds if 5 | 5 |" in coded
    accuracy = next(line for line in lines if "accuracy 0.89 938" in line)
    assert "| 0.89 | 0.89 | **yes** | 95% CI 0.87-0.91; n = 938 |" in accuracy
    at_home = next(line for line in lines if "case_mix" in line or "at the class frequencies of ham10000" in line)
    assert "| 0.89 | 0.84 (95% CI 0.81-0.86; n = 938) | **holds**" in at_home
