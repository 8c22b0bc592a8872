"""The reports: what a stamp holds, what a page shows and folds, what the index says of every planned notebook."""

import base64
import importlib.metadata
import io
import json
import os
import platform
import re
import shutil
import subprocess
from html import unescape
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
from lesion_utils.digests import commit, file_digest, text_at
from lesion_utils.evaluation.metric_list import PRIOR_CORRECTED
from lesion_utils.paths import PROJECT, report_folder, run_folder, write_json
from lesion_utils.pipeline import notebook_path
from lesion_utils.study import StudyParams, publish_numbers, study_names

WIDE = "n=1,234;" * 60


class Page(HTMLParser):
    """What a browser shows at once (``shown``), what it shows when asked (``folded``), and what it would fetch."""

    def __init__(self, html: str):
        super().__init__()
        self.shown, self.folded, self.style, self.rows = [], [], [], []
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.alternatives: list[str | None] = []
        self.depth, self.in_cell = 0, False
        self.feed(html)
        self.fetched += re.findall(r"(?:@import|url\()\s*['\"]?([^'\")\s]+)", "".join(self.style))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.depth += tag == "details"
        given = dict(attributes)
        self.links += [given["href"]] if tag == "a" else []
        self.anchors += [given["id"]] if "id" in given else []
        if tag == "img" or (tag in ("svg", "figure") and given.get("role") == "img"):
            self.alternatives.append(given.get("alt") or given.get("aria-label"))
        if tag != "a":  # a link is fetched only when it is followed
            self.fetched += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "poster")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.depth -= tag == "details"
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, text):
        if self.tags and self.tags[-1] == "style":
            self.style.append(text)
        elif self.depth:
            self.folded.append(text)
        else:
            self.shown.append(text)
        if self.in_cell:
            self.rows[-1][-1] += text.strip() + " "


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def picture(width: int = 3000) -> nbformat.NotebookNode:
    file = io.BytesIO()
    Image.new("RGB", (width, 60), "navy").save(file, "png")
    return new_output("display_data", data={"image/png": base64.b64encode(file.getvalue()).decode()})


TABLE = "<div><style scoped>b{}</style><table><tr>" + "<td>a_cell_of_a_table</td>" * 7 + "</tr></table></div>"


def executed() -> nbformat.NotebookNode:
    """A notebook as papermill leaves it: a log, a line and a table that are too wide, a picture, a warning."""
    lines = [f"cnn (all) epoch {number}/9: loss 1.9, 1 s\n" for number in range(1, 10)]
    epochs = [new_output("stream", name="stdout", text=line) for line in lines]
    stdout = new_output("stream", name="stdout", text=f"the answer is 42\n{WIDE}\n")
    printed = new_output("stream", name="stdout", text="recipe   accuracy   balanced\n   cnn       0.50       0.50\n")
    stderr = new_output("stream", name="stderr", text="a planted warning\n")
    table = new_output("display_data", data={"text/html": TABLE, "text/plain": "no table"})
    code = new_code_cell("answer = 42\nprint(answer)", outputs=[stdout, stderr, table, printed, picture()])
    text = "# A question\n\nSee https://example.org, and $\\sum_i w_i < \\frac{1}{2}$ or $\\nothing{}$."
    training = new_code_cell("train()", outputs=epochs)
    cells = [new_markdown_cell(text), new_markdown_cell("## Training & more"), training]
    return nbformat.v4.new_notebook(cells=[*cells, new_markdown_cell("## What is seen?"), code])


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
        ("lesion_utils/new.py", True),
        ("my_study.yml", False),
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


def test_a_file_of_another_commit_can_be_read(checkout):
    first = commit(checkout)
    (checkout / "requirements.lock").write_text("second\n")
    dirty = commit(checkout)
    assert text_at(first, "requirements.lock", checkout) == text_at(dirty, "requirements.lock", checkout) == "first\n"
    for made_by, path in ((first, "gone.yml"), ("0123456789ab", "requirements.lock"), ("unknown (…)", "new.py")):
        assert text_at(made_by, path, checkout) is None


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


