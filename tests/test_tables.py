"""Tables that a person hands in: cells come as text, and every check names the file, the rows and the fix."""

import os

import numpy as np
import pandas as pd
import pytest

from lesion_utils import tables
from lesion_utils.errors import InputError
from lesion_utils.tables import (
    MOST_BYTES,
    parse_numbers,
    parse_probabilities,
    read_table,
    refuse_rows,
    require_columns,
    require_filled,
    require_one_of,
    require_unique,
)


def read(path, content: bytes):
    path.write_bytes(content)
    return read_table(path, "image_id, dx")


@pytest.mark.parametrize("delimiter", [b",", b";", b"\t"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_every_cell_is_text_whatever_the_delimiter(tmp_path, delimiter, start):
    lines = [[b"image_id", b" dx "], [b"007", b"nv"], [b"1e3", b""], [b"NA", b"=1+1"], [b"short"]]
    table = read(tmp_path / "t.csv", start + b"\r\n".join(delimiter.join(cells) for cells in lines))
    assert list(table.columns) == ["image_id", "dx"]
    assert table.to_numpy().tolist() == [["007", "nv"], ["1e3", ""], ["NA", "=1+1"], ["short", ""]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no rows"),
        (b" \n\n", "no rows"),
        (b"image_id,dx\n", "no rows"),
        (b"image_id,dx,image_id\na,b,c\n", "duplicate.*image_id"),
        (b"image_id,dx\na,b,c\n", "not a table"),
        (b'image_id,dx\n"a,b\n', "not a table"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "UTF-8"),
    ],
)
def test_a_file_that_is_not_a_table_is_refused_with_the_expected_columns(tmp_path, content, message):
    with pytest.raises(InputError, match=rf"(?s)t\.csv.*{message}.*") as refused:
        read(tmp_path / "t.csv", content)
    assert "image_id" in str(refused.value)


def test_a_file_that_would_not_fit_is_refused_before_it_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "big.csv"
    path.touch()
    os.truncate(path, 2_000_000_000)  # takes no space
    monkeypatch.setattr("pathlib.Path.open", None)
    with pytest.raises(InputError, match=rf"2,000 MB.*{MOST_BYTES / 1e6:.0f} MB"):
        read_table(path, "image_id")


def test_a_folder_and_a_missing_file_have_different_messages(tmp_path):
    with pytest.raises(InputError, match="folder"):
        read_table(tmp_path, "image_id")
    with pytest.raises(InputError, match=r"gone\.csv does not exist"):
        read_table(tmp_path / "gone.csv", "image_id")


def test_a_file_without_read_permission_is_refused(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("image_id\na\n")

    def deny(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", deny)
    with pytest.raises(InputError, match="Permission denied"):
        read_table(tmp_path / "t.csv", "image_id")


TABLE = pd.DataFrame(
    {
        "image_id": ["a", "b", "b", "NA"],
        "label": ["nv", "mel", "wart", "nv"],
        "age": ["40", "", "old", "200"],
        "p_mel": ["0.2", "0.9", "0.5", "1.5"],
        "p_nv": ["0.8", "0.4", "0.5", "-0.5"],
    }
)


@pytest.mark.parametrize(
    ("check", "facts"),
    [
        (lambda: require_columns("t.csv", TABLE, ["dx", "label"], "Fix: rename."), ["dx", "image_id, label", "rename"]),
        (lambda: require_filled("t.csv", TABLE["image_id"]), ["image_id", "1 row", "row 5 ('NA')"]),
        (lambda: require_unique("t.csv", TABLE["image_id"]), ["2 row", "row 3 ('b'), row 4 ('b')"]),
        (lambda: require_one_of("t.csv", TABLE["label"], ["mel", "nv"]), ["label", "row 4 ('wart')", "mel, nv"]),
        (lambda: parse_numbers("t.csv", TABLE["age"], 0, 150, empty=[""]), ["age", "row 4 ('old'), row 5 ('200')"]),
        (lambda: parse_numbers("t.csv", TABLE["age"], 0, 150), ["row 3 (''), row 4 ('old')", "0 to 150"]),
        (lambda: parse_probabilities("t.csv", TABLE, ["mel"]), ["'mel'", "p_<class>"]),
        (lambda: parse_probabilities("t.csv", TABLE, ["mel", "nv"]), ["p_mel", "row 5 ('1.5')"]),
        (lambda: parse_probabilities("t.csv", TABLE[:2], ["mel", "nv"]), ["row 3 ('1.3')", "within 0.01"]),
        (lambda: parse_probabilities("t.csv", TABLE[:3], ["mel", "nv"]), ["label", "row 4 ('wart')"]),
    ],
)
def test_a_check_names_the_file_the_rows_and_what_to_do(check, facts):
    with pytest.raises(InputError) as refused:
        check()
    message = str(refused.value)
    assert message.startswith("t.csv: ") and ("Fix:" in message or "Expected" in message)
    assert not [fact for fact in facts if fact not in message]


def test_numbers_and_probabilities_come_back_as_floats():
    ages = parse_numbers("t.csv", TABLE["age"][:2], 0, 150, empty=[""])
    assert ages.dtype == float and ages[0] == 40 and ages.isna().tolist() == [False, True]
    table = parse_probabilities("t.csv", TABLE[:1], ["mel", "nv"])
    assert table[["p_mel", "p_nv"]].to_numpy().tolist() == [[0.2, 0.8]]


def test_a_message_shows_ten_rows_and_counts_all():
    column = pd.Series([""] * 13, name="dx")
    with pytest.raises(InputError, match=r"13 row\(s\): row 2.*row 11.*and 3 more"):
        refuse_rows("t.csv", column == "", "no dx", column, "Fix: fill it in.")


def test_a_quote_that_is_not_closed_does_not_swallow_rows(tmp_path):
    """Three of four rows would become one cell."""
    path = tmp_path / "table.csv"
    path.write_bytes(b'image_id,split\n"a,train\nb,train\nc,test"\nd,test\n')
    with pytest.raises(InputError) as caught:
        read_table(path, "image_id")
    assert all(fact in str(caught.value) for fact in (str(path), "row 2", "image_id", "quote"))


def test_a_parquet_file_is_read_as_the_csv_of_the_same_table(tmp_path):
    table = pd.DataFrame({"image_id": ["a", "b"], "age": [55.5, np.nan], "split": ["train", None], "n": [1, 2]})
    table.to_csv(tmp_path / "table.csv", index=False)
    table.to_parquet(tmp_path / "table.parquet")
    both = [read_table(tmp_path / f"table.{ending}", "image_id") for ending in ("csv", "parquet")]
    assert both[0].to_dict("records") == both[1].to_dict("records")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"image_id\na\n"])
def test_a_parquet_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "table.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a table"):
        read_table(path, "image_id")


def test_a_parquet_file_of_too_many_cells_is_refused_before_it_is_read(tmp_path, monkeypatch):
    pd.DataFrame({"image_id": range(100)}).to_parquet(tmp_path / "table.parquet")
    monkeypatch.setattr(tables, "MOST_CELLS", 99)
    with pytest.raises(InputError, match="100 rows"):
        read_table(tmp_path / "table.parquet", "image_id")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_what_excel_saves_as_text_is_read(tmp_path, encoding):
    table = read(tmp_path / "t.csv", "image_id;dx\na;nävus\n".encode(encoding))
    assert table.to_dict("records") == [{"image_id": "a", "dx": "nävus"}]


def test_decimal_commas_are_read():
    assert parse_numbers("t.csv", pd.Series(["0,25", "1", ""]), 0, 1, empty=[""]).tolist()[:2] == [0.25, 1.0]
    with pytest.raises(InputError, match="1,5"):
        parse_numbers("t.csv", pd.Series(["0.25", "1,5"]), 0, 1)
