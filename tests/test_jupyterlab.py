"""A real JupyterLab, started as `make lab` does. It runs all six: 05 on random scores, 02 to 04 for an epoch."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from browser import chromium, end, family_of, needs_chromium
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from lesion_utils import predictions
from lesion_utils.cases import make_case_tables, write_case_tables
from lesion_utils.evaluation import sentences
from lesion_utils.explore import judge_threshold, read_table
from lesion_utils.paths import PROJECT
from lesion_utils.pipeline import NOTEBOOKS, notebook_path
from lesion_utils.predictions import STAGE_NOTEBOOKS
from lesion_utils.splits import split_digest
from lesion_utils.study import load_study

pytestmark = [needs_chromium, pytest.mark.browser]

EXPLORED = "recommended_full"  # the study that the explorer opens
IS_READY = """
const panel = window.jupyterapp?.shell.currentWidget
return panel?.context?.isReady && panel.context.path === arguments[0]
    && panel.sessionContext.session?.kernel?.status === 'idle'"""
RUN_ALL = """
const run = (name) => window.jupyterapp.commands.execute(name), end = (error) => { window.ranAll = error }
run('notebook:run-all-cells').then(() => run('docmanager:save')).then(() => end(''), (error) => end(`${error}`))"""


@dataclass
class Lab:
    folder: Path
    address: str
    driver: webdriver.Chrome

    def run_all(self, name: str) -> list[nbformat.NotebookNode]:
        """Opens ``name`` of the folder, chooses Run all, saves, and returns the saved code cells."""
        self.driver.get(f"{self.address}/lab/tree/{name}?reset")
        WebDriverWait(self.driver, 120).until(lambda driver: driver.execute_script(IS_READY, name))
        self.driver.execute_script(RUN_ALL)  # Selenium waits two minutes for an answer, whatever its script timeout
        has_ended = "return 'ranAll' in window"
        WebDriverWait(self.driver, 900, 1).until(lambda driver: driver.execute_script(has_ended))
        assert self.driver.execute_script("return window.ranAll") == ""
        book = nbformat.read(self.folder / name, as_version=4)
        return [cell for cell in book.cells if cell.cell_type == "code"]


def write_tables_of_no_model() -> None:
    """Writes the prediction tables that the quick study asks for, from seeded random scores."""
    params = load_study("quick")
    tables = make_case_tables(params)
    write_case_tables(params, tables)
    cases, split = tables["corrected"], split_digest(tables["corrected"])
    can_leak = cases[cases["split"] == "test"][::2].assign(split="test_can_leak")
    cases = pd.concat([cases, can_leak], ignore_index=True)
    sizes = cases["split"].value_counts()
    random = np.random.default_rng(0)
    for name, recipe in params.trainings.items():
        parts = ("test", "test_can_leak") if name in params.arms else ("validation", "test")
        scores = {part: random.dirichlet(np.ones(cases["label"].nunique()), sizes[part]) for part in parts}
        provenance = {
            "recipe": recipe.identity,
            "seed": params.training_seed,
            "leaky": recipe.allow_leak,
            "cases": split,
        }
        predictions.write(params.model_folder(name), cases, scores, provenance)


def without_outputs(name: str) -> nbformat.NotebookNode:
    """The committed notebook as if it had never run."""
    book = nbformat.read(notebook_path(name), as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    return book


def judged_in(lab: Lab) -> tuple[str, ...] | None:
    """The threshold and the sensitivity that the explorer shows now; None while it computes."""
    found = re.search(
        r" at ([\d.]+); .*?melanoma sensitivity (\S+ \(\S+\))",
        lab.driver.find_element("tag name", "body").text,
        flags=re.DOTALL,
    )
    return found and found.groups()


def errors(cells: list[nbformat.NotebookNode]) -> list[str]:
    outputs = [output for cell in cells for output in cell.outputs]
    return [f"{output.ename}: {output.evalue}" for output in outputs if output.output_type == "error"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on copies of the notebooks, and a browser; both are gone at the end."""
    folder = tmp_path_factory.mktemp("lab")
    for name in ("notebooks", "params", "reports"):
        (folder / name).mkdir()
    for name in (*NOTEBOOKS, "explore"):
        nbformat.write(without_outputs(name), folder / "notebooks" / f"{name}.ipynb")
    shutil.copytree(PROJECT / "reports" / EXPLORED, folder / "output" / "reports" / EXPLORED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LESION_OUTPUT", str(folder / "output"))
        for kind in ("CONFIG", "DATA", "RUNTIME"):  # no settings of this user are read or changed
            patch.setenv(f"JUPYTER_{kind}_DIR", str(folder / kind))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        write_tables_of_no_model()
        server, address = serve(folder)
    try:
        with chromium(folder / "profile") as driver:
            yield Lab(folder, address, driver)
    finally:
        end(family_of(server.pid))


def words_of_make_lab() -> list[str]:
    """The command of `make lab`, without the folder of the program."""
    command = ["make", "--dry-run", "--silent", "--assume-old=.venv/installed", "lab"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    program, *words = done.stdout.splitlines()[-1].split()
    return [Path(program).name, *words]


def serve(folder: Path) -> tuple[subprocess.Popen, str]:
    """Starts JupyterLab on a free port of this machine and waits until it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "IdentityProvider.token": "",
        "LabApp.expose_app_in_browser": True,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    command = [sys.executable, "-m", *words_of_make_lab(), "--no-browser"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    for _ in range(240):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return server, f"http://127.0.0.1:{port}"
        if server.poll() is not None:
            break
        time.sleep(0.5)
    end(family_of(server.pid))
    raise AssertionError((folder / "server.log").read_text())


@pytest.mark.parametrize("name", ["01_eda", "05_evaluation"])
def test_run_all_goes_through_without_an_error(lab, name):
    cells = lab.run_all(f"notebooks/{name}.ipynb")
    assert not errors(cells)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGE_NOTEBOOKS.values())
def test_run_all_trains_with_the_epochs_that_a_reader_sets(lab, name):
    book = without_outputs(name)
    book.cells[1].source = re.sub(r'"epochs": \d+', '"epochs": 1', book.cells[1].source)
    nbformat.write(book, lab.folder / "notebooks" / f"{name}.ipynb")
    cells = lab.run_all(f"notebooks/{name}.ipynb")
    assert not errors(cells) and all(cell.execution_count for cell in cells)
    tables = [output.get("data", {}).get("text/plain", "") for cell in cells for output in cell.outputs]
    assert any(re.search(r"\b(1 of 1|2 of 2)\b", table) for table in tables)


def test_it_shows_parameters_and_reports_beside_the_notebooks(lab):
    with urllib.request.urlopen(f"{lab.address}/api/contents/") as answer:
        shown = {item["name"] for item in json.load(answer)["content"]}
    assert shown >= {"notebooks", "params", "reports"}


def test_a_cell_that_fails_is_seen(lab):
    book = without_outputs("01_eda")
    book.cells[2].source = "raise ValueError('planted')"
    nbformat.write(book, lab.folder / "notebooks" / "broken.ipynb")
    cells = lab.run_all("notebooks/broken.ipynb")
    assert errors(cells) == ["ValueError: planted"]
    assert [cell.execution_count for cell in cells[:3]] == [1, 2, None]


def test_the_explorer_follows_its_slider_and_stores_no_picture(lab, monkeypatch):
    lab.driver.get_log("browser")  # what other tests left
    cells = lab.run_all("notebooks/explore.ipynb")
    book = nbformat.read(lab.folder / "notebooks" / "explore.ipynb", as_version=4)
    assert not errors(cells) and "image/png" not in nbformat.writes(book) and "widgets" not in book.metadata
    shown = [judged_in(lab)]
    for key in (Keys.PAGE_UP, Keys.HOME):
        lab.driver.find_element("css selector", ".widget-slider .noUi-handle").send_keys(key)
        WebDriverWait(lab.driver, 60).until(lambda _: judged_in(lab) not in (None, shown[-1]))
        shown.append(judged_in(lab))
    monkeypatch.setenv("LESION_OUTPUT", str(PROJECT))
    test = read_table(EXPLORED, "efficientnet_lite0", "test")
    for threshold, sensitivity in shown:
        rows, _ = judge_threshold(test, "test", "melanoma", float(threshold), 0.05)
        assert sensitivity == sentences.cell(rows.loc["sensitivity"])
    (_, at_start), _, (least, at_least) = shown
    assert least == "0" and at_least.startswith("1.00") and at_start != at_least
    said = [entry["message"] for entry in lab.driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert not said and "Traceback" not in lab.driver.find_element("tag name", "body").text
