"""The 9-class folder layout: what is read, what is refused, and what HAM10000's table adds."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import ISIC9

from lesion_utils import pipeline
from lesion_utils.cases import data_digest, ham10000_folder, read_cases
from lesion_utils.datasets import LAYOUTS, ham10000, isic9, read_any
from lesion_utils.datasets.case_table import COLUMNS
from lesion_utils.errors import InputError
from lesion_utils.offline_copies import make_offline_copies
from lesion_utils.paths import PROJECT
from lesion_utils.recipes import OfflineCopies
from lesion_utils.study import StudyParams


@pytest.fixture
def copied(isic9_folder, tmp_path) -> Path:
    """A copy of the set, HAM10000's table beside it, that the test may spoil."""
    return Path(shutil.copytree(isic9_folder.parent, tmp_path / "data")) / "isic9"


def study_on(folder: Path, **values) -> StudyParams:
    return StudyParams(study="mine", dataset="isic9", data=str(folder), **values)


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        isic9.read(folder, None)
    return str(error.value)


# what is read


def test_one_row_a_file_with_the_published_id_the_class_and_the_part(isic9_folder):
    cases = read_cases(study_on(isic9_folder))
    assert list(cases.columns) == [*COLUMNS, "ham10000_label"]
    truth = {f"{place}/ISIC_{number:07}{tail}": f"ISIC_{number:07}" for place, number, tail, *_ in ISIC9}
    assert dict(zip(cases["image_id"], cases["isic_id"], strict=True)) == truth
    assert list(cases["image_id"]) == sorted(truth)
    for row in cases.itertuples():
        part, label, stem = row.image_id.split("/")
        assert (row.published_split, row.label) == (part.lower(), label)
        assert Path(row.path).is_file() and Path(row.path).stem == stem
    assert cases["path"].str.contains(r"\(1\)").sum() == 2


def test_lesion_patient_and_source_come_from_ham10000_where_it_knows_the_image(isic9_folder):
    cases = read_cases(study_on(isic9_folder)).set_index("image_id")
    for place, number, tail, _, lesion, dx, _ in ISIC9:
        case = cases.loc[f"{place}/ISIC_{number:07}{tail}"]
        if lesion:
            assert (case["lesion_id"], case["ham10000_label"], case["source"]) == (lesion, dx, "HAM10000")
            assert (case["age"], case["sex"], case["localization"], case["dx_type"]) == (60.0, "male", "back", "histo")
        else:
            assert (case["lesion_id"], case["ham10000_label"], case["source"]) == (case["isic_id"], None, "other")
            assert pd.isna(case["age"]) and case["sex"] is None and case["dx_type"] is None


def test_without_ham10000_each_image_is_its_own_lesion_of_unknown_source(isic9_folder):
    cases = isic9.read(isic9_folder, None)
    assert (cases["lesion_id"] == cases["isic_id"]).all()
    assert cases[["source", "ham10000_label", "sex", "age"]].isna().all(axis=None)


def test_the_folder_of_train_and_test_and_the_one_around_it_are_the_same_set(isic9_folder):
    inner = isic9_folder / "A set with spaces"
    pd.testing.assert_frame_equal(isic9.read(inner, None), isic9.read(isic9_folder, None))


def test_ham10000_is_taken_from_the_key_or_from_beside_the_data(copied, isic9_folder):
    beside = copied.parent / "ham10000"
    assert ham10000_folder(study_on(copied)) == beside
    elsewhere = Path(shutil.move(beside, copied.parent / "elsewhere"))
    assert ham10000_folder(study_on(copied)) is None
    assert read_cases(study_on(copied))["source"].isna().all()
    assert ham10000_folder(study_on(copied, ham10000=str(elsewhere))) == elsewhere
    read = read_cases(study_on(copied, ham10000=str(elsewhere)))
    pd.testing.assert_frame_equal(
        read.drop(columns="path"), read_cases(study_on(isic9_folder)).drop(columns="path"), check_like=True
    )
    with pytest.raises(InputError, match="has no metadata table"):
        read_cases(study_on(copied, ham10000=str(copied)))


def test_every_notebook_is_told_where_ham10000_lies_and_none_runs_again_if_it_moves(copied, tmp_path):
    moved = Path(shutil.copytree(copied.parent / "ham10000", tmp_path / "moved"))
    here, there = study_on(copied), study_on(copied, ham10000=str(moved))
    for name in pipeline.NOTEBOOKS:
        assert (PROJECT / pipeline.values(there, name)["ham10000"]).resolve() == moved.resolve()
        assert pipeline.depends_on(here, name) == pipeline.depends_on(there, name)


def test_hidden_files_are_no_part_of_the_set(copied):
    before = isic9.read(copied, None)
    (copied / "A set with spaces" / "Train" / ".DS_Store").write_text("")
    (copied / "A set with spaces" / "Train" / "nevus" / "._ISIC_0000300.jpg").write_text("")
    pd.testing.assert_frame_equal(isic9.read(copied, None), before)


def test_every_class_has_a_description_and_a_place_among_ham10000s():
    assert set(isic9.TO_HAM10000) == set(isic9.CLASSES) == set(LAYOUTS["isic9"].classes)
    assert set(isic9.TO_HAM10000.values()) == set(ham10000.CLASSES)


def test_copies_by_augmentor_find_their_sources_though_ids_hold_slashes_and_spaces(isic9_folder):
    cases = isic9.read(isic9_folder, None)
    cases = cases[cases["label"] == "nevus"]
    copies = make_offline_copies(cases, OfflineCopies(per_class=3), seed=0)
    assert len(copies) == 3 and set(copies["label"]) == {"nevus"}
    assert set(copies["image_id"].str.split("-copy").str[0]) <= set(cases["image_id"])


