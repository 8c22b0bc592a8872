"""docs/batch.md: its commands run one after another, as they are, and do what the page says; limits end notebooks."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from lesion_utils.paths import PROJECT

pytestmark = pytest.mark.slow

PAGE = (PROJECT / "docs" / "batch.md").read_text(encoding="utf-8")
(STUDY,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^    (\S.*)$", PAGE, re.MULTILINE)


def run(command: str, folder: Path) -> tuple[int, str, str]:
    """Exit code, output and messages of the command of this environment in ``folder``, whose results go there."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    more = {"PATH": path, "PYTHONPATH": str(PROJECT), "LESION_OUTPUT": str(folder), "LESION_QUIET": ""}
    command = command.replace("PROJECT", str(PROJECT))
    done = subprocess.run(command, shell=True, cwd=folder, env=os.environ | more, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> dict[str, tuple[int, str, str]]:
    """What each command of the page gave, and ``folder``, in which they ran."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "my_study.yml").write_text(STUDY)
    return {"folder": folder} | {command: run(command, folder) for command in COMMANDS}


def of(done, *words: str) -> tuple[int, str, str]:
    """What the first command with these words gave."""
    return next(done[command] for command in COMMANDS if all(word in command for word in words))


def test_every_command_of_the_page_ends_well(done):
    assert len(COMMANDS) == 9
    assert {command: done[command] for command in COMMANDS if done[command][0]} == {}


def test_a_quiet_study_prints_the_path_of_its_index_only(done):
    assert of(done, "study my_study.yml --quiet")[1:] == ("reports/my_study/index.html\n", "")


def test_a_sweep_is_one_graph_and_compares_its_variants_on_validation(done):
    _, printed, _ = of(done, "sweep my_study.yml seed=0,1")
    jobs = [f"my_study_by_seed.{seed}.02_baseline_cnn" for seed in (0, 1)]
    assert re.search(r"10 jobs to run: ", printed) and all(f"{job} done in " in printed for job in jobs)
    assert printed.splitlines()[-1] == "reports/my_study_by_seed/index.html"
    reports = done["folder"] / "reports/my_study_by_seed"
    rows = pd.read_csv(reports / "sweep.csv")
    judged = json.loads((reports / "1/results.json").read_text())["rows"]
    expected = [row["value"] for row in judged if row["split"] == "validation" and row["metric"] == "log loss"]
    assert list(rows.loc[(rows["variant"] == 1) & (rows["metric"] == "log loss"), "value"]) == expected
    assert "balanced accuracy" in printed and "Highest " in printed
    seeds = [
        json.loads((reports / f"{seed}/predictions/cnn/r0/provenance.json").read_text())["seed"] for seed in (0, 1)
    ]
    assert seeds == [0, 1]


def test_a_dry_run_of_a_sweep_lists_the_jobs_of_all_combinations(done):
    _, printed, _ = of(done, "sweep", "--dry-run")
    assert len(re.findall(r"_and_cnn_sampler\.1e_[34]_(?:none|over)\.02_baseline_cnn", printed)) == 4


def test_what_ran_in_a_sweep_or_alone_does_not_run_again_with_others(done):
    _, printed, _ = of(done, "study my_study.yml my_study_by_seed/0")
    assert "nothing to do" in printed
    folders = ("my_study", "my_study_by_seed/0", "my_study_by_seed/1")
    assert printed.splitlines()[-3:] == [f"reports/{folder}/index.html" for folder in folders]


def test_studies_are_verified_and_compared_by_name(done):
    assert of(done, "verify")[1] == "my_study_by_seed/0: agrees\n"
    assert "my_study_by_seed/1/cnn (B) less my_study_by_seed/0/cnn (A)" in of(done, "compare")[1]


def test_several_names_may_be_one_word_and_one_study_twice_is_refused(done):
    code, printed, _ = run('lesion study "my_study.yml my_study_by_seed/0"', done["folder"])
    assert code == 0 and "nothing to do" in printed
    code, _, told = run("lesion study my_study.yml my_study.yml my_study_by_seed/0", done["folder"])
    assert code == 2 and "given twice" in told and "Fix: " in told


def test_a_change_of_one_study_runs_its_jobs_only(done):
    own = done["folder"] / "my_study.yml"
    own.write_text(STUDY.replace("epochs: 2", "epochs: 3"))
    _, printed, _ = run("lesion study my_study.yml my_study_by_seed/0 --dry-run", done["folder"])
    own.write_text(STUDY)
    (listed,) = re.findall(r"jobs to run: (.*)", printed)
    assert "my_study.02_baseline_cnn" in listed and "my_study_by_seed" not in listed


def test_jobs_of_a_version_that_noted_elsewhere_why_they_ran_run_again_once(done):
    noted = done["folder"] / "runs/my_study/.snakemake"
    noted.mkdir()
    _, printed, _ = run("lesion study my_study.yml --dry-run", done["folder"])
    noted.rmdir()
    (listed,) = re.findall(r"jobs to run: (.*)", printed)
    assert "01_eda" in listed and "02_baseline_cnn" in listed


@pytest.mark.parametrize("option", ["--timeout", "--cell-timeout"])
def test_a_notebook_over_its_limit_is_ended_with_one_line_and_goes_on_later(done, option):
    folder = done["folder"]
    code, _, told = run(f"lesion notebook 02_baseline_cnn my_study.yml {option} 1", folder)
    first, second = told.splitlines()
    assert code == 1 and f"{option} 1 " in first and "Fix: " in first and second.endswith("02_baseline_cnn.ipynb")
    assert (folder / "runs/my_study/failed/02_baseline_cnn.ipynb").is_file()
    assert (folder / "runs/my_study/models/cnn/r0/model.keras").is_file()  # what was trained stays
    assert run("lesion notebook 02_baseline_cnn my_study.yml", folder)[0] == 0
    assert not (folder / "runs/my_study/failed/02_baseline_cnn.ipynb").exists()


def test_a_study_passes_its_limits_on_and_stops(done):
    code, printed, told = run("lesion sweep my_study.yml seed=2 --timeout 1", done["folder"])
    assert code == 1 and "01_eda failed" in printed + told and "--timeout 1 " in told and "Highest" not in printed
