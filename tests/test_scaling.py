"""Clusters: what Snakemake is told, and the page, which shows what is computed today from measured figures."""

import os

import pytest
import yaml

from benchmarks import scaling
from benchmarks.page import renewed
from lesion_utils.cli import cluster
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT


def test_the_page_shows_todays_figures():
    page = scaling.PAGE.read_text(encoding="utf-8")
    assert scaling.table() in page and renewed(page, "scaling", scaling.table()) == page


def test_hours_and_storage_grow_with_the_images_and_jobs_do_not():
    rows = {
        cells[0]: cells[1:] for line in scaling.table().splitlines()[2:] if (cells := line.strip("| ").split(" | "))
    }
    jobs = rows.pop("Slurm jobs")
    assert len({*jobs}) == 1 and int(jobs[0]) > scaling.RUNS
    for what, cells in rows.items():
        small, _, large = (float(cell.replace(",", "")) for cell in cells)
        assert 38 < large / small < 42, what  # two digits are shown


def test_a_study_on_slurm_is_refused_where_its_programs_are_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"`sbatch`.*Fix: pip install -e \.\[cluster\]"):
        cluster.options("slurm", [tmp_path])


def test_a_profile_is_one_of_the_project_or_any_folder_and_temporary_folders_are_not_inherited(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert cluster.options(str(tmp_path), [tmp_path]) == ["--profile", str(tmp_path)]
    assert "TMPDIR" not in os.environ
    shipped = yaml.safe_load((PROJECT / "profiles" / "slurm" / "config.yaml").read_text(encoding="utf-8"))
    assert shipped["executor"] == "slurm" and {"mem_mb", "runtime", "gpu"} <= {*shipped["default-resources"]}
