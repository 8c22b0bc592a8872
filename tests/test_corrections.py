"""Corrections of a 9-class set: what was planted is decided as planted, nothing else; and their application."""

import hashlib
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import ISIC9
from hypothesis import given
from hypothesis import strategies as st

from lesion_utils.audit import pixel_digests
from lesion_utils.audit.corrections import apply, corrections, decisions, picture_numbers, write
from lesion_utils.datasets import isic9
from lesion_utils.errors import InputError


@pytest.fixture(scope="module")
def cases(isic9_folder) -> pd.DataFrame:
    return with_pixels(isic9.read(isic9_folder, isic9_folder.parent / "ham10000"))


def with_pixels(cases: pd.DataFrame) -> pd.DataFrame:
    return cases.assign(pixels=pixel_digests(cases, 2))


@pytest.fixture(scope="module")
def found(cases) -> pd.DataFrame:
    return corrections(cases)


def reason(found: pd.DataFrame, path: str) -> str:
    return found.set_index("path").at[path, "reason"]


# what is decided


def test_what_was_planted_is_decided_as_planted_and_nothing_else(found):
    planted = {f"{place}/ISIC_{n:07}{tail}.jpg": todo for place, n, tail, *_, todo in ISIC9 if todo}
    assert dict(zip(found["path"], found["action"], strict=True)) == planted


def test_a_row_names_the_file_its_published_id_and_its_bytes_in_the_order_of_the_cases(cases, found):
    assert list(found.columns) == ["path", "image_id", "sha256", "reason", "action"]
    by_place = cases.set_index(cases["image_id"] + ".jpg")
    assert list(found["path"]) == [place for place in by_place.index if place in set(found["path"])]
    for row in found.itertuples():
        assert row.image_id == by_place.at[row.path, "isic_id"]
        assert row.sha256 == hashlib.sha256(Path(by_place.at[row.path, "path"]).read_bytes()).hexdigest()


def test_the_reasons_say_why(found):
    facts = {
        "Train/nevus/ISIC_0000120.jpg": ["actinic keratosis", "HAM10000", "akiec"],
        "Train/actinic keratosis/ISIC_0000120.jpg": ["nevus", "HAM10000"],
        "Train/nevus/ISIC_0000121.jpg": ["actinic keratosis", "no source"],
        "Train/nevus/ISIC_0000122.jpg": ["HAM10000", "akiec"],
        "Train/nevus/ISIC_0000351(2).jpg": ["Test/nevus/ISIC_0000351.jpg"],
        "Train/actinic keratosis/ISIC_0000152.jpg": ["HAM_150", "Test"],
        "Test/seborrheic keratosis/ISIC_0000450.jpg": ["1 lesion(s) of seborrheic keratosis", "10"],
    }
    for path, expected in facts.items():
        assert not [fact for fact in expected if fact not in reason(found, path)], path


def test_without_ham10000_both_labels_go_and_the_lesion_is_not_known(isic9_folder, threads):
    found = corrections(with_pixels(isic9.read(isic9_folder, None))).set_index("path")["action"]
    assert found["Train/actinic keratosis/ISIC_0000120.jpg"] == "exclude"
    assert "Train/actinic keratosis/ISIC_0000152.jpg" not in found
    assert "Train/nevus/ISIC_0000122.jpg" not in found


def test_pictures_are_joined_by_pixels_by_id_and_through_others():
    cases = pd.DataFrame({"isic_id": list("abbcd"), "pixels": list("11223")}, index=[5, 3, 1, 0, 9])
    groups = picture_numbers(cases)
    assert groups[[5, 3, 1, 0]].nunique() == 1 and groups[9] not in set(groups[[5, 3, 1, 0]])


NAMES = ["nevus", "melanoma", "actinic keratosis"]
ROWS = st.tuples(st.sampled_from(NAMES), st.integers(0, 25), st.integers(0, 40), st.booleans(), st.booleans())


