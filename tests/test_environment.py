"""pyproject.toml, requirements.lock and environment.yml say the same, and what they say can be installed."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from lesion_utils.paths import PROJECT

NINE = {
    "augmentor",
    "jupyterlab",
    "matplotlib",
    "nbval",
    "pandas",
    "papermill",
    "scikit-learn",
    "seaborn",
    "tensorflow",
}
LOCK = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = yaml.safe_load((PROJECT / "environment.yml").read_text(encoding="utf-8"))
ENVIRONMENT_BYTES = 5e9  # free space that installing all packages needs, with the downloaded wheels


def name_of(requirement: Requirement) -> str:
    return canonicalize_name(requirement.name)


def instructions() -> str:
    """The lock without its comments."""
    return re.sub(r"(?m)^\s*#.*\n?", "", LOCK)


def locked() -> list[tuple[Requirement, list[str]]]:
    """Each requirement of the lock with its hashes."""
    lines = instructions().replace("\\\n", " ").splitlines()
    parts = [re.split(r"\s+--hash=", line.strip()) for line in lines if line.strip()]
    return [(Requirement(requirement), hashes) for requirement, *hashes in parts]


def dependencies(*extras: str) -> list[Requirement]:
    named = [
        *DECLARED["dependencies"],
        *(text for extra in extras for text in DECLARED["optional-dependencies"][extra]),
    ]
    return [Requirement(text) for text in named]


def pip_section() -> list[str]:
    (section,) = [part["pip"] for part in CONDA["dependencies"] if isinstance(part, dict)]
    return section


# the three files agree


def test_the_nine_packages_are_dependencies_without_extras():
    declared = {name_of(requirement): requirement for requirement in dependencies()}
    assert set(declared) >= NINE
    assert not any(requirement.extras for requirement in declared.values())


def test_every_line_of_the_lock_is_an_exact_pin_with_hashes():
    assert len(locked()) > 100
    for requirement, hashes in locked():
        assert re.fullmatch(r"==[\w.!+]+", str(requirement.specifier)), requirement
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), requirement


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_dependency_is_locked_once_for_each_python(python):
    machine = {"python_version": python, "python_full_version": f"{python}.5", "sys_platform": "linux"}
    assert python in SpecifierSet(DECLARED["requires-python"])
    for dependency in dependencies("dev"):
        versions = [
            str(pin.specifier).removeprefix("==")
            for pin, _ in locked()
            if name_of(pin) == name_of(dependency) and (not pin.marker or pin.marker.evaluate(machine))
        ]
        assert len(versions) == 1 and versions[0] in dependency.specifier, (dependency, versions)


def test_the_extra_for_gpus_is_not_locked_and_that_for_clusters_is():
    assert [str(text) for text in DECLARED["optional-dependencies"]["gpu"]] == ["tensorflow[and-cuda]"]
    (plugin,) = DECLARED["optional-dependencies"]["cluster"]  # `make slurm-test` needs it
    assert plugin in DECLARED["optional-dependencies"]["dev"]
    names = {name_of(pin) for pin, _ in locked()}
    assert not [name for name in names if name.startswith("nvidia")]
    assert not any(pin.extras for pin, _ in locked())


def test_the_lock_names_no_place_to_load_from():
    assert "://" not in LOCK
    assert set(re.findall(r"(?m)(?:^|\s)(-[^=\s]+)", instructions())) == {"--hash"}


def test_conda_takes_its_packages_from_the_lock_alone():
    assert pip_section() == ["-r requirements.lock"]
    packages = [part for part in CONDA["dependencies"] if isinstance(part, str)]
    (python,) = [part for part in packages if part.startswith("python")]
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(DECLARED["requires-python"])
    assert sorted(packages) == ["pip", python]
    assert (CONDA["name"], CONDA["channels"]) == ("lesion", ["conda-forge"])


def test_licence_and_version_are_the_same_everywhere():
    licence = (PROJECT / "LICENSE").read_text(encoding="utf-8")
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    assert "Apache License" in licence and "Version 2.0, January 2004" in licence
    assert DECLARED["license"] == citation["license"] == "Apache-2.0"
    assert DECLARED["version"] == citation["version"]
    assert f"## {DECLARED['version']}" in (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_workflow_runs_what_anybody_can_run():
    workflow = yaml.safe_load((PROJECT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    job, others = workflow["jobs"].pop("all"), workflow["jobs"]
    assert any("requirements.lock" in step.get("run", "") for step in others["vulnerabilities"]["steps"])
    assert [step["run"] for step in job["steps"] if step.get("run", "").startswith(".")] == [".ci/run"]
    versions = [
        SpecifierSet(DECLARED["requires-python"]).contains(python) for python in job["strategy"]["matrix"]["python"]
    ]
    assert all(versions)


# what they say can be installed


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of what pip needs of the project, with an empty environment ``venv`` that is deleted at the end."""
    folder = tmp_path / "checkout"
    shutil.copytree(PROJECT / "lesion_utils", folder / "lesion_utils", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.lock", "README.md", "LICENSE", "NOTICE"):
        if (PROJECT / name).is_file():
            shutil.copy(PROJECT / name, folder)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    yield folder
    shutil.rmtree(folder)


def run(folder: Path, program: str, *words: str) -> subprocess.CompletedProcess:
    """Runs a program of the folder's own environment in that folder."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    command = [folder / "venv" / "bin" / program, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_pip_section_installs_into_an_empty_environment(checkout):
    if (free := shutil.disk_usage(checkout).free) < ENVIRONMENT_BYTES:
        pytest.skip(
            f"{free / 1e9:.1f} GB free at {checkout.parent}; the environment needs {ENVIRONMENT_BYTES / 1e9:.0f}"
        )
    (checkout / "section.txt").write_text("\n".join(pip_section()) + "\n")  # conda hands it to pip as a file, too
    probe = run(checkout, "pip", "download", "--no-deps", "--retries=1", "--timeout=20", "--dest=probe", "setuptools")
    if probe.returncode:
        pytest.skip(f"the package index cannot be reached: {probe.stderr.strip().splitlines()[-1]}")
    for words in (["install", "-r", "section.txt"], ["install", "--no-deps", "-e", "."], ["check"]):
        done = run(checkout, "pip", "--no-cache-dir", *words)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    shown = run(checkout, "lesion", "--help")
    assert shown.returncode == 0 and "notebook" in shown.stdout, shown.stderr