def test_a_report_has_a_table_of_contents(report):
    page = read(report)
    assert page.links.count("#what-is-seen") == page.anchors.count("what-is-seen") == 1
    assert "#a-question" not in page.links and "#training-more" in page.links


def test_code_without_output_is_folded_with_the_code_below_it(study, report):
    book = executed()
    book.cells.insert(-1, new_code_cell("import quiet"))
    nbformat.write(book, run_folder("shown") / "executed" / "01_eda.ipynb")
    reports.write_report(study, "01_eda")
    html = report.read_text(encoding="utf-8")
    assert html.count('<details class="code">') == 2 and "quiet" in "".join(read(report).folded)


def test_a_training_log_is_folded_and_tables_are_tables(report):
    page = read(report)
    assert "epoch 9/9" in "".join(page.folded) and "epoch" not in "".join(page.shown)
    assert ["a_cell_of_a_table "] * 7 in page.rows and "no table" not in "".join(page.shown)
    assert re.findall(r'<pre class="columns"[^>]*>(\w+)', report.read_text(encoding="utf-8")) == ["recipe"]
    assert "b{}" not in report.read_text(encoding="utf-8")


def test_formulas_are_drawn_and_shown_as_code_where_that_fails(report):
    html = report.read_text(encoding="utf-8")
    assert r"\sum_i w_i < \frac{1}{2}" in read(report).alternatives and "currentColor" in html
    assert r"<code>\nothing{}</code>" in html and "$" not in "".join(read(report).shown)


@pytest.mark.parametrize(
    ("metadata", "alternative"),
    [
        ({}, "What is seen?"),
        ({"caption": "A caption <n = 3>"}, "A caption <n = 3>"),
        ({"image/png": {"alt": "An alternative", "caption": "A caption"}}, "An alternative"),
    ],
)
def test_every_picture_has_an_alternative_text(study, report, metadata, alternative):
    book = executed()
    book.cells[-1].outputs[-1].metadata = nbformat.from_dict(metadata)
    nbformat.write(book, run_folder("shown") / "executed" / "01_eda.ipynb")
    reports.write_report(study, "01_eda")
    page = read(report)
    assert alternative in page.alternatives[-1] and "No description" not in report.read_text(encoding="utf-8")
    assert ("A caption" in "".join(page.shown)) == bool(metadata)


def test_captions_of_pictures_and_tables_are_shown_once(study, report):
    book = executed()
    data = {"text/markdown": "*A*", "text/plain": "A <table>"}
    again = new_output("display_data", data=data, metadata={"caption_of": "picture"})
    of_table = new_output("display_data", data=data, metadata={"caption_of": "table"})
    book.cells[-1].outputs[-1].metadata = nbformat.from_dict({"image/png": {"caption": "A caption"}})
    book.cells[-1].outputs += [again, of_table]
    nbformat.write(book, run_folder("shown") / "executed" / "01_eda.ipynb")
    reports.write_report(study, "01_eda")
    html = report.read_text(encoding="utf-8")
    assert html.count("<figcaption>A caption</figcaption>") == 1 and "<em>A</em>" not in html
    assert html.count('<p class="note">A &lt;table&gt;</p>') == 1


def test_a_report_carries_its_stamp(study, report):
    stamp = dict(row for row in read(report).rows if len(row) == 2)
    stamp = {name.strip(): value.strip() for name, value in stamp.items()}
    assert (stamp["notebook"], stamp["duration"], stamp["data digest"]) == ("01_eda", "12 s", data_digest(study))
    assert "test_fraction: 0.25" in stamp["parameters"] and "keras:" in stamp["versions"]
    assert stamp["commit"] and "error" not in stamp


def test_a_report_leaves_stderr_out(report):
    assert "a planted warning" not in report.read_text(encoding="utf-8")


def test_no_page_fetches_anything(study, report):
    reports.write_index(study)
    for path in (*report.parent.glob("*.html"), *report_folder("").glob("*.html")):
        page = read(path)
        assert "script" not in page.tags and "link" not in page.tags and page.style
        assert [place[:40] for place in page.fetched if not place.startswith(("data:", "#"))] == []


# the index


