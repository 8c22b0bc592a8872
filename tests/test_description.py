"""A case table is described by its own numbers, also where metadata are missing."""

import numpy as np
import pandas as pd
import pytest

from lesion_utils.audit import corrections, description, findings, findings_sentence
from lesion_utils.datasets import ham10000, phantom
from lesion_utils.datasets.phantom import Phantom
from lesion_utils.probes import above_chance
from lesion_utils.splits import find_leaks, leak_table, split_table


@pytest.fixture
def cases() -> pd.DataFrame:
    """Five nevi of two lesions and three melanomas of three; one lesion of each class is in two splits."""
    return pd.DataFrame(
        {
            "image_id": list("abcdefgh"),
            "isic_id": list("abcdefgh"),
            "pixels": list("abcdefgh"),
            "label": ["nv"] * 5 + ["mel"] * 3,
            "lesion_id": ["l1", "l1", "l1", "l2", "l2", "f", "g", "h"],
            "age": [40, 40, 40, 50, np.nan, 60, 70, 80],
            "sex": ["female", "female", "female", "male", None, "male", "male", "male"],
            "localization": ["back"] * 4 + [None, "face", "face", "neck"],
            "dx_type": ["follow_up"] * 3 + ["histo"] * 5,
            "source": None,
            "published_split": None,
            "split": ["train", "train", "test", "validation", "validation", "train", "train", "test"],
        }
    )


def test_classes_and_facts(cases):
    table = description.class_table(cases, {"nv": "nevus", "mel": "melanoma"})
    assert list(table.loc["nv"]) == ["nevus", 5, 2, "62.5%", "100%"]
    assert list(table.loc["mel"]) == ["melanoma", 3, 3, "37.5%", "0%"] and list(table.index) == ["nv", "mel"]
    facts = description.facts(cases, "Made up", "patient")["value"]
    assert (facts["images"], facts["patients"], facts["classes"], facts["images without a recorded source"]) == (
        8,
        5,
        2,
        8,
    )
    assert [value for fact, value in facts.items() if "unknown" in fact] == [3]


def test_patients(cases):
    table = description.patient_table(cases)
    assert list(table.index) == ["nv", "mel", "all"]
    assert list(table.loc["nv"]) == [5, "40 (40-40)", 1, "75%", 1, "back (100%)", 1]
    assert list(table.loc["mel"]) == [3, "70 (60-80)", 0, "0%", 0, "face (66.7%)", 0]
    assert "40 years (nv) to 70 years (mel)" in description.age_sentence(cases)


def test_where_nothing_is_recorded_the_sentences_say_so(cases):
    empty = cases.assign(age=np.nan, sex=None, localization=None, dx_type=None)
    row = description.patient_table(empty).loc["all"]
    assert list(row == "not recorded") == [False, True, False, True, False, True, False]
    assert "not recorded" in description.age_sentence(empty)
    assert "not recorded" in description.diagnosis_sentence(empty)


def test_sentences_hold_the_numbers(cases):
    sentence = description.imbalance_sentence(cases)
    assert "nv is correct for 62.5% of 8" in sentence and "1/2 = 50%" in sentence and "1.67 times" in sentence
    assert "one class only: 1 of 2" in description.diagnosis_sentence(cases)
    assert "follow_up: 3 images, all nv" in description.diagnosis_sentence(cases)


def test_what_a_split_by_image_would_leak_is_what_random_splits_leak(threads):
    views = np.repeat([1, 2, 3], [300, 200, 100])
    lesions = np.repeat(np.arange(600), views)
    names = [str(number) for number in range(len(lesions))]
    cases = pd.DataFrame({"image_id": names, "isic_id": names, "pixels": names, "lesion_id": lesions, "label": "nv"})
    rng, leaking = np.random.default_rng(0), []
    for _ in range(50):
        split = cases.assign(split=rng.permutation(np.where(np.arange(len(cases)) < 0.6 * len(cases), "train", "test")))
        leaking.append(len(find_leaks(split)) / (split["split"] == "test").sum())
    sentence = description.siblings_sentence(split)
    assert "70% of 1,000 images show" in sentence and "(60%)" in sentence
    expected = float(sentence.split("image by image, ")[1].split("%")[0])
    assert expected == pytest.approx(100 * np.mean(leaking), abs=1)


def test_the_tables_of_the_split_count_images_lesions_and_leaks(cases):
    table = split_table(cases, ["train", "validation", "test"])
    assert list(table.loc["nv"]) == ["2 (1)", "2 (1)", "1 (1)"] and list(table.loc["mel"]) == [
        "2 (2)",
        "0 (0)",
        "1 (1)",
    ]
    assert list(table.loc["all"]) == ["4 (3)", "2 (1)", "2 (2)"]
    leaks = leak_table(cases, ["validation", "test"])
    assert list(leaks.loc["nv"]) == ["0 of 2 (0%)", "1 of 1 (100%)"]
    assert list(leaks.loc["mel"]) == ["none", "0 of 1 (0%)"] and leaks.loc["all", "test"] == "1 of 2 (50%)"


@pytest.mark.slow
def test_findings_are_counted_and_leaks_named(tmp_path, threads):
    phantom.write(tmp_path, Phantom(lesions=60, duplicates=3))
    cases = ham10000.read(tmp_path)
    found = findings(cases.assign(split=np.where(np.arange(len(cases)) % 2, "train", "test")), threads)
    leaks = found[found["severity"] == "leak"]
    sentence = findings_sentence(found)
    assert sentence.startswith(f"{len(found)} findings: leak {len(leaks)}, ")
    assert all(f"{row.what} {row.where}, {row.images}" in sentence for row in leaks.itertuples())
    assert findings_sentence(found[:0]).endswith("Leaks: none.")


def test_corrections_are_summed_up_without_the_names_of_files_and_lesions():
    reasons = ["the same picture as Test/mel/a b.jpg", "the same picture as Test/mel/c.jpg", "HAM10000 says nv"]
    reasons.append("another image of its lesion HAM_0000001 is in Test")
    table = corrections.summary(pd.DataFrame({"action": ["exclude"] * 4, "reason": reasons}))
    files = dict(zip(table["reason"], table["files"], strict=True))
    assert files["the same picture as …"] == 2 and files["another image of its lesion … is in Test"] == 1
    assert files["HAM10000 says nv"] == 1


def test_corrections_that_a_study_does_not_apply_are_said_to_be_listed_alone(cases):
    decided = pd.DataFrame({"action": ["exclude"]})
    assert "leaves out 2 of 8 images" in corrections.effect_sentence(cases, cases[2:], decided)
    assert "not applied" in corrections.effect_sentence(cases, cases, decided)
    for nothing in (None, decided[:0]):
        assert corrections.effect_sentence(cases, cases, nothing) == "This study leaves out 0 of 8 images."


def test_probes_above_chance_are_named():
    rows = pd.DataFrame({"value": [0.7, 0.52, np.nan], "low": [0.6, 0.45, np.nan], "high": [0.8, 0.6, np.nan]})
    index = pd.MultiIndex.from_product([["frame", "file", "metadata"], ["macro AUC"]])
    sentence = above_chance(rows.set_index(index))
    assert "1 of 2 probes" in sentence and "(frame)" in sentence and "frame: 0.70 (0.60-0.80)" in sentence
    assert "0 of 0 probes" in above_chance(rows.set_index(index)[2:])
