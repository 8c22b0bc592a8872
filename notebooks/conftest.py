"""How nbval runs the notebooks: 01 to 05 in order, then explore, with a folder of their own for what they write."""

import os
import shutil
import tempfile
from pathlib import Path

_FOLDER = tempfile.TemporaryDirectory(prefix="lesion-nbval-")


def pytest_configure(config):
    os.environ["LESION_OUTPUT"] = _FOLDER.name
    explored = Path("reports") / "recommended_full"
    shutil.copytree(Path(__file__).parents[1] / explored, _FOLDER.name / explored)


def pytest_unconfigure(config):
    _FOLDER.cleanup()


def pytest_collection_modifyitems(items):
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = 60  # nbval's own 5 s is too short on a busy machine, and no option
