"""`lesion open`: a notebook that a study ran, in JupyterLab, apart from what the study made."""

import sys

import nbclient
import nbformat
import pytest
import yaml
from test_by_hand import files
from typer.testing import CliRunner

from lesion_utils import pipeline
from lesion_utils.cli import app, lab
from lesion_utils.paths import JOB
from lesion_utils.study import load_study

STUDY = {"study": "tiny", "phantom": {"lesions": 60}, "resamples": 100, "runs": 2, "split_seed": 3}


@pytest.fixture
def opened(tmp_path, output, monkeypatch):
    """Calls `lesion open` of a study whose notebook 01 ran; returns its result, and the words that it would start."""
    study, started = tmp_path / "tiny.yml", []
    study.write_text(yaml.safe_dump(STUDY | {"baseline": {"cnn": {"phases": [{"epochs": 1}]}}}))
    executed = output / "runs" / "tiny" / "executed"
    executed.mkdir(parents=True)
    monkeypatch.setattr(lab.os, "execv", lambda *words: started.append(words))

    def call(*words):
        started.clear()
        return CliRunner().invoke(app, ["open", str(study), *words]), started

    return call


def test_it_starts_jupyterlab_on_a_copy_and_keeps_what_was_changed_there(opened, output):
    executed = output / "runs/tiny/executed/02_baseline_cnn_r1.ipynb"
    cells = [
        nbformat.v4.new_code_cell(source) for source in ("x = 1\ny = 2", "# Parameters\nx = {'a': None}\ny = 3", "x")
    ]
    cells[0].metadata.tags, cells[1].metadata.tags = ["parameters"], ["injected-parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), executed)
    made = executed.read_bytes()
    result, ((program, words),) = opened("02", "--run", "1", "--no-browser")
    copy = output / "runs/by_hand/tiny/02_baseline_cnn_r1.ipynb"
    assert result.exit_code == 0 and str(copy) in result.output and executed.read_bytes() == made
    parameters, last = nbformat.read(copy, as_version=4).cells  # one place to change a value, with those of the study
    assert parameters.source.splitlines()[1:] == ["x = {'a': None}", "y = 3"] and last.source == "x"
    assert program == sys.executable and words[:4] == [sys.executable, "-m", "jupyter", "lab"]
    options = dict(word.removeprefix("--").split("=") for word in words if "=" in word)
    root, address = options["ServerApp.root_dir"], options["LabApp.default_url"].removeprefix("/lab/tree/")
    assert f"{root}/{address}" == str(copy) and "--no-browser" in words and not any("ip=" in word for word in words)
    copy.write_text("changed by hand")
    again, ((_, words),) = opened("2", "--run", "1")
    assert "as you left it" in again.output and copy.read_text() == "changed by hand" and "--no-browser" not in words
    assert executed.read_bytes() == made


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["07"], ["'07'", "01, 02, 05", "Fix: lesion open"]),
        (["03"], ["'03'", "01, 02, 05", "Fix: lesion open"]),  # the study has no such recipes
        (["02", "--run", "2"], ["no run 2", "0 to 1", "Fix: lesion open"]),
        (["05", "--run", "1"], ["no run 1", "0 to 0", "Fix: lesion open"]),
        (["01"], ["executed/01_eda.ipynb", "has not run", "Fix: make study STUDY="]),
    ],
)
def test_what_cannot_be_opened_is_refused_with_the_fix(opened, words, facts):
    result, started = opened(*words)
    assert result.exit_code == 2 and not started and all(fact in result.output for fact in facts)


@pytest.mark.slow
def test_a_notebook_that_was_opened_runs_by_hand_with_the_studys_parameters(opened, output, tmp_path, monkeypatch):
    monkeypatch.setenv(JOB, "")
    error, _ = pipeline.execute(load_study(str(tmp_path / "tiny.yml")), "01_eda")
    assert not error
    monkeypatch.delenv(JOB)
    before = files(output / "runs" / "tiny")
    opened("01")
    copy = output / "runs/by_hand/tiny/01_eda.ipynb"
    book = nbformat.read(copy, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    book.cells.append(nbformat.v4.new_code_cell("print(params.split_seed, params.phantom.lesions)"))
    nbclient.NotebookClient(book, resources={"metadata": {"path": str(copy.parent)}}).execute()
    assert book.cells[-1].outputs[0].text == "3 60\n"
    assert (copy.parent / "cases.csv").is_file() and files(output / "runs" / "tiny") == before
