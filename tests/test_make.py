"""What the Makefile hands to the command, and what `GPU=1` adds to the environment."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from test_environment import locked, name_of

from lesion_utils.paths import PROJECT


@pytest.fixture
def checkout(tmp_path) -> Path:
    """What make needs of the project, with an environment that looks installed and whose programs tell their words."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("pip", "lesion"):
        program = tmp_path / ".venv" / "bin" / name
        program.write_text(f'#!/bin/sh\nfor word in {name} "$@"; do printf "%s|" "$word"; done; echo\n')
        program.chmod(0o755)
    (tmp_path / ".venv" / "installed").touch()
    return tmp_path


def make(folder: Path, *words: str) -> list[list[str]]:
    """The programs that make starts, each with its words."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "--silent", *words], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return [line.strip("|").split("|") for line in done.stdout.splitlines()]


def test_a_study_is_told_what_was_given_and_nothing_else(checkout):
    assert make(checkout) == [["lesion", "study", "quick"]]
    given = ("STUDY=some/study", "DATA=a b", "HAM10000=../h", "ISIC2018=../i j", "WEIGHTS=w", "THREADS=1")
    told = ["--data", "a b", "--ham10000", "../h", "--isic2018", "../i j", "--weights", "w", "--threads", "1"]
    assert make(checkout, "study", *given) == [["lesion", "study", "some/study", *told]]


def test_a_gpu_adds_cudas_libraries_once_with_the_tensorflow_of_the_lock(checkout):
    (version,) = [str(one.specifier) for one, _ in locked() if name_of(one) == "tensorflow"]
    installed, ran = make(checkout, "study", "GPU=1")
    assert installed[:2] == ["pip", "install"] and installed[-1] == f"tensorflow[and-cuda]{version}"
    assert ran == ["lesion", "study", "quick"]
    assert make(checkout, "study", "GPU=1") == make(checkout, "study") == [ran]
