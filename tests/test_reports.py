"""The reports: what a stamp holds, what a page shows and folds, what the index says of every planned notebook."""

import base64
import importlib.metadata
import io
import json
import os
import platform
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
import yaml
from browser import chromium, needs_chromium
from conftest import TINY_CNN
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from PIL import Image

from lesion_utils import reports
from lesion_utils.cases import data_digest
from lesion_utils.digests import file_digest
from lesion_utils.paths import PROJECT, report_folder, run_folder
from lesion_utils.study import StudyParams, publish_numbers

WIDE = "n=1,234;" * 60


class Page(HTMLParser):
    """What a browser shows at once (``shown``), what it shows when asked (``folded``), and what it would fetch."""

    def __init__(self, html: str):
        super().__init__()
        self.shown, self.folded, self.style, self.rows = [], [], [], []
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.depth = 0
        self.feed(html)
        self.fetched += re.findall(r"(?:@import|url\()\s*['\"]?([^'\")\s]+)", "".join(self.style))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.depth += tag == "details"
        if tag != "a":  # a link is fetched only when it is followed
            self.fetched += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "poster")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.depth -= tag == "details"

    def handle_data(self, text):
        if self.tags and self.tags[-1] == "style":
            self.style.append(text)
        elif self.depth:
            self.folded.append(text)
        else:
            self.shown.append(text)
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += text.strip() + " "


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def picture(width: int = 3000) -> nbformat.NotebookNode:
    file = io.BytesIO()
    Image.new("RGB", (width, 60), "navy").save(file, "png")
    return new_output("display_data", data={"image/png": base64.b64encode(file.getvalue()).decode()})


def executed() -> nbformat.NotebookNode:
    """A notebook as papermill leaves it: a picture, a line that is too wide, and a warning on stderr."""
    stdout = new_output("stream", name="stdout", text=f"the answer is 42\n{WIDE}\n")
    stderr = new_output("stream", name="stderr", text="a planted warning\n")
    code = new_code_cell("answer = 42\nprint(answer)", execution_count=1, outputs=[stdout, stderr, picture()])
    return nbformat.v4.new_notebook(cells=[new_markdown_cell("# A question\n\nSee https://example.org."), code])


@pytest.fixture
def study(phantom_folder) -> StudyParams:
    """A study of two runs whose last training stage has no recipe."""
    return StudyParams(
        study="shown",
        data=str(phantom_folder),
        test_fraction=0.25,
        runs=2,
        baseline={"cnn": TINY_CNN, "default": {}},
        rebalancing={"turned": {"augmentation": {"rotation": 0.1}}},
    )


