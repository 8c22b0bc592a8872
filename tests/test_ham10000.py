"""The HAM10000 layout: what is read, what is refused and how that is said, and what the data digest depends on."""

import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from lesion_utils import digests
from lesion_utils.cases import data_digest, data_folder, read_cases
from lesion_utils.datasets import ham10000
from lesion_utils.datasets.phantom import Phantom
from lesion_utils.errors import InputError, first_ten
from lesion_utils.study import StudyParams

TABLE = "HAM10000_metadata.csv"


def table_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / TABLE, dtype=str, keep_default_na=False)


def spoil(folder: Path, column: str, rows: list[int], value: str) -> pd.DataFrame:
    """Writes ``value`` into some rows of the folder's table, and returns the table."""
    table = table_of(folder)
    table.loc[rows, column] = value
    table.to_csv(folder / TABLE, index=False)
    return table


def images_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("HAM10000_images_part_*/*.jpg"))


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        ham10000.read(folder)
    return str(error.value)


# what is read


def test_the_case_table_holds_what_the_metadata_and_the_folders_hold(phantom_folder):
    cases, table = ham10000.read(phantom_folder), table_of(phantom_folder).set_index("image_id")
    columns = ["image_id", "isic_id", "path", "label", "lesion_id", "age", "sex", "localization", "dx_type", "source"]
    assert list(cases.columns) == [*columns, "published_split"]
    assert list(cases["image_id"]) == sorted(table.index)
    table = table.loc[cases["image_id"]]
    for ours, theirs in [("label", "dx"), ("lesion_id", "lesion_id"), ("dx_type", "dx_type"), ("source", "dataset")]:
        assert list(cases[ours]) == list(table[theirs])
    assert all(Path(path).is_file() and Path(path).stem == name for name, path in cases[["image_id", "path"]].values)


def test_rows_may_stand_in_any_order_and_both_image_folders_are_read(ham_folder):
    before = ham10000.read(ham_folder)
    assert before["path"].str.contains("part_1/").any() and before["path"].str.contains("part_2/").any()
    table_of(ham_folder).iloc[::-1].to_csv(ham_folder / TABLE, index=False)
    pd.testing.assert_frame_equal(ham10000.read(ham_folder), before)


def test_a_missing_age_is_nan_and_unknown_words_are_none(ham_folder):
    table = table_of(ham_folder).sort_values("image_id", ignore_index=True)
    table.loc[:4, "age"] = ["", "unknown", "0", "45", "80.0"]
    table.loc[:3, "sex"] = ["unknown", "", "male", "female"]
    table.loc[:2, "localization"] = ["unknown", "", "back"]
    table.to_csv(ham_folder / TABLE, index=False)
    cases = ham10000.read(ham_folder)
    assert cases["age"].dtype == float
    assert cases["age"].isna().tolist()[:5] == [True, True, False, False, False]
    assert cases["age"].tolist()[2:5] == [0.0, 45.0, 80.0]
    assert cases["sex"].tolist()[:4] == [None, None, "male", "female"]
    assert cases["localization"].tolist()[:3] == [None, None, "back"]


def test_a_release_without_sources_has_the_source_none(ham_folder):
    table_of(ham_folder).drop(columns="dataset").to_csv(ham_folder / TABLE, index=False)
    assert ham10000.read(ham_folder)["source"].isna().all()


@pytest.mark.parametrize("name", ["HAM10000_metadata.tab", "HAM10000_metadata.tsv", "HAM10000_metadata"])
def test_a_tab_separated_table_reads_as_the_csv(ham_folder, name):
    from_csv = ham10000.read(ham_folder)
    table = table_of(ham_folder)
    (ham_folder / TABLE).unlink()
    table.to_csv(ham_folder / name, sep="\t", index=False)
    pd.testing.assert_frame_equal(ham10000.read(ham_folder), from_csv)


def test_a_table_saved_with_a_byte_order_mark_and_spaces_in_its_head_is_read(ham_folder):
    before, text = ham10000.read(ham_folder), (ham_folder / TABLE).read_text()
    (ham_folder / TABLE).write_text(text.replace(",image_id,", ", image_id ,", 1), encoding="utf-8-sig")
    pd.testing.assert_frame_equal(ham10000.read(ham_folder), before)


