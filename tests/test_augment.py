"""Augmentation: Keras' random layers in one resampling, drawn again from a seed; off-line copies that a rerun makes
again.
"""

import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from lesion_utils.augment import Drawn, apply, augmenter, composed, draw, offline_copies, shown
from lesion_utils.datasets import ham10000
from lesion_utils.errors import InputError
from lesion_utils.recipes import Augmentation, OfflineCopies
from lesion_utils.runtime import keras

KINDS = {
    "flip": "both",
    "rotation": 0.2,
    "zoom": 0.3,
    "shift": 0.2,
    "shear": 0.2,
    "brightness": 0.3,
    "contrast": 0.5,
}
EVERYTHING = Augmentation(**KINDS)
SIZE = (12, 16)


def pictures(n: int = 6, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *size, 3), np.uint8)


def smooth_pictures(n: int, size: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]] / max(size)
    waves = np.random.default_rng(0).uniform(-4, 4, (n, 3, 3))
    return (
        np.stack(
            [[120 + 60 * np.sin(a * x + b * y + c) for a, b, c in channels] for channels in waves], dtype=np.float64
        )
        .transpose(0, 2, 3, 1)
        .round()
        .astype(np.uint8)
    )


def augmented(augmentation: Augmentation, seed: int = 0, epoch: int = 0, first: int = 0, threads: int = 1):
    change = augmenter(augmentation, seed, threads)
    assert change is not None
    return change(pictures(), epoch, first)


# The oracle: Keras' layers, what they draw, and the same as we take it.


def layer(kind: str, largest: float = 0.0, seed: int = 0) -> keras.layers.Layer:
    made = {
        "flip_x": lambda: keras.layers.RandomFlip("horizontal", seed=seed),
        "flip_y": lambda: keras.layers.RandomFlip("vertical", seed=seed),
        "rotation": lambda: keras.layers.RandomRotation(largest, seed=seed),
        "zoom": lambda: keras.layers.RandomZoom(largest, seed=seed),
        "shift": lambda: keras.layers.RandomTranslation(largest, largest, seed=seed),
        "shear": lambda: keras.layers.RandomShear(largest, largest, seed=seed),
        "brightness": lambda: keras.layers.RandomBrightness(largest, seed=seed),
        # A pair, as one number stands for (0, largest) in Keras 3.15, against its documentation.
        "contrast": lambda: keras.layers.RandomContrast((largest, largest), seed=seed),
    }
    return made[kind]()


def numbers(kind: str, drawn: dict) -> dict[str, np.ndarray]:
    """What a layer of Keras has drawn, as arguments of ``composed`` or fields of ``Drawn``."""
    if kind in ("flip_x", "flip_y"):
        return {kind: np.asarray(drawn["flips"]).ravel()}
    if kind == "rotation":
        return {"angle": np.radians(drawn["angle"], dtype=float)}
    if kind == "zoom":
        assert np.array_equal(drawn["height_zoom"], drawn["width_zoom"])  # one factor for both axes
        return {"zoom": np.asarray(drawn["height_zoom"], float).ravel()}
    if kind == "shift":
        return dict(zip(("shift_x", "shift_y"), np.asarray(drawn["translations"], float).T, strict=True))
    if kind == "shear":
        return dict(zip(("shear_x", "shear_y"), np.asarray(drawn["shear_factor"], float).T, strict=True))
    name = {"brightness": "rgb_delta", "contrast": "contrast_factor"}[kind]
    return {kind: np.asarray(drawn[name], float).ravel()}


def drawn_from(count: int, size: tuple[int, int], found: dict[str, np.ndarray]) -> Drawn:
    brightness, contrast = found.pop("brightness", np.zeros(count)), found.pop("contrast", np.ones(count))
    return Drawn(np.broadcast_to(composed(size, **found), (count, 2, 3)), brightness, contrast)


LARGEST = [
    ("flip_x", 0),
    ("flip_y", 0),
    ("rotation", 0.1),
    ("rotation", 1),
    ("zoom", 0.2),
    ("zoom", 1),
    ("shift", 0.1),
    ("shift", 1),
    ("shear", 0.2),
    ("shear", 1),
    ("brightness", 0.2),
    ("brightness", 1),
    ("contrast", 0.3),
    ("contrast", 1),
]


@pytest.mark.parametrize(("kind", "largest"), LARGEST)
@pytest.mark.parametrize("size", [(12, 16), (31, 20)], ids=str)
def test_one_change_makes_the_picture_of_keras_layer(kind, largest, size):
    given, random_layer = pictures(16, size), layer(kind, largest)
    random = random_layer.get_random_transformation(given, training=True)
    expected = np.asarray(random_layer.transform_images(given.astype(np.float32), random, training=True))
    shown = apply(drawn_from(16, size, numbers(kind, random)), given, threads=1)
    assert np.abs(expected - given).max() > 10  # the layer did something
    assert np.abs(shown - expected).max() < 0.51


