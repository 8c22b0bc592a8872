"""Each section "How to add …" of CONTRIBUTING.md, done: one registry entry and its own code are enough."""

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image
from prediction_tables import CLASSES, CLASSES_P, table_of
from pydantic import Field, create_model
from sklearn.metrics import cohen_kappa_score

from lesion_utils import backbones, pipeline, reports
from lesion_utils.backbones import Backbone
from lesion_utils.cases import make_case_tables, read_case_tables, write_case_tables
from lesion_utils.claims import declared
from lesion_utils.claims.verdicts import collect_claims, ledger
from lesion_utils.datasets import LAYOUTS, Layout, read_any
from lesion_utils.datasets.case_table import COLUMNS, image_paths, read_published
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, compare, judge, metric_list
from lesion_utils.evaluation.metric_list import METRICS, Entry
from lesion_utils.paths import run_folder
from lesion_utils.recipes import BackboneOptions, Recipe
from lesion_utils.study import CLAIMS, StudyParams

# a dataset layout


def read_clinic(folder: Path, _: Path | None = None) -> pd.DataFrame:
    """The reader of a new layout: ``clinic.csv`` with image, lesion and label, and PNG images beside it."""
    path = folder / "clinic.csv"
    table = read_published(path, ("image", "lesion", "label"), ids=("image", "lesion"))
    files = sorted(folder.glob("*.png"))
    paths = image_paths(path, table["image"], files, folder, f"<image>.png in {folder}")
    cases = table.rename(columns={"image": "image_id", "lesion": "lesion_id"}).assign(
        isic_id=table["image"], path=paths
    )
    return cases.reindex(columns=COLUMNS).assign(age=float("nan")).sort_values("image_id", ignore_index=True)


CLINIC = Layout(
    "A clinic's images",
    SimpleNamespace(  # or a module in `lesion_utils/datasets/`
        CLASSES={"nevus": "benign", "melanoma": "malignant"},
        EXPECTED="clinic.csv and <image>.png",
        read=read_clinic,
        image_files=lambda folder: sorted(folder.glob("*.png")),
        table_file=lambda folder, _: folder / "clinic.csv",
    ),
    recognised=lambda folder: (folder / "clinic.csv").is_file(),
)


@pytest.fixture
def clinic_folder(tmp_path) -> Path:
    rows = [(f"i{n:02}", f"l{n // 2:02}", "nevus" if n % 4 < 2 else "melanoma") for n in range(48)]
    for n, (image, *_) in enumerate(rows):
        pixels = np.random.default_rng(n).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{image}.png")
    pd.DataFrame(rows, columns=["image", "lesion", "label"]).to_csv(tmp_path / "clinic.csv", index=False)
    return tmp_path


def test_a_dataset_layout_is_one_entry_and_its_reader(monkeypatch, clinic_folder):
    with pytest.raises(ValueError, match="dataset"):
        StudyParams(dataset="clinic")
    monkeypatch.setitem(LAYOUTS, "clinic", CLINIC)
    study = StudyParams(study="mine", dataset="clinic", data=str(clinic_folder))
    write_case_tables(study, make_case_tables(study))
    cases = read_case_tables(study)["corrected"]
    assert len(cases) == 48 and set(cases["label"]) == set(CLINIC.classes)
    assert set(cases["split"]) == {"train", "validation", "test"} and cases["pixels"].is_unique
    assert (cases.groupby("lesion_id")["split"].nunique() == 1).all()
    assert all(Path(path).is_file() for path in cases["path"])
    assert len(read_any(clinic_folder)) == 48
    (clinic_folder / "i00.png").unlink()
    with pytest.raises(InputError, match=r"clinic\.csv.*i00"):
        make_case_tables(study)


# a backbone


def one_convolution(options):
    """The builder of a new backbone: ``options`` are a recipe's fields of ``backbone``."""
    import keras

    inputs = keras.Input((*options.image_size, 3))
    return keras.Model(inputs, keras.layers.Conv2D(4, 3, name="convolution")(inputs), name="one_convolution")


def test_a_backbone_is_one_entry_and_its_builder(monkeypatch):
    from lesion_utils.models import build

    monkeypatch.setitem(backbones.BACKBONES, "one_convolution", Backbone(one_convolution, "minus_one_to_one", 8))
    options = BackboneOptions(image_size=(8, 10), pooling="average").model_copy(update={"name": "one_convolution"})
    recipe = Recipe(hidden=0).model_copy(update={"backbone": options})
    network = build(recipe, classes=3, weights=None, seed=0)
    assert network.backbone.layers[-1].name == "convolution"
    assert network.features.output_shape == (None, 4)
    assert network.whole.predict(np.zeros((2, 8, 10, 3), np.float32), verbose=0).shape == (2, 3)


def test_recipes_allow_the_backbones_of_the_registry():
    assert set(get_args(BackboneOptions.model_fields["name"].annotation)) == set(backbones.BACKBONES)


# a field of a recipe


