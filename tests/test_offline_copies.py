"""Offline copies: made from the right sources, the same again when rerun, and never in the data folder."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lesion_utils.datasets import ham10000
from lesion_utils.offline_copies import make_offline_copies
from lesion_utils.recipes import OfflineCopies

OPTIONS = OfflineCopies(per_class=4)


@pytest.fixture(scope="module")
def cases(phantom_folder):
    table = ham10000.read(phantom_folder).groupby("label").head(5)
    return table.assign(split="train")


def files_of(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_class_gets_its_copies_and_a_copy_belongs_where_its_source_is(cases, output):
    copies = make_offline_copies(cases, OPTIONS, seed=0)
    assert copies["label"].value_counts().to_dict() == dict.fromkeys(ham10000.CLASSES, 4)
    assert list(copies.columns) == list(cases.columns)
    assert copies["image_id"].is_unique and not set(copies["image_id"]) & set(cases["image_id"])
    sources = cases.set_index("image_id").loc[copies["image_id"].str.split("-copy").str[0]]
    for column in ("lesion_id", "label", "split", "sex", "source"):
        assert list(copies[column]) == list(sources[column])
    assert all(Path(path).is_relative_to(output / "runs" / "cache") for path in copies["path"])


def test_copies_are_rotated_pictures_of_the_same_size(cases):
    copies = make_offline_copies(cases, OfflineCopies(per_class=6, probability=1, rotation=20), seed=0)
    paths = cases.set_index("image_id")["path"]
    for copy in copies.itertuples():
        shown, source = Image.open(copy.path), Image.open(paths[copy.image_id.split("-copy")[0]])
        assert shown.size == source.size
        assert np.abs(np.asarray(shown, float) - np.asarray(source, float)).mean() > 1


def test_copies_of_a_class_draw_from_many_sources_and_another_seed_draws_others(cases):
    one, other = (make_offline_copies(cases, OPTIONS, seed) for seed in (0, 1))
    assert one.groupby("label")["lesion_id"].nunique().max() > 1
    assert list(one["image_id"]) != list(other["image_id"])


def test_two_runs_with_fresh_caches_make_the_same_files(cases, tmp_path, monkeypatch):
    made = []
    for name in ("one", "two"):
        monkeypatch.setenv("LESION_OUTPUT", str(tmp_path / name))
        make_offline_copies(cases, OPTIONS, seed=7)
        np.random.random(5)  # no state of ours decides
        made.append(files_of(tmp_path / name))
    pictures = {name for name in made[0] if not name.endswith(".digest")}
    assert made[0] == made[1] and len(pictures) == 4 * len(ham10000.CLASSES)


def test_a_second_call_finds_the_copies(cases, monkeypatch):
    first = make_offline_copies(cases, OPTIONS, seed=0)
    monkeypatch.setattr("lesion_utils.offline_copies._write_with_augmentor", None)
    assert make_offline_copies(cases, OPTIONS, seed=0).equals(first)


def test_two_trainings_that_make_the_same_copies_at_once_both_get_them(cases, output, monkeypatch):
    from lesion_utils import offline_copies

    write, other = offline_copies._write_with_augmentor, []

    def overtaken(*args):
        if not other:
            other.append(None)
            other[0] = make_offline_copies(cases, OPTIONS, seed=11)
        write(*args)

    monkeypatch.setattr(offline_copies, "_write_with_augmentor", overtaken)
    assert make_offline_copies(cases, OPTIONS, seed=11).equals(other[0])


def test_an_interrupted_run_leaves_no_copies(cases, output, monkeypatch):
    from lesion_utils import offline_copies

    write, calls = offline_copies._write_with_augmentor, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(offline_copies, "_write_with_augmentor", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_offline_copies(cases, OPTIONS, seed=0)
    assert files_of(output) == {}
    assert len(make_offline_copies(cases, OPTIONS, seed=0)) == 4 * len(ham10000.CLASSES)


def test_the_data_folder_stays_as_it_was(ham_folder):
    before = files_of(ham_folder)
    make_offline_copies(ham10000.read(ham_folder), OPTIONS, seed=0)
    assert files_of(ham_folder) == before


# copies up to a class size, by Keras, in rounds

CHANGE = {"engine": "image_data_generator", "flip": "both", "rotation": 0.5, "fill": "nearest"}


def test_copies_raise_every_class_but_the_largest_to_a_size(cases):
    place = cases.groupby("label").cumcount()
    uneven = cases[place < cases["label"].map({"nv": 4, "df": 1}).fillna(3)]
    copies = make_offline_copies(uneven, OfflineCopies(target_class_size=5, change=CHANGE), seed=0)
    expected = {label: 5 - n for label, n in uneven["label"].value_counts().items()}
    expected.pop("nv")
    assert copies["label"].value_counts().to_dict() == expected
    of_df = copies[copies["label"] == "df"]
    assert len({hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in of_df["path"]}) == 4  # each its own


def test_keras_copies_every_source_equally_often(cases):
    copies = make_offline_copies(cases, OfflineCopies(per_class=10, change=CHANGE), seed=0)
    assert (copies["image_id"].str.split("-copy").str[0].value_counts() == 2).all()
    source = cases.set_index("image_id")["path"][copies["image_id"].iloc[0].split("-copy")[0]]
    assert Image.open(copies["path"].iloc[0]).size == Image.open(source).size


def test_a_second_round_makes_as_many_again(cases):
    copies = make_offline_copies(cases, OfflineCopies(per_class=3, rounds=2), seed=0)
    assert set(copies["label"].value_counts()) == {6}