def one_after_another(kinds: dict[str, float], given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What Keras' layers make of ``given`` in turn, and what we make of it at once with the numbers that they drew."""
    expected, found = given.astype(np.float32), {}
    for number, (kind, largest) in enumerate(kinds.items()):
        random_layer = layer(kind, largest, seed=number)
        random = random_layer.get_random_transformation(expected, training=True)
        expected = np.asarray(random_layer.transform_images(expected, random, training=True))
        found |= numbers(kind, random)
    return expected, apply(drawn_from(len(given), given.shape[1:3], found), given, threads=1)


def test_all_changes_together_make_the_pictures_of_the_layers_one_after_another():
    given = smooth_pictures(24, (96, 128))
    kinds = dict.fromkeys(["flip_x", "flip_y", "rotation", "zoom", "shift", "shear", "brightness", "contrast"], 0.08)
    expected, shown = one_after_another(kinds, given)
    inner = np.s_[:, 30:66, 40:88]  # what comes from beyond the edge is reflected once instead of after every layer
    assert np.abs(expected - given)[inner].mean() > 10
    assert np.abs(shown - expected)[inner].max() < 2


def test_contrast_is_about_the_mean_of_the_brightened_picture_which_is_clipped():
    expected, shown = one_after_another({"brightness": 0.8, "contrast": 0.8}, pictures(16))
    assert np.abs(shown - expected).max() < 0.51


# What is drawn

MANY = 20000


def recovered(kind: str, drawn: Drawn) -> dict[str, np.ndarray]:
    """The numbers behind matrices that one kind of change made, by other formulas than ``composed``'s."""
    (xx, xy, x), (yx, yy, y) = drawn.matrices.transpose(1, 2, 0)
    return {
        "flip_x": {"flip_x": xx < 0},
        "flip_y": {"flip_y": yy < 0},
        "rotation": {"angle": np.arctan2(yx, xx)},
        "zoom": {"zoom": xx},
        "shift": {"shift_x": -x, "shift_y": -y},
        "shear": {"shear_x": xy, "shear_y": yx},
        "brightness": {"brightness": drawn.brightness},
        "contrast": {"contrast": drawn.contrast},
    }[kind]


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("flip_x", {"flip": "horizontal"}),
        ("flip_y", {"flip": "vertical"}),
        *((kind, {kind: KINDS[kind]}) for kind in list(KINDS)[1:]),
    ],
)
def test_what_is_drawn_is_distributed_as_in_keras_layer(kind, asked):
    ours = recovered(kind, draw(Augmentation(**asked), MANY, SIZE, np.random.default_rng(0)))
    random = layer(kind, *asked.values() if kind in asked else ()).get_random_transformation(np.empty((MANY, *SIZE, 3)))
    theirs = numbers(kind, random)
    assert set(ours) == set(theirs)
    for name in ours:
        assert len(np.unique(ours[name])) > 1
        assert stats.ks_2samp(ours[name], theirs[name]).pvalue > 1e-4, name


def test_the_changes_of_a_picture_are_drawn_independently_of_each_other():
    # From matrices that hold everything at once: one kind at a time, with the same random numbers.
    alone = [{"flip": "horizontal"}, {"flip": "vertical"}, *({kind: value} for kind, value in list(KINDS.items())[1:])]
    names = ["flip_x", "flip_y", *list(KINDS)[1:]]
    found: dict[str, np.ndarray] = {}
    for name, asked in zip(names, alone, strict=True):
        found |= recovered(name, draw(Augmentation(**asked), MANY, SIZE, np.random.default_rng(0)))
    correlation = np.corrcoef(np.array(list(found.values()), float)) - np.eye(len(found))
    assert len(found) == 10 and np.abs(correlation).max() < 0.03


def test_another_kind_of_change_alters_nothing_in_what_is_drawn_for_the_first():
    one = draw(Augmentation(brightness=0.3), 5, SIZE, np.random.default_rng(1))
    two = draw(Augmentation(brightness=0.3, rotation=0.2, flip="both"), 5, SIZE, np.random.default_rng(1))
    assert np.array_equal(one.brightness, two.brightness) and not np.array_equal(one.matrices, two.matrices)


# What is done


def test_no_augmentation_is_no_change():
    assert augmenter(Augmentation(), 0, 1) is None


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_pictures(kind):
    assert not np.array_equal(augmented(Augmentation(**{kind: KINDS[kind]})), pictures())


