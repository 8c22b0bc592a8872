"""Augmentation: random layers that act in training alone, and off-line copies that a rerun makes again."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lesion_utils.augment import layers, offline_copies
from lesion_utils.datasets import ham10000
from lesion_utils.params import Augmentation, OfflineCopies

KINDS = [
    {"flip": "vertical"},
    {"rotation": 0.2},
    {"zoom": 0.3},
    {"shift": 0.2},
    {"brightness": 0.3},
    {"contrast": 0.5},
]
EVERYTHING = Augmentation(**{key: value for kind in KINDS for key, value in kind.items()})


def pictures(n: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(40, 216, (n, 12, 16, 3)).astype(np.float32)


def augmented(augmentation: Augmentation, seed: int = 0, training: bool = True) -> np.ndarray:
    shown = pictures()
    for layer in layers(augmentation, seed):
        shown = layer(shown, training=training)
    return np.asarray(shown)


def test_no_augmentation_is_no_layer():
    assert layers(Augmentation(), 0) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: next(iter(kind)))
def test_each_kind_is_one_layer_that_changes_training_pictures_alone(kind):
    assert len(layers(Augmentation(**kind), 0)) == 1
    assert not np.array_equal(augmented(Augmentation(**kind)), pictures())
    assert np.array_equal(augmented(Augmentation(**kind), training=False), pictures())


@pytest.mark.parametrize("kind", [{"brightness": 1.0}, {"contrast": 1.0}, {"zoom": 0.5}], ids=str)
def test_values_stay_between_0_and_255(kind):
    shown = augmented(Augmentation(**kind))
    assert shown.min() >= 0 and shown.max() <= 255


@pytest.mark.parametrize(("flip", "axes"), [("horizontal", [2]), ("vertical", [1]), ("both", [1, 2])])
def test_flips_keep_every_pixel_and_turn_the_axes_that_are_asked(flip, axes):
    possible = [pictures()]
    for axis in axes:
        possible += [np.flip(group, axis) for group in possible]
    seen = set()
    for seed in range(4):
        for k, shown in enumerate(augmented(Augmentation(flip=flip), seed)):
            matches = [number for number, group in enumerate(possible) if np.array_equal(shown, group[k])]
            assert len(matches) == 1  # a flip of the picture itself: the same pixels
            seen.add(matches[0])
    assert seen == set(range(len(possible)))


def test_brightness_moves_a_picture_by_at_most_its_share_of_the_range():
    moved = (augmented(Augmentation(brightness=0.1)) - pictures()).mean(axis=(1, 2, 3))
    assert np.abs(moved).max() <= 25.6 and len(np.unique(moved.round(2))) == len(moved)


def test_the_seed_decides_what_is_drawn():
    one, same, other = (augmented(EVERYTHING, seed) for seed in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_each_call_draws_anew():
    (layer,) = layers(Augmentation(rotation=0.2), 0)
    assert not np.array_equal(layer(pictures(), training=True), layer(pictures(), training=True))


# off-line copies

OPTIONS = OfflineCopies(per_class=4)


@pytest.fixture(scope="module")
def cases(phantom_folder):
    table = ham10000.read(phantom_folder).groupby("label").head(5)
    return table.assign(split="train")


def files_of(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_class_gets_its_copies_and_a_copy_belongs_where_its_source_is(cases, output):
    copies = offline_copies(cases, OPTIONS, seed=0)
    assert copies["label"].value_counts().to_dict() == dict.fromkeys(ham10000.CLASSES, 4)
    assert list(copies.columns) == list(cases.columns)
    assert copies["image_id"].is_unique and not set(copies["image_id"]) & set(cases["image_id"])
    sources = cases.set_index("image_id").loc[copies["image_id"].str.split("-copy").str[0]]
    for column in ("lesion_id", "label", "split", "sex", "source"):
        assert list(copies[column]) == list(sources[column])
    assert all(Path(path).is_relative_to(output / "runs" / "cache") for path in copies["path"])


def test_copies_are_rotated_pictures_of_the_same_size(cases):
    copies = offline_copies(cases, OfflineCopies(per_class=6, probability=1, rotation=20), seed=0)
    paths = cases.set_index("image_id")["path"]
    for copy in copies.itertuples():
        shown, source = Image.open(copy.path), Image.open(paths[copy.image_id.split("-copy")[0]])
        assert shown.size == source.size
        assert np.abs(np.asarray(shown, float) - np.asarray(source, float)).mean() > 1


def test_copies_of_a_class_draw_from_many_sources_and_another_seed_draws_others(cases):
    one, other = (offline_copies(cases, OPTIONS, seed) for seed in (0, 1))
    assert one.groupby("label")["lesion_id"].nunique().max() > 1
    assert list(one["image_id"]) != list(other["image_id"])


def test_two_runs_with_fresh_caches_make_the_same_files(cases, tmp_path, monkeypatch):
    made = []
    for name in ("one", "two"):
        monkeypatch.setenv("LESION_OUTPUT", str(tmp_path / name))
        offline_copies(cases, OPTIONS, seed=7)
        np.random.random(5)  # no state of ours decides
        made.append(files_of(tmp_path / name))
    assert made[0] == made[1] and len(made[0]) == 4 * len(ham10000.CLASSES)


def test_a_second_call_finds_the_copies(cases, monkeypatch):
    first = offline_copies(cases, OPTIONS, seed=0)
    monkeypatch.setattr("lesion_utils.augment._write_copies", None)
    assert offline_copies(cases, OPTIONS, seed=0).equals(first)


def test_an_interrupted_run_leaves_no_copies(cases, output, monkeypatch):
    from lesion_utils import augment

    write, calls = augment._write_copies, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(augment, "_write_copies", interrupted)
        with pytest.raises(KeyboardInterrupt):
            offline_copies(cases, OPTIONS, seed=0)
    assert files_of(output) == {}
    assert len(offline_copies(cases, OPTIONS, seed=0)) == 4 * len(ham10000.CLASSES)


def test_the_data_folder_stays_as_it_was(ham_folder):
    before = files_of(ham_folder)
    offline_copies(ham10000.read(ham_folder), OPTIONS, seed=0)
    assert files_of(ham_folder) == before
