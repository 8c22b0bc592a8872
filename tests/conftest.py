"""What the tests share: a phantom written once, a study on it, and an output folder that is not the project's."""

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from PIL import Image

from lesion_utils.datasets import ham10000, isic2018, phantom, siim2020
from lesion_utils.datasets.phantom import Phantom
from lesion_utils.paths import BY_HAND, PROJECT
from lesion_utils.study import STUDY_FILE, StudyParams

SHARED = PROJECT.parent / "shared"
TINY_CNN = {"backbone": {"image_size": (24, 32)}, "hidden": 16, "phases": [{"epochs": 2, "learning_rate": 3e-3}]}

# The same examples in every run, however slow the machine.
settings.register_profile("study", derandomize=True, deadline=None)
settings.load_profile("study")


REAL_DATA = {"real_isic9", "real_ham", "real_weights"}  # fixtures that skip where ../shared lacks the files


def pytest_collection_modifyitems(items) -> None:
    """Marks the tests that use files in ../shared; the files with most slow tests come first, so that of two processes
    none is left alone with them. Those of tests/faults, which time how runs end, come when Slurm's tests have ended.
    """
    for item in items:
        if REAL_DATA & set(item.fixturenames):
            item.add_marker("real_data")
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (not slow[item.path], item.path.parent.name == "faults", -slow[item.path]))


@pytest.fixture(scope="session")
def threads() -> int:
    return int(os.environ.get("LESION_THREADS", 2))


