"""The published systems as studies: as run and corrected, scaled down and in full, and what is tracked of them."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from lesion_utils import pipeline
from lesion_utils.datasets import LAYOUTS
from lesion_utils.errors import InputError
from lesion_utils.models import build, set_trainable
from lesion_utils.paths import PROJECT
from lesion_utils.recipes import Recipe
from lesion_utils.study import CLAIMS, STAGES, StudyParams, load_study

FOLDER = PROJECT / "params" / "published"
STUDIES = sorted(f"published/{path.stem}" for path in FOLDER.glob("*.yml") if path != CLAIMS)
SYSTEMS = ["000a", "000b", "001", "002", "003", "004"]
REPORTS = PROJECT / "reports" / "published"
# fields in which the full size may differ
SIZE = {"backbone.image_size", "backbone.cut", "backbone.weights", "feature_views", "phases", "training_share"}
SIZE |= {"offline_copies", "epoch_images", "batch_size", "early_stopping"}
# fields that a recipe changes, beside itself, because the one needs the other
TOGETHER = {
    "backbone.batch_norm": {"freeze_batch_norm"},
    "offline_copies": {"allow_leak"},
    "backbone.cut": {"exports"},
}


def fields_of(recipe: Recipe) -> dict:
    """The fields of a recipe, those of its backbone as ``backbone.<field>``."""
    fields = recipe.model_dump()
    backbone = fields.pop("backbone")
    return fields | {f"backbone.{field}": value for field, value in backbone.items()}


def changed(one: StudyParams, name: str, other: StudyParams, reference: str) -> set[str]:
    ours, theirs = (fields_of(study.recipes[recipe]) for study, recipe in ((one, name), (other, reference)))
    return {field for field, value in ours.items() if value != theirs[field]}


def test_every_system_is_a_study_as_it_was_run_and_one_corrected():
    assert {f"published/{system}_{kind}" for system in SYSTEMS for kind in ("as_run", "corrected")} <= set(STUDIES)
    for system in SYSTEMS:
        as_run, corrected = (load_study(f"published/{system}_{kind}") for kind in ("as_run", "corrected"))
        assert as_run.split_rule == f"system_{'003' if system == '004' else system[:3]}"
        assert corrected.split_rule == "by_lesion"
        assert not any(recipe.allow_leak for name, recipe in corrected.recipes.items() if "before_split" not in name)


@pytest.mark.parametrize("name", STUDIES)
def test_a_scaled_down_study_has_a_full_size_with_the_same_recipes(name):
    study = load_study(name)
    assert study.measured_minutes or "Trained on one GPU" in (PROJECT / f"params/{name}.yml").read_text(
        encoding="utf-8"
    )
    assert not study.show_samples
    if not study.scaled_down_how:
        with pytest.raises(InputError, match="`full`"):
            load_study(name, full=True)
        return
    full = load_study(name, full=True)
    assert full == load_study(f"{name}_full") and full.study == f"{name}_full"
    assert not full.scaled_down_how and not full.measured_minutes
    may_differ = {"study", "scaled_down_how", "measured_minutes", "threads", *STAGES}
    assert study.model_dump(exclude=may_differ) == full.model_dump(exclude=may_differ)
    assert list(study.recipes) == list(full.recipes)
    for recipe in study.recipes:
        fields = changed(study, recipe, full, recipe)
        assert fields and fields <= SIZE, (recipe, fields)
        assert len(study.recipes[recipe].phases) == len(full.recipes[recipe].phases)


@pytest.mark.parametrize(
    ("name", "recipe", "learning", "weights"),
    [
        ("000b_as_run", "imbalance_as_run", 23_873_703, 23_908_135),
        ("001_as_run", "as_run", 6_189_703, 47_550_631),
        ("002_as_run", "as_run", 2_132_999, 3_236_039),
    ],
)
@pytest.mark.slow
def test_the_full_size_trains_as_many_weights_as_the_system_did(name, recipe, learning, weights):
    chosen = load_study(f"published/{name}", full=True).recipes[recipe]
    chosen = chosen.model_copy(update={"backbone": chosen.backbone.model_copy(update={"weights": "none"})})
    network = build(chosen, 7, None, seed=0)
    set_trainable(network, chosen.phases[0].train, chosen.freeze_batch_norm)
    assert network.whole.count_params() == weights
    assert sum(math.prod(one.shape) for one in network.whole.trainable_variables) == learning


def test_the_studies_of_small_networks_are_run_at_their_full_size():
    full = {"003_as_run": 40, "003_corrected": 40, "004_as_run": 30, "004_corrected": 30}
    assert {name for name in STUDIES if not load_study(name).scaled_down_how} == {f"published/{name}" for name in full}
    for name, epochs in full.items():
        recipes = load_study(f"published/{name}").recipes.values()
        assert {recipe.backbone.image_size for recipe in recipes} == {(180, 180)}
        assert max(phase.epochs for recipe in recipes for phase in recipe.phases) == epochs


@pytest.mark.parametrize("name", [f"published/{system}_corrected" for system in SYSTEMS] + ["published/ablations"])
def test_a_further_recipe_changes_one_thing(name):
    study = load_study(name)
    several = {"augmentation_dropout", "esteva", "copies", "transfer"}  # a variant of the system, not one bug or factor
    for recipe in set(study.recipes) - several:
        fields = changed(study, recipe, study, study.reference_of(recipe)) - {"exports"}
        for field, needed in TOGETHER.items():
            fields -= needed if field in fields else set()
        assert len(fields) <= 1 or fields == {"monitor", "keep", "early_stopping"}, (recipe, fields)


@pytest.mark.parametrize("name", STUDIES)
def test_a_stage_without_a_recipe_is_not_in_the_graph(name, monkeypatch):
    monkeypatch.setattr(pipeline, "depends_on", lambda *args: {})
    study = load_study(name)
    expected = [stage for stage in ("baseline", "rebalancing", "transfer") if getattr(study, stage)]
    planned = dict.fromkeys(job.notebook for job in pipeline.plan(study))
    assert [pipeline.STAGE_NOTEBOOKS[stage] for stage in expected] == list(planned)[1:-1]
    tables = [path for job in pipeline.plan(study) for path in job.outputs if "predictions/" in path]
    assert any("validation_copies" in path for path in tables) == any(
        recipe.offline_copies is not None and recipe.offline_copies.before_split for recipe in study.recipes.values()
    )
    assert any(path.endswith("test.csv") for path in tables) == ("test" in study.held_out_splits)


# what is tracked


def pages() -> list[Path]:
    return sorted(REPORTS.rglob("*.html"))


def test_the_reports_of_published_systems_are_there_and_small():
    assert (REPORTS / "index.html").is_file()
    for name in STUDIES:
        assert (PROJECT / "reports" / name / "05_evaluation.html").is_file(), name
    assert max(path.stat().st_size for path in pages()) <= 1.5e6
    kept = [path for path in (PROJECT / "reports").rglob("predictions/**/*") if path.is_file()]
    assert sum(path.stat().st_size for path in pages()) <= 32e6
    assert sum(path.stat().st_size for path in kept) <= 40e6 and max(path.stat().st_size for path in kept) <= 65e3


def test_the_tracked_claims_are_judged_and_by_several_verdicts():
    rows = json.loads((REPORTS / "claims.json").read_text(encoding="utf-8"))
    assert {"holds", "does not hold", "cannot be checked here"} <= {row["verdict"] for row in rows}
    assert not [row["id"] for row in rows if row.get("why", "").startswith("not run")]
    for row in rows:
        if row["scaled"] and row["measured"] is not None:
            assert " minus " in row["estimand"], row["id"]


def test_every_number_of_a_scaled_run_says_so_on_its_pages():
    for name in STUDIES:
        study = load_study(name)
        page = (PROJECT / "reports" / name / "05_evaluation.html").read_text(encoding="utf-8")
        assert (f"{LAYOUTS[study.dataset].title}, scaled-down run" in page) == bool(study.scaled_down_how), name


@pytest.fixture(scope="module")
def nine_classes() -> pd.DataFrame:
    """The tracked case table of the corrected 9-class set."""
    return pd.read_csv(PROJECT / "reports" / "isic9" / "predictions" / "cases.csv.gz")


def test_the_melanomas_of_the_9_class_test_have_ids_that_only_nevi_have_in_its_training_split(nine_classes):
    cases = nine_classes
    number = cases["image_id"].str.extract(r"(\d+)$")[0].astype(int)
    of_test = (cases["published_split"] == "test") & (cases["label"] == "melanoma")
    beside = (cases["published_split"] == "train") & (number <= number[of_test].max())
    assert set(cases["label"][beside]) == {"nevus"} and beside.sum() >= of_test.sum() == 16


def test_melanomas_and_nevi_of_the_9_class_set_have_another_source_than_its_other_images(nine_classes):
    cases = nine_classes
    of_ham, apart = cases["lesion_id"].str.startswith("HAM_"), cases["label"].isin(["melanoma", "nevus"])
    assert of_ham[apart].sum() == 0 and 0.95 < of_ham[~apart].mean() < 1