def rows_of(study: StudyParams) -> dict[str, dict[str, str]]:
    """What the first page says of each planned notebook and run, by name: status, error, numbers, parameters, all."""
    html = reports.write_index(study).read_text(encoding="utf-8")
    rows = {}
    for name, text in re.findall(r'<li id="(\w+)">(.*?)(?=<li id="|</ol>)', html, flags=re.DOTALL):
        status = re.search(r'<span class="(?:good|bad|other)">(.*?)</span>', text)
        parameters = re.search(r"<pre>(.*?)</pre>", text, flags=re.DOTALL)
        shown = " ".join("".join(Page(text).shown).split())
        rows[name] = {"status": status[1], "shown": shown, "parameters": unescape(parameters[1]) if parameters else ""}
    return rows


def test_the_index_has_a_line_for_each_planned_notebook_and_run(study):
    reports.write_stamp(study, "01_eda", "", 12.4)
    reports.write_stamp(study, "02_baseline_cnn", "ValueError: a<b", 3)
    rows = rows_of(study)
    assert [(name, row["status"]) for name, row in rows.items()] == [
        ("01_eda", "done"),
        ("02_baseline_cnn", "failed"),
        ("02_baseline_cnn_r1", "not run"),
        ("03_augmentation_rebalancing", "not run"),
        ("03_augmentation_rebalancing_r1", "not run"),
        ("04_transfer_learning", "no recipe"),
        ("05_evaluation", "not run"),
    ]
    assert "run 1" in rows["02_baseline_cnn_r1"]["shown"] and "run 1" not in rows["02_baseline_cnn"]["shown"]
    assert "12 s" in rows["01_eda"]["shown"] and title_of("01_eda") in rows["01_eda"]["shown"]


def title_of(notebook: str) -> str:
    return nbformat.read(notebook_path(notebook), as_version=4).cells[0].source.splitlines()[0].removeprefix("# ")


@pytest.mark.slow
def test_a_failed_line_shows_the_error_and_not_the_numbers_of_an_earlier_run(study):
    reports.write_stamp(study, "01_eda", "", 1)
    publish_numbers(study, "01_eda", {"images": 864, "lesions": 600})
    page = reports.write_index(study).read_text(encoding="utf-8")
    assert "images: 864" in rows_of(study)["01_eda"]["shown"]
    assert "lesions: 600" in "".join(Page(page).folded) and "lesions: 600" not in "".join(Page(page).shown)
    reports.write_stamp(study, "01_eda", "ValueError: a<b", 1)
    row = rows_of(study)["01_eda"]
    assert row["status"] == "failed" and "ValueError: a<b" in row["shown"] and "864" not in row["shown"]


def test_key_numbers_are_text_not_markup(study):
    reports.write_stamp(study, "01_eda", "", 1)
    publish_numbers(study, "01_eda", {"p<0.05 & more": "<b>3</b> of 7"})
    assert "p<0.05 & more: <b>3</b> of 7" in rows_of(study)["01_eda"]["shown"]


def notebook_links(study: StudyParams) -> list[str]:
    html = reports.write_index(study).read_text(encoding="utf-8")
    return Page(html.split('id="notebooks"')[1].split("</ol>")[0]).links


def test_a_line_links_to_its_report_if_there_is_one_of_its_last_run(study, report):
    reports.write_stamp(study, "02_baseline_cnn", "", 1)
    assert notebook_links(study) == ["01_eda.html"]
    reports.write_stamp(study, "01_eda", "ValueError: no", 1)
    assert notebook_links(study) == []


def test_a_run_with_other_parameters_is_out_of_date(study):
    reports.write_stamp(study, "02_baseline_cnn", "", 1)
    assert rows_of(study)["02_baseline_cnn"]["status"] == "done"
    other = study.model_copy(update={"seed": study.seed + 1})
    assert rows_of(other)["02_baseline_cnn"]["status"] == "out of date"


@pytest.mark.slow
def test_a_run_of_the_same_question_by_other_code_says_so_and_keeps_its_link(study, report):
    path = run_folder(study.study) / "stamps" / "01_eda.json"
    made = json.loads(path.read_text())
    write_json(path, made | {"code digest": "another", "commit": "abc123"})
    assert rows_of(study)["01_eda"]["status"] == "done by the code of abc123"
    assert notebook_links(study) == ["01_eda.html"]
    write_json(path, made | {"code digest": "another", "data digest": "other data"})
    assert rows_of(study)["01_eda"]["status"] == "out of date"