# what is refused


def test_a_missing_folder(tmp_path):
    message = refused(tmp_path / "nowhere")
    assert f"data folder {tmp_path / 'nowhere'} does not exist" in message
    assert "HAM10000_images_part_1/" in message and "DATA=" in message


def test_a_folder_without_a_table(ham_folder):
    (ham_folder / TABLE).unlink()
    assert "has no metadata table. Expected one of HAM10000_metadata.csv" in refused(ham_folder)


def test_a_missing_column(ham_folder):
    table_of(ham_folder).drop(columns=["sex", "dx"]).to_csv(ham_folder / TABLE, index=False)
    message = refused(ham_folder)
    assert all(fact in message for fact in (TABLE, "dx, sex", "lesion_id, image_id, dx_type"))


@pytest.mark.parametrize("text", ["", "lesion_id,image_id,dx,dx_type,age,sex,localization\n"])
def test_an_empty_table(ham_folder, text):
    (ham_folder / TABLE).write_text(text)
    assert f"{TABLE} has no rows" in refused(ham_folder)


@pytest.mark.parametrize("content", [b"hello\n", b"\n", b"\x89PNG\r\n\x1a\n\x00\xff\xfe", b'a,b\n"1,2\n'])
def test_a_file_that_is_no_table(ham_folder, content):
    (ham_folder / TABLE).write_bytes(content)
    assert TABLE in refused(ham_folder)


def test_a_row_with_more_cells_than_the_head(ham_folder):
    with (ham_folder / TABLE).open("a") as table:
        table.write("a,b,c,d,e,f,g,h,i,j\n")
    assert TABLE in refused(ham_folder)


def test_a_row_without_its_image(ham_folder):
    gone = images_of(ham_folder)[3]
    gone.unlink()
    assert f"{TABLE}: 1 row(s) without an image: {gone.stem}. Expected <image_id>.jpg in" in refused(ham_folder)


def test_an_image_without_a_row(ham_folder):
    extra = images_of(ham_folder)[0].with_name("ISIC_extra.jpg")
    shutil.copy(images_of(ham_folder)[0], extra)
    assert f"1 image(s) without a row in {TABLE}: ISIC_extra." in refused(ham_folder)


def test_an_image_in_both_folders(ham_folder):
    image = next(path for path in images_of(ham_folder) if "part_1" in str(path))
    shutil.copy(image, ham_folder / "HAM10000_images_part_2")
    assert f"in more than one folder: {image.stem}." in refused(ham_folder)


def test_an_unknown_diagnosis(ham_folder):
    spoil(ham_folder, "dx", [4], "melanoma")
    message = refused(ham_folder)
    assert all(fact in message for fact in ("row 6 ('melanoma')", "akiec, bcc, bkl, df, mel, nv, vasc"))


def test_a_duplicated_image_id(ham_folder):
    table = table_of(ham_folder)
    spoil(ham_folder, "image_id", [7], table["image_id"][2])
    message = refused(ham_folder)
    assert f"row 4 ({table['image_id'][2]!r}), row 9 ({table['image_id'][2]!r})" in message


@pytest.mark.parametrize("column", ["image_id", "lesion_id"])
def test_an_empty_id(ham_folder, column):
    spoil(ham_folder, column, [1], "")
    assert re.search(rf"{TABLE}.*{column}.*row 3", refused(ham_folder))


@pytest.mark.parametrize("age", ["old", "4o", "1,5", "nan", "-5", "inf"])
def test_an_age_that_is_no_number_of_years(ham_folder, age):
    spoil(ham_folder, "age", [0], age)
    assert re.search(rf"{TABLE}.*age.*row 2 \({age!r}\)", refused(ham_folder))


def test_more_than_ten_problems_are_cut_to_ten_with_the_count(ham_folder):
    spoil(ham_folder, "dx", list(range(13)), "wart")
    message = refused(ham_folder)
    assert message.count("'wart'") == 10
    assert "row 11 ('wart') … and 3 more" in message


