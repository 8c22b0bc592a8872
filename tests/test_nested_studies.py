"""Studies in a folder of params/, such as params/published/: where their runs and reports lie, and that they start."""

import pytest
from test_study import CNN, NOTEBOOKS, TINY, Project

from lesion_utils import pipeline, reports
from lesion_utils.paths import report_folder, run_folder
from lesion_utils.study import StudyParams


@pytest.fixture
def project(tmp_path, ham_folder) -> Project:
    """A project with the study ``some/tiny``."""
    project = Project(tmp_path / "project", ham_folder)
    project.yaml.unlink()
    project.yaml = project.folder / "params" / "some" / "tiny.yml"
    project.yaml.parent.mkdir()
    project.write(TINY | {"study": "some/tiny", "rebalancing": {}, "transfer": {}})
    return project


@pytest.mark.slow
def test_a_dry_run_plans_it_and_its_index_is_written(project):
    words = ("some/tiny", "--data", str(project.data))
    planned = project.run("study", *words, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    expected = {name for name in NOTEBOOKS if name[:2] in ("01", "02", "05")}
    assert {name for name in NOTEBOOKS if name in planned.stdout} == expected
    assert (project.folder / "runs/some/tiny").is_dir()
    written = project.run("pages", *words)
    assert written.returncode == 0, written.stderr
    assert (project.folder / "reports/some/tiny/index.html").is_file()


@pytest.mark.slow
def test_its_reports_lie_beside_its_runs_and_its_index_links_within_their_folder(phantom_folder):
    study = StudyParams(study="some/tiny", data=str(phantom_folder), baseline={"cnn": CNN})
    assert pipeline.reports_from_runs("some/tiny") == "../../../reports/some/tiny"
    assert (run_folder("some/tiny") / pipeline.reports_from_runs("some/tiny")).resolve() == report_folder(
        "some/tiny"
    ).resolve()
    made = [path for job in pipeline.plan(study) for path in job.outputs]
    assert {path for path in made if path.startswith("..")} == {
        f"../../../reports/some/tiny/{name}" for name in ("results.json", "test_reads.csv")
    }
    reports.write_stamp(study, "01_eda", "", 1)
    page = report_folder("some/tiny") / "01_eda.html"
    page.parent.mkdir(parents=True)
    page.write_text("")
    index = reports.write_index(study)
    assert index.parent == page.parent and 'href="01_eda.html"' in index.read_text(encoding="utf-8")
    assert "Study <em>some/tiny</em>" in index.read_text(encoding="utf-8")