def test_parameters_are_shown_as_yaml_where_they_differ_from_the_defaults(study, phantom_folder):
    for notebook in ("01_eda", "02_baseline_cnn", "03_augmentation_rebalancing"):
        reports.write_stamp(study, notebook, "", 1)
    shown = {name: row["parameters"] for name, row in rows_of(study).items()}
    assert yaml.safe_load(shown["01_eda"]) == {"data": os.path.relpath(phantom_folder, PROJECT), "test_fraction": 0.25}
    baseline = yaml.safe_load(shown["02_baseline_cnn"])["baseline"]
    assert baseline["cnn"]["hidden"] == 16 and baseline["default"] == {}
    assert not re.search("dropout|batch_size|seed", shown["02_baseline_cnn"])
    parameters = shown["03_augmentation_rebalancing"]
    assert "rotation: 0.1" in parameters and not re.search("flip|zoom|schedule", parameters)


# the first page's answer, the model card, the reporting items, the list of studies

RECIPES = {"cnn": 0.41, "turned": 0.37}


def number(recipe: str, split: str, metric: str, value: float) -> dict:
    kind = "view" if metric.startswith("melanoma") else "overall"
    row = {"recipe": recipe, "split": split, "metric": metric, "kind": kind, "n": 90, "lesions": 60}
    return row | {"value": value, "low": value - 0.05, "high": value + 0.05}


@pytest.fixture
def judged(study, report) -> StudyParams:
    """The study above after notebook 05: two recipes judged on validation and test, one published claim."""
    metrics = ("balanced accuracy", "accuracy", "majority baseline accuracy", "melanoma sensitivity")
    rows = [
        number(recipe, split, metric, value + (split == "test") / 10)
        for recipe, value in RECIPES.items()
        for split in ("validation", "test")
        for metric in metrics
    ]
    about = {"study": "shown", "chosen on validation": "cnn", "rows": rows, "leaks": []}
    (report_folder("shown") / "results.json").write_text(json.dumps(about))
    (report_folder("shown") / "claims.json").write_text(json.dumps([{"id": "made_up", "verdict": "does not hold"}]))
    nbformat.write(executed(), run_folder("shown") / "executed" / "05_evaluation.ipynb")
    reports.write_stamp(study, "05_evaluation", "", 3)
    old = report_folder("shown") / "02_baseline_cnn_r7.html"
    old.write_text("of a run that the study no longer has")
    reports.write_reports(study)
    assert not old.exists()
    return study


def test_the_first_page_answers_from_the_results_of_the_split_judged_last(judged):
    page = read(report_folder("shown") / "index.html")
    text = " ".join("".join(page.shown).split())
    answer = text.split("The answer")[1].split("Every recipe")[0]
    assert "cnn" in answer and "On test" in answer and "0.51 (0.46-0.56)" in answer and "does not hold 1" in answer
    assert "made up" in answer and "0.41" not in text
    assert [row[:2] for row in page.rows if row[0].split()[0] in RECIPES] == [
        ["cnn (chosen) ", "0.51 (0.46-0.56) "],
        ["turned ", "0.47 (0.42-0.52) "],
    ]
    (figure,) = page.alternatives
    assert "cnn: 0.51 (0.46-0.56)" in figure and "turned: 0.47 (0.42-0.52)" in figure


def test_an_answer_of_another_run_is_not_shown(judged):
    reports.write_index(judged.model_copy(update={"seed": 7}))
    for name in ("index.html", "model_card.html", "reporting_items.html"):
        assert "0.51 (0.46-0.56)" not in (report_folder("shown") / name).read_text(encoding="utf-8"), name