def test_first_ten_says_nothing_of_more_where_there_are_ten():
    assert first_ten(range(10)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert first_ten(range(11)).endswith(", 9 … and 1 more")
    assert first_ten([]) == ""


# the study's folder and its digest


def study_on(folder: Path) -> StudyParams:
    return StudyParams(dataset="ham10000", data=str(folder))


def test_a_study_on_real_data_needs_a_folder():
    with pytest.raises(InputError, match=r"'mine' needs a data folder: key `data` is not set.*DATA=<folder>"):
        data_folder(StudyParams(study="mine", dataset="ham10000"))


def test_studies_with_the_same_phantom_share_it_and_others_do_not(output):
    study = StudyParams(study="mine", phantom=Phantom(lesions=14))
    cases = read_cases(study)
    assert cases["lesion_id"].nunique() == 14
    folder = data_folder(study)
    assert Path(cases["path"][0]).is_relative_to(folder) and folder.is_relative_to(output / "runs" / "cache")
    assert data_folder(study.model_copy(update={"study": "another"})) == folder
    assert data_folder(study.model_copy(update={"phantom": Phantom(lesions=15)})) != folder


def test_the_digest_of_a_moved_folder_is_the_same(ham_folder, phantom_folder, tmp_path):
    before = data_digest(study_on(ham_folder))
    assert before == data_digest(study_on(phantom_folder))
    moved = ham_folder.rename(tmp_path / "moved")
    assert data_digest(study_on(moved)) == before


def test_one_byte_of_the_table_changes_the_digest(ham_folder):
    before = data_digest(study_on(ham_folder))
    content = bytearray((ham_folder / TABLE).read_bytes())
    content[-3] ^= 1
    (ham_folder / TABLE).write_bytes(content)
    assert data_digest(study_on(ham_folder)) != before


def test_a_resized_renamed_or_removed_image_changes_the_digest(ham_folder):
    digests = [data_digest(study_on(ham_folder))]
    image = images_of(ham_folder)[0]
    with Image.open(image) as picture:
        small = picture.resize((20, 15))
    small.save(image)
    digests.append(data_digest(study_on(ham_folder)))
    image = image.rename(image.with_name("ISIC_other.jpg"))
    digests.append(data_digest(study_on(ham_folder)))
    image.unlink()
    digests.append(data_digest(study_on(ham_folder)))
    assert len(set(digests)) == 4


def test_a_picture_replaced_by_another_of_its_size_and_times_changes_the_digest(ham_folder, output):
    before = data_digest(study_on(ham_folder))
    image, times = images_of(ham_folder)[0], images_of(ham_folder)[0].stat()
    image.write_bytes(image.read_bytes()[:-1] + b"\0")
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert image.stat().st_size == times.st_size
    assert data_digest(study_on(ham_folder)) != before


def test_images_that_did_not_change_are_not_read_again(ham_folder, output, monkeypatch):
    before = data_digest(study_on(ham_folder))
    monkeypatch.setattr(digests.time, "time", lambda: 1e12)  # long after the images were written
    assert data_digest(study_on(ham_folder)) == before
    monkeypatch.setattr(digests, "file_digest", None)
    assert data_digest(study_on(ham_folder)) == before


def test_the_digest_of_a_phantom_without_a_folder_is_that_of_its_options(output):
    one, same, other = (StudyParams(study=n, phantom=Phantom(seed=s)) for n, s in [("a", 0), ("b", 0), ("a", 1)])
    assert data_digest(one) == data_digest(same) != data_digest(other)
    assert not output.exists()  # nothing needs drawing


# the real set


def test_the_real_ham10000(real_ham):
    cases = ham10000.read(real_ham)
    assert len(cases) == 10_015
    assert cases["lesion_id"].nunique() == 7_470
    counts = {"nv": 6705, "mel": 1113, "bkl": 1099, "bcc": 514, "akiec": 327, "vasc": 142, "df": 115}
    assert cases["label"].value_counts().to_dict() == counts
    assert cases["age"].isna().sum() == 57
    assert cases["sex"].isna().sum() == 57
    assert cases["source"].isna().all()