def test_a_further_field_of_the_backbone_changes_the_cache_key_without_being_listed():
    from lesion_utils.features import feature_cache_key

    field = (int, Field(1, description="dilation of the first convolution"))
    extended = create_model("BackboneOptions", __base__=BackboneOptions, dilation=field)

    def key(**fields) -> list:
        return feature_cache_key(extended(**fields), "none", (127.5, 127.5), seed=0, threads=1)

    assert key() == key(dilation=1) != key(dilation=2)


def test_a_further_field_of_a_recipe_is_read_checked_and_part_of_the_provenance():
    extended = create_model("Recipe", __base__=Recipe, label_smoothing=(float, Field(0.0, ge=0, lt=1)))
    assert extended.model_validate({"label_smoothing": "1e-1"}).model_dump()["label_smoothing"] == 0.1
    with pytest.raises(ValueError, match="label_smoothing"):
        extended(label_smoothing=2)


# a claim

CLAIM = """
- id: 001_new_claim
  states: Ninety of 100 images are classified correctly, more than half of them.
  estimand: {kind: share, what: accuracy as published, share: 0.9, n: 100, baseline_is: half, baseline: 0.5}
  direction: higher
  margin: 0.02
"""


@pytest.mark.slow
def test_a_claim_is_one_entry_of_the_ledger(tmp_path, monkeypatch):
    file = tmp_path / "claims.yml"
    file.write_text(CLAIMS.read_text(encoding="utf-8") + CLAIM, encoding="utf-8")
    monkeypatch.setattr(declared, "read_ledger", functools.partial(declared.read_ledger, file))
    rows = collect_claims()
    assert (rows[-1]["id"], rows[-1]["measured"], rows[-1]["verdict"]) == ("001_new_claim", 0.4, "holds")
    table = reports.render("claims_table.md.j2", **ledger(rows))
    assert (
        "Ninety of 100 images" in table.split("**System 001, our findings**")[1].split("**System")[0].splitlines()[-2]
    )
    assert 'id="001_new_claim"' in reports.write_claims_page(rows).read_text(encoding="utf-8")


# a notebook


@pytest.mark.slow
def test_a_notebook_is_a_file_and_one_entry_of_the_registry(tiny_study, tmp_path, monkeypatch):
    parameters = new_code_cell('study = "quick"\nseed = 0', metadata={"tags": ["parameters"]})
    cells = [new_markdown_cell("# 6. What else?"), parameters, new_code_cell("print(study, seed)")]
    nbformat.write(pipeline.clean(new_notebook(cells=cells)), tmp_path / "06_extra.ipynb")
    path_of = pipeline.notebook_path
    monkeypatch.setattr(
        pipeline, "notebook_path", lambda name: tmp_path / f"{name}.ipynb" if name == "06_extra" else path_of(name)
    )
    monkeypatch.setitem(pipeline.NOTEBOOKS, "06_extra", lambda params, jobs: [(jobs[-1].outputs, ["extra.csv"])])
    *others, job = pipeline.plan(tiny_study)
    assert (job.name, job.inputs) == ("06_extra", others[-1].outputs) and "extra.csv" in job.outputs
    assert job.depends_on["parameters"] == {"study": "tiny", "seed": tiny_study.seed}
    error, seconds = pipeline.execute(tiny_study, "06_extra")
    reports.write_stamp(tiny_study, "06_extra", error, seconds)
    assert not error and (run_folder("tiny") / "executed" / "06_extra.ipynb").is_file()
    index = reports.write_reports(tiny_study)
    assert 'href="06_extra.html"' in index.read_text(encoding="utf-8")
    assert "tiny 0" in index.with_name("06_extra.html").read_text(encoding="utf-8")


# a metric


def test_a_metric_is_one_function_and_one_entry(monkeypatch):
    def cohens_kappa(counts):
        n = counts.sum((1, 2))
        observed = np.trace(counts, axis1=1, axis2=2) / n
        expected = (counts.sum(1) * counts.sum(2)).sum(1) / n**2
        return (observed - expected) / (1 - expected)

    def confidence(truth, probabilities):
        return probabilities.max(1)

    kappa = Entry("Cohen's kappa", lambda of: cohens_kappa(of.counts), kinds=("overall", "view"))
    monkeypatch.setattr(metric_list, "METRICS", [*METRICS, kappa, Entry("confidence", case_values=confidence)])
    frame = table_of([12, 15, 20, 60])
    judged = judge(PredictionTable(frame, 200))
    stated = frame[CLASSES_P].to_numpy()
    predicted = np.array(CLASSES)[stated.argmax(1)]
    assert judged.loc["Cohen's kappa", "value"] == pytest.approx(cohen_kappa_score(frame["label"], predicted))
    assert judged.loc["confidence", "value"] == pytest.approx(stated.max(1).mean())
    for name in ("Cohen's kappa", "melanoma Cohen's kappa", "confidence"):
        assert judged.loc[name, "low"] < judged.loc[name, "value"] < judged.loc[name, "high"]
    compared = compare(PredictionTable(frame, 200), PredictionTable(frame), wanted=["Cohen's kappa"])
    assert compared["value"].tolist() == [0]
