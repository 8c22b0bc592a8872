"""Parameters: what a study file and a notebook's parameters may hold, and what is said where they hold other things."""

import builtins
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from lesion_utils import study as params
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT, output_root, resolve
from lesion_utils.recipes import RENAMED
from lesion_utils.study import Recipe, StudyParams, load_study, notebook_params, validate

STUDY_FILES = sorted(set((PROJECT / "params").glob("**/*.yml")) - {PROJECT / "params" / params.CLAIMS})


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Loads the study ``mine`` from the text of its file, in a project of its own."""
    monkeypatch.setattr(params, "PROJECT", tmp_path)
    (tmp_path / "params").mkdir()

    def load_text(text: str, **overrides) -> StudyParams:
        (tmp_path / "params" / "mine.yml").write_text("study: mine\n" + text)
        return load_study("mine", **overrides)

    return load_text


# study files


@pytest.mark.parametrize("path", STUDY_FILES, ids=lambda path: path.stem)
def test_every_study_of_the_project_loads_under_the_name_of_its_file(path):
    name = str(path.relative_to(PROJECT / "params").with_suffix(""))
    assert load_study(name).study == yaml.safe_load(path.read_text())["study"] == name


def test_there_are_studies():
    assert STUDY_FILES


def test_a_study_without_a_file_lists_those_there_are(load, tmp_path):
    load("")
    (tmp_path / "params" / "published").mkdir()
    (tmp_path / "params" / "published" / "old.yml").write_text("study: old\n")
    with pytest.raises(InputError, match=r"'yours'.*params/yours\.yml.*mine, published/old\."):
        load_study("yours")


def test_a_study_may_be_in_a_file_of_ones_own(tmp_path_factory, monkeypatch):
    path = tmp_path_factory.mktemp("a folder with spaces") / "mine.yml"
    path.write_text("study: mine\nseed: 4\n")
    assert load_study(str(path)) == StudyParams(study="mine", seed=4)
    monkeypatch.chdir(path.parent)
    assert load_study("mine.yml") == StudyParams(study="mine", seed=4)
    assert load_study("quick.yml") == load_study("quick")  # not in the working folder, so in params/
    path.write_text("seeed: 4\n")
    with pytest.raises(InputError, match=rf"{path}: unknown key `seeed`"):
        load_study(str(path))


def test_the_key_study_must_be_the_name_of_the_file(tmp_path, load):
    (tmp_path / "params" / "yours.yml").write_text("study: mine\n")
    with pytest.raises(InputError, match=r"params/yours\.yml: key `study` is 'mine'.*'yours'"):
        load_study("yours")


@pytest.mark.parametrize(("text", "message"), [("study: [", "not valid YAML"), ("- study", "found list"), ("", "None")])
def test_a_file_that_is_no_study_is_named(text, message, tmp_path, load):
    (tmp_path / "params" / "yours.yml").write_text(text)
    with pytest.raises(InputError, match=rf"params/yours\.yml.*{message}"):
        load_study("yours")


def test_overrides_replace_keys_and_none_replaces_nothing(load):
    study = load("seed: 3\nruns: 2\n", seed=7, runs=None)
    assert (study.seed, study.runs) == (7, 2)
    with pytest.raises(InputError, match="seeed"):
        load("", seeed=7)


def test_recipes_come_in_the_order_of_the_stages_and_a_run_has_its_own_seed(load):
    study = load("transfer: {c: {}}\nrebalancing: {b: {}}\nbaseline: {z: {}}\nseed: 5\nrun: 2\n")
    assert list(study.recipes) == ["z", "b", "c"]
    assert study.training_seed == 7


# unknown keys: the file, the key, what is expected


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("epoch: 3", "epoch", "test_fraction"),
        ("phantom: {lesion: 100}", "phantom.lesion", "lesions, seed, signal"),
        ("baseline: {cnn: {sampling: over}}", "baseline.cnn.sampling", "backbone, standardise"),
        (
            "baseline: {cnn: {phases: [{}, {epoch: 3}]}}",
            "baseline.cnn.phases.1.epoch",
            "train, image_size, epochs, learning_rate",
        ),
        ("transfer: {net: {augmentation: {flips: both}}}", "transfer.net.augmentation.flips", "flip, rotation"),
        (
            "transfer: {net: {offline_copies: {copies: 3}}}",
            "transfer.net.offline_copies.copies",
            "per_class, one_of_each",
        ),
        ("rebalancing: {augmentation: {flip: both}}", "rebalancing.augmentation.flip", "backbone, standardise"),
    ],
)
def test_an_unknown_key_names_file_key_and_what_is_expected(load, text, key, expected):
    with pytest.raises(InputError) as error:
        load(text)
    assert "params/mine.yml" in str(error.value) and f"`{key}`" in str(error.value)
    assert expected in str(error.value)


@pytest.mark.parametrize("text", ["yes: 3", "1: 3", "baseline: {cnn: {1: 3}}", "baseline: {1: {}}"])
def test_a_key_that_is_no_text_is_refused(load, text):
    with pytest.raises(InputError, match=r"params/mine\.yml"):
        load(text)


def test_all_problems_are_told_at_once(load):
    with pytest.raises(InputError) as error:
        load("epoch: 3\nthreads: many\n")
    assert [line.split("`")[1] for line in str(error.value).splitlines()] == ["threads", "epoch"]


def test_like_is_a_key_of_recipes(load):
    with pytest.raises(InputError, match="Did you mean `like`"):
        load("baseline: {m: {lke: quick/small_cnn}}")
    with pytest.raises(InputError, match=r"unknown key `baseline\.m\.backbone\.like`"):
        load("baseline: {m: {backbone: {like: quick/small_cnn}}}")


def test_a_near_miss_gets_a_suggestion(load):
    for text, name in [("split_sed: 3", "split_seed"), ("baseline: {cnn: {augmentaton: {}}}", "augmentation")]:
        with pytest.raises(InputError, match=f"Did you mean `{name}`"):
            load(text)
    with pytest.raises(InputError, match="Did you mean `mine`"):
        load_study("mein")


# One example of each old key, and of each value whose key stayed.
OLD = {
    "scaled: smaller": "scaled_down_how",
    "minutes: 3": "measured_minutes",
    "repeats: 2": "runs",
    "repeat: 1": "run",
    "split: system_000": "split_rule",
    "leaks: {one: {repeats: 2}}": "runs",
    "baseline: {cnn: {backbone: small_cnn}}": "name",
    **{
        f"baseline: {{cnn: {{{key}: {value}}}}}": f"backbone: {{{key}"
        for key, value in {
            "alpha": 0.5,
            "weights": "none",
            "cut": "layer",
            "image_size": "[48, 64]",
            "scaling": "zero_to_one",
            "pooling": "average",
            "batch_norm": "true",
            "last_pooling": "false",
        }.items()
    },
    "baseline: {cnn: {cases: raw}}": "case_table",
    "baseline: {cnn: {redraw: false}}": "resample_each_epoch",
    "baseline: {cnn: {loss_per_case: false}}": "loss_reduction: per_batch",
    "baseline: {cnn: {backbone: {scaling: z_score_by_part}}}": "z_score_by_split",
    "baseline: {cnn: {offline_copies: {toward: 200}}}": "target_class_size",
    "baseline: {cnn: {offline_copies: {per_class: 0}}}": "one_of_each: true",
    "baseline: {cnn: {phases: [{schedule: never}]}}": "step_never_reached",
}


@pytest.mark.parametrize(("text", "new"), OLD.items())
def test_an_old_key_is_refused_with_its_new_name(load, text, new):
    with pytest.raises(InputError) as error:
        load(text)
    message = str(error.value)
    assert "params/mine.yml" in message and "new name" in message and new in message.split("Fix: ")[1]


def test_every_renamed_key_has_an_example():
    assert len(OLD) == sum(map(len, RENAMED.values()))


def test_a_field_that_is_added_later_changes_no_recipe():
    class Later(Recipe):
        new: int = 0

    given = {"phases": [{"epochs": 3}], "backbone": {"alpha": 0.5}, "class_weights": {"mel": 2.0}}
    assert Later(**given).identity == Recipe(**given).identity != Later(**given, new=1).identity
    assert Recipe(**Recipe(**given).identity) == Recipe(**given)


FULL = """
runs: 3
baseline: {cnn: {backbone: {image_size: [8, 8]}, phases: [{epochs: 1}, {epochs: 2}]}, net: {}}
full: {threads: 8, baseline: {cnn: {backbone: {alpha: 0.5}, phases: [{epochs: 9}]}}}
"""


def test_the_section_full_is_laid_over_the_study(load):
    assert load(FULL).threads == 2
    full = load(FULL, full=True)
    assert (full.study, full.threads, full.runs, list(full.recipes)) == ("mine_full", 8, 3, ["cnn", "net"])
    recipe = full.recipes["cnn"]
    assert (recipe.backbone.image_size, recipe.backbone.alpha) == ((8, 8), 0.5)
    assert [phase.epochs for phase in recipe.phases] == [9]
    assert load_study("mine_full", seed=4) == full.model_copy(update={"seed": 4})


def test_a_study_of_one_size_and_a_wrong_key_of_the_full_size_are_refused(load):
    with pytest.raises(InputError, match=r"params/mine\.yml.*`full`"):
        load("", full=True)
    with pytest.raises(InputError, match=r"`baseline\.cnn\.epoch`"):
        load("full: {baseline: {cnn: {epoch: 3}}}", full=True)


OTHER = """study: a/other
transfer:
  net: {backbone: {alpha: 0.5, image_size: [8, 9]}, dropout: 0.3, phases: [{epochs: 2}, {epochs: 3}]}
  second: {like: a/other/net, hidden: 7}
  sgd: {optimizer: sgd, optimizer_options: {momentum: 0.9}, backbone: {alpha: 0.5}, class_weights: {x: 2}}
