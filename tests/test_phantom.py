"""The phantom: its plan, its files, its planted truth, and that its signal is what the parameter says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lesion_utils.datasets import phantom, phantom_pictures
from lesion_utils.datasets.phantom import Phantom
from lesion_utils.errors import InputError

SMALL = Phantom(lesions=40)
PLANTED = Phantom(lesions=40, duplicates=5, conflicting_labels=4)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def truth_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "phantom_truth.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return phantom.write(tmp_path_factory.mktemp("small") / "phantom", SMALL)


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Path:
    return phantom.write(tmp_path_factory.mktemp("planted") / "phantom", PLANTED)


def test_the_default_has_ham_order_of_sizes_and_ten_lesions_in_a_fifth():
    table = phantom.plan(Phantom())
    assert 800 <= len(table) <= 1000
    images = table["dx"].value_counts()
    assert list(images.index) == ["nv", "mel", "bkl", "bcc", "akiec", "vasc", "df"]
    assert images.is_unique
    lesions = table.groupby("dx")["lesion_id"].nunique().sort_values(ascending=False)
    assert list(lesions.index) == ["nv", "bkl", "mel", "bcc", "akiec", "vasc", "df"]
    assert lesions.sum() == 600 and lesions.min() >= 56
    assert table.groupby("lesion_id").size().max() <= 6


@pytest.mark.parametrize("lesions", [14, 20, 40, 70, 140, 601, 3000])
def test_any_number_of_lesions_is_met_with_two_or_more_of_each_class(lesions):
    counts = phantom.lesion_counts(lesions)
    assert sum(counts.values()) == lesions
    assert min(counts.values()) >= max(2, lesions * 55 // 600)
    assert max(counts, key=counts.get) == "nv" or lesions == 14


def test_lesions_share_what_is_the_lesions_own():
    table = phantom.plan(Phantom())
    shared = ["dx", "dx_type", "age", "sex", "localization", "dataset", "look", "marked_source"]
    assert (table.groupby("lesion_id")[shared].nunique(dropna=False) == 1).all(axis=None)
    assert not table["image_id"].duplicated().any()
    assert (
        table["image_id"].str.fullmatch(r"ISIC_9\d{6}").all() and table["lesion_id"].str.fullmatch(r"HAM_9\d{6}").all()
    )


def test_ids_tell_nothing_about_the_class():
    table = phantom.plan(Phantom(lesions=1200, duplicates=100, conflicting_labels=100))
    table["rank"] = np.arange(len(table)) / len(table)
    assert table.groupby("dx")["rank"].mean().between(0.4, 0.6).all()
    assert 0.4 < table.loc[table["duplicate_of"] != "", "rank"].mean() < 0.6


def test_metadata_uses_the_words_of_ham():
    table = phantom.plan(Phantom(lesions=2000))
    assert set(table["dx"]) == set(phantom.CLASSES)
    assert set(table["sex"]) == {"female", "male", "unknown"}
    assert (table.loc[table["dx"].isin(["mel", "bcc", "akiec"]), "dx_type"] == "histo").all()
    assert set(table.loc[table["dx_type"] == "confocal", "dx"]) == {"bkl"}
    assert (table["age"].dropna() % 5 == 0).all() and table["age"].dropna().between(0, 85).all()
    assert 0 < table["age"].isna().mean() < 0.05
    age = table.groupby("dx")["age"].mean()
    assert age["nv"] < age["mel"] < age["bcc"] + 5
    assert set(table["dataset"]) == {*phantom.FACTS["sources"], phantom.MARKED}


def test_layout_of_the_folder(small):
    metadata = pd.read_csv(small / "HAM10000_metadata.csv")
    truth = truth_of(small)
    assert list(metadata.columns) == phantom.COLUMNS and list(truth.columns) == phantom.TRUTH
    assert list(metadata["image_id"]) == list(truth["image_id"])
    jpegs = sorted(small.glob("HAM10000_images_part_[12]/*.jpg"))
    assert sorted(path.stem for path in jpegs) == list(metadata["image_id"])
    assert {path.parent.name[-1] for path in jpegs} == {"1", "2"}
    with Image.open(jpegs[0]) as picture:
        assert (picture.format, picture.size, picture.mode) == ("JPEG", (200, 150), "RGB")


def test_every_picture_carries_the_word_phantom(small):
    stamp = phantom_pictures.stamp()
    mask, word = np.asarray(stamp)[..., 3] > 100, np.asarray(stamp.convert("L")) > 200
    assert mask[-14:, -50:].sum() == mask.sum() > 100
    for path in small.rglob("*.jpg"):
        grey = np.asarray(Image.open(path).convert("L"), float)
        assert grey[mask & word].mean() > grey[mask & ~word].mean() + 30, path


@pytest.mark.slow
def test_two_writes_are_byte_identical(small, tmp_path):
    phantom.write(tmp_path / "again", SMALL)
    assert files(tmp_path / "again") == files(small)
    assert files(phantom.write(tmp_path / "other", Phantom(lesions=40, seed=1))).keys() != files(small).keys()


def test_planted_duplicates_and_conflicts_are_exactly_as_asked(planted):
    truth = truth_of(planted)
    by_id = truth.set_index("image_id")
    for column, n in (("duplicate_of", 5), ("conflict_of", 4)):
        copies = truth[truth[column] != ""]
        assert len(copies) == copies[column].nunique() == n
        for copy in copies.itertuples():
            original = getattr(copy, column)
            files_of = [planted / phantom.image_path(i) for i in (copy.image_id, original)]
            assert files_of[0].read_bytes() == files_of[1].read_bytes()
            assert copy.lesion_id != by_id.loc[original, "lesion_id"]
            assert (copy.dx == by_id.loc[original, "dx"]) == (column == "duplicate_of")
    copied = (truth["duplicate_of"] != "") | (truth["conflict_of"] != "")
    assert truth.loc[copied, "lesion_id"].is_unique
    contents = [(planted / phantom.image_path(i)).read_bytes() for i in truth["image_id"]]
    assert len(contents) - len(set(contents)) == 9


def test_what_is_planted_leaves_the_rest_as_it_was(small, planted):
    before, after = files(small), files(planted)
    assert {name: after[name] for name in before if name.endswith(".jpg")} == {
        name: content for name, content in before.items() if name.endswith(".jpg")
    }
    old = pd.read_csv(small / "HAM10000_metadata.csv")
    new = pd.read_csv(planted / "HAM10000_metadata.csv")
    kept = new[new["image_id"].isin(old["image_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, old)


def test_more_copies_than_images_are_refused():
    with pytest.raises(InputError, match="plant fewer"):
        phantom.plan(Phantom(lesions=14, duplicates=30, conflicting_labels=30))


def test_shortcut_puts_melanomas_into_the_marked_source():
    table = phantom.plan(Phantom(source_shortcut=1))
    assert ((table["dataset"] == phantom.MARKED) == (table["dx"] == "mel")).all()
    assert (table["marked_source"] == (table["dx"] == "mel")).all()
    half = phantom.plan(Phantom(lesions=4000, source_shortcut=0.5)).drop_duplicates("lesion_id")
    marked = half["marked_source"].groupby(half["dx"] == "mel").mean()
    assert marked[True] == pytest.approx(0.5, abs=0.07) and marked[False] == pytest.approx(0.05, abs=0.02)
    none = phantom.plan(Phantom(lesions=4000)).drop_duplicates("lesion_id")
    assert not none["marked_source"].any()
    share = (none["dataset"] == phantom.MARKED).groupby(none["dx"] == "mel").mean()
    assert share[True] == pytest.approx(share[False], abs=0.05)


def test_the_mark_can_be_seen():
    table = phantom.plan(Phantom(lesions=14, source_shortcut=1))
    marked = table.set_index("image_id")["marked_source"]
    corner = {i: np.asarray(picture)[:12, :12].mean() for i, picture in phantom.pictures(table, 0)}
    assert all((corner[i] < 20) == marked[i] for i in marked.index)


@pytest.mark.slow
def test_signal_is_the_share_of_typical_lesions():
    for signal in (0.0, 0.25, 0.6, 1.0):
        lesions = phantom.plan(Phantom(lesions=3000, signal=signal)).drop_duplicates("lesion_id")
        expected = signal**0.5 + (1 - signal**0.5) / 7
        assert lesions["typical"].mean() == pytest.approx(expected, abs=0.03)


def grouped_balanced_accuracy(signal: float) -> float:
    """Logistic regression on the colours of four rings and a coarse picture, cross-validated by lesion."""
    table = phantom.plan(Phantom(lesions=150, signal=signal)).groupby("lesion").head(2)
    y, x = np.mgrid[-1 : 1 : phantom_pictures.HEIGHT * 1j, -1 : 1 : phantom_pictures.WIDTH * 1j]
    ring = np.digitize(np.hypot(x * 4 / 3, y), [0.35, 0.7, 1.1])
    features = {}
    for image_id, picture in phantom.pictures(table, 0):
        pixels = np.asarray(picture, float)
        rings = [pixels[ring == k] for k in range(4)]
        features[image_id] = np.concatenate([f(r, axis=0) for r in rings for f in (np.mean, np.std)])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    matrix = np.array([features[i] for i in table["image_id"]])
    predicted = cross_val_predict(model, matrix, table["dx"], groups=table["lesion_id"], cv=folds)
    return balanced_accuracy_score(table["dx"], predicted)


@pytest.mark.slow
def test_pictures_show_the_class_at_signal_one_and_nothing_at_zero():
    assert grouped_balanced_accuracy(0.0) < 0.25  # chance: 0.14
    assert grouped_balanced_accuracy(1.0) > 0.55


def test_ensure_writes_only_what_is_missing(tmp_path):
    folder = tmp_path / "deep" / "phantom"
    options = Phantom(lesions=14)
    assert phantom.write(folder, options) == folder
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    phantom.write(folder, options)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert [path.name for path in folder.parent.iterdir()] == ["phantom"]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    save, saved = Image.Image.save, []

    def failing(self, *args, **kwargs):
        saved.append(args)
        if len(saved) % 5 == 0:
            raise KeyboardInterrupt
        save(self, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", failing)
    with pytest.raises(KeyboardInterrupt):
        phantom.write(tmp_path / "new", Phantom(lesions=15))
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_content_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="not this phantom"):
        phantom.write(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