# what is refused


def test_a_folder_that_is_not_there_or_holds_no_train_and_test(tmp_path):
    assert "nowhere does not exist. Expected Train/<class>/ISIC_" in refused(tmp_path / "nowhere")
    assert all(fact in refused(tmp_path) for fact in (str(tmp_path), "Train and Test", "none", "DATA="))
    (tmp_path / "some" / "Train").mkdir(parents=True)
    assert ": some." in refused(tmp_path)


def test_two_sets_in_one_folder(copied):
    shutil.copytree(copied / "A set with spaces", copied / "Another")
    assert "A set with spaces, Another" in refused(copied)


def test_a_part_without_classes_and_a_class_in_one_part_alone(copied):
    top = copied / "A set with spaces"
    shutil.rmtree(top / "Test" / "nevus")
    assert "only one of Train and Test: nevus." in refused(copied)
    shutil.rmtree(top / "Test")
    (top / "Test").mkdir()
    assert "no class folder in: Test." in refused(copied)


def test_a_class_that_is_none_of_the_nine(copied):
    for part in ("Train", "Test"):
        (copied / "A set with spaces" / part / "nevus").rename(copied / "A set with spaces" / part / "nv")
    assert all(fact in refused(copied) for fact in (": nv.", "actinic keratosis, basal"))


def test_a_class_folder_without_an_image(copied):
    for path in (copied / "A set with spaces" / "Test" / "nevus").iterdir():
        path.unlink()
    assert "without an image: Test/nevus." in refused(copied)


@pytest.mark.parametrize(
    "name", ["notes.txt", "ISIC_0000300.gif", "ISIC_300.jpg", "ISIC_0000300 copy.jpg", "Train/notes.txt", "more/"]
)
def test_a_file_that_is_no_image_by_its_name(copied, name):
    top = copied / "A set with spaces"
    path = top / name if name.startswith("Train") else top / "Train" / "nevus" / name
    path.mkdir() if name.endswith("/") else path.write_text("")
    assert f"not an image by its name: {path.relative_to(top).as_posix()}. Expected Train/<class>/ISIC_" in refused(
        copied
    )


def test_two_files_that_differ_in_the_end_of_their_name_alone(copied):
    image = copied / "A set with spaces" / "Train" / "nevus" / "ISIC_0000300.jpg"
    shutil.copy(image, image.with_suffix(".jpeg"))
    assert ": Train/nevus/ISIC_0000300." in refused(copied)


# the digest, and the layouts told apart


def test_the_digest_changes_with_files_their_class_and_ham10000_but_not_with_the_place(copied, tmp_path):
    digests = [data_digest(study_on(copied))]
    moved = Path(shutil.move(copied.parent, tmp_path / "moved")) / "isic9"
    assert data_digest(study_on(moved)) == digests[0]
    train = moved / "A set with spaces" / "Train"
    (train / "nevus" / "ISIC_0000300.jpg").rename(train / "melanoma" / "ISIC_0000300.jpg")
    digests.append(data_digest(study_on(moved)))
    table = moved.parent / "ham10000" / "HAM10000_metadata.csv"
    table.write_text(table.read_text().replace("male", "female", 1))
    digests.append(data_digest(study_on(moved)))
    table.unlink()
    digests.append(data_digest(study_on(moved)))
    assert len(set(digests)) == 4


def test_a_layout_is_told_by_what_lies_in_the_folder(isic9_folder, phantom_folder, tmp_path):
    ham = isic9_folder.parent / "ham10000"
    pd.testing.assert_frame_equal(read_any(isic9_folder, ham), isic9.read(isic9_folder, ham))
    pd.testing.assert_frame_equal(read_any(phantom_folder), ham10000.read(phantom_folder))
    for place in (tmp_path, isic9_folder / "A set with spaces" / "Train" / "nevus"):
        with pytest.raises(InputError, match=r"Expected one of: ISIC2018_Task3_Test_Input/ .*lesion_id.*Train/"):
            read_any(place)
    with pytest.raises(InputError, match="nowhere is not a folder"):
        read_any(tmp_path / "nowhere")


def test_any_table_with_ham10000s_columns_and_any_folders_of_images_are_read(ham_folder):
    before = ham10000.read(ham_folder)
    (ham_folder / "HAM10000_metadata.csv").rename(ham_folder / "clinic.csv")
    for part in (1, 2):
        (ham_folder / f"HAM10000_images_part_{part}").rename(ham_folder / f"box {part}")
    pd.testing.assert_frame_equal(read_any(ham_folder).drop(columns="path"), before.drop(columns="path"))
    shutil.copy(ham_folder / "clinic.csv", ham_folder / "more.csv")
    with pytest.raises(InputError, match=r"more than one metadata table: clinic\.csv, more\.csv\. Fix: keep one"):
        read_any(ham_folder)


# the real set


def test_the_real_set_and_its_overlap_with_ham10000(real_isic9):
    cases = read_cases(study_on(real_isic9))
    assert cases["published_split"].value_counts().to_dict() == {"train": 2239, "test": 118}
    assert cases["isic_id"].nunique() == 2202
    inside = cases[cases["source"] == "HAM10000"]
    assert (len(inside), inside["isic_id"].nunique(), inside["lesion_id"].nunique()) == (1512, 1437, 1062)
    assert (inside["label"].map(isic9.TO_HAM10000) != inside["ham10000_label"]).sum() == 76
    assert not (inside["label"] == "melanoma").any()