@pytest.mark.parametrize(("flip", "axes"), [("horizontal", [2]), ("vertical", [1]), ("both", [1, 2])])
def test_flips_keep_every_pixel_and_turn_the_axes_that_are_asked(flip, axes):
    possible = [pictures()]
    for axis in axes:
        possible += [np.flip(group, axis) for group in possible]
    seen = set()
    for seed in range(4):
        for k, found in enumerate(augmented(Augmentation(flip=flip), seed)):
            matches = [number for number, group in enumerate(possible) if np.array_equal(found, group[k])]
            assert len(matches) == 1  # a flip of the picture itself: the same pixels
            seen.add(matches[0])
    assert seen == set(range(len(possible)))


def test_brightness_moves_a_picture_by_at_most_its_share_of_the_range():
    given = pictures() // 2 + 60
    shown = augmenter(Augmentation(brightness=0.1), 0, 1)(given, 0, 0)
    moved = (shown.astype(float) - given).mean(axis=(1, 2, 3))
    assert np.abs(moved).max() <= 26 and len(np.unique(moved.round(2))) == len(moved)


def test_the_pictures_given_are_neither_changed_nor_handed_back():
    given = pictures()
    for asked in (EVERYTHING, Augmentation(flip="both"), Augmentation(brightness=1e-6)):
        shown = augmenter(asked, 0, 1)(given, 0, 0)
        assert np.array_equal(given, pictures()) and not np.shares_memory(shown, given)
        assert shown.dtype == np.uint8 and shown.shape == given.shape


def test_seed_epoch_and_place_decide_what_is_drawn():
    one = augmented(EVERYTHING, seed=3, epoch=1, first=6)
    assert np.array_equal(one, augmented(EVERYTHING, seed=3, epoch=1, first=6))
    others = [(4, 1, 6), (3, 2, 6), (3, 1, 12), (1, 3, 6)]
    for seed, epoch, first in others:
        assert not np.array_equal(one, augmented(EVERYTHING, seed, epoch, first))


def test_threads_and_the_size_of_batches_decide_nothing():
    change = augmenter(EVERYTHING, 3, 1)
    whole = change(pictures(11), 1, 20)
    for threads in (2, 3, 16):
        assert np.array_equal(whole, augmenter(EVERYTHING, 3, threads)(pictures(11), 1, 20))
    assert np.array_equal(whole, np.concatenate([change(pictures(11)[:4], 1, 20), change(pictures(11)[4:], 1, 24)]))


def test_the_pictures_of_a_batch_are_changed_by_as_many_threads_as_are_given(monkeypatch):
    met = threading.Barrier(3, timeout=30)  # breaks unless three parts are under way at the same time
    monkeypatch.setattr("lesion_utils.augment._change", lambda *part: met.wait())
    augmented(EVERYTHING, threads=3)


def test_several_views_of_one_picture():
    drawn = draw(EVERYTHING, 5, SIZE, np.random.default_rng(0))
    one = pictures(1)
    views = apply(drawn, np.broadcast_to(one, (5, *SIZE, 3)), threads=2)
    assert len(np.unique(views.reshape(5, -1), axis=0)) == 5
    assert np.array_equal(views[3:4], apply(drawn[3:4], one, threads=1))


def test_no_picture_is_no_picture():
    assert augmenter(EVERYTHING, 0, 2)(pictures(0), 0, 0).shape == (0, *SIZE, 3)


@pytest.mark.parametrize("wrong", [pictures().astype(np.float32), pictures()[:5], pictures()[..., :1]])
def test_other_pictures_are_refused(wrong):
    drawn = draw(EVERYTHING, 6, SIZE, np.random.default_rng(0))
    with pytest.raises(InputError, match="Fix"):
        apply(drawn, wrong, threads=1)


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
    monkeypatch.setattr("lesion_utils.augment._write_by_augmentor", None)
    assert offline_copies(cases, OPTIONS, seed=0).equals(first)


def test_an_interrupted_run_leaves_no_copies(cases, output, monkeypatch):
    from lesion_utils import augment

    write, calls = augment._write_by_augmentor, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(augment, "_write_by_augmentor", interrupted)
        with pytest.raises(KeyboardInterrupt):
            offline_copies(cases, OPTIONS, seed=0)
    assert files_of(output) == {}
    assert len(offline_copies(cases, OPTIONS, seed=0)) == 4 * len(ham10000.CLASSES)


def test_the_data_folder_stays_as_it_was(ham_folder):
    before = files_of(ham_folder)
    offline_copies(ham10000.read(ham_folder), OPTIONS, seed=0)
    assert files_of(ham_folder) == before


# what system 000 cut out, and what it meant to


