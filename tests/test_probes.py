"""Probes find what was planted where they look, find nothing where nothing is, and never see the lesion they judge."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from lesion_utils import probes
from lesion_utils.datasets import ham10000, phantom
from lesion_utils.datasets.phantom import Phantom
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, judge
from lesion_utils.probes import PROBES, probe, unavailable

LABELS = np.repeat(["mel", "nv"], [40, 60])
HEIGHT, WIDTH = 90, 120


def part_of(place: str) -> np.ndarray:
    """(HEIGHT, WIDTH) bool: the frame, the centre, or the corners between them that neither holds."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    return {
        "frame": np.maximum(abs(x), abs(y)) > 1 - 2 / 15,
        "corners": (np.maximum(abs(x), abs(y)) < 1 - 2 / 15 - 0.02) & (x * x + y * y > 0.9**2),
        "centre": x * x + y * y < 0.7**2,
    }[place]


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch):
    monkeypatch.setattr(probes, "TREES", 25)  # a quarter of the time; what is planted here is plain


@pytest.fixture
def pictures(tmp_path):
    """Makes cases whose pictures are noise, darker for melanoma in one ``place`` alone."""

    def make(place: str) -> pd.DataFrame:
        rng = np.random.default_rng(0)
        rows = []
        for number, label in enumerate(LABELS):
            noise = rng.normal(128, 30, (HEIGHT, WIDTH, 3)) - 30 * part_of(place)[..., None] * (label == "mel")
            path = tmp_path / f"{place}{number}.png"
            Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(path)
            rows.append((f"i{number}", str(path), label, f"l{number}"))
        return pd.DataFrame(rows, columns=["image_id", "path", "label", "lesion_id"])

    return make


def auc(table: pd.DataFrame) -> float:
    return float(roc_auc_score(table["label"] == "mel", table["p_mel"]))


def interval(table: pd.DataFrame) -> pd.Series:
    return judge(PredictionTable(table, 200)).loc["macro AUC"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "seen_by"), [("frame", {"frame", "around"}), ("corners", {"around"}), ("centre", set())]
)
def test_a_probe_sees_its_part_of_the_picture_and_no_other(pictures, place, seen_by):
    cases = pictures(place)
    for kind in ("frame", "around"):
        table = probe(cases, kind, 2, 0)
        if kind in seen_by:
            assert auc(table) > 0.95
        else:
            row = interval(table)
            assert row["low"] < 0.5 < row["high"]


def test_the_file_tells_what_its_size_tells(tmp_path):
    cases = pd.DataFrame({"image_id": [f"i{k}" for k in range(100)], "label": LABELS})
    cases["lesion_id"], cases["path"] = cases["image_id"], [str(tmp_path / f"{name}.png") for name in cases["image_id"]]
    for path, wide in zip(cases["path"], LABELS == "mel", strict=True):
        Image.new("RGB", (41 if wide else 40, 30)).save(path)
    assert auc(probe(cases, "file", 2, 0)) > 0.95
    assert 0.3 < auc(probe(cases, "frame", 2, 0)) < 0.7


def known_patients(**columns) -> pd.DataFrame:
    cases = pd.DataFrame({"image_id": [f"i{k}" for k in range(100)], "label": LABELS, "age": 50.0, "sex": "male"})
    cases["lesion_id"], cases["localization"], cases["dx_type"] = cases["image_id"], "back", cases["label"]
    return cases.assign(**columns)


@pytest.mark.parametrize(
    "told_by", [{"age": np.where(LABELS == "mel", 70.0, np.nan)}, {"localization": LABELS}, {"sex": LABELS}]
)
def test_metadata_are_age_sex_and_site(told_by):
    assert auc(probe(known_patients(**told_by), "metadata", 2, 0)) == 1


def test_metadata_never_hold_how_the_diagnosis_was_made():
    assert auc(probe(known_patients(), "metadata", 2, 0)) == pytest.approx(0.5, abs=0.2)


def test_a_lesion_is_judged_by_a_forest_that_has_not_seen_it():
    # each lesion has an age of its own: who has seen a view knows the label of the other
    rng = np.random.default_rng(0)
    views = np.repeat(np.arange(40), 20)
    cases = pd.DataFrame({"image_id": [f"i{k}" for k in range(800)], "sex": "male", "localization": "back"})
    cases["lesion_id"] = [f"l{lesion}" for lesion in views]
    cases["label"], cases["age"] = rng.permutation(np.repeat(["mel", "nv"], 20))[views], 2.0 * views
    assert auc(probe(cases, "metadata", 2, 0)) < 0.7
    assert auc(probe(cases.assign(lesion_id=cases["image_id"]), "metadata", 2, 0)) > 0.95


def test_the_tables_are_prediction_tables_and_the_seed_decides():
    cases = known_patients(age=np.random.default_rng(0).normal(50, 9, 100))
    one, same, other = (probe(cases, "metadata", 2, seed) for seed in (0, 0, 1))
    assert list(one) == ["image_id", "lesion_id", "label", "p_mel", "p_nv"]
    assert one["image_id"].tolist() == cases["image_id"].tolist()
    pd.testing.assert_frame_equal(one, same)
    assert not one.equals(other)


def test_what_cannot_be_probed_is_said_and_refused():
    nothing = {"age": np.nan, "sex": None, "localization": None}
    assert unavailable(known_patients(**nothing), "metadata").endswith("mel, nv")
    assert unavailable(known_patients(**nothing), "frame") == ""
    of_nevi = {name: known_patients()[name].where(LABELS == "nv", None) for name in nothing}
    with pytest.raises(InputError, match=r"metadata.*: .* mel\."):
        probe(known_patients(**of_nevi), "metadata", 2, 0)
    with pytest.raises(InputError, match=r"5 folds need 5 lesions of each class; fewer have df \(4\)"):
        probe(known_patients(label=["df"] * 4 + [*LABELS[4:]]), "frame", 2, 0)


@pytest.mark.parametrize("kind", ["frame", "file"])
def test_a_file_that_is_no_picture_is_named(pictures, kind):
    cases = pictures("frame")
    with open(cases["path"][7], "wb") as file:
        file.write(b"no picture")
    with pytest.raises(InputError, match=r"frame7\.png cannot be decoded"):
        probe(cases, kind, 2, 0)


@pytest.mark.slow
def test_on_the_phantom_the_marked_source_is_seen_and_patients_differ_as_planted(phantom_folder, tmp_path):
    phantom.write(tmp_path / "marked", Phantom(lesions=100, source_shortcut=1.0))
    plain, marked = (ham10000.read(folder) for folder in (phantom_folder, tmp_path / "marked"))
    for kind in ("frame", "around"):
        assert auc(probe(marked, kind, 2, 0)) > 0.95 > 0.85 > auc(probe(plain, kind, 2, 0))
    patients = probe(plain, "metadata", 2, 0)
    assert roc_auc_score(patients["label"] == "nv", patients["p_nv"]) > 0.65


def test_every_probe_is_described():
    assert list(PROBES) == list(probes.FEATURES)