full:
  transfer: {net: {dropout: 0.4}, wide: {hidden: 900}}
"""


@pytest.fixture
def other(load, tmp_path):
    (tmp_path / "params" / "a").mkdir()
    (tmp_path / "params" / "a" / "other.yml").write_text(OTHER)
    return load_study("a/other").transfer


def test_a_recipe_like_another_has_its_keys_but_for_those_of_its_own(load, other):
    mine = load("baseline: {m: {like: a/other/net, backbone: {alpha: 1.5}, phases: [{epochs: 9}]}}").baseline["m"]
    assert mine == Recipe(backbone={"alpha": 1.5, "image_size": (8, 9)}, dropout=0.3, phases=[{"epochs": 9}])
    assert load("baseline: {m: {like: a/other/second}}").baseline["m"] == other["second"]
    assert other["second"] == other["net"].model_copy(update={"hidden": 7})
    values = yaml.safe_load("{study: mine, baseline: {m: {like: a/other/net}}}")
    assert validate(values, "papermill").baseline["m"] == other["net"]


def test_a_recipe_may_be_like_one_of_the_full_size(load, other):
    text = "baseline: {m: {like: a/other_full/net}, w: {like: a/other_full/wide}, s: {like: a/other_full/second}}"
    assert load(text).baseline["m"] == other["net"].model_copy(update={"dropout": 0.4})
    assert load(text).baseline["w"] == Recipe(hidden=900) and load(text).baseline["s"] == other["second"]


def test_null_takes_a_key_back_to_its_default_and_mappings_that_are_values_are_replaced(load, other):
    text = "baseline: {m: {like: a/other/sgd, optimizer: adam, optimizer_options: null, backbone: null}}"
    assert load(text).baseline["m"] == Recipe(class_weights={"x": 2.0})
    text = "baseline: {m: {like: a/other/sgd, optimizer_options: {}, class_weights: {y: 3}}}"
    assert load(text).baseline["m"] == Recipe(optimizer="sgd", backbone={"alpha": 0.5}, class_weights={"y": 3.0})


def test_like_in_the_full_size_replaces_the_recipe(load, other):
    text = "baseline: {m: {hidden: 5, dropout: 0.2}}\nfull: {baseline: {m: {like: a/other/net}}}"
    assert load(text).baseline["m"].hidden == 5 and load(text, full=True).baseline["m"] == other["net"]


@pytest.mark.parametrize(
    ("like", "facts"),
    [
        ("a/other/nett", ["a/other", "'nett'", "Did you mean `net`?", "second"]),
        ("a/othr/net", ["'a/othr/net'", "Did you mean `a/other`?"]),
        ("net", ["<study>/<recipe>", "'net'"]),
        ("null", ["<study>/<recipe>", "mine"]),
        ("3", ["<study>/<recipe>", "'3'"]),
        ("~nobody/x.yml/cnn", ["<study>/<recipe>", "~nobody"]),
        ("x" * 300 + "/a", ["<study>/<recipe>"]),
        ("mine/m", ["comes back", "mine/m"]),
        ("a/other/wide", ["'wide'", "net, second"]),
        ("numbers/empty", ["'empty'"]),
        ("list/net", ["'list'", "has no recipe 'net'", "none"]),
        ("numbers/net", ["'numbers'", "has no recipe 'net'", "3"]),
    ],
)
def test_a_recipe_like_none_that_there_is_is_refused(load, other, tmp_path, like, facts):
    (tmp_path / "params" / "list.yml").write_text("baseline: [net]")
    (tmp_path / "params" / "numbers.yml").write_text("baseline: {3: {}, empty: }")
    with pytest.raises(InputError) as error:
        load(f"baseline: {{m: {{like: {like}}}}}\ntransfer: {{n: {{like: nowhere/n}}}}")
    for fact in ["params/mine.yml", "`baseline.m`", "`transfer.n`", *facts]:
        assert fact in str(error.value)
    assert [line.count("Fix:") for line in str(error.value).splitlines()] == [1, 1]


@pytest.mark.parametrize(
    ("like", "told"),
    [
        ("spoilt/net", r"params/spoilt\.yml is not valid YAML"),
        ("one_full/net", r"params/one\.yml has no section `full`"),
    ],
)
def test_a_file_that_a_recipe_is_like_is_named_if_it_cannot_be_used(load, tmp_path, like, told):
    (tmp_path / "params" / "spoilt.yml").write_text("baseline: [")
    (tmp_path / "params" / "one.yml").write_text("baseline: {net: {}}")
    with pytest.raises(InputError, match=told):
        load(f"baseline: {{m: {{like: {like}}}}}")


def test_papermill_may_pass_a_whole_study_file_to_a_notebook():
    assert notebook_params(yaml.safe_load(FULL)).threads == 2


# values


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("threads: many", "threads"),
        ("threads: 0", "threads"),
        ("test_fraction: 0.5", "test_fraction"),
        ("resamples: .inf", "resamples"),
        ("dataset: isic", "dataset"),
        ("phantom: {signal: 2}", "phantom.signal"),
        ("baseline: {cnn: {batch_size: big}}", "baseline.cnn.batch_size"),
        ("baseline: {cnn: {focal_gamma: .nan}}", "baseline.cnn.focal_gamma"),
        ("baseline: {cnn: {backbone: {image_size: [48]}}}", "baseline.cnn.backbone.image_size"),
        ("baseline: {cnn: {phases: []}}", "baseline.cnn.phases"),
        ("baseline: {cnn: {phases: [{learning_rate: fast}]}}", "baseline.cnn.phases.0.learning_rate"),
    ],
)
def test_an_ill_value_names_file_key_and_value(load, text, key):
    with pytest.raises(InputError) as error:
        load(text)
    assert str(error.value).startswith(f"params/mine.yml: key `{key}")
    assert "Expected: " in str(error.value)


@pytest.mark.parametrize("text", ["baseline: {Small CNN: {}}", "baseline: {../evil: {}}"])
def test_a_recipe_has_a_name_that_can_be_a_folder(load, text):
    with pytest.raises(InputError, match="baseline"):
        load(text)


@pytest.mark.parametrize(
    "text",
    [
        "threads: yes",
        "seed: off",
        "test_fraction: on",
        "phantom: {signal: off}",
        "baseline: {cnn: {hidden: no}}",
        "baseline: {cnn: {early_stopping: yes}}",
        "baseline: {cnn: {backbone: {image_size: [yes, 64]}}}",
        "baseline: {cnn: {augmentation: {rotation: no}}}",
        "baseline: {cnn: {phases: [{epochs: yes}]}}",
    ],
)
def test_yes_and_no_are_not_numbers(load, text):
    with pytest.raises(InputError, match="expected a number, got a yes/no value"):
        load(text)


def test_yes_and_no_stay_what_they_are_where_they_belong(load):
    study = load("show_samples: off\nbaseline: {cnn: {standardise: yes}}\n")
    assert study.show_samples is False and study.recipes["cnn"].standardise is True


def test_1e_4_is_a_number_in_a_file_and_as_papermill_passes_it(load):
    file = load("baseline: {cnn: {phases: [{learning_rate: 1e-4}]}}")
    # papermill reads the same file as YAML 1.1, where 1e-4 is text
    passed = yaml.safe_load("baseline: {cnn: {phases: [{learning_rate: 1e-4}]}}")
    assert passed["baseline"]["cnn"]["phases"][0]["learning_rate"] == "1e-4"
    for study in (file, notebook_params(passed)):
        assert study.recipes["cnn"].phases[0].learning_rate == 0.0001


def test_one_recipe_name_stands_in_one_stage(load):
    with pytest.raises(InputError, match=r"params/mine\.yml.*: cnn, net\."):
        load("baseline: {net: {}, cnn: {}}\ntransfer: {net: {}, cnn: {}, other: {}}\n")


LEAKS = "baseline: {cnn: {case_table: raw}}\nrebalancing: {more: {}}\nleaks: {siblings: {recipe: cnn, runs: 2}}\n"


def test_each_leak_is_two_trainings_of_its_recipe_in_its_stage(load):
    study = load(LEAKS)
    assert list(study.trainings) == ["cnn", "more", "siblings_leaky", "siblings_clean"]
    corrected = study.recipes["cnn"].model_copy(update={"case_table": "corrected"})
    assert study.arms["siblings_leaky"] == corrected.model_copy(update={"allow_leak": True})
    assert study.arms["siblings_clean"] == corrected
    assert study.stage_of("siblings_clean") == "baseline" and study.stage_of("more") == "rebalancing"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("recipe: cnn", "recipe: cn", "leaks.siblings.recipe` is 'cn'.*: cnn. Fix"),
        ("recipe: cnn", "recipe: more", "one of `baseline` or `transfer`: cnn. Fix"),
        ("more:", "siblings_clean:", "siblings_clean. Fix: rename"),
    ],
)
def test_a_leak_of_no_recipe_and_a_name_that_stands_twice_are_refused(load, old, new, message):
    with pytest.raises(InputError, match=message):
        load(LEAKS.replace(old, new))


def test_a_notebook_without_the_stage_of_a_leak_leaves_it_alone():
    study = validate({"transfer": {"net": {}}, "leaks": {"siblings": {"recipe": "cnn"}}}, "a notebook")
    assert list(study.trainings) == ["net"]


def test_reduce_lr_and_cosine_exclude_each_other():
    with pytest.raises(ValidationError, match="`reduce_lr` or a phase's `schedule`"):
        Recipe(reduce_lr={}, phases=[{}, {"schedule": "cosine"}])
    Recipe(reduce_lr={})
    Recipe(phases=[{"schedule": "cosine"}])


# a notebook's names


def test_notebook_params_ignores_what_ipython_and_python_put_beside_the_parameters(monkeypatch):
    monkeypatch.delenv("LESION_THREADS", raising=False)
    ipython = {"In": [""], "Out": {}, "_": "", "_i": "", "_ih": [""], "_oh": {}, "_dh": [], "_i1": "", "__name__": "x"}
    ipython |= {"exit": object(), "quit": object(), "open": builtins.open, "get_ipython": object()}
    names = ipython | {"notebook_params": notebook_params, "sys": sys, "study": "mine", "threads": 1}
    assert notebook_params(names) == StudyParams(study="mine", threads=1)


def test_notebook_params_refuses_a_misspelt_name():
    with pytest.raises(InputError, match=r"the notebook's parameters: unknown key `split_sed`.*split_seed"):
        notebook_params({"study": "mine", "split_sed": 3})


CELL = {"study": "quick", "baseline": {"cnn": {}}, "leaks": {"siblings": {"recipe": "cnn"}}, "seed": 0}


def test_a_short_study_file_under_papermill_means_the_defaults_and_not_the_values_of_the_cell():
    injected = {"study": "mine", "baseline": {"net": {}}}
    cell = "# Parameters\n" + "\n".join(f"{name} = {value!r}" for name, value in injected.items())
    names = CELL | injected | {"In": ["", "study = 'quick'", cell, "notebook_params(globals())"]}
    assert notebook_params(names) == StudyParams(**injected)
    assert notebook_params(names) == StudyParams(**injected)  # also when the cell runs again


def test_single_parameters_under_papermill_change_the_study_of_the_cell():
    names = CELL | {"seed": 5, "In": ["", "study = 'quick'", "# Parameters\nseed = 5\n"]}
    assert notebook_params(names) == StudyParams(**CELL | {"seed": 5})


def test_messages_name_a_study_as_it_was_given(tmp_path):
    (tmp_path / "yours.yml").write_text("study: yours\n")
    assert load_study(str(tmp_path / "yours.yml")).command == f"make study STUDY={tmp_path / 'yours.yml'}"
    assert load_study("quick").command == "make study STUDY=quick"


def test_lesion_threads_replaces_the_threads_of_a_notebook(monkeypatch):
    monkeypatch.setenv("LESION_THREADS", "1")
    assert notebook_params({"threads": 2}).threads == 1
    monkeypatch.setenv("LESION_THREADS", "many")
    with pytest.raises(InputError, match="key `threads` is 'many'"):
        notebook_params({"threads": 2})
    monkeypatch.delenv("LESION_THREADS")
    assert notebook_params({"threads": 3}).threads == 3


# paths


def test_relative_paths_start_at_the_project_whatever_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve("data/ham") == PROJECT / "data" / "ham"
    assert resolve("../shared") == PROJECT.parent / "shared"
    assert resolve(tmp_path / "x") == tmp_path / "x"
    assert resolve("~/x") == Path.home() / "x"
    monkeypatch.setenv("LESION_OUTPUT", "elsewhere")
    assert output_root() == PROJECT / "elsewhere"
    monkeypatch.delenv("LESION_OUTPUT")
    assert output_root() == PROJECT


def test_a_head_phase_comes_before_those_that_train_the_backbone():
    head, everything = {"train": "head"}, {"train": "all"}
    assert len(Recipe(phases=[head, head, everything]).phases) == 3
    with pytest.raises(ValueError, match="`head` alone"):
        Recipe(phases=[everything, head])


def test_the_check_can_run_again_after_later_cells_have_defined_names():
    names = {"study": "quick", "dataset": "phantom"}
    names["params"] = notebook_params(names)
    names |= {"title": "Phantom", "numbers": {"n": 1}, "dataset": "ham10000"}
    assert notebook_params(names).dataset == "ham10000"


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"class_size": 10}, "`class_size`"),
        ({"optimizer": "adam", "optimizer_options": {"rho": 0.9}}, "`optimizer_options` of adam: epsilon"),
        ({"feature_views": 2}, "`feature_views` need"),
        ({"augmentation": {"rotation_crop": "corner"}}, "`rotation_crop` needs a `rotation`"),
        ({"offline_copies": {"before_split": True}}, "`allow_leak: true`"),
        ({"backbone": {"batch_norm": True}}, "`freeze_batch_norm: false`"),
        ({"class_weights": {"mel": 0}}, "greater than 0"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(recipe, told):
    with pytest.raises(ValidationError, match=told):
        Recipe(**recipe)


def test_a_study_in_a_folder_is_named_with_it(load, tmp_path):
    load("")
    (tmp_path / "params" / "mine.yml").write_text("study: published/mine\n")
    with pytest.raises(InputError, match="key `study` is 'published/mine'"):
        load_study("mine")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("split_rule: system_003", "'phantom'"),
        ("dataset: isic9\nsplit_rule: system_000", "'isic9'"),
        ("dataset: isic9\nsplit_rule: system_003\nbaseline: {net: {}}", "Fix: `case_table: raw` in net"),
        ("baseline: {net: {}}\nreferences: {net: other}", "key `references` names 'other'"),
    ],
)
def test_a_split_or_reference_that_does_not_fit_is_refused(load, text, told):
    with pytest.raises(InputError, match=told):
        load(text)


def test_the_parts_of_a_study_and_what_a_recipe_is_held_against():
    recipes = {"baseline": {"one": {}, "raw": {"case_table": "raw"}}, "rebalancing": {"two": {}, "three": {}}}
    study = StudyParams(**recipes, references={"three": "two"})
    assert {name: study.reference_of(name) for name in study.recipes} == {
        "one": "one",
        "raw": "raw",
        "two": "one",
        "three": "two",
    }
    for rule, isic2018, splits in [
        ("by_lesion", None, ("validation", "test")),
        ("system_002", None, ("validation", "test")),
        ("system_000", None, ("validation",)),
        ("system_001", None, ("validation",)),
        ("system_000", "a folder", ("validation", "test")),
    ]:
        assert StudyParams(split_rule=rule, isic2018=isic2018).held_out_splits == splits


# files that would stop the program, or mean something else than they say

BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("seed: 1\nseed: 2\n", ["seed", "twice"]),
        ("baseline:\n  one: {hidden: 1}\n  one: {hidden: 2}\n", ["one", "twice"]),
        (BOMB, ["100,000 values"]),
        (MERGES, ["100,000 values"]),
        ("a: " + "[" * 3000 + "]" * 3000, ["nested too deeply"]),
        ("a: &a [*a]\n", ["nested too deeply, or contains itself"]),
        ("question: " + "x" * 2_000_000, ["1,000,000 bytes"]),
        ("phantom: {lesions: 1000000000}\n", ["phantom.lesions", "100000"]),
        ("runs: 1000000000\n", ["runs", "10000"]),
    ],
)
def test_a_file_that_would_hang_or_lose_a_key_is_refused(load, text, facts):
    with pytest.raises(InputError) as caught:
        load(text)
    assert all(fact in str(caught.value) for fact in ["mine.yml", *facts]), str(caught.value)[:300]


def test_a_file_that_is_not_utf_8_is_refused(load, tmp_path):
    load("")
    (tmp_path / "params" / "mine.yml").write_bytes("study: mine\nquestion: \u00fc\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"mine\.yml is not valid YAML.*utf-8"):
        load_study("mine")


def test_a_section_may_replace_keys_that_it_merges(load):
    text = "baseline:\n  one: &one {hidden: 16}\n  two: {<<: *one, hidden: 32}\n"
    assert [recipe.hidden for recipe in load(text).baseline.values()] == [16, 32]