def test_a_metric_that_is_not_estimable_is_no_answer(judged):
    path = report_folder("shown") / "results.json"
    results = json.loads(path.read_text())
    for row in results["rows"]:
        if row["metric"] == "balanced accuracy":
            row |= {"value": None, "low": None, "high": None, "note": "too few"}
    path.write_text(json.dumps(results))
    text = "".join(read(reports.write_index(judged)).shown)
    assert "its accuracy is" in " ".join(text.split()) and "not estimable" not in text


@pytest.mark.slow
def test_a_recipe_that_learnt_nothing_is_no_answer(judged):
    path = report_folder("shown") / "results.json"
    results = json.loads(path.read_text())
    near = {"low": 0.18, "high": 0.22, "value": 0.2}
    for row in results["rows"]:
        row |= near if row["metric"] == "balanced accuracy" else {}
    classes = [number("cnn", "test", f"sensitivity {name}", 0.2) | {"kind": "class"} for name in "abcde"]
    for change in ({"rows": results["rows"] + classes}, {"not learnt": "learnt nothing (balanced accuracy: …)"}):
        path.write_text(json.dumps(results | change))
        text = " ".join("".join(read(reports.write_index(judged)).shown).split())
        answer = text.split("The answer")[1].split("Every recipe")[0]
        assert "On test, it learnt nothing (balanced accuracy: " in answer and "0.20 (" not in answer
        card = " ".join("".join(read(report_folder("shown") / "model_card.html").shown).split())
        assert "it learnt nothing" in card


def test_a_value_without_an_interval_is_shown_without_one(judged):
    path = report_folder("shown") / "results.json"
    results = json.loads(path.read_text())
    for row in results["rows"]:
        row |= {"low": None, "high": None} if row["recipe"] == "turned" else {}
    path.write_text(json.dumps(results))
    reports.write_index(judged)
    page = read(report_folder("shown") / "index.html")
    assert ["turned ", "0.47 (no interval) "] in [row[:2] for row in page.rows]


def test_the_model_card_is_of_the_recipe_chosen_on_validation(judged):
    text = " ".join("".join(read(report_folder("shown") / "model_card.html").shown).split())
    assert "Model card: cnn" in text and "0.51 (0.46-0.56)" in text and "turned" not in text
    assert "not patient-grouped" in text and "not a medical device" in text
    folded = "".join(read(report_folder("shown") / "model_card.html").folded)
    assert "hidden: 16" in folded


def items() -> list[dict]:
    read_items = yaml.safe_load((reports.TEMPLATES / "reporting_items.yml").read_text(encoding="utf-8"))
    return [item for topic in read_items.values() for item in topic]


def test_every_item_of_both_guidelines_is_listed_once():
    letters = dict.fromkeys((3, 6, 8, 9, 20, 27), "abc") | {5: "ab", 12: "abcdefg", 18: "abcdef", 23: "ab"}
    tripod = [f"{item}{letter}" for item in range(1, 28) for letter in letters.get(item, [""])]
    assert len(tripod) == 52
    assert sorted(number for item in items() for number in item.get("claim", [])) == list(range(1, 45))
    assert sorted(number for item in items() for number in item.get("tripod", [])) == sorted(tripod)


def test_each_reporting_item_is_answered_with_a_link_or_not_done(judged):
    page = read(report_folder("shown") / "reporting_items.html")
    rows = [row for row in page.rows if len(row) == 3 and row[0].strip() != "item"]
    assert [row[0].strip() for row in rows] == [item["item"] for item in items()]
    assert all(row[1].strip() for row in rows)
    answers = {row[0].strip(): row[1].strip() for row in rows}
    assert answers["Explaining the predictions"].startswith("not done")
    assert answers["Class imbalance"].startswith("not done")  # notebook 03 has not run
    assert "0.51 (0.46-0.56)" in answers["Performance with its uncertainty"]
    assert "not patient-grouped" in answers["The level at which splits share nothing"]
    assert "model_card.html#numbers" in page.links


def test_a_reporting_item_leads_to_a_heading_of_the_notebooks():
    for item in items():
        name, _, words = item.get("place", "").partition("#")
        if name.startswith("0") and words:
            cells = nbformat.read(notebook_path(name), as_version=4).cells
            headings = [line for cell in cells for line in cell.source.splitlines() if line.startswith("#")]
            assert re.search(words, "\n".join(headings), re.IGNORECASE), (item["item"], item["place"])


