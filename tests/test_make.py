"""What the Makefile passes to the command, and what `GPU=1` adds to the environment."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from test_environment import locked, name_of

from lesion_utils.paths import PROJECT


@pytest.fixture
def checkout(tmp_path) -> Path:
    """What make needs of the project, with an environment that looks installed and whose programs print their words."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("pip", "lesion", "jupyter", "pytest", "ruff", "mypy"):
        program = tmp_path / ".venv" / "bin" / name
        program.write_text(f'#!/bin/sh\nfor word in {name} "$@"; do printf "%s|" "$word"; done; echo\n')
        program.chmod(0o755)
    (tmp_path / ".venv" / "installed").touch()
    return tmp_path


def make(folder: Path, *words: str) -> list[list[str]]:
    """The programs that make starts, each with its words; messages of make itself are left out."""
    return [line.strip("|").split("|") for line in output_of_make(folder, "--silent", *words) if "|" in line]


def output_of_make(folder: Path, *words: str) -> list[str]:
    """The lines that make prints when a person calls it, also where these tests run under another make."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", *words], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_study_gets_the_given_options_and_nothing_else(checkout):
    assert make(checkout) == [["lesion", "study", "quick"]]
    given = ("STUDY=a folder/own.yml", "DATA=a b", "HAM10000=../h", "ISIC2018=../i j", "WEIGHTS=w", "THREADS=1")
    options = ["--data", "a b", "--ham10000", "../h", "--isic2018", "../i j", "--weights", "w", "--threads", "1"]
    assert make(checkout, "study", *given) == [["lesion", "study", "a folder/own.yml", *options]]
    assert make(checkout, "study", "FULL=1", "VERBOSE=1") == [["lesion", "study", "quick", "--full", "--verbose"]]
    assert make(checkout, "study", "STUDY=a b", "QUIET=1") == [["lesion", "study", "a b", "--quiet"]]
    slurm = ("WHERE=slurm", "SNAKEMAKE=--jobs 5 --set-resources 'a:runtime=3'")
    options = ["--where", "slurm", "--snakemake=--jobs 5 --set-resources a:runtime=3"]
    assert make(checkout, "study", *slurm) == [["lesion", "study", "quick", *options]]


def test_fast_tests_leave_out_what_is_slow_or_needs_a_browser_or_data(checkout):
    *checks, ran = make(checkout, "test-fast")
    assert [words[0] for words in checks] == ["ruff", "ruff", "mypy"]
    assert ran[0] == "pytest" and ran[-3:] == ["tests", "-m", "not slow and not browser and not real_data"]
    notebooks, every = make(checkout, "test")[3:]
    assert (
        every == ["pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "tests"]
        and "--nbval" in notebooks
    )


def test_jupyterlab_opens_the_explorer_in_the_whole_project_and_root_may_open_it_in_a_container(checkout):
    ((*words,),) = make(checkout, "lab")
    assert words[:2] == ["jupyter", "lab"] and not any("root_dir" in word for word in words)
    (address,) = [word.partition("=/lab/tree/")[2] for word in words if "default_url" in word]
    assert (PROJECT / address).is_file() and "explore" in address
    assert ("--allow-root" in words) == (os.getuid() == 0)


def test_a_gpu_adds_cudas_libraries_once_with_the_tensorflow_of_the_lock(checkout):
    (version,) = [str(pin.specifier) for pin, _ in locked() if name_of(pin) == "tensorflow"]
    installed, ran = make(checkout, "study", "GPU=1")
    assert installed[:2] == ["pip", "install"] and installed[-1] == f"tensorflow[and-cuda]{version}"
    assert ran == ["lesion", "study", "quick"]
    assert make(checkout, "study", "GPU=1") == make(checkout, "study") == [ran]


def test_an_installation_says_so_before_pip_starts(checkout):
    (checkout / ".venv" / "installed").unlink()
    python = checkout / "python"
    python.write_text("#!/bin/sh\n")  # makes no environment: the programs above stay
    python.chmod(0o755)
    first, *others = output_of_make(checkout, f"PYTHON={python}", "study")
    assert "requirements.lock" in first and ".venv" in first
    assert [line.split("|")[0] for line in others] == ["pip", "pip", "lesion"]
    assert "--quiet" not in "".join(others)


def test_the_fast_tests_run_with_each_python_that_is_installed(checkout, monkeypatch):
    shutil.copytree(checkout / ".venv", checkout / ".venv-3.12")
    (checkout / ".venv-3.12" / "installed").unlink()
    python = checkout / "pyenv" / "versions" / "3.12.1" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    programs = checkout / "programs"  # no Python
    programs.mkdir()
    for name in ("make", "sh", "ls", "tail", "touch", "id"):
        (programs / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("PYENV_ROOT", str(checkout / "pyenv"))
    lines = output_of_make(checkout, "--silent", "test-pythons")
    assert [line for line in lines if "left out" in line] == [
        f"left out: Python {version} is not installed" for version in ("3.11", "3.13")
    ]
    assert any(".venv-3.12" in line and "requirements.lock" in line for line in lines)
    assert [line.split("|")[0] for line in lines if "|" in line] == ["pip", "pip", "ruff", "ruff", "mypy", "pytest"]