@pytest.mark.slow
@given(st.lists(ROWS, min_size=1, max_size=120))
def test_what_is_left_has_no_such_defect_whatever_was_there(rows):
    cases = pd.DataFrame(rows, columns=["label", "picture", "lesion", "test", "known"])
    dx = (cases["picture"] % 3).map({0: "nv", 1: "mel", 2: "akiec"})
    cases = cases.assign(
        image_id=[f"{number:04}" for number in range(len(rows))],
        isic_id=[f"{number:04}" for number in range(len(rows))],
        path=[f"x/Train/{label}/{number}.jpg" for number, label in enumerate(cases["label"])],
        lesion_id=cases["lesion"].astype(str),
        published_split=cases["test"].map({True: "test", False: "train"}),
        ham10000_label=dx.astype(object).where(cases["known"], None),
    )
    decided = decisions(cases.assign(pixels=cases["picture"]))
    left = cases[decided["action"] != "exclude"]
    train, test = (left[left["published_split"] == part] for part in ("train", "test"))
    assert left["picture"].is_unique
    assert not set(train["lesion_id"]) & set(test["lesion_id"])
    assert set(left["label"]) == set(train["label"])
    assert (train.groupby("label")["lesion_id"].nunique() >= 10).all()
    known = left[left["known"]]
    assert (known["label"].map(isic9.TO_HAM10000) == known["ham10000_label"]).all()


# their application


def test_the_cleaned_table_is_the_raw_one_without_the_excluded_files(cases, found):
    cleaned = apply(cases, found)
    gone = set(found.loc[found["action"] == "exclude", "path"].str.removesuffix(".jpg"))
    assert 0 < len(gone) < len(cases)
    expected = cases[[image_id not in gone for image_id in cases["image_id"]]]
    pd.testing.assert_frame_equal(cleaned, expected.reset_index(drop=True))


def test_nothing_to_correct_is_left_in_the_cleaned_table(cases, found, threads):
    assert set(corrections(apply(cases, found))["action"]) <= {"keep"}


def test_corrections_read_from_their_file_do_the_same(cases, found, output):
    path = write(found, "mine")
    assert path == output / "reports" / "mine" / "corrections.csv"
    pd.testing.assert_frame_equal(apply(cases, pd.read_csv(path, dtype=str)), apply(cases, found))


def test_the_order_of_the_cases_stays(cases, found):
    shuffled = cases.sample(frac=1, random_state=0)
    expected = [image_id for image_id in shuffled["image_id"] if image_id in set(apply(cases, found)["image_id"])]
    assert list(apply(shuffled, found)["image_id"]) == expected


@pytest.mark.parametrize("action", ["keep", "exclude"])
def test_a_file_of_other_bytes_is_refused(isic9_folder, found, tmp_path, action):
    place = found.loc[found["action"] == action, "path"].iloc[0]
    copied = Path(shutil.copytree(isic9_folder, tmp_path / "isic9"))
    with (copied / "A set with spaces" / place).open("ab") as file:
        file.write(b"0")
    with pytest.raises(InputError, match=rf"another SHA-256 .*in 1 row.*{place}"):
        apply(isic9.read(copied, None), found)


def test_a_file_that_is_gone_an_unknown_action_and_a_missing_column_are_refused(cases, found):
    with pytest.raises(InputError, match=r"no such file in the dataset in 1 row\(s\): row \d+ \(.Test/act"):
        apply(cases, found.assign(path=found["path"].replace(found["path"][0], "Test/act/ISIC_1.jpg")))
    with pytest.raises(InputError, match=r"action.*'drop'.*exclude, keep"):
        apply(cases, found.assign(action="drop"))
    with pytest.raises(InputError, match="sha256"):
        apply(cases, found.drop(columns="sha256"))


# the real set


def test_the_real_set(real_isic9, real_ham, threads):
    cases = with_pixels(isic9.read(real_isic9, real_ham))
    digests = cases["pixels"]
    assert digests.nunique() == 2200
    labels = cases.groupby(digests)["label"].agg(lambda group: " + ".join(sorted(set(group))))
    assert labels[labels.str.contains("+", regex=False)].value_counts().to_dict() == {
        "melanoma + seborrheic keratosis": 78,
        "actinic keratosis + nevus": 77,
    }
    assert (cases.groupby(digests)["published_split"].nunique() > 1).sum() == 18
    found = corrections(cases)
    assert found["action"].value_counts().to_dict() == {"exclude": 283, "keep": 73}
    left = apply(cases, found)
    assert left["published_split"].value_counts().to_dict() == {"train": 1961, "test": 113}
    assert sorted(set(cases["label"]) - set(left["label"])) == ["seborrheic keratosis"]