def white(size: tuple[int, int] = (299, 299), n: int = 40) -> np.ndarray:
    return np.full((n, *size, 3), 255, np.uint8)


def test_the_crop_of_system_000_is_a_corner_and_mostly_fill():
    corner = Augmentation(rotation=0.5, rotation_crop="corner", fill="black")
    drawn = shown(corner, (299, 299))
    # as the system's own code gave on pictures of 299 px: a median patch of 47 x 47 px, 87 % of it fill on average
    assert np.sqrt(drawn["area"].median()) * 299 == pytest.approx(47, abs=1)
    assert drawn["fill"].mean() == pytest.approx(0.87, abs=0.02)
    black = apply(draw(corner, 40, (299, 299), np.random.default_rng(0)), white(), threads=1) == 0
    assert black.mean() == pytest.approx(0.87, abs=0.08)


@pytest.mark.parametrize(("degrees", "side"), [(0, 299), (1, 3), (10, 24), (45, 62), (90, 299), (180, 299)])
def test_its_corner_is_as_large_as_the_systems_own_code_cuts_it(degrees, side):
    from lesion_utils.augment import _corner

    found = _corner((299, 299), np.radians([float(degrees)]))[0]
    assert found[0, 0] * 299 == pytest.approx(side) == found[1, 1] * 299
    assert found[:2] @ [298.5, 298.5, 1] == pytest.approx([298.5, 298.5])  # the lower right stays where it is


@pytest.mark.parametrize("size", [(64, 64), (60, 80)])
def test_the_inscribed_rectangle_holds_no_fill_and_could_not_be_larger(size):
    inscribed = Augmentation(rotation=0.5, rotation_crop="inscribed", fill="black")
    drawn = draw(inscribed, 40, size, np.random.default_rng(0))
    assert shown(inscribed, size)["fill"].max() == 0
    assert apply(drawn, white(size), threads=1)[:, 1:-1, 1:-1].min() == 255
    wider = drawn.matrices @ np.diag([1.06, 1.06, 1.0])
    corners = np.array([[0, 0, 1], [size[1] - 1, 0, 1], [0, size[0] - 1, 1], [size[1] - 1, size[0] - 1, 1]]).T
    middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])[:, None]
    reached = np.abs(wider @ (corners - [[middle[0, 0]], [middle[1, 0]], [0]]) - middle).max(axis=(1, 2))
    assert reached.min() > 0  # widened, every one of them leaves the picture somewhere
    unturned = draw(Augmentation(rotation=1e-9, rotation_crop="inscribed"), 1, size, np.random.default_rng(0))
    assert unturned.matrices[0] == pytest.approx(np.eye(3)[:2], abs=1e-6)


@pytest.mark.parametrize(("fill", "expected"), [("black", 0), ("nearest", 200), ("reflect", 100)])
def test_what_lies_outside_is_filled_as_asked(fill, expected):
    picture = np.full((1, 20, 20, 3), 100, np.uint8)
    picture[:, :, -1] = 200
    moved = Drawn(composed((20, 20), shift_x=-10.0), np.zeros(1), np.ones(1), fill)
    assert apply(moved, picture, 1)[0, 10, 15, 0] == expected


def test_a_fill_alone_changes_nothing():
    assert augmenter(Augmentation(fill="black"), 0, 1) is None


# copies toward a size, by other changes, in rounds

CHANGE = {"flip": "both", "rotation": 0.5, "fill": "nearest"}


def test_copies_raise_every_class_but_the_largest_toward_a_size(cases):
    place = cases.groupby("label").cumcount()
    uneven = cases[place < cases["label"].map({"nv": 4, "df": 1}).fillna(3)]
    copies = offline_copies(uneven, OfflineCopies(target_class_size=5, change=CHANGE), seed=0)
    expected = {label: 5 - n for label, n in uneven["label"].value_counts().items()}
    expected.pop("nv")
    assert copies["label"].value_counts().to_dict() == expected
    of_df = copies[copies["label"] == "df"]
    assert len({hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in of_df["path"]}) == 4  # each its own


def test_every_source_is_copied_equally_often_by_changes(cases):
    copies = offline_copies(cases, OfflineCopies(per_class=10, change=CHANGE), seed=0)
    assert (copies["image_id"].str.split("-copy").str[0].value_counts() == 2).all()
    source = cases.set_index("image_id")["path"][copies["image_id"].iloc[0].split("-copy")[0]]
    assert Image.open(copies["path"].iloc[0]).size == Image.open(source).size


def test_a_second_round_makes_as_many_again(cases):
    copies = offline_copies(cases, OfflineCopies(per_class=3, rounds=2), seed=0)
    assert set(copies["label"].value_counts()) == {6}