@pytest.fixture(scope="session", autouse=True)
def _session_output(tmp_path_factory, threads):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LESION_OUTPUT", str(tmp_path_factory.mktemp("session_output")))
        if "tensorflow" in sys.modules:  # some test computes: the threads must be set before the first does
            from lesion_utils.runtime import start

            start(threads)
        yield


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch) -> Path:
    """Where this test's artefacts and caches go."""
    monkeypatch.setenv("LESION_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("LESION_DATA", str(tmp_path / "data"))
    for name in (BY_HAND, STUDY_FILE):  # what a test sets ends with it
        monkeypatch.setenv(name, "")
    return tmp_path / "output"


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory) -> Path:
    """A small phantom without planted defects; tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("data") / "phantom"
    phantom.write(folder, Phantom(lesions=100))
    return folder


@pytest.fixture
def ham_folder(phantom_folder, tmp_path) -> Path:
    """A copy of the phantom, in the HAM10000 layout, that the test may spoil."""
    return Path(shutil.copytree(phantom_folder, tmp_path / "ham"))


@pytest.fixture(scope="session")
def tiny_study(phantom_folder, threads) -> StudyParams:
    """A study on the phantom folder with recipes that train in seconds."""
    return StudyParams(
        study="tiny",
        data=str(phantom_folder),
        threads=threads,
        resamples=100,
        baseline={"cnn": TINY_CNN},
        rebalancing={"cnn_over": TINY_CNN | {"sampler": "over"}},
    )


@pytest.fixture(scope="session")
def few(tmp_path_factory) -> pd.DataFrame:
    """Red and blue noise, easy to tell apart: 24 training, 8 validation and 8 test images."""
    folder, rng, rows = tmp_path_factory.mktemp("few"), np.random.default_rng(0), []
    for label, mean in (("blue", (60, 100, 200)), ("red", (200, 100, 60))):
        for number, split in enumerate(["train"] * 12 + ["validation"] * 4 + ["test"] * 4):
            name, path = f"{label}{number}", folder / f"{label}{number}.png"
            Image.fromarray(rng.normal(mean, 30, (32, 32, 3)).clip(0, 255).astype(np.uint8)).save(path)
            rows.append(
                {
                    "image_id": name,
                    "isic_id": name,
                    "lesion_id": name,
                    "path": str(path),
                    "label": label,
                    "split": split,
                }
            )
    return pd.DataFrame(rows)


# A 9-class set in which every defect is planted that the corrections know. Folder, ISIC number, tail of the file name,
# picture (the same number, the same pixels), lesion and diagnosis in HAM10000 if it is there, and what is to be done.
ISIC9 = [
    *[("Train/actinic keratosis", n, "", n, f"HAM_{n}", "akiec", "") for n in range(100, 112)],
    *[("Train/melanoma", n, "", n, None, None, "") for n in range(200, 212)],
    *[("Train/nevus", n, "", n, None, None, "") for n in range(300, 312)],
    ("Test/actinic keratosis", 150, "", 150, "HAM_150", "akiec", ""),
    ("Test/melanoma", 250, "", 250, None, None, ""),
    ("Test/nevus", 350, "", 350, None, None, ""),
    # two labels, one of them HAM10000's
    ("Train/actinic keratosis", 120, "", 120, "HAM_120", "akiec", "keep"),
    ("Train/nevus", 120, "", 120, "HAM_120", "akiec", "exclude"),
    ("Test/actinic keratosis", 151, "", 151, "HAM_151", "akiec", "keep"),
    ("Train/nevus", 151, "", 151, "HAM_151", "akiec", "exclude"),
    # two labels, and nothing tells which is right
    ("Train/actinic keratosis", 121, "", 121, None, None, "exclude"),
    ("Train/nevus", 121, "", 121, None, None, "exclude"),
    *[("Train/melanoma", n, "", n, None, None, "exclude") for n in range(220, 231)],
    *[("Train/seborrheic keratosis", n, "", n, None, None, "exclude") for n in range(220, 230)],
    ("Test/seborrheic keratosis", 230, "", 230, None, None, "exclude"),
    # then too few of a class are left
    ("Train/seborrheic keratosis", 400, "", 400, None, None, "exclude"),
    ("Test/seborrheic keratosis", 450, "", 450, None, None, "exclude"),
    # a label that HAM10000 contradicts
    ("Train/nevus", 122, "", 122, "HAM_122", "akiec", "exclude"),
    # copies: by a browser, of other bytes under the same id, under another id, and of a test image
    ("Train/nevus", 320, "", 320, None, None, "keep"),
    ("Train/nevus", 320, " (1)", 320, None, None, "exclude"),
    ("Train/nevus", 321, "", 321, None, None, "keep"),
    ("Train/nevus", 321, "_(1)", 1321, None, None, "exclude"),
    ("Train/melanoma", 240, "", 240, None, None, "keep"),
    ("Train/melanoma", 241, "", 240, None, None, "exclude"),
    ("Test/nevus", 351, "", 351, None, None, "keep"),
    ("Train/nevus", 351, "(2)", 351, None, None, "exclude"),
    # another image of a lesion of Test
    ("Train/actinic keratosis", 152, "", 152, "HAM_150", "akiec", "exclude"),
]


@pytest.fixture(scope="session")
def isic9_folder(tmp_path_factory) -> Path:
    """A small 9-class set (``ISIC9``) with HAM10000's table beside it; tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("data") / "isic9"
    metadata = []
    for place, number, tail, picture, lesion, dx, _ in ISIC9:
        path = folder / "A set with spaces" / place / f"ISIC_{number:07}{tail}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(picture).integers(0, 256, (3, 4, 3), np.uint8)
        Image.fromarray(pixels).resize((32, 24)).save(path)
        metadata.append((lesion, f"ISIC_{number:07}", dx, "histo", 60.0, "male", "back"))
    table = pd.DataFrame(metadata, columns=ham10000.NEEDED).dropna().drop_duplicates()
    (folder.parent / "ham10000").mkdir()
    table.to_csv(folder.parent / "ham10000" / "HAM10000_metadata.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def isic2018_folder(tmp_path_factory) -> Path:
    """Another phantom, in the layout of the ISIC 2018 Task 3 test set; tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("data") / "isic2018"
    drawn = folder.parent / "drawn"
    phantom.write(drawn, Phantom(lesions=20, seed=1))
    cases = ham10000.read(drawn)
    (folder / isic2018.IMAGES).mkdir(parents=True)
    for path in cases["path"]:
        shutil.copy(path, folder / isic2018.IMAGES)
    table = pd.DataFrame({name: (cases["label"] == name.lower()).astype(float) for name in isic2018.MARKS})
    table.insert(0, "image", cases["image_id"])
    table.to_csv(folder / f"{isic2018.TRUTH}.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def siim2020_folder(tmp_path_factory) -> Path:
    """Another phantom, in the layout of SIIM-ISIC 2020, five lesions a patient; tests must leave it as it is."""
    folder = tmp_path_factory.mktemp("data") / "siim2020"
    drawn = folder.parent / "drawn"
    phantom.write(drawn, Phantom(lesions=100, seed=2))
    cases = ham10000.read(drawn)
    (folder / siim2020.IMAGES).mkdir(parents=True)
    for path in cases["path"]:
        shutil.copy(path, folder / siim2020.IMAGES)
    lesions = cases["lesion_id"].drop_duplicates().sort_values().tolist()
    patients = {lesion: f"IP_{place % 20:07}" for place, lesion in enumerate(lesions)}  # of all classes each
    malignant = cases["label"] == "mel"
    table = {
        "image_name": cases["image_id"],
        "patient_id": cases["lesion_id"].map(patients),
        "sex": cases["sex"],
        "age_approx": cases["age"],
        "anatom_site_general_challenge": cases["localization"],
        "diagnosis": malignant.map({True: "melanoma", False: "unknown"}),
        "benign_malignant": malignant.map({True: "malignant", False: "benign"}),
        "target": malignant.astype(int),
    }
    pd.DataFrame(table).to_csv(folder / siim2020.TABLE, index=False)
    return folder


@pytest.fixture(scope="session")
def real_isic9(real_ham) -> Path:
    folder = SHARED / "data" / "isic9"
    if not folder.is_dir():
        pytest.skip("the 9-class ISIC folders are not in ../shared/data/isic9")
    return folder


@pytest.fixture(scope="session")
def real_ham() -> Path:
    folder = SHARED / "data" / "ham10000"
    if not folder.is_dir():
        pytest.skip("HAM10000 is not in ../shared/data/ham10000")
    return folder


@pytest.fixture(scope="session")
def real_weights() -> Path:
    folder = SHARED / "weights"
    if not folder.is_dir():
        pytest.skip("ImageNet weights are not in ../shared/weights")
    return folder
