"""The committed notebooks keep the rules of a notebook that is read, rerun and checked."""

import ast
import base64
import importlib
import io
import re

import nbformat
import pytest
from PIL import Image

from lesion_utils import pipeline
from lesion_utils.study import STAGES, StudyParams, load_study

NAMES = pytest.mark.parametrize("name", pipeline.NOTEBOOKS)


def book(name):
    return nbformat.read(pipeline.notebook_path(name), as_version=4)


def code_cells(name):
    return [cell for cell in book(name).cells if cell.cell_type == "code"]


def test_there_are_five_and_the_explorer():
    there = sorted(path.stem for path in pipeline.notebook_path("01_eda").parent.glob("*.ipynb"))
    assert there == [*pipeline.NOTEBOOKS, "explore"]


def test_the_explorer_is_committed_without_any_output():
    """Its widgets may show pictures of patients."""
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells("explore"))
    assert pipeline.clean(book("explore")) == book("explore")


@NAMES
def test_it_opens_with_title_question_parameters_and_their_check(name):
    first, parameters, check, *_ = book(name).cells
    assert first.cell_type == "markdown"
    assert first.source.startswith(f"# {int(name[:2])}. ")
    assert "?" in first.source.splitlines()[0]
    assert parameters.metadata.tags == ["parameters"]
    assert "notebook_params(globals())" in check.source
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in book(name).cells) == 1


@NAMES
def test_whatever_it_takes_from_the_package_exists(name):
    """Also where the phantom's run does not get to, such as the claims of published systems."""
    tree, modules = ast.parse("\n".join(cell.source for cell in code_cells(name))), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("lesion_utils"):
            source = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(source, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")
                modules[alias.asname or alias.name] = getattr(source, alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), f"{node.value.id}.{node.attr}"


@NAMES
def test_it_reads_like_a_paper(name):
    cells = book(name).cells
    assert len(cells) <= 70
    lines = [line for cell in cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    headings = [line for line in lines if line.startswith("## ")]
    assert (headings[0], *headings[-2:]) == ("## Method", "## In this notebook we saw", "## Limits")
    assert "**What you will learn:**" in cells[0].source
    for cell in code_cells(name):
        if "parameters" in cell.metadata.get("tags", []):
            continue
        assert len(cell.source.splitlines()) <= 15, cell.source
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.ClassDef | ast.Try), cell.source
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 5, cell.source


@NAMES
def test_no_magic_no_warning_filter_no_absolute_path_no_progress_bar(name):
    for cell in code_cells(name):
        assert not re.search(r"^\s*[%!]|filterwarnings|simplefilter|verbose=1", cell.source, flags=re.MULTILINE)
        assert not re.search(r"[\"'](?:/|~|[A-Z]:\\)", cell.source)


@NAMES
def test_prose_quotes_no_result(name):
    for cell in book(name).cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"\]\(.*?\)|\$.*?\$", "", cell.source, flags=re.DOTALL)  # no links, no formulas
            numbers = set(re.findall(r"\d+\.\d+", text)) - {"0.06"}  # the gap the study asks about
            assert not numbers, cell.source


@NAMES
def test_it_is_committed_executed_in_order_with_small_pictures(name):
    cells = code_cells(name)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for output in (output for cell in cells for output in cell.outputs):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
        for data in (data for kind, data in output.get("data", {}).items() if kind.startswith("image/")):
            assert Image.open(io.BytesIO(base64.b64decode(data))).mode == "P"
            assert output.metadata["image/png"].alt and output.metadata["image/png"].caption
    assert sum("nbval-ignore-output" in cell.metadata.get("tags", []) for cell in cells) <= len(cells) / 2
    assert pipeline.notebook_path(name).stat().st_size < 1_500_000


@NAMES
def test_cleaning_it_again_changes_nothing(name):
    assert pipeline.clean(book(name)) == book(name)


@NAMES
def test_its_parameters_are_the_quick_values_of_keys_of_the_model(name):
    quick = load_study("quick")
    used = pipeline.parameters(name)
    assert set(used) <= set(StudyParams.model_fields)
    assert StudyParams(**used).model_dump(include=set(used)) == quick.model_dump(include=set(used))


@NAMES
def test_it_uses_every_parameter_it_declares_and_no_other(name):
    source = "\n".join(cell.source for cell in code_cells(name))
    used = set(re.findall(r"params\.(\w+)", source))
    declared = set(pipeline.parameters(name))
    computed = {name for name in dir(StudyParams) if name not in StudyParams.model_fields}  # from parameters
    used -= computed
    assert used <= declared
    # read by the package on the notebook's behalf
    behind = {
        "study",
        "scaled_down_how",
        "dataset",
        "data",
        "ham10000",
        "classes",
        "columns",
        "metadata",
        "isic2018",
        "leaks",
        "split_rule",
        "references",
        "phantom",
        "test_fraction",
        "validation_fraction",
        "split_seed",
        "folds",
        "seed",
        "run",
        "weights",
        "resamples",
    }
    assert declared <= used | behind | set(STAGES)


