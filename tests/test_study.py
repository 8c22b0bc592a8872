"""A whole study, end to end, on a tiny phantom: what it makes, what it reruns, and how it ends when it cannot go on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from lesion_utils.cli.jobs import output_to
from lesion_utils.datasets.phantom import Phantom
from lesion_utils.paths import PROJECT

pytestmark = pytest.mark.slow

CNN = {"backbone": {"image_size": [24, 32]}, "hidden": 8, "phases": [{"epochs": 1}]}
TINY = {
    "study": "tiny",
    "dataset": "ham10000",
    "resamples": 100,
    "baseline": {"cnn": CNN},
    "rebalancing": {"cnn_over": CNN | {"sampler": "over"}},
    "transfer": {"mobilenet": CNN | {"backbone": {"name": "mobilenet_v1", "alpha": 0.25, "image_size": [32, 48]}}},
}
NOTEBOOKS = ["01_eda", "02_baseline_cnn", "03_augmentation_rebalancing", "04_transfer_learning", "05_evaluation"]


class Project:
    """A copy of the project that a test may edit, with a study of its own."""

    def __init__(self, folder: Path, data: Path):
        self.folder, self.data = folder, data
        for name in ("lesion_utils", "notebooks", "params", "profiles"):
            shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Snakefile", "requirements.lock", "pyproject.toml"):  # the last: it is a checkout
            shutil.copy(PROJECT / name, folder / name)
        self.yaml = folder / "params" / "tiny.yml"
        self.write(TINY | {"threads": int(os.environ.get("LESION_THREADS", 2))})
        self.environment = os.environ | {"PYTHONPATH": str(folder), "LESION_OUTPUT": str(folder)}

    def write(self, study: dict) -> None:
        self.yaml.write_text(json.dumps(study))  # JSON is YAML, without anchors

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "lesion_utils", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess:
        words = words or ("study", "tiny", "--data", str(self.data))
        return subprocess.run(
            self.command(*words), cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def would_run(self, data: Path | None = None) -> set[str]:
        """The notebooks (by number) that a run would execute now."""
        done = self.run("study", "tiny", "--data", str(data or self.data), "--dry-run")
        assert done.returncode == 0, done.stderr
        return {name[:2] for name in NOTEBOOKS if name in done.stdout}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Project:
    """A project whose tiny study has run."""
    from lesion_utils.datasets import phantom

    folder = tmp_path_factory.mktemp("finished")
    phantom.write(folder / "data", Phantom(lesions=100))
    project = Project(folder / "project", folder / "data")
    done = project.run()
    assert done.returncode == 0, done.stdout + done.stderr
    project.first_output = done.stdout + done.stderr
    return project


@pytest.fixture
def project(tmp_path, ham_folder) -> Project:
    """A project whose study has not run, with data that a test may spoil."""
    return Project(tmp_path / "project", ham_folder)


def test_it_makes_a_report_a_notebook_and_an_index(finished):
    reports = finished.folder / "reports" / "tiny"
    expected = {"index.html", "model_card.html", "reporting_items.html", "results.json", "predictions"}
    expected |= {"pages.json", "test_reads.csv", *(f"{name}.html" for name in NOTEBOOKS)}
    assert {path.name for path in reports.iterdir()} == expected
    index = (reports / "index.html").read_text()
    assert index.count('class="good"') == 5
    assert all(f'href="{name}.html"' in index for name in NOTEBOOKS)


def test_predictions_cover_validation_and_test_once(finished):
    cases = pd.read_csv(finished.folder / "runs/tiny/cases.csv")
    for recipe in ("cnn", "cnn_over", "mobilenet"):
        for split in ("validation", "test"):
            table = pd.read_csv(finished.folder / f"runs/tiny/models/{recipe}/r0/predictions/{split}.csv")
            assert list(table["image_id"]) == list(cases.loc[cases["split"] == split, "image_id"])
    results = json.loads((finished.folder / "reports/tiny/results.json").read_text())
    assert {row["recipe"] for row in results["rows"]} == {"cnn", "cnn_over", "mobilenet"}
    assert all(row["n"] > 0 and row["lesions"] > 0 for row in results["rows"] if row["value"] is not None)
    assert all(row["note"] for row in results["rows"] if row["value"] is None)


def test_a_set_with_a_test_part_is_run_raw_and_corrected_and_the_raw_numbers_say_leaky(tmp_path, isic9_folder):
    project = Project(tmp_path / "project", isic9_folder)
    recipes = {"cnn": CNN, "cnn_raw": CNN | {"case_table": "raw", "allow_leak": True}}
    leaks = {"copies": {"recipe": "cnn", "kind": "copies", "runs": 1}}
    project.write(TINY | {"dataset": "isic9", "baseline": recipes, "rebalancing": {}, "transfer": {}, "leaks": leaks})
    done = project.run()
    assert done.returncode == 0, done.stdout + done.stderr
    reports = project.folder / "reports" / "tiny"
    decided = pd.read_csv(reports / "corrections.csv")
    assert list(decided.columns) == ["path", "image_id", "sha256", "reason", "action"]
    raw, corrected = (
        pd.concat(
            pd.read_csv(project.folder / f"runs/tiny/models/{name}/r0/predictions/{part}.csv")
            for part in ("validation", "test")
        )
        for name in ("cnn_raw", "cnn")
    )
    assert raw["leaky"].all() and "leaky" not in corrected
    excluded = set(decided.loc[decided["action"] == "exclude", "path"].str.removesuffix(".jpg"))
    assert excluded & set(raw["image_id"]) and not excluded & set(corrected["image_id"])
    results = json.loads((reports / "results.json").read_text())
    assert {row["recipe"] for row in results["rows"] if row.get("leaky")} == {"cnn_raw"}
    assert results["chosen on validation"] == "cnn"
    told = (reports / "05_evaluation.html").read_text()
    assert "Trained on lesions or images of their validation or test cases: cnn_raw." in told
    assert "test images that can leak" in told and "difference in balanced accuracy" in told


def test_a_training_that_would_leak_stops_and_says_where(tmp_path, isic9_folder):
    project = Project(tmp_path / "project", isic9_folder)
    project.write(
        TINY | {"dataset": "isic9", "baseline": {"cnn": CNN | {"case_table": "raw"}}, "rebalancing": {}, "transfer": {}}
    )
    words = ("tiny", "--data", str(isic9_folder))
    assert project.run("notebook", "01_eda", *words).returncode == 0
    done = project.run("notebook", "02_baseline_cnn", *words)
    assert done.returncode == 1
    assert "cnn" in done.stderr and "allow_leak" in done.stderr
    assert not list(project.folder.glob("runs/tiny/models/**/*.csv"))


def test_a_finished_study_has_nothing_to_do(finished):
    assert finished.would_run() == set()
    done = finished.run()
    assert done.returncode == 0 and "nothing to do" in done.stdout
    assert done.stdout.splitlines()[-1] == "reports/tiny/index.html"


def test_it_shows_jobs_times_and_the_index_and_no_words_of_snakemake(finished):
    *lines, warning = finished.first_output.splitlines()  # standard output, then standard error
    assert lines[0].startswith("study tiny") and lines[-1] == "reports/tiny/index.html"
    assert warning.startswith("warning: ") and "144 instead of 10,015 images" in warning  # the phantom as HAM10000
    for name in NOTEBOOKS:
        (started,) = [number for number, line in enumerate(lines) if f"] {name} started" in line]
        (done,) = [number for number, line in enumerate(lines) if f"] {name} done in " in line]
        assert started < done and re.match(r"\[\d+:\d\d\]", lines[done])
        assert (finished.folder / "runs/tiny/logs" / f"{name}.log").is_file()
    assert not re.search(r"snakemake|rule|DAG|Execute", finished.first_output)


def test_a_later_run_estimates_from_the_durations_of_the_first(finished):
    durations = json.loads((finished.folder / "runs/tiny/durations.json").read_text())
    assert set(NOTEBOOKS) <= set(durations)


def test_own_files_and_folders_are_found_from_the_working_folder(finished, tmp_path):
    (tmp_path / "a folder").mkdir()
    own = json.loads(finished.yaml.read_text()) | {"study": "own"}
    (tmp_path / "a folder" / "own.yml").write_text(json.dumps(own))
    (tmp_path / "data").symlink_to(finished.data)
    words = finished.command("study", "a folder/own.yml", "--data", "data", "--dry-run")
    done = subprocess.run(words, cwd=tmp_path, env=finished.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(name in done.stdout for name in NOTEBOOKS)


def test_a_moved_but_identical_data_folder_reruns_nothing(finished, tmp_path):
    assert finished.would_run(Path(shutil.copytree(finished.data, tmp_path / "elsewhere"))) == set()


def test_one_byte_in_the_table_reruns_all(finished, tmp_path):
    data = Path(shutil.copytree(finished.data, tmp_path / "other"))
    table = data / "HAM10000_metadata.csv"
    table.write_bytes(table.read_bytes().replace(b"male", b"mal", 1))
    assert finished.would_run(data) == {"01", "02", "03", "04", "05"}


def test_one_training_parameter_reruns_what_uses_it(finished):
    before = finished.yaml.read_text()
    study = yaml.safe_load(before)
    study["transfer"]["mobilenet"]["phases"][0]["learning_rate"] = 1e-4
    finished.write(study)
    try:
        assert finished.would_run() == {"04", "05"}
    finally:
        finished.yaml.write_text(before)


def test_a_comment_in_the_parameters_reruns_nothing(finished):
    before = finished.yaml.read_text()
    finished.yaml.write_text("# a remark\n" + before)
    try:
        assert finished.would_run() == set()
    finally:
        finished.yaml.write_text(before)


def test_an_edit_of_the_trainer_reruns_the_trainings(finished):
    trainer = finished.folder / "lesion_utils" / "training.py"
    before = trainer.read_text()
    trainer.write_text(before + "\n# an edit\n")
    try:
        assert finished.would_run() == {"02", "03", "04", "05"}
    finally:
        trainer.write_text(before)


def test_a_deleted_table_is_made_again_without_training(finished):
    table = finished.folder / "runs/tiny/models/mobilenet/r0/predictions/validation.csv"
    history = finished.folder / "runs/tiny/models/mobilenet/r0/history.csv"
    before, trained = table.read_bytes(), history.stat().st_mtime_ns
    table.unlink()
    done = finished.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert table.read_bytes() == before
    assert history.stat().st_mtime_ns == trained


def test_a_fresh_clone_takes_the_tracked_tables_and_from_predictions_also_those_of_other_code(finished, tmp_path):
    clone = Project(tmp_path / "clone", finished.data)
    shutil.copytree(finished.folder / "reports", clone.folder / "reports")
    results = (clone.folder / "reports/tiny/results.json").read_bytes()
    done = clone.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(clone.folder.glob("runs/tiny/models/*/r0/model.keras"))
    assert (clone.folder / "reports/tiny/results.json").read_bytes() == results

    trainer = clone.folder / "lesion_utils" / "training.py"
    trainer.write_text(trainer.read_text() + "\n# an edit\n")
    for path in clone.folder.glob("reports/tiny/predictions/*/r0/provenance.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"commit": "0123abc"}))
    shutil.rmtree(clone.folder / "runs/digests/reports")  # as after a pull
    done = clone.run("study", "tiny", "--data", str(clone.data), "--from-predictions")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(clone.folder.glob("runs/tiny/models/*/r0/model.keras"))
    assert (clone.folder / "reports/tiny/results.json").read_bytes() == results
    assert (clone.folder / "reports/tiny/index.html").read_text().count("trained by commit 0123abc") == 3
    assert clone.would_run() == {"02", "03", "04", "05"}


def test_verify_gets_from_the_tables_what_the_notebooks_wrote(finished):
    done = finished.run("verify", "tiny")
    assert (done.returncode, done.stdout) == (0, "tiny: agrees\n"), done.stdout + done.stderr


def contents(project) -> dict[str, bytes]:
    paths = [path for name in ("runs/tiny", "reports") for path in (project.folder / name).rglob("*")]
    return {str(path): path.read_bytes() for path in paths if path.is_file() and ".snakemake" not in path.parts}


def test_a_notebook_run_by_hand_with_other_parameters_changes_nothing_that_the_study_made(finished):
    before = contents(finished)
    for name, option in (("02_baseline_cnn", ("seed", "5")), ("05_evaluation", ("resamples", "200"))):
        words = ["papermill", str(PROJECT / f"notebooks/{name}.ipynb"), str(finished.folder / "out.ipynb")]
        words += ["-f", str(finished.yaml), "-p", "data", str(finished.data), "-p", *option]
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, env=finished.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert contents(finished) == before
    by_hand = finished.folder / "runs/by_hand/tiny"
    assert json.loads((by_hand / "models/cnn/r0/predictions/test.json").read_text())["seed"] == 5
    assert json.loads((by_hand / "reports/results.json").read_text())["resamples"] == 200
    assert finished.would_run() == set()


def test_killed_hard_it_leaves_no_process_and_the_next_run_goes_on(project):
    began = subprocess.Popen(
        project.command("study", "tiny", "--data", str(project.data)),
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    kernels = []
    deadline = time.monotonic() + 120
    while not kernels and time.monotonic() < deadline:
        family = psutil.Process(began.pid).children(recursive=True)
        with suppress(psutil.Error):  # one of them may end meanwhile
            kernels = [process for process in family if "ipykernel_launcher" in " ".join(process.cmdline())]
        time.sleep(0.2)
    assert kernels, "no kernel was started"
    family = psutil.Process(began.pid).children(recursive=True)
    began.send_signal(signal.SIGKILL)
    began.wait()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    again = project.run("study", "tiny", "--data", str(project.data), "--dry-run")
    assert again.returncode == 0, again.stderr
    assert not list((project.folder / "runs/tiny/executed").glob("01_eda.ipynb"))


def spoil_table(project, old, new, count=1):
    table = project.data / "HAM10000_metadata.csv"
    table.write_text(table.read_text().replace(old, new, count))


def some_image(project) -> Path:
    return min(project.data.glob("HAM10000_images*/*.jpg"))


def missing_folder(project):
    project.data = project.data / "nowhere"
    return 2, ["nowhere", "does not exist", "DATA="]


def missing_column(project):
    spoil_table(project, ",dx,", ",diagnosis,")
    return 2, ["HAM10000_metadata.csv", "missing column", "dx"]


def row_without_image(project):
    image = some_image(project)
    image.unlink()
    return 2, [image.stem, "without an image"]


def truncated_image(project):
    image = some_image(project)
    image.write_bytes(image.read_bytes()[:-900])
    return 1, [image.name, "cannot be decoded", "fetch this file again"]


def unknown_diagnosis(project):
    spoil_table(project, ",mel,", ",melanom,")
    return 2, ["unknown diagnosis", "melanom", "Expected one of"]


def duplicated_id(project):
    table = project.data / "HAM10000_metadata.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1]]) + "\n")
    return 2, ["image_id", lines[1].split(",")[1]]


def empty_table(project):
    (project.data / "HAM10000_metadata.csv").write_text("")
    return 2, ["HAM10000_metadata.csv", "no rows"]


def misspelt_parameter(project):
    project.write(TINY | {"resample": 100})
    return 2, ["params/tiny.yml", "resample", "resamples"]


def text_for_a_number(project):
    recipe = CNN | {"phases": [{"epochs": "ten"}]}
    project.write(TINY | {"baseline": {"cnn": recipe}})
    return 2, ["params/tiny.yml", "baseline.cnn.phases.0.epochs", "'ten'", "integer"]


def study_without_file(project):
    project.yaml.unlink()
    return 2, ["no study named 'tiny'", "quick"]


BAD = [
    missing_folder,
    missing_column,
    row_without_image,
    truncated_image,
    unknown_diagnosis,
    duplicated_id,
    empty_table,
    misspelt_parameter,
    text_for_a_number,
    study_without_file,
]


def assert_refused(project, code, words):
    done = project.run()
    assert done.returncode == code, done.stdout + done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(project.folder.glob("runs/tiny/executed/*"))
    assert not list(project.folder.glob("reports/tiny/0*.html"))


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_bad_input_is_refused_before_a_notebook_runs(project, spoil):
    assert_refused(project, *spoil(project))


def test_weights_of_another_backbone_are_refused_before_a_notebook_runs(project, real_weights):
    other = next(real_weights.glob("inception_v3_*.h5"))
    recipe = TINY["transfer"]["mobilenet"]
    recipe = recipe | {"backbone": recipe["backbone"] | {"weights": str(other)}}
    project.write(TINY | {"transfer": {"mobilenet": recipe}})
    assert_refused(project, 1, [other.name, "mobilenet_v1", "Fix"])


def test_a_misspelt_key_under_plain_papermill_stops_in_the_cell_after_the_parameters(project):
    wrong = project.folder / "wrong.yml"
    wrong.write_text(yaml.safe_dump(TINY | {"learning_rat": 1e-3}))
    out = project.folder / "out.ipynb"
    words = ["papermill", str(PROJECT / "notebooks/02_baseline_cnn.ipynb"), str(out), "-f", str(wrong)]
    done = subprocess.run(
        [sys.executable, "-m", *words], env=project.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "unknown key `learning_rat`" in done.stderr
    cells = json.loads(out.read_text())["cells"]
    executed = [cell for cell in cells if cell["cell_type"] == "code" and cell["execution_count"]]
    assert len(executed) <= 4  # papermill's own error note, both parameters cells, and the check


def test_plain_papermill_runs_a_notebook_after_the_first_one(project):
    for name in ("01_eda", "02_baseline_cnn"):
        words = [
            *("papermill", str(PROJECT / f"notebooks/{name}.ipynb"), str(project.folder / "out.ipynb")),
            *("-f", str(project.yaml), "-p", "data", str(project.data)),
        ]
        command, options = [sys.executable, "-m", *words], {"env": project.environment, "cwd": "/"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        assert done.returncode == 0, done.stderr
    assert (project.folder / "runs/by_hand/tiny/models/cnn/r0/predictions/test.csv").is_file()
    assert not (project.folder / "runs/tiny").exists() and not (project.folder / "reports").exists()


def test_what_a_job_prints_past_python_is_in_its_log(tmp_path, capfd):
    with output_to(tmp_path / "logs" / "01_eda.log"):
        print("from Python")
        subprocess.run("echo from a library >&2", shell=True, check=True)
    print("shown")
    assert capfd.readouterr() == ("shown\n", "")
    assert (tmp_path / "logs" / "01_eda.log").read_text() == "from Python\nfrom a library\n"
