"""Reading a table that a person hands in: what is there comes as text, what cannot be used is told."""

import os

import pytest

from lesion_utils.errors import InputError
from lesion_utils.tables import MOST_BYTES, read_table


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
        (b"", "holds no row"),
        (b" \n\n", "holds no row"),
        (b"image_id,dx\n", "holds no row"),
        (b"image_id,dx,image_id\na,b,c\n", r"column\(s\) that stand more than once: image_id"),
        (b"image_id,dx\na,b,c\n", "is not a table"),
        (b'image_id,dx\n"a,b\n', "is not a table"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "is not a text file in UTF-8"),
    ],
)
def test_what_is_no_table_is_told_with_what_was_expected(tmp_path, content, message):
    with pytest.raises(InputError, match=rf"(?s)t\.csv.*{message}.*") as refused:
        read(tmp_path / "t.csv", content)
    assert "image_id" in str(refused.value)


def test_a_file_that_would_not_fit_is_refused_before_it_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "big.csv"
    path.touch()
    os.truncate(path, 2_000_000_000)  # takes no space
    monkeypatch.setattr("pathlib.Path.open", None)
    with pytest.raises(InputError, match=rf"has 2,000 MB; a table of up to {MOST_BYTES / 1e6:.0f} MB can be read"):
        read_table(path, "image_id")


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        read_table(tmp_path, "image_id")
    with pytest.raises(InputError, match="is not there"):
        read_table(tmp_path / "gone.csv", "image_id")


def test_a_file_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("image_id\na\n")

    def deny(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", deny)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        read_table(tmp_path / "t.csv", "image_id")