@pytest.fixture
def report(study) -> Path:
    """The report of the notebook above, as that of 01_eda."""
    path = run_folder("shown") / "executed" / "01_eda.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(executed(), path)
    reports.write_stamp(study, "01_eda", "", 12.4)
    reports.write_report(study, "01_eda")
    return report_folder("shown") / "01_eda.html"


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A small git repository in the place of the project."""
    folder = tmp_path / "checkout"
    for name in ("requirements.lock", "reports/ham10000/index.html"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("first\n")
    monkeypatch.setattr(reports, "PROJECT", folder)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "--quiet", "-m", "first")
    return folder


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True, text=True).stdout.strip()


# the stamp


def test_a_stamp_says_what_made_the_run(study, checkout):
    made = reports.stamp(study, "01_eda", "", 12.4)
    assert (made["study"], made["notebook"], made["run"]) == ("shown", "01_eda", 0)
    assert (made["status"], made["error"], made["duration"]) == ("done", "", "12 s")
    assert made["commit"] == git(checkout, "rev-parse", "--short=12", "HEAD")
    assert made["data digest"] == data_digest(study)
    assert made["parameters"]["test_fraction"] == 0.25 and "baseline" not in made["parameters"]
    assert made["versions"]["tensorflow"] == importlib.metadata.version("tensorflow")
    assert made["versions"]["python"] == platform.python_version()
    assert made["lock"] == file_digest(str(checkout / "requirements.lock"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", made["finished"])
    json.dumps(made)


def test_the_stamp_of_a_run_that_failed_says_so(study):
    made = reports.stamp(study, "01_eda", "ValueError: no", 1)
    assert (made["status"], made["error"]) == ("failed", "ValueError: no")


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [
        ("requirements.lock", True),
        ("new.py", True),
        ("reports/ham10000/index.html", False),
        ("reports/quick/01_eda.html", False),
    ],
)
def test_only_what_is_no_report_makes_a_tree_dirty(study, checkout, changed, dirty):
    (checkout / changed).parent.mkdir(exist_ok=True)
    (checkout / changed).write_text("second\n")
    assert ("dirty" in reports.stamp(study, "01_eda", "", 1)["commit"]) == dirty


def test_without_git_the_commit_is_unknown(study, checkout):
    (checkout / ".git").rename(checkout.parent / "gone")
    assert reports.stamp(study, "01_eda", "", 1)["commit"].startswith("unknown")


def test_a_run_that_succeeds_removes_the_failure_before_it(study):
    reports.write_stamp(study, "01_eda", "ValueError: no", 1)
    assert (run_folder("shown") / "failed" / "01_eda.json").is_file()
    reports.write_stamp(study, "01_eda", "", 1)
    assert not (run_folder("shown") / "failed" / "01_eda.json").exists()


# the report


def test_a_report_folds_the_code_and_shows_the_results(report):
    page = read(report)
    assert "answer = 42" in "".join(page.folded) and "answer = 42" not in "".join(page.shown)
    assert "the answer is 42" in "".join(page.shown) and "A question" in "".join(page.shown)
    assert any(place.startswith("data:image/png") for place in page.fetched)


def test_a_report_carries_its_stamp(study, report):
    stamp = dict(row for row in read(report).rows if len(row) == 2)
    stamp = {name.strip(): value.strip() for name, value in stamp.items()}
    assert (stamp["notebook"], stamp["duration"], stamp["data digest"]) == ("01_eda", "12 s", data_digest(study))
    assert "test_fraction: 0.25" in stamp["parameters"] and "keras:" in stamp["versions"]
    assert stamp["commit"] and "error" not in stamp


def test_a_report_leaves_stderr_out(report):
    assert "a planted warning" not in report.read_text(encoding="utf-8")


def test_no_page_fetches_anything(study, report):
    for path in (report, reports.write_index(study)):
        page = read(path)
        assert "script" not in page.tags and "link" not in page.tags and page.style
        assert [place[:40] for place in page.fetched if not place.startswith(("data:", "#"))] == []


# the index


def rows_of(study: StudyParams) -> dict[str, list[str]]:
    """The cells of each row of the index, by the name in the first, without the run below it."""
    _, *rows = read(reports.write_index(study)).rows
    return {row[0].split()[0]: [cell.strip() for cell in row] for row in rows}


def test_the_index_has_a_row_for_each_planned_notebook_and_run(study):
    reports.write_stamp(study, "01_eda", "", 12.4)
    reports.write_stamp(study, "02_baseline_cnn", "ValueError: a<b", 3)
    statuses = {name: row[1] for name, row in rows_of(study).items()}
    assert list(statuses.items()) == [
        ("01_eda", "done"),
        ("02_baseline_cnn", "failed"),
        ("02_baseline_cnn_r1", "not run"),
        ("03_augmentation_rebalancing", "not run"),
        ("03_augmentation_rebalancing_r1", "not run"),
        ("04_transfer_learning", "no recipe"),
        ("05_evaluation", "not run"),
    ]
    assert rows_of(study)["02_baseline_cnn_r1"][0].endswith("run 1")
    assert rows_of(study)["01_eda"][2] == "12 s"


def test_a_failed_row_shows_the_error_and_not_the_numbers_of_an_earlier_run(study):
    reports.write_stamp(study, "01_eda", "", 1)
    publish_numbers(study, "01_eda", {"images": 864})
    assert "images: 864" in rows_of(study)["01_eda"][3]
    reports.write_stamp(study, "01_eda", "ValueError: a<b", 1)
    assert rows_of(study)["01_eda"][1] == "failed"
    assert rows_of(study)["01_eda"][3] == "ValueError: a<b"


def test_key_numbers_are_text_not_markup(study):
    reports.write_stamp(study, "01_eda", "", 1)
    publish_numbers(study, "01_eda", {"p<0.05 & more": "<b>3</b> of 7"})
    assert rows_of(study)["01_eda"][3] == "p<0.05 & more: <b>3</b> of 7"


def test_a_row_links_to_its_report_if_there_is_one_of_its_last_run(study, report):
    reports.write_stamp(study, "02_baseline_cnn", "", 1)
    assert re.findall(r'href="(.*?)"', reports.write_index(study).read_text()) == ["01_eda.html"]
    reports.write_stamp(study, "01_eda", "ValueError: no", 1)
    assert "href=" not in reports.write_index(study).read_text()


def test_a_run_with_other_parameters_is_out_of_date(study):
    reports.write_stamp(study, "02_baseline_cnn", "", 1)
    assert rows_of(study)["02_baseline_cnn"][1] == "done"
    assert rows_of(study.model_copy(update={"seed": study.seed + 1}))["02_baseline_cnn"][1] == "out of date"


def test_a_run_of_the_same_question_by_other_code_says_so_and_keeps_its_link(study, report):
    path = run_folder(study.study) / "stamps" / "01_eda.json"
    made = json.loads(path.read_text())
    path.write_text(json.dumps(made | {"code digest": "another", "commit": "abc123"}))
    page = reports.write_index(study).read_text()
    assert rows_of(study)["01_eda"][1] == "done by the code of abc123"
    assert re.findall(r'href="(.*?)"', page) == ["01_eda.html"]
    path.write_text(json.dumps(made | {"code digest": "another", "data digest": "other data"}))
    assert rows_of(study)["01_eda"][1] == "out of date"


def test_parameters_are_shown_as_yaml_where_they_differ_from_the_defaults(study, phantom_folder):
    for notebook in ("01_eda", "02_baseline_cnn", "03_augmentation_rebalancing"):
        reports.write_stamp(study, notebook, "", 1)
    rows = rows_of(study)
    first = rows["01_eda"][4].removeprefix("parameters").strip()
    assert yaml.safe_load(first) == {"data": os.path.relpath(phantom_folder, PROJECT), "test_fraction": 0.25}
    baseline = yaml.safe_load(rows["02_baseline_cnn"][4].removeprefix("parameters").strip())["baseline"]
    assert baseline["cnn"]["hidden"] == 16 and baseline["default"] == {}
    assert not re.search("dropout|batch_size|seed", rows["02_baseline_cnn"][4])
    parameters = rows["03_augmentation_rebalancing"][4]
    assert "rotation: 0.1" in parameters and not re.search("flip|zoom|schedule", parameters)


# in a browser


@needs_chromium
@pytest.mark.browser
def test_the_pages_fit_a_window_of_1280_pixels_and_need_no_network(study, report, tmp_path):
    reports.write_stamp(study, "02_baseline_cnn", "ValueError: " + "/a_long_folder" * 40, 3)
    publish_numbers(study, "01_eda", {"wide": WIDE})
    with chromium(tmp_path / "profile") as driver:
        for path in (report, reports.write_index(study)):
            driver.get(path.as_uri())
            width = "return [window.innerWidth, document.documentElement.scrollWidth]"
            unfold = "document.querySelectorAll('details').forEach((one) => one.open = true);"
            for script in (width, unfold + width):
                window, page = driver.execute_script(script)
                assert window == 1280 and page <= 1280, path.name
            hidden = "Array.from(document.querySelectorAll('pre, td'), (one) => one.scrollWidth - one.clientWidth)"
            assert max(driver.execute_script("return " + hidden)) <= 0, "a line must wrap"
            images = driver.execute_script(
                "return Array.from(document.images, (one) => [one.naturalWidth, one.clientWidth])"
            )
            assert len(images) == (path == report)
            assert all(natural == 3000 and 500 < shown <= 1280 for natural, shown in images)
        events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    requests = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    asked = [one["request"]["url"] for one in requests if not one["documentURL"].startswith("chrome")]
    assert report.as_uri() in asked
    assert [url[:80] for url in asked if not url.startswith(("file:", "data:"))] == []