def test_the_defaults_of_the_model_are_the_quick_values():
    quick, defaults = load_study("quick").model_dump(), StudyParams().model_dump()
    assert {key for key in quick if quick[key] != defaults[key]} == {*STAGES, "leaks", "measured_minutes", "question"}


@pytest.mark.slow
def test_a_change_reruns_what_depends_on_it_alone():
    quick = load_study("quick")

    def changed(**values):
        other = StudyParams(**(quick.model_dump() | values))
        pairs = {
            name: (pipeline.depends_on(quick, name), pipeline.depends_on(other, name)) for name in pipeline.NOTEBOOKS
        }
        return {name[:2] for name, (before, after) in pairs.items() if before != after}

    baseline = quick.model_dump()["baseline"]
    baseline["small_cnn"]["dropout"] = 0.1
    assert changed() == set()
    assert changed(baseline=baseline) == {"02", "03", "05"}
    assert changed(show_samples=False) == {"01"}
    assert changed(threads=1) == {"01", "02", "03", "04"}
    assert changed(split_seed=1) == {"01", "02", "03", "04"}
    assert changed(split_rule="system_002") == {"01", "02", "03", "04", "05"}


def test_a_changed_declaration_of_a_claim_reruns_the_evaluation_that_judges_it_alone(monkeypatch):
    studies = [load_study("published/003_as_run"), load_study("quick")]
    monkeypatch.setattr(pipeline, "data_digest", lambda params: "")

    def of_all():
        return [[pipeline.depends_on(study, name) for name in pipeline.NOTEBOOKS] for study in studies]

    before = of_all()
    claims = pipeline.claims_of_study("published/003_as_run")
    claims[0] = claims[0].model_copy(update={"margin": 0.5})
    monkeypatch.setattr(pipeline, "claims_of_study", lambda study: claims if study.endswith("003_as_run") else [])
    changed = [[one != other for one, other in zip(*pair, strict=True)] for pair in zip(before, of_all(), strict=True)]
    assert changed == [[False] * 4 + [True], [False] * 5]


def test_every_job_declares_what_it_writes_and_only_in_its_own_study(monkeypatch):
    monkeypatch.setattr(pipeline, "data_digest", lambda params: "")
    for name in ("published/003_as_run", "quick"):
        jobs = {job.name: job for job in pipeline.plan(load_study(name))}
        assert any(path.endswith("/claims.json") for path in jobs["05_evaluation"].outputs) == (name != "quick")
        cases = [path for path in jobs["01_eda"].outputs if path.startswith("cases")]
        assert cases and all(set(cases) <= set(job.inputs) for job in jobs.values() if job.notebook != "01_eda")
        outputs = [path for job in jobs.values() for path in job.outputs]
        assert len(set(outputs)) == len(outputs)
        reports = pipeline.reports_from_runs(name)
        assert all(path.startswith(f"{reports}/") for path in outputs if path.startswith(".."))


def test_a_stage_without_recipes_has_no_job():
    jobs = pipeline.plan(StudyParams(**(load_study("quick").model_dump() | {"rebalancing": {}, "runs": 2})))
    assert [job.name for job in jobs] == [
        "01_eda",
        "02_baseline_cnn",
        "02_baseline_cnn_r1",
        "04_transfer_learning",
        "04_transfer_learning_r1",
        "05_evaluation",
    ]
    assert not any("/r1/" in name for name in jobs[1].outputs)
    assert [job.notebook for job in pipeline.plan(StudyParams())] == ["01_eda"]


def test_a_kernel_leaves_its_sockets_apart_so_that_two_may_run_at_once(monkeypatch, tmp_path):
    cell = nbformat.v4.new_code_cell("import os\nprint(sorted(n for n in os.listdir() if 'kernel' in n))")
    made = nbformat.v4.new_notebook(cells=[cell], metadata=book("01_eda").metadata)
    nbformat.write(made, tmp_path / "alone.ipynb")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(pipeline, "PROJECT", tmp_path)
    monkeypatch.setattr(pipeline, "notebook_path", lambda name: tmp_path / "alone.ipynb")
    (shown,) = pipeline._papermill("alone", None, {}).cells[-1].outputs
    assert shown["text"] == "[]\n"
