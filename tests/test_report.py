"""The command for scores without a matrix: known truth from real matrices, every way to paste them, and bad input."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, classification_report
from typer.testing import CliRunner

from lesion_utils.checks.parse_report import read_figures
from lesion_utils.checks.report import judge_report
from lesion_utils.cli import app
from lesion_utils.errors import InputError

REPORT = """
              precision    recall  f1-score   support

         bkl       0.73      0.80      0.77        41
         mel       0.56      0.73      0.63        55
          nv       0.93      0.86      0.89       257

    accuracy                           0.83       353
   macro avg       0.74      0.80      0.76       353
weighted avg       0.85      0.83      0.84       353
"""


def lesion(*words, text=None):
    return CliRunner().invoke(app, ["report", *map(str, words)], input=text)


def judged(text, counts=None):
    return judge_report(read_figures(text, counts))


def printed(text, counts=None):
    return {str(figure) for figure in read_figures(text, counts).figures}


def labels_of(matrix):
    """True and predicted labels with the counts of ``matrix``."""
    names = np.array(["akiec", "mel", "nv", "vascular lesion 2"])[: len(matrix)]
    true, predicted = np.nonzero(np.ones_like(matrix))
    repeats = np.asarray(matrix).ravel()
    return names[np.repeat(true, repeats)], names[np.repeat(predicted, repeats)]


# ------------------------------------------------------------------------------------------------------- known truth


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=3, max_size=3), st.integers(2, 4))
def test_a_real_report_is_possible_and_its_counts_are_among_those_found(matrix, digits):
    matrix = np.array(matrix) + np.eye(3, dtype=int)  # every class has an image and is predicted
    true, predicted = labels_of(matrix)
    text = classification_report(true, predicted, digits=digits)
    verdict = judged(text + f"\nBalanced accuracy: {balanced_accuracy_score(true, predicted):.{digits}f}")
    assert verdict.impossible == [] and verdict.n == matrix.sum()
    hits, columns = verdict.by_class, matrix.sum(0)
    assert (hits["images"] == matrix.sum(1)).all()
    assert ((hits["hits_low"] <= np.diag(matrix)) & (np.diag(matrix) <= hits["hits_high"])).all()
    assert ((hits["predicted_low"] <= columns) & (columns <= hits["predicted_high"])).all()
    low, high = verdict.overall.loc["accuracy", ["low", "high"]]
    assert low - 1e-6 <= np.trace(matrix) / matrix.sum() <= high + 1e-6


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=3, max_size=3), st.integers(0, 2))
def test_a_figure_that_no_counts_give_is_found(matrix, changed):
    """A recall that is off by 0.05, beside a balanced accuracy that is right."""
    matrix = np.array(matrix) + np.eye(3, dtype=int)
    recalls = np.diag(matrix) / matrix.sum(1)
    wrong = recalls.copy()
    wrong[changed] += 0.05 if wrong[changed] < 0.5 else -0.05
    lines = [f"recall {name} {value:.3f}" for name, value in zip(("akiec", "mel", "nv"), wrong, strict=True)]
    verdict = judged("\n".join([*lines, f"balanced accuracy {recalls.mean():.3f}"]))
    (conflict,) = verdict.impossible
    assert conflict[-1] == f"balanced accuracy {recalls.mean():.3f}"
    assert set(conflict[:-1]) <= {f"{line.split()[1]} recall {line.split()[2]}" for line in lines}


def test_whole_numbers_matter():
    """Of ten images, no share rounds to 0.73; of 55 it is 40."""
    verdict = judged("mel: recall 0.73, n = 10\nnv: n = 90")
    assert verdict.impossible == [["mel recall 0.73"]] and "together" not in verdict.findings[0]
    row = judged("mel: recall 0.73, n = 55\nnv: n = 90").by_class.loc["mel"]
    assert (row["hits_low"], row["hits_high"], round(row["low"], 2), round(row["high"], 2)) == (40, 40, 0.60, 0.83)


def test_a_claimed_balanced_accuracy_is_compared_with_the_recalls():
    recalls = dict(akiec=0.62, bcc=0.78, bkl=0.70, df=0.65, mel=0.58, nv=0.90, vasc=0.75)
    text = "\n".join(f"{name}: recall {recall:.2f}" for name, recall in recalls.items()) + "\nbalanced accuracy: 0.8267"
    verdict = judged(text)
    assert len(verdict.impossible) == 1 and len(verdict.impossible[0]) == 8
    assert "0.706-0.716" in verdict.findings[0] and "0.8267" in verdict.findings[0]
    assert any("--class-counts" in note for note in verdict.notes)
    assert judged(text.replace("0.8267", "0.711")).impossible == []


def test_rounded_json_is_no_more_exact_than_rounded_text():
    rows = {"0": dict(precision=0.95, recall=0.96, support=450), "1": dict(precision=0.75, recall=0.72, support=75)}
    text = json.dumps(rows | {"accuracy": 0.93, "2": {"recall": float("nan")}})
    assert (
        judged(text).impossible == []
        and "accuracy 0.93" in printed(text)
        and not any("nan" in of for of in printed(text))
    )


def test_two_named_classes_may_not_be_all():
    assert judged("balanced accuracy 0.768\nmel recall 0.72\nnv recall 0.95").impossible == []


def test_equal_precision_and_recall_have_that_f1():
    verdict = judged("P = R: precision 0.613, recall 0.613\nF1 0.439")
    assert verdict.impossible == [["precision 0.613", "recall 0.613", "f1 0.439"]]
    assert "0.613" in verdict.findings[0] and "micro" in verdict.findings[0]
    # the mean of harmonic means may be lower than the harmonic mean of means, never higher
    averaged = "macro precision {0}\nmacro recall 0.613\nmacro F1 {1}"
    assert judged(averaged.format(0.613, 0.439)).impossible == []
    assert judged(averaged.format(0.613, 0.7)).impossible != []


def test_the_figures_of_two_classes_decide_each_other():
    """What is not found of one class is predicted as the other: precision and recall leave one matrix."""
    verdict = judged("mel: recall 0.73\nnv: recall 0.86\naccuracy 83%", {"mel": 55, "nv": 257})
    assert verdict.by_class.loc["mel", ["hits_low", "predicted_low", "predicted_high"]].tolist() == [40, 77, 77]


def test_figures_that_were_cut_off_are_told_from_wrong_ones():
    verdict = judged("mel: recall 0.72, n = 55\nnv: n = 90")  # 40 / 55 = 0.727
    assert any("cut off" in note for note in verdict.notes) and verdict.findings == []
    assert not any("cut off" in note for note in judged("mel: recall 0.70, n = 10\nnv: n = 90\naccuracy 0.01").notes)


# ------------------------------------------------------------------------------------------------- every way to print


def same_report():
    true, predicted = labels_of([[30, 5, 6], [9, 40, 6], [10, 25, 222]])
    return true, predicted, classification_report(true, predicted)


def test_text_json_and_csv_of_one_report_say_the_same():
    true, predicted, text = same_report()
    as_dict = classification_report(true, predicted, output_dict=True)
    frame = pd.DataFrame(as_dict).T
    tables = [text, json.dumps(as_dict), frame.to_csv(), frame.to_string(), frame.to_html(), frame.to_latex()]
    verdicts = [judged(each) for each in tables]
    for verdict in verdicts:
        assert verdict.impossible == [] and verdict.n == 353
        assert verdict.by_class["hits_low"].tolist() == [30, 40, 222]
    assert verdicts[1].overall.at["accuracy", "low"] == pytest.approx(292 / 353)


def test_a_markdown_table_and_sentences_are_read_together():
    text = (
        "| class | recall | support |\n|---|---|---|\n| **mel** | 0.73 | 55 |\n| nv | 0.86 | 257 |\n\nAccuracy: 83.7%"
    )
    assert printed(text) == {"mel recall 0.73", "nv recall 0.86", "accuracy 83.7%"}


@pytest.mark.parametrize(
    "text",
    [
        "recall mel 0.73\nrecall nv 0.86",
        "mel: recall 0.73\nnv: recall 0.86",
        "Recall per class\nmel 0.73\nnv 0.86",
        "recall: mel 0.73, nv 0.86",
        "Melanoma sensitivity = 0.73 (95% CI 0.60-0.83); nevus sensitivity = 0.86 ± 0.02",
        "mel recall 73%\nnv recall 86 %",
    ],
)
def test_a_list_of_scores_is_read(text):
    figures = read_figures(text).figures
    assert [(figure.metric, round(figure.low, 3), round(figure.high, 3)) for figure in figures] == [
        ("recall", 0.725, 0.735),
        ("recall", 0.855, 0.865),
    ]


def test_other_scores_are_not_taken_for_these():
    assert printed("mel recall 0.73, AUC 0.91, kappa 0.5, threshold 0.3") == {"mel recall 0.73"}
    assert printed("F1 0.4\nF1 (macro) 0.5\nweighted F1 0.6") == {"f1 0.4", "macro f1 0.5", "weighted f1 0.6"}


def test_percentages_above_one_are_noted():
    printed_figures = read_figures("recall mel 73\nrecall nv 86.1")
    assert [round(figure.low, 4) for figure in printed_figures.figures] == [0.725, 0.8605]
    assert any("percent" in note for note in printed_figures.notes)


def test_class_counts_come_by_name_or_by_order():
    text = "recall mel 0.73\nrecall nv 0.86"
    for counts in ({"nv": 257, "mel": 55}, [55, 257]):
        assert judged(text, counts).by_class["images"].to_dict() == {"mel": 55, "nv": 257}


def test_the_average_over_samples_is_no_class():
    text = REPORT + "samples avg       0.83      0.83      0.83       353\n"
    assert judged(text).n == 353 and "samples avg" not in judged(text).by_class.index


def test_a_percent_sign_in_the_header_and_decimal_commas_are_read():
    table = "| Class | Recall (%) | N |\n|---|---|---|\n| MEL | 72.7 | 55 |\n| NV | 85.6 | 257 |"
    assert judged(table).by_class["hits_low"].tolist() == [40, 220]
    assert printed("recall mel 0,73\nrecall nv 0,86") == {"mel recall 0.73", "nv recall 0.86"}


TWO = {"mel recall 0.73", "nv recall 0.86"}


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        # cells with more than a number
        ("class | recall | n\nmel | 0.73 ± 0.02 | 55\nnv | 0.86 +/- 0.01 | 257", TWO),
        ("Class  Recall (95% CI)  n\nmel    0.73 (0.60-0.85)   55\nnv  0.86 [0.80, 0.90]  257", TWO),
        ("class,recall\nmel,17/23 (73.9%)\nnv,86/100 (86%)", {"mel recall 17/23", "nv recall 86/100"}),
        ("| class | recall [\\%] |\n|---|---|\n| mel | 73.0 |\n| nv | 86 |", {"mel recall 73.0", "nv recall 86"}),
        # names of columns
        ("class | P | R | F1 | #\nmel | 0.5 | 0.73 | 0.6 | 1,450\nnv | 0.9 | 0.86 | 0.88 | 2\u2009000", TWO),
        ("       P    R    F1    #\nmel  0.5  0.73  0.6  1,450\nnv  0.9  0.86  0.88  2,000", TWO),
        ("Class,Sens.,Spec.\nmel,0.73,0.9\nnv,0.86,0.8", TWO),
        ("Class,Test Precision,Test Recall\nmel,0.5,0.73\nnv,0.9,0.86", TWO),
        ("Klasse;Präzision;Sensitivität;Anzahl\nmel;0,5;0,73;55\nnv;0,9;0,86;257", TWO),
        ("Klasse | Precision in % | Recall in %\nmel | 50 | 73\nnv | 90 | 86", {"mel recall 73", "nv recall 86"}),
        (",class,precision,recall\n0,mel,0.5,0.73\n1,nv,0.9,0.86", TWO),
        ("| class | accuracy | recall |\n|---|---|---|\n| mel | 0.9 | 0.73 |\n| nv | 0.9 | 0.86 |", TWO),
        # metrics in the rows
        ("| metric | mel | nv |\n|---|---|---|\n| precision | 0.5 | 0.9 |\n| recall | 0.73 | 0.86 |", TWO),
        ("         mel   nv\nrecall  0.73  0.86\nsupport  55  257", TWO),
        ("metric,value\nmel_recall,0.73\nrecall (nv),0.86", TWO),
        # sentences
        (
            "Melanoma sensitivity was 73.0% (54/74), nevus sensitivity 86%",
            {"Melanoma recall 54/74", "nevus recall 86%"},
        ),
        ("recall of 0.73 for mel and 0.86 for nv", TWO),
        ("7-class accuracy 0.83, top-3 accuracy 0.95, NPV 0.97; train accuracy 0.99", {"accuracy 0.83"}),
        ("Training accuracy: 0.99\nTest accuracy: 0.83\nDelta accuracy: 0.16", {"accuracy 0.83"}),
        ("val accuracy 0.85, test accuracy 0.83", {"accuracy 0.83"}),
        ("val_accuracy: 0.85", {"accuracy 0.85"}),
        ("balanced acc. 0.71", {"balanced accuracy 0.71"}),
        (
            "melanoma sensitivity at 95% specificity: 0.55; recall @ 90% specificity 0.6\nrecall mel 0.7",
            {"mel recall 0.7"},
        ),
        ("macro_f1 0.61\nf1_weighted: 0.8", {"macro f1 0.61", "weighted f1 0.8"}),
        ("mel: accuracy 0.95, recall 0.73\noverall accuracy 0.83", {"mel recall 0.73", "accuracy 0.83"}),
        ("accuracy 0.8267\nAccuracy: 82.7%", {"accuracy 0.8267"}),
        ("Accuracy on the training set: 0.99; accuracy on the test set: 0.83", {"accuracy 0.83"}),
        ("Precision: 0.85, recall: 0.83 (weighted)", {"weighted recall 0.83"}),
        ("sensitivity/specificity: 73/91\naccuracy 0.83", {"accuracy 0.83"}),
        ("accuracy 82.67, macro F1 0.61", {"accuracy 82.67", "macro f1 0.61"}),
        # a number before its name
        ("83.3% accuracy, 72.7% melanoma recall", {"accuracy 83.3%", "melanoma recall 72.7%"}),
        ("We reach 83.3% accuracy, with 72.7% (40/55) recall for mel.", {"accuracy 83.3%", "mel recall 40/55"}),
        ("nv: 0.86 recall, 0.94 precision", {"nv recall 0.86"}),
        ("0.833 accuracy, 0.764 macro F1, 0.72 bacc", {"accuracy 0.833", "macro f1 0.764", "balanced accuracy 0.72"}),
        # other words and forms
        ("Makro-F1: 0,764\nMakro-Recall: 0,797", {"macro f1 0.764", "macro recall 0.797"}),
        ("non-melanoma recall 0.9\nmelanoma recall 0.7", {"non-melanoma recall 0.9", "melanoma recall 0.7"}),
        ("mel recall: 7.3e-01\naccuracy: 8.33e-1", {"mel recall 7.3e-01", "accuracy 8.33e-1"}),
        ("Genauigkeit Melanom: 0,55\nrecall mel 0,73", {"mel recall 0.73"}),
        ("Accuracy on 353 test images: 83.3%", {"accuracy 83.3%"}),
        ("On 300 images (50 melanomas, 250 nevi) an accuracy of 86.7%", {"accuracy 86.7%"}),
        ("Melanoma\n  recall: 0.73\nNevus\n  recall: 0.86", {"Melanoma recall 0.73", "Nevus recall 0.86"}),
        (
            "  TP Rate  FP Rate  Precision  Recall   F-Measure  MCC      ROC Area  PRC Area  Class\n"
            "  0.727    0.111    0.548      0.727    0.625      0.556    0.930     0.800     mel",
            {"mel recall 0.727"},
        ),
        (
            "| Method | ACC (%) | SEN (%) | AUC |\n|-|-|-|-|\n| Ours | 83.3 | 72.7 | 0.9 |",
            {"accuracy 83.3", "recall 72.7"},
        ),
        # JSON
        ("{'mel': {'recall': 0.73}, 'accuracy': 0.83}", {"mel recall 0.73", "accuracy 0.83"}),
        (
            '{"macro_f1": 0.61, "test_accuracy": 0.83, "mel_recall": 0.7}',
            {"macro f1 0.61", "accuracy 0.83", "mel recall 0.7"},
        ),
        ('{"model": {"recall": {"mel": 0.73, "nv": 0.86}}}', TWO),
    ],
)
def test_a_score_is_read_however_it_is_printed(text, figures):
    found = {figure for figure in printed(text) if "precision" not in figure and "specificity" not in figure}
    assert {figure for figure in found if " f1" not in figure or figure in figures} == figures


def test_spellings_of_one_class_are_one_class():
    assert judged("Melanoma precision 0.613\nmelanoma recall 0.613\nMEL F1 0.439").impossible != []
    assert len(printed("bkl recall 0.5\npigmented benign keratosis recall 0.6")) == 2


def test_figures_that_only_averages_have_are_named_and_not_found():
    """Averages over the classes of a real matrix."""
    verdict = judged("Precision 0.741\nRecall 0.797\nF1 0.764")
    assert verdict.impossible == [] and any("averages over classes" in note for note in verdict.notes)
    assert judged("Precision 0.741\nRecall 0.797\nF1 0.784").impossible != []


@pytest.mark.slow
def test_the_solver_prints_nothing(tmp_path):
    """HiGHS writes lines of its own for some programs."""
    true, predicted, _ = same_report()
    frame = pd.DataFrame(classification_report(true, predicted, output_dict=True)).T
    path = tmp_path / "report.txt"
    path.write_text(frame.to_string())
    done = subprocess.run(
        [sys.executable, "-m", "lesion_utils", "report", path, "--json"], capture_output=True, text=True, check=False
    )
    assert json.loads(done.stdout)["n"] == 353, done.stdout


def test_denominators_are_images():
    verdict = judged("class,recall\nmel,17/23 (73.9%)\nnv,86/100 (86%)")
    assert verdict.by_class["images"].tolist() == [23, 100] and verdict.by_class["hits_high"].tolist() == [17, 86]
    with pytest.raises(InputError, match="17/23"):
        judged("class,recall\nmel,17/23 (83.9%)\nnv,86/100 (86%)")


@pytest.mark.parametrize(
    "text",
    [
        "accuracy 0.857\nmel recall 0.72\nn mel = 75",
        "mel: recall 0.72, n = 75\nnv: n = 90\nn = 672",
        # true figures of two classes of three
        "class | precision | recall | F1 | n\nmel | .548 | .727 | .625 | 55\nnv | .940 | .860 | .898 | 257",
    ],
)
def test_some_classes_are_not_taken_for_all(text):
    verdict = judged(text)
    assert verdict.impossible == [] and verdict.overall.empty and any("some of more" in note for note in verdict.notes)


def test_the_images_of_one_class_suffice_to_judge_it():
    assert judged("recall df 0.80\nn df = 12").impossible == [["df recall 0.80"]]
    assert judged("recall df 0.83\nn df = 12").by_class.at["df", "hits_low"] == 10


def test_class_counts_know_the_class_by_any_of_its_names():
    assert judged("recall melanoma 0.73\nrecall nevus 0.86", {"nv": 257, "mel": 55}).by_class["images"].to_dict() == {
        "melanoma": 55,
        "nevus": 257,
    }


@pytest.mark.parametrize(
    "text",
    [
        "precision 0.61 ± 0.02, recall 0.61 ± 0.03, F1 0.44 ± 0.02",
        "5-fold cross-validation: mel recall 0.733, n = 10; nv recall 0.861, n = 20",
        "mean precision 0.613, mean recall 0.613, mean F1 0.439",
        "class precision recall f1 support\nmel 0.5 0.6 0.55 10\nnv 0.78 0.7 0.74 20\navg / total 0.6 0.6 0.44 30",
    ],
)
def test_means_are_not_called_impossible(text):
    assert judged(text).impossible == []


def test_a_report_of_some_classes_is_possible():
    """scikit-learn then prints a micro average: what is predicted as other classes is in no row."""
    true, predicted, _ = same_report()
    text = classification_report(true, predicted, labels=["mel", "akiec"])
    assert "micro avg" in text
    verdict = judged(text)
    assert verdict.impossible == [] and verdict.by_class["hits_low"].to_dict() == {"mel": 40, "akiec": 30}
    several = classification_report(np.eye(3)[[0, 1, 2, 0]], np.array([[1, 1, 0], [0, 1, 1], [0, 1, 1], [1, 0, 1]]))
    assert judged(several).impossible == []
    assert judged(text.replace("micro avg", "macro avg", 1)).impossible != [] or "macro avg" in text


def test_averages_are_compared_without_class_counts():
    assert judged("macro recall 0.61\nbalanced accuracy 0.72").impossible == [
        ["macro recall 0.61", "balanced accuracy 0.72"]
    ]
    assert judged("weighted recall 0.81, accuracy 0.85").impossible == [["weighted recall 0.81", "accuracy 0.85"]]
    assert judged("weighted recall 0.81, accuracy 0.81, macro recall 0.6, balanced accuracy 0.6").impossible == []


def test_a_number_of_images_in_a_sentence_is_no_score():
    text = "an accuracy of 83.1% and a balanced accuracy of 71.2% on 1,511 test images, with a melanoma recall of 0.58"
    assert printed(text) == {"accuracy 83.1%", "balanced accuracy 71.2%", "melanoma recall 0.58"}


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("text", "counts", "facts"),
    [
        ("  ", None, ["empty"]),
        ("no number here", None, ["no score"]),
        ("recall mel 0.73\nrecall mel 0.75", None, ["mel recall", "0.73", "0.75", "line 2"]),
        ("recall mel 250", None, ["250", "100%"]),
        ("recall mel 0.73", [1, 2], ["2 numbers", "1 class"]),
        ("recall mel 0.73", {"nv": 3}, ["mel", "--class-counts"]),
        ("mel: recall 0.73, n = 55", {"mel": 54}, ["mel", "contradicts"]),
        ("mel: recall 0.73, n = 5.5", None, ["5.5", "whole number"]),
        ("class precision recall precision recall\nmel 0.5 0.6 0.6 0.7", None, ["line 1", "precision", "one model"]),
        (
            json.dumps({m: {"mel": {"recall": 0.7}, "accuracy": 0.8} for m in ("VGG", "ResNet")}),
            None,
            ["VGG", "ResNet"],
        ),
        ("| metric | VGG | ResNet |\n|---|---|---|\n| accuracy | 0.8 | 0.9 |", None, ["0.8", "0.9"]),
        ("accuracy 0.83\naccuracy 0.85", None, ["0.83", "0.85"]),
        ("recall mel 0.73\nrecall nv 0.86", {"mel": 55}, ["mel", "55", "--class-counts"]),
        ("model,accuracy,recall\nVGG16,0.8,0.7\nResNet,0.9,0.8", None, ["VGG16", "one model"]),
        ("  precision recall f1-score support\n\nakiec 0.80 0.67 0", None, ["akiec", "0 images"]),  # a table cut off
    ],
)
def test_what_cannot_be_used_is_refused_by_name(text, counts, facts):
    with pytest.raises(InputError) as caught:
        judged(text, counts)
    assert all(fact in str(caught.value) for fact in facts), caught.value


# -------------------------------------------------------------------------------------------------------- the command


def test_the_command_prints_counts_and_findings(tmp_path):
    clean, wrong = tmp_path / "report.txt", tmp_path / "wrong.txt"
    clean.write_text(REPORT)
    wrong.write_text(REPORT + "\nbalanced accuracy 0.85\n")
    result = lesion(clean)
    assert result.exit_code == 0 and "40" in result.output and "0.83" in result.output
    result = lesion(wrong)
    assert result.exit_code == 1 and "balanced accuracy 0.85" in result.output and "0.796-0.797" in result.output
    as_json = json.loads(lesion(wrong, "--json").stdout)
    assert as_json["impossible"] and as_json["n"] == 353
    assert lesion("-", "--class-counts", "mel=x", text=REPORT).exit_code == 2


@pytest.mark.real_data
@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="needs ../shared/cases")
def test_the_handed_report_gives_its_counts():
    result = lesion(SHARED / "cases" / "k1_report_alone.txt", "--json")
    (melanoma,) = [row for row in json.loads(result.stdout)["by_class"] if row["class"] == "mel"]
    assert (melanoma["hits_low"], melanoma["hits_high"], melanoma["images"]) == (40, 40, 55)
