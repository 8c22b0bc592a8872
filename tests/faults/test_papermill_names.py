"""A file of parameters for papermill is data: code in the place of a name is refused, not run."""

import json
import os
import subprocess
import sys
import tomllib

import pytest

from lesion_utils.paths import PROJECT


@pytest.fixture
def installed(tmp_path) -> dict[str, str]:
    """The environment of a program that finds the package's entry points, also where it was installed without them."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    about = tmp_path / "site" / "lesion_points-0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lesion-points\nVersion: 0\n")
    ((name, point),) = project["entry-points"]["papermill.engine"].items()
    (about / "entry_points.txt").write_text(f"[papermill.engine]\n{name} = {point}\n")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(about.parent), str(PROJECT)])}


@pytest.mark.slow
@pytest.mark.parametrize("given", ["file", "option"])
def test_code_in_the_name_of_a_parameter_is_refused_and_not_run(installed, tmp_path, given):
    proof = tmp_path / "proof"
    name = f"seed = 1; open({str(proof)!r}, 'w') #"
    (tmp_path / "given.json").write_text(json.dumps({name: 1}))
    words = ["-f", str(tmp_path / "given.json")] if given == "file" else ["-p", name, "1"]
    book = str(PROJECT / "notebooks" / "01_eda.ipynb")
    command = [sys.executable, "-m", "papermill", book, str(tmp_path / "out.ipynb"), *words]
    done = subprocess.run(command, env=installed, capture_output=True, text=True)
    assert done.returncode and not proof.exists()
    assert done.stderr.splitlines()[-1].startswith("lesion_utils.errors.InputError") and "seed = 1" in done.stderr
    assert "Fix: " in done.stderr
