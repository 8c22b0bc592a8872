"""The layout of the ISIC 2018 Task 3 test set: what is read, and what is refused and how that is said."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from lesion_utils import pipeline
from lesion_utils.cases import data_digest, read_cases
from lesion_utils.datasets import ham10000, isic2018, read_any
from lesion_utils.datasets.phantom import Phantom
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT
from lesion_utils.study import StudyParams

TABLE = f"{isic2018.TRUTH}.csv"


@pytest.fixture
def copied(isic2018_folder, tmp_path) -> Path:
    """A copy that the test may spoil."""
    return Path(shutil.copytree(isic2018_folder, tmp_path / "isic2018"))


def table_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / TABLE, dtype=str, keep_default_na=False)


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        isic2018.read(folder)
    return str(error.value)


def test_each_image_is_a_case_with_its_label_and_a_lesion_of_its_own(isic2018_folder):
    cases, drawn = isic2018.read(isic2018_folder), ham10000.read(isic2018_folder.parent / "drawn")
    assert list(cases.columns) == list(drawn.columns)
    assert cases[["image_id", "label"]].equals(drawn[["image_id", "label"]]) and cases["label"].nunique() == 7
    assert (cases["lesion_id"] == cases["image_id"]).all() and (cases["isic_id"] == cases["image_id"]).all()
    assert drawn["lesion_id"].nunique() < cases["lesion_id"].nunique() == len(cases)
    assert all(Path(path).is_file() and Path(path).stem == name for name, path in cases[["image_id", "path"]].values)
    assert cases[["age", "sex", "localization", "dx_type", "source"]].isna().all(axis=None)
    assert set(cases["published_split"]) == {"test"}


def test_the_table_may_lie_in_a_folder_of_its_own_beside_files_that_are_no_images(copied, isic2018_folder):
    (copied / isic2018.TRUTH).mkdir()
    (copied / TABLE).rename(copied / isic2018.TRUTH / TABLE)
    (copied / isic2018.IMAGES / "LICENSE.txt").write_text("")
    table = table_of(copied / isic2018.TRUTH).iloc[::-1]
    table.to_csv(copied / isic2018.TRUTH / TABLE, index=False)
    expected = isic2018.read(isic2018_folder)
    pd.testing.assert_frame_equal(read_any(copied).drop(columns="path"), expected.drop(columns="path"))


def test_a_missing_folder_or_table(copied):
    (copied / TABLE).unlink()
    expected = f"has no ground truth. Expected {TABLE} or {isic2018.TRUTH}/{TABLE} with the columns image, MEL, NV"
    assert expected in refused(copied)
    shutil.rmtree(copied / isic2018.IMAGES)
    assert f"has no folder {isic2018.IMAGES}." in refused(copied)


def test_a_missing_column(copied):
    table_of(copied).drop(columns=["DF", "image"]).to_csv(copied / TABLE, index=False)
    assert all(fact in refused(copied) for fact in (TABLE, "image, DF", "MEL, NV"))


@pytest.mark.parametrize("row", [[0] * 7, [1, 1, 0, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0, 0, 0], [2, -1, 0, 0, 0, 0, 0]])
def test_a_row_that_is_not_one_hot(copied, row):
    table = table_of(copied)
    table.loc[3, list(isic2018.MARKS)] = [str(value) for value in row]
    table.to_csv(copied / TABLE, index=False)
    assert f"row 5 ({table['image'][3]!r})" in refused(copied)


@pytest.mark.parametrize("cell", ["", "yes", "nan"])
def test_a_cell_that_is_no_number(copied, cell):
    table = table_of(copied)
    table.loc[0, "MEL"] = cell
    table.to_csv(copied / TABLE, index=False)
    assert f"row 2 ({table['image'][0]!r})" in refused(copied)


def test_an_image_that_stands_twice(copied):
    table = table_of(copied)
    table.loc[4, "image"] = name = table["image"][1]
    table.to_csv(copied / TABLE, index=False)
    assert f"row 3 ({name!r}), row 6 ({name!r})" in refused(copied)


def test_a_row_without_its_image_and_an_image_without_its_row(copied):
    image = next((copied / isic2018.IMAGES).iterdir())
    moved = image.rename(image.with_name("ISIC_other.jpg"))
    assert f"{TABLE}: 1 row(s) without an image: {image.stem}. Expected <image>.jpg in" in refused(copied)
    shutil.copy(moved, image)
    assert f"1 image(s) without a row in {TABLE}: ISIC_other." in refused(copied)


def test_an_image_under_two_names(copied):
    image = min((copied / isic2018.IMAGES).iterdir())
    shutil.copy(image, image.with_suffix(".JPEG"))
    assert f"under two names: {image.stem}." in refused(copied)


# as the test part of a study on HAM10000


def study_on(ham: Path, isic2018: Path | None, **values) -> StudyParams:
    given = {"study": "mine", "dataset": "ham10000", "data": str(ham), "split_rule": "system_000"} | values
    return StudyParams(**given, isic2018=None if isic2018 is None else str(isic2018))


def test_its_cases_stand_among_the_studys_as_the_test_part(phantom_folder, isic2018_folder):
    cases = read_cases(study_on(phantom_folder, isic2018_folder))
    own, test = ham10000.read(phantom_folder), isic2018.read(isic2018_folder)
    assert list(cases["image_id"]) == sorted([*own["image_id"], *test["image_id"]])
    added = cases["image_id"].isin(test["image_id"])
    pd.testing.assert_frame_equal(cases[added].reset_index(drop=True), test, check_dtype=False)
    pd.testing.assert_frame_equal(cases[~added].reset_index(drop=True), own)
    alone = read_cases(study_on(phantom_folder, None))
    pd.testing.assert_frame_equal(alone, own)


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        ({"split_rule": "by_lesion"}, ("'by_lesion'", "'ham10000'")),
        ({"split_rule": "system_002"}, ("'system_002'", "'ham10000'")),
        ({"dataset": "isic9"}, ("'system_000'", "'isic9'")),
    ],
)
def test_it_belongs_to_one_split_of_one_layout(phantom_folder, isic9_folder, isic2018_folder, values, facts):
    data = isic9_folder if "dataset" in values else phantom_folder
    with pytest.raises(InputError) as error:
        read_cases(study_on(data, isic2018_folder, **values))
    assert all(fact in str(error.value) for fact in (*facts, "'mine'", "`isic2018`", "`split_rule: system_000`"))


def test_an_image_of_both_sets(phantom_folder, copied):
    table, name = table_of(copied), ham10000.read(phantom_folder)["image_id"][5]
    image = copied / isic2018.IMAGES / f"{table['image'][2]}.jpg"
    image.rename(image.with_name(f"{name}.jpg"))
    table.loc[2, "image"] = name
    table.to_csv(copied / TABLE, index=False)
    with pytest.raises(InputError, match=rf"1 image\(s\).*: {name}\..*Fix:"):
        read_cases(study_on(phantom_folder, copied))


def test_the_digest_of_a_study_tells_its_test_set_but_not_where_it_lies(phantom_folder, isic2018_folder, copied):
    digests = [data_digest(study_on(phantom_folder, folder)) for folder in (None, isic2018_folder)]
    assert data_digest(study_on(phantom_folder, copied)) == digests[1]
    table_of(copied).iloc[::-1].to_csv(copied / TABLE, index=False)
    digests.append(data_digest(study_on(phantom_folder, copied)))
    next((copied / isic2018.IMAGES).iterdir()).unlink()
    digests.append(data_digest(study_on(phantom_folder, copied)))
    drawn = [
        StudyParams(study="mine", split_rule="system_000", phantom=Phantom(seed=3), isic2018=folder)
        for folder in (None, str(isic2018_folder))
    ]
    digests += map(data_digest, drawn)
    assert len(set(digests)) == len(digests)


def test_a_notebook_that_takes_its_place_is_told_it_from_the_project_root(phantom_folder, isic2018_folder, monkeypatch):
    monkeypatch.setattr(pipeline, "parameters", lambda notebook: {"data": None, "isic2018": None, "seed": 0})
    values = pipeline.values(study_on(phantom_folder, isic2018_folder), pipeline.EDA)
    assert set(values) == {"data", "isic2018", "seed"} and not Path(values["isic2018"]).is_absolute()
    assert (PROJECT / values["isic2018"]).resolve() == isic2018_folder.resolve()
