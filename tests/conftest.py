"""What the tests share: a phantom written once, a study on it, and an output folder that is not the project's."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from lesion_utils.datasets import phantom
from lesion_utils.params import PROJECT, Phantom, StudyParams

SHARED = PROJECT.parent / "shared"
TINY_CNN = {"image_size": (24, 32), "hidden": 16, "phases": [{"epochs": 2, "learning_rate": 3e-3}]}

# The same examples in every run, however slow the machine.
settings.register_profile("study", derandomize=True, deadline=None)
settings.load_profile("study")


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
def real_ham() -> Path:
    folder = SHARED / "data" / "ham10000"
    if not folder.is_dir():
        pytest.skip("no real HAM10000 in ../shared/data/ham10000")
    return folder


@pytest.fixture(scope="session")
def real_weights() -> Path:
    folder = SHARED / "weights"
    if not folder.is_dir():
        pytest.skip("no ImageNet weights in ../shared/weights")
    return folder
