"""The layout of SIIM-ISIC 2020: what is read, what is refused and how that is said, and patients kept together."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from lesion_utils import reports
from lesion_utils.cases import data_digest, data_title, layout, make_case_tables, read_cases
from lesion_utils.datasets import LAYOUTS, ham10000, read_any, siim2020
from lesion_utils.datasets.case_table import COLUMNS
from lesion_utils.errors import InputError
from lesion_utils.splits import SPLITS, assert_disjoint
from lesion_utils.study import StudyParams

TABLE = siim2020.TABLE


@pytest.fixture
def copied(siim2020_folder, tmp_path) -> Path:
    """A copy that the test may spoil."""
    return Path(shutil.copytree(siim2020_folder, tmp_path / "siim2020"))


def study_on(folder: Path, **values) -> StudyParams:
    return StudyParams(study="mine", dataset="siim2020", data=str(folder), **values)


def table_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / TABLE, dtype=str, keep_default_na=False)


def spoil(folder: Path, column: str, row: int, value: str) -> pd.DataFrame:
    """Writes ``value`` into a row of the folder's table, and returns the table."""
    table = table_of(folder)
    table.loc[row, column] = value
    table.to_csv(folder / TABLE, index=False)
    return table


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        siim2020.read(folder)
    return str(error.value)


# what is read


def test_each_image_is_a_case_of_its_patient_and_malignant_is_melanoma(siim2020_folder):
    cases, drawn = read_cases(study_on(siim2020_folder)), ham10000.read(siim2020_folder.parent / "drawn")
    assert list(cases.columns) == COLUMNS
    for column in ("image_id", "isic_id", "age", "sex", "localization"):
        assert cases[column].equals(drawn[column]), column
    assert (cases["label"] == "melanoma").equals(drawn["label"] == "mel")
    assert set(cases["label"]) == set(siim2020.CLASSES) == set(LAYOUTS["siim2020"].classes)
    patients = table_of(siim2020_folder).set_index("image_name")["patient_id"]
    assert list(cases["lesion_id"]) == list(patients.loc[cases["image_id"]])
    assert cases["lesion_id"].nunique() < drawn["lesion_id"].nunique()
    assert all(Path(path).is_file() and Path(path).stem == name for name, path in cases[["image_id", "path"]].values)
    assert cases[["dx_type", "source", "published_split"]].isna().all(axis=None)


def test_missing_ages_sexes_and_sites_rows_in_any_order_and_other_files(copied):
    before = siim2020.read(copied)
    names = list(before["image_id"][:2])
    table = table_of(copied)
    table.loc[table["image_name"] == names[0], ["age_approx", "sex", "anatom_site_general_challenge"]] = ""
    table.loc[table["image_name"] == names[1], ["age_approx", "sex"]] = ["45.0", "male"]
    table.iloc[::-1].to_csv(copied / TABLE, index=False)
    (copied / siim2020.IMAGES / "LICENSE.txt").write_text("")
    (copied / "jpeg" / "test").mkdir()
    shutil.copy(before["path"][0], copied / "jpeg" / "test" / "ISIC_unlabelled.jpg")
    cases = read_any(copied)
    pd.testing.assert_frame_equal(cases[2:], before[2:])
    assert cases["age"].dtype == float and pd.isna(cases["age"][0]) and cases["age"][1] == 45.0
    assert cases.loc[0, ["sex", "localization"]].tolist() == [None, None] and cases["sex"][1] == "male"


def test_a_study_splits_it_by_patient(siim2020_folder, threads):
    cases = make_case_tables(study_on(siim2020_folder, threads=threads))["corrected"]
    assert set(cases["split"]) == set(SPLITS)
    assert (cases.groupby("lesion_id")["split"].nunique() == 1).all()
    assert_disjoint(cases)
    assert (cases.groupby("split")["label"].nunique() == 2).all()
    of_both = cases.groupby("lesion_id")["label"].nunique() == 2
    assert of_both.any(), "no patient has images of both classes: the test shows little"


def test_its_reports_name_the_data_and_the_unit_of_the_intervals(siim2020_folder):
    study = study_on(siim2020_folder, scaled_down_how="128 px instead of 256.", measured_minutes=7)
    assert data_title(study) == "SIIM-ISIC 2020, scaled-down run"
    index = reports.write_index(study).read_text(encoding="utf-8")
    assert all(fact in index for fact in (data_title(study), "over patients", "128 px instead of 256"))