def test_the_pages_lead_to_each_other_and_every_link_arrives(judged):
    folder = report_folder("shown")
    order = ["index.html", "01_eda.html", "05_evaluation.html", "model_card.html", "reporting_items.html"]
    for number, name in enumerate(order):
        page, html = read(folder / name), (folder / name).read_text(encoding="utf-8")
        beside = {rel: link for link, rel in re.findall(r'<a href="(\S+)" rel="(prev|next)">', html)}
        assert beside.get("next") == (order[number + 1] if number + 1 < len(order) else None)
        assert beside.get("prev") == (order[number - 1] if number > 1 else None)
        assert "../local.html" in page.links and (number == 0 or "index.html" in page.links)
        for link in page.links:
            if not link.startswith("http"):
                target, _, anchor = link.partition("#")
                arrived = folder / (target or name)
                assert arrived.is_file(), (name, link)
                assert not anchor or anchor in read(arrived).anchors, (name, link)


def test_the_list_of_studies_links_to_those_that_ran(judged):
    page = read(report_folder("") / "local.html")
    assert page.links == ["index.html", "shown/index.html", "index.html"]
    text = " ".join("".join(page.shown).split())
    assert "0.51 (0.46-0.56)" in text and judged.study in text


def test_the_list_of_the_project_is_the_same_whatever_else_is_run_here(judged):
    page = report_folder("") / "index.html"
    before, text = page.read_bytes(), " ".join("".join(read(page).shown).split())
    assert judged.study not in text and read(page).links == []
    assert all(name in text for name in study_names()) and "make study STUDY=quick" in text
    for name in ("quick", "search", "of_mine", "sweep/seed_0"):
        shutil.copytree(report_folder(judged.study), report_folder(name))
    assert reports.write_studies_page() == page and page.read_bytes() == before
    links = read(page.with_name("local.html")).links
    assert {f"{name}/index.html" for name in ("quick", "search", "of_mine", "sweep/seed_0", "shown")} <= {*links}
    shutil.copytree(report_folder(judged.study), report_folder("isic9"))
    reports.write_studies_page()
    assert read(page).links == ["isic9/index.html"]


def test_the_project_lists_the_studies_whose_files_and_pages_git_tracks():
    words = ["git", "ls-files", "params", "reports/*index.html"]
    tracked = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split()
    files = {path.removeprefix("params/").removesuffix(".yml") for path in tracked if path.endswith(".yml")}
    pages = {path.removeprefix("reports/").removesuffix("/index.html") for path in tracked if "/index" in path[8:]}
    listed = {study["name"] for study in reports._studies(PROJECT / "reports")["studies"]}
    assert listed - {name for name in listed if name.endswith("_full")} == files - {"published/claims"}
    assert all(reports._is_stored(name) for name in pages - {"published"})
    assert not any(reports._is_stored(name) for name in files - pages - {"published/claims"})


def test_each_page_leads_to_the_list_that_names_its_study(judged):
    pages = {"index.html": ""}
    for name, expected in (("shown", "../local.html"), ("isic9", "../index.html"), ("published/x", "../../index.html")):
        (_, link, _), *_ = reports._navigation(judged.model_copy(update={"study": name}), "index.html", pages)
        assert link == expected


@pytest.mark.parametrize(("count", "said"), [(1, "The only recipe is"), (2, "The best recipe on validation is")])
def test_one_recipe_is_not_called_the_best(judged, count, said):
    path = report_folder(judged.study) / "results.json"
    results = json.loads(path.read_text())
    kept = [
        results["chosen on validation"],
        *{row["recipe"] for row in results["rows"]} - {results["chosen on validation"]},
    ]
    results["rows"] = [row for row in results["rows"] if row["recipe"] in kept[:count]]
    path.write_text(json.dumps(results))
    reports.write_studies_page()
    assert said in " ".join((report_folder("") / "local.html").read_text(encoding="utf-8").split())


