"""pyproject.toml, requirements.lock and environment.yml say the same, and what they say can be installed."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from prediction_tables import table_of

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
WHEELS_BYTES = 2e9  # free space that downloading all packages needs


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


def extra(name: str) -> list[Requirement]:
    return [Requirement(text) for text in DECLARED["optional-dependencies"][name]]


def dependencies(*extras: str) -> list[Requirement]:
    always = [Requirement(text) for text in DECLARED["dependencies"]]
    return always + [requirement for name in extras for requirement in extra(name)]


def installed_with(names: Iterable[str]) -> dict[str, Distribution]:
    """The packages of this environment that pip would install for ``names``: with all that they need."""
    found: dict[str, Distribution] = {}
    todo = [Requirement(name) for name in names]
    while todo:
        requirement = todo.pop()
        if (name := name_of(requirement)) not in found:
            found[name] = distribution(name)
            needed = [Requirement(text) for text in found[name].requires or []]
            todo += [of for of in needed if not of.marker or of.marker.evaluate({"extra": ""})]
    return found


def pip_section() -> list[str]:
    (section,) = [part["pip"] for part in CONDA["dependencies"] if isinstance(part, dict)]
    return section


# the three files agree


def test_the_nine_packages_are_dependencies_of_the_study_without_extras():
    declared = {name_of(requirement): requirement for requirement in dependencies("study")}
    assert set(declared) >= NINE
    assert not any(requirement.extras for requirement in declared.values())


def test_a_package_is_in_the_extra_of_the_study_or_needed_for_every_command():
    always, study = ([name_of(requirement) for requirement in named] for named in (dependencies(), extra("study")))
    assert len(always + study) == len({*always, *study})
    assert {"tensorflow", "keras", "jupyterlab", "snakemake"} <= set(study)
    assert not {"tensorflow", "keras", "jupyterlab", "snakemake"} & set(installed_with(always))


def test_every_line_of_the_lock_is_an_exact_pin_with_hashes():
    assert len(locked()) > 100
    for requirement, hashes in locked():
        assert re.fullmatch(r"==[\w.!+]+", str(requirement.specifier)), requirement
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), requirement


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_dependency_is_locked_once_for_each_python(python):
    machine = {"python_version": python, "python_full_version": f"{python}.5", "sys_platform": "linux"}
    assert python in SpecifierSet(DECLARED["requires-python"])
    for dependency in dependencies("study", "dev"):
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


def test_containers_have_a_python_of_the_package_and_the_packages_of_the_lock():
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    (python,) = re.findall(r"(?m)^FROM python:([\d.]+)-", dockerfile)
    assert SpecifierSet(DECLARED["requires-python"]).contains(python)
    assert "--require-hashes -r requirements.lock" in dockerfile and "touch .venv/installed" in dockerfile
    settings = (PROJECT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
    devcontainer = json.loads(re.sub(r"(?m)^//.*$", "", settings))
    assert (PROJECT / ".devcontainer" / devcontainer["build"]["dockerfile"]).resolve() == PROJECT / "Dockerfile"
    assert devcontainer["workspaceFolder"] in dockerfile
    binder = PROJECT / ".binder"
    assert (binder / "runtime.txt").read_text(encoding="utf-8") == f"python-{python}\n"
    (lock,) = re.findall(r"(?m)^-r (\S+)$", (binder / "requirements.txt").read_text(encoding="utf-8"))
    assert (binder / lock).resolve() == PROJECT / "requirements.lock"


# what they say can be installed


def copied(folder: Path) -> Path:
    """A copy of what pip needs of the project, with an empty environment ``venv``."""
    shutil.copytree(PROJECT / "lesion_utils", folder / "lesion_utils", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "MANIFEST.in", "requirements.lock", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(PROJECT / name, folder)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    return folder


def run(folder: Path, program: str, *words: str) -> subprocess.CompletedProcess:
    """Runs a program of the folder's own environment in that folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LESION"))}
    environment["XDG_CACHE_HOME"] = str(folder / "cache")
    command = [folder / "venv" / "bin" / program, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_pip_finds_all_that_the_section_needs_in_an_empty_environment(tmp_path):
    """To install it, too, would do again what make did for the environment of these tests."""
    if (free := shutil.disk_usage(tmp_path).free) < WHEELS_BYTES:
        pytest.skip(f"{free / 1e9:.1f} GB free at {tmp_path}; the packages need {WHEELS_BYTES / 1e9:.0f}")
    (tmp_path / "requirements.lock").symlink_to(PROJECT / "requirements.lock")
    (tmp_path / "section.txt").write_text("\n".join(pip_section()) + "\n")  # conda hands it to pip as a file, too

    def pip(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "pip", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    probe = pip("download", "--no-deps", "--retries=1", "--timeout=20", "--dest=probe", "setuptools")
    if probe.returncode:
        pytest.skip(f"the package index cannot be reached: {probe.stderr.strip().splitlines()[-1]}")
    done = pip("install", "--dry-run", "--ignore-installed", "--quiet", "--report=found.json", "-r", "section.txt")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = {
        canonicalize_name(of["metadata"]["name"]) for of in json.loads((tmp_path / "found.json").read_text())["install"]
    }
    assert found >= {name_of(requirement) for requirement in dependencies("study", "dev")}


# the package alone

BUILD = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"
CHECKS = {  # each command that needs no study, and its exit code
    "matrix matrix.txt": 0,
    "report report.txt": 0,
    "leakcheck split.csv": 1,
    "score a.csv --resamples 100 --html score.html": 0,
    "compare a.csv a.csv --html compare.html": 0,
    "audit pictures --metadata pictures/HAM10000_metadata.csv --html audit.html": 0,
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """A folder with the built package in ``dist``, and in its ``venv`` only what pip installs for it, as links."""
    folder = copied(tmp_path_factory.mktemp("bare") / "checkout")
    for name in ("tests/test_x.py", "reports/x/index.html", "runs/x/cases.csv", "notebooks/x.ipynb"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("not for users of the package")
    subprocess.run([sys.executable, "-c", BUILD], cwd=folder, check=True, capture_output=True)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    for of in installed_with(map(name_of, dependencies())).values():
        for name in {file.parts[0] for file in of.files or []} - {"..", "__pycache__"}:
            if not (packages / name).exists():
                (packages / name).symlink_to(of.locate_file(name))
    (wheel,) = (folder / "dist").glob("*.whl")
    done = run(folder, "pip", "install", "--no-index", "--no-deps", str(wheel))
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder / "lesion_utils")
    yield folder
    shutil.rmtree(folder)


def names_in(files: Iterable[str]) -> set[str]:
    """The files of the package among ``files``, from its folder on."""
    return {name.split("lesion_utils/", 1)[1] for name in files if "lesion_utils/" in name and not name.endswith("/")}


@pytest.mark.slow
def test_the_built_package_has_its_files_and_nothing_else(bare):
    (wheel,), (archive,) = (bare / "dist").glob("*.whl"), (bare / "dist").glob("*.tar.gz")
    own = names_in(str(path) for path in (PROJECT / "lesion_utils").rglob("*") if path.is_file())
    with zipfile.ZipFile(wheel) as opened, tarfile.open(archive) as packed:
        in_wheel, in_archive = opened.namelist(), packed.getnames()
    assert names_in(in_wheel) == {name for name in own if "__pycache__" not in name} <= names_in(in_archive)
    assert {name.split("/")[0] for name in in_wheel} <= {
        "lesion_utils",
        f"lesion_utils-{DECLARED['version']}.dist-info",
    }
    others = {name.split("/")[1] for name in in_archive if "/" in name} - {"PKG-INFO", "setup.cfg"}
    others = {name for name in others if not name.startswith("lesion_utils")}
    assert others == {"LICENSE", "MANIFEST.in", "NOTICE", "README.md", "pyproject.toml"}


@pytest.mark.slow
def test_the_package_alone_checks_results_and_says_what_the_study_needs(bare, phantom_folder):
    assert (done := run(bare, "pip", "check")).returncode == 0, done.stdout
    assert run(bare, "lesion", "--version").stdout.split() == ["lesion-utils", DECLARED["version"]]
    (bare / "matrix.txt").write_text("mel nv\n40 10\n5 145\n")
    (bare / "report.txt").write_text("accuracy 0.95\nrecall mel 0.8\nrecall nv 0.8\nn mel = 50\nn nv = 150\n")
    (bare / "split.csv").write_text("image_id,lesion_id,dx,split\na,1,mel,train\nb,1,mel,test\nc,2,nv,test\n")
    table_of([30, 30, 30, 40]).to_csv(bare / "a.csv", index=False)
    (bare / "pictures").symlink_to(phantom_folder)
    for command, code in CHECKS.items():
        done = run(bare, "lesion", *command.split())
        assert done.returncode == code and len(done.stdout) > 100, (command, done.stdout[-2000:], done.stderr[-2000:])
    assert all("data:image/svg" in (bare / f"{page}.html").read_text() for page in ("score", "compare"))
    assert "<h1>" in (bare / "audit.html").read_text()
    (packages,) = (bare / "venv" / "lib").glob("python*/site-packages")
    assert (bare / "cache" / "lesion-utils" / "runs").is_dir() and not (packages / "runs").exists()
    done = run(bare, "lesion", "evaluate", "model", "--data", "pictures")
    (wheel,) = (bare / "dist").glob("*.whl")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"Fix: {bare}/venv/bin/python" in done.stderr and f"-m pip install '{wheel}[study]'" in done.stderr
    done = run(bare, "lesion", "study", "quick")
    assert done.returncode == 2 and done.stderr.startswith("error: `lesion study`") and '".[study]"' in done.stderr