# what is refused


def test_a_missing_folder_or_table(copied, tmp_path):
    assert f"data folder {tmp_path / 'nowhere'} does not exist. Expected jpeg/train/" in refused(tmp_path / "nowhere")
    shutil.move(copied / "jpeg" / "train", copied / "elsewhere")
    assert "has no folder jpeg/train. Expected the images in it" in refused(copied)
    (copied / TABLE).unlink()
    assert "has no train.csv. Expected it with the columns image_name, patient_id, sex," in refused(copied)


def test_a_missing_column_and_one_that_stands_twice(copied):
    table_of(copied).drop(columns=["patient_id", "target"]).to_csv(copied / TABLE, index=False)
    assert all(fact in refused(copied) for fact in (TABLE, "patient_id, target", "image_name, sex"))
    table = table_of(copied).assign(patient_id="IP_1", target="0")
    table.to_csv(copied / TABLE, index=False, header=[*table.columns[:-2], "sex", "target"])
    assert f"{TABLE}: duplicate column(s): sex." in refused(copied)


def test_a_label_that_is_neither_benign_nor_malignant(copied):
    spoil(copied, "benign_malignant", 4, "melanoma")
    assert re.search(r"benign_malignant.*row 6 \('melanoma'\).*benign, malignant", refused(copied))


@pytest.mark.parametrize("target", ["other", "", "yes", "2"])
def test_a_target_that_contradicts_the_label(copied, target):
    label = table_of(copied)["benign_malignant"][3]
    target = str(1 - siim2020.TARGETS[label]) if target == "other" else target
    spoil(copied, "target", 3, target)
    message = refused(copied)
    assert re.search(rf"{TABLE}.*target.*row 5 \({target!r}\).*0 for benign and 1 for malignant", message)


@pytest.mark.parametrize("column", ["image_name", "patient_id"])
def test_an_empty_id(copied, column):
    spoil(copied, column, 1, "")
    assert re.search(rf"{TABLE}.*{column}.*row 3", refused(copied))


def test_an_image_that_stands_twice(copied):
    name = table_of(copied)["image_name"][1]
    spoil(copied, "image_name", 4, name)
    assert f"row 3 ({name!r}), row 6 ({name!r})" in refused(copied)


@pytest.mark.parametrize("age", ["old", "nan", "-5"])
def test_an_age_that_is_no_number_of_years(copied, age):
    spoil(copied, "age_approx", 0, age)
    assert re.search(rf"{TABLE}.*age_approx.*row 2 \({age!r}\)", refused(copied))


def test_a_row_without_its_image_and_an_image_without_its_row(copied):
    image = min((copied / siim2020.IMAGES).iterdir())
    moved = image.rename(image.with_name("ISIC_other.jpg"))
    assert f"{TABLE}: 1 row(s) without an image: {image.stem}. Expected <image_name>.jpg in" in refused(copied)
    shutil.copy(moved, image)
    assert f"1 image(s) without a row in {TABLE}: ISIC_other." in refused(copied)
    moved.rename(image.with_suffix(".jpeg"))
    assert f"under two names: {image.stem}." in refused(copied)


# among the layouts


def test_every_data_set_of_a_study_is_a_layout_and_says_what_it_is():
    for name, entry in LAYOUTS.items():
        if entry.has_training:
            classes = {"classes": {"mole": "benign", "wart": "benign"}} if entry.own else {}
            assert StudyParams(dataset=name, **classes).dataset == name
    with pytest.raises(ValidationError, match="siim2020"):  # the refusal lists the registered data sets
        StudyParams(dataset="no_such_layout")
    with pytest.raises(ValidationError):  # a test set alone is no study
        StudyParams(dataset="isic2018")
    assert len({one.title for one in LAYOUTS.values()}) == len(LAYOUTS)
    assert layout(StudyParams()).made_up and not layout(StudyParams(dataset="siim2020")).made_up


def test_the_digest_changes_with_table_and_images_but_not_with_the_place(copied, siim2020_folder):
    digests = [data_digest(study_on(copied))]
    assert digests[0] == data_digest(study_on(siim2020_folder))
    spoil(copied, "sex", 0, "unknown")
    digests.append(data_digest(study_on(copied)))
    image = min((copied / siim2020.IMAGES).iterdir())
    image.rename(image.with_name("ISIC_other.jpg"))
    digests.append(data_digest(study_on(copied)))
    assert len(set(digests)) == 3