@pytest.mark.parametrize(("value", "not_learnt"), [(0.63, ""), (None, ""), (0.63, "learnt nothing")])
def test_the_list_of_studies_shows_the_corrected_number_of_what_learnt(judged, value, not_learnt):
    path = report_folder(judged.study) / "results.json"
    results = json.loads(path.read_text()) | {"not learnt": not_learnt}
    row = number("cnn", "test", PRIOR_CORRECTED, value or 0.5)
    results["rows"].append(row | ({} if value else dict.fromkeys(("value", "low", "high"))))
    path.write_text(json.dumps(results))
    reports.write_studies_page()
    text = (report_folder("") / "local.html").read_text(encoding="utf-8")
    assert ("0.63 (0.58-0.68)" in text) == bool(value and not not_learnt) and "not estimable" not in text


def test_the_list_of_studies_counts_the_verdicts_of_the_ledger():
    rows = [
        {"report": "003_as_run/05_evaluation.html", "verdict": verdict} for verdict in ("holds", "holds", "undecided")
    ]
    (report_folder("published")).mkdir(parents=True)
    (report_folder("published") / "claims.json").write_text(json.dumps([*rows, {"report": None, "verdict": "holds"}]))
    html = reports.write_studies_page().read_text(encoding="utf-8")
    of_study = html.split('id="published/003_as_run"')[1].split("<h2")[0]
    assert "3 (undecided 1, holds 2)" in of_study and html.count("holds") == 1


def test_the_tracked_list_of_studies_leads_to_all_tracked_studies():
    page = PROJECT / "reports" / "index.html"
    tracked = [name for name in study_names() if (page.parent / name / "index.html").is_file() and name != "quick"]
    links = read(page).links
    assert {f"{name}/index.html" for name in tracked} <= set(links) and len(tracked) > 10
    assert all((page.parent / link).is_file() for link in links)


def test_colours_are_variables_so_that_each_page_has_a_dark_mode():
    for template in reports.TEMPLATES.glob("*.html.j2"):
        assert not re.search(r": [^;{]*#[0-9a-f]{3,6}\b", template.read_text(encoding="utf-8")), template.name


# in a browser


@needs_chromium
@pytest.mark.browser
def test_the_pages_fit_a_desk_and_a_phone_by_day_and_night_and_need_no_network(judged, report, tmp_path):
    reports.write_stamp(judged, "02_baseline_cnn", "ValueError: " + "/a_long_folder" * 40, 3)
    publish_numbers(judged, "01_eda", {"wide": WIDE})
    reports.write_index(judged)
    tracked = [PROJECT / "reports" / name for name in ("index.html", "published/index.html")]
    pages = [*sorted(report.parent.glob("*.html")), report_folder("") / "index.html", *tracked]
    colour = "return getComputedStyle(document.body)[arguments[0]].match(/\\d+/g).map(Number)"
    with chromium(tmp_path / "profile") as driver:
        for width, scheme in ((1280, "light"), (390, "dark"), (390, "light")):
            device = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == 390}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            for path in pages:
                driver.get(path.as_uri())
                inner = "return [window.innerWidth, document.documentElement.scrollWidth]"
                unfold = "document.querySelectorAll('details').forEach((one) => one.open = true);"
                for script in (inner, unfold + inner):
                    window, page = driver.execute_script(script)
                    assert window == width and page <= width, (path.name, width)
                back, ink = (max(driver.execute_script(colour, name)[:3]) for name in ("backgroundColor", "color"))
                assert (back < 60 and ink > 180) if scheme == "dark" else (back > 240 and ink < 80)
                hidden = "return [...document.querySelectorAll(arguments[0])].map((e) => e.scrollWidth - e.clientWidth)"
                assert max(driver.execute_script(hidden, "pre:not(.columns)"), default=0) <= 0, "a line must wrap"
                if path == report:
                    (image,) = driver.execute_script("return Array.from(document.images, (one) => one.clientWidth)")
                    assert 300 < image <= width
                    assert (max(driver.execute_script(hidden, ".wide")) > 0) == (width == 390)
        events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    requests = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    asked = [one["request"]["url"] for one in requests if not one["documentURL"].startswith("chrome")]
    assert report.as_uri() in asked
    assert [url[:80] for url in asked if not url.startswith(("file:", "data:"))] == []
