"""The parameters of a study: their defaults, those of ``quick``; how ``params/<study>.yml`` is read, and checks.

A study file is flat at the top level so that plain papermill reads the same file.
"""

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator

from lesion_utils.datasets.phantom import Phantom
from lesion_utils.datasets.registry import LAYOUTS, study_datasets
from lesion_utils.datasets.usual_names import OF_CASES, one_spelling
from lesion_utils.errors import InputError, did_you_mean
from lesion_utils.paths import BY_HAND, JOB, PROJECT, output_root, run_folder, run_name, write_json
from lesion_utils.recipes import RENAMED, Count, Name, Positive, Recipe, Strict, section_of

STAGES = ("baseline", "rebalancing", "transfer")
LIKE = "like"  # key of a recipe that takes the keys of another one, `<study in params/>/<recipe>`
ARMS = ("leaky", "clean")  # of a paired leak
PUBLISHED = "published"  # the folder of the studies, runs and reports of published systems
CLAIMS = PROJECT / "params" / PUBLISHED / "claims.yml"  # what they claim
STUDY_FILE = "LESION_STUDY_FILE"  # the path by which a study outside params/ was given, for messages
VALIDATION_COPIES = "validation_copies"  # split of the copies that were made before the split and fell into validation


class PairedLeak(Strict):
    """Two arms with one recipe that differ in one leak only; see ``leak_pairs.py``."""

    recipe: Name = "small_cnn"  # a recipe of `baseline` or `transfer`
    # what leaks: other images of test lesions, or augmented copies of test images
    kind: Literal["siblings", "copies"] = "siblings"
    runs: Positive = 3  # runs of each arm, with seeds `seed`, `seed` + 1, …


class Judging(Strict):
    """Options of the judge."""

    specificity: float = Field(0.9, gt=0, lt=1)  # at which sensitivity is reported
    sensitivity: float = Field(0.9, gt=0, lt=1)  # at which specificity is reported
    partial_auc_above: float = Field(0.8, ge=0, lt=1)  # smallest sensitivity of the partial AUC
    prevalence: float = Field(0.05, gt=0, lt=1)  # of melanoma where the classifier would be used; for PPV
    # groups of classes judged against all others, besides melanoma and malignant
    views: dict[Name, tuple[str, ...]] = Field({})


MOST_BYTES, MOST_ENTRIES = 1_000_000, 100_000  # of a study's file

StudyName = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_]*/)?[a-z0-9][a-z0-9_]*$")]


# Its key `like`, which no `Recipe` has, is replaced by what it stands for.
RecipeOrLike = Annotated[Recipe, BeforeValidator(lambda recipe: _like(recipe))]


def arm_name(leak: str, arm: str) -> str:
    """The name under which an arm of a leak is trained."""
    return f"{leak}_{arm}"


class StudyParams(Strict):
    """All parameters of a study. Relative paths are from the project root, whatever the working folder."""

    study: StudyName = "quick"
    question: str = ""  # what the study answers: the first line of its reports
    scaled_down_how: str = ""  # how the study is smaller than what it re-runs; empty: full-size
    measured_minutes: float | None = Field(None, gt=0)  # on two cores, training and reports
    dataset: str = "phantom"  # a layout of `datasets/registry.py` that has training images
    data: str | None = (
        None  # folder of the dataset; null: data/<dataset>, as `lesion fetch` makes it; not for the phantom
    )
    # folder of HAM10000, which isic9 takes lesions from; null: the folder `ham10000` next to the data folder, or in
    # data/, if there is one
    ham10000: str | None = None
    # of own images (`folders`, `table`): each class, and whether it is benign, malignant or melanoma
    classes: dict[str, Literal["benign", "malignant", "melanoma", "unknown"]] = Field({})
    # of own images: the column of image_id, label, lesion_id, patient_id, split, age, …, where its name is unusual
    columns: dict[Literal[tuple(OF_CASES)], str] = Field({})  # type: ignore[valid-type]
    metadata: str | None = None  # of own images: the table of them, from the data folder
    isic2018: str | None = None  # folder of the ISIC 2018 Task 3 test set, the test split of `split_rule: system_000`
    weights: str | None = None  # folder of ImageNet weights; null: a package, data/weights, or Keras downloads them
    phantom: Phantom = Phantom()
    # by lesion, at random; or as a published system splits (003: and 004)
    split_rule: Literal["by_lesion", "system_000", "system_001", "system_002", "system_003"] = "by_lesion"
    test_fraction: float = Field(0.2, gt=0, lt=0.5)
    validation_fraction: float = Field(0.2, gt=0, lt=0.5)
    # merges, before the split, lesions that are one by the list in `reports/<dataset>/` (ham10000, isic9)
    merge_same_lesion: bool = False
    split_seed: Count = 0  # fixed once; trying others is a defect
    # cross-validation: the cases are dealt into so many folds by lesion, and run r is tested on fold r (from `folds` on
    # again from the first) and validated on the next; 1: all runs share one split
    folds: Annotated[Positive, Field(le=100)] = 1
    seed: Count = 0  # training seed of run 0; run r trains with seed + r
    runs: Annotated[Positive, Field(le=10_000)] = 1  # trainings of each recipe
    run: Count = 0  # the run that a notebook executes
    threads: Positive = 2  # results depend on it, so it is a parameter, not read off the machine
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 2000  # bootstrap draws of each interval
    judging: Judging = Judging()
    show_samples: bool = True  # show pictures of cases; off for reports that are published
    baseline: dict[Name, RecipeOrLike] = Field({})
    rebalancing: dict[Name, RecipeOrLike] = Field({})
    transfer: dict[Name, RecipeOrLike] = Field({})
    # recipe → the recipe it is compared with; by default the first on the same case table
    references: dict[Name, Name] = Field({})
    leaks: dict[Name, PairedLeak] = Field({})  # leaks whose size is measured, by name

    @field_validator("dataset")
    @classmethod
    def _registered(cls, dataset: str) -> str:
        if dataset not in study_datasets():
            raise ValueError(f"one of {', '.join(study_datasets())}")
        return dataset

    @field_validator("classes")
    @classmethod
    def _one_spelling(cls, classes: dict[str, str]) -> dict[str, str]:
        return {one_spelling(name): kind for name, kind in classes.items()}

    def contradictions(self):
        own, new = LAYOUTS[self.dataset].own, "`lesion new <name> --data <folder>` writes them"
        uneven = self.runs > self.folds and self.runs % self.folds
        names = [name for stage in STAGES for name in getattr(self, stage)]
        duplicates = sorted({name for name in names if names.count(name) > 1})
        return [
            (duplicates, f"recipes with the same name in two stages: {', '.join(duplicates)}"),
            (uneven, "`runs` must be at most `folds`, or a multiple of them"),
            (self.folds > 1 and self.split_rule != "by_lesion", "`folds` need `split_rule: by_lesion`"),
            (own and len(self.classes) < 2, f"`dataset: {self.dataset}` needs two or more `classes`: {new}"),
            (
                self.dataset == "folders" and {"label", "split"} & {*self.columns},
                "with `dataset: folders`, folders say label and split: leave these out of `columns`",
            ),
            (own and self.split_rule != "by_lesion", f"`dataset: {self.dataset}` needs `split_rule: by_lesion`"),
            (
                not own and (self.classes or self.columns or self.metadata),
                "`classes`, `columns` and `metadata` are for own images: `dataset: folders` or `dataset: table`",
            ),
        ]

    @property
    def recipes(self) -> dict[str, Recipe]:
        """All recipes of the study by name, in the order of the stages."""
        return {name: recipe for stage in STAGES for name, recipe in getattr(self, stage).items()}

    @property
    def arms(self) -> dict[str, Recipe]:
        """The recipes of both arms of each leak whose recipe is known, by name; a notebook knows one stage.

        Both are on the corrected table, and only the leaky arm may leak.
        """
        known = {name: self.recipes[leak.recipe] for name, leak in self.leaks.items() if leak.recipe in self.recipes}
        update = {arm: {"case_table": "corrected", "allow_leak": arm == "leaky"} for arm in ARMS}
        return {
            arm_name(name, arm): recipe.model_copy(update=update[arm]) for name, recipe in known.items() for arm in ARMS
        }

    @property
    def trainings(self) -> dict[str, Recipe]:
        """Everything that is trained, by name: recipes and arms."""
        return self.recipes | self.arms

    def stage_of(self, training: str) -> str:
        """The stage in which ``training``, a recipe or an arm, is trained."""
        recipe_of = {arm_name(name, arm): leak.recipe for name, leak in self.leaks.items() for arm in ARMS}
        return next(stage for stage in STAGES if recipe_of.get(training, training) in getattr(self, stage))

    def leaks_of(self, stage: str) -> dict[str, PairedLeak]:
        """The leaks whose recipe belongs to ``stage``; all their runs are trained in run 0 of the study."""
        recipes = getattr(self, stage)
        return {name: leak for name, leak in self.leaks.items() if leak.recipe in recipes and self.run == 0}

    @property
    def held_out_splits(self) -> tuple[str, ...]:
        """The splits that are judged. System 000 was tested on the ISIC 2018 set, 001 on its validation images."""
        has_test = self.split_rule != "system_001" and (self.split_rule != "system_000" or self.isic2018 is not None)
        return ("validation", "test") if has_test else ("validation",)

    def reference_of(self, name: str) -> str:
        """The recipe that recipe ``name`` is compared with; itself if others are compared with it."""
        table = self.recipes[name].case_table
        first = next(other for other, recipe in self.recipes.items() if recipe.case_table == table)
        return self.references.get(name, first)

    @property
    def fold(self) -> int:
        """The fold that this run is tested on."""
        return self.run % self.folds

    @property
    def training_seed(self) -> int:
        return self.seed + self.run

    def fix(self, notebook: str) -> str:
        """What makes a file that ``notebook`` writes: the notebook by hand, the whole study otherwise."""
        by_hand = f"run notebooks/{notebook}.ipynb with the same parameters."
        return by_hand if os.environ.get(BY_HAND) else f"{self.command}, or {by_hand}"

    @property
    def command(self) -> str:
        """The command that runs the study, named as it was given: a file outside params/ by its path."""
        files = {Path(file).stem: file for file in os.environ.get(STUDY_FILE, "").split(os.pathsep)}
        return f"make study STUDY={files.get(self.study.split('/')[-1], self.study)}"

    def model_folder(self, name: str, run: int | None = None) -> Path:
        """``runs/<study>/models/<name>/r<run>``: the folder of training ``name`` in ``run``, by default this run."""
        return run_folder(self.study) / "models" / name / f"r{self.run if run is None else run}"


def study_names() -> list[str]:
    """The studies in ``params/``."""
    folder = PROJECT / "params"
    files = sorted(folder.glob("**/*.yml"), key=lambda path: (len(path.parts), path))
    return [path.relative_to(folder).with_suffix("").as_posix() for path in files if path.name != CLAIMS.name]


def variant_file(study: str) -> Path:
    """The file of a study that ``lesion sweep`` writes, beside its run folder."""
    return output_root() / "runs" / f"{study}.yml"


def study_file(study: str) -> Path:
    """``params/<study>.yml``, also for ``<study>_full``, or the file of a variant that ``lesion sweep`` has written; a
    name with ``.yml`` may also be a file in the working folder.

    Raises InputError with the nearest name.
    """
    folder = PROJECT / "params"
    if study.endswith((".yml", ".yaml")):
        paths = [Path(study).expanduser().absolute(), folder / study]
    else:
        paths = [folder / f"{name}.yml" for name in dict.fromkeys((study, study.removesuffix("_full")))]
        paths.append(variant_file(study))
    if found := next(filter(Path.is_file, paths), None):
        return found
    names = study_names()
    problem = f"no study named {study!r}: {' and '.join(map(str, paths))} not found.{did_you_mean(study, names)}"
    fix = "Fix: make study STUDY=<one of them, or your own .yml file>."
    raise InputError(f"{problem} Studies: {', '.join(names)}. {fix}")


def load_study(study: str, *, full: bool = False, **overrides: Any) -> StudyParams:
    """Reads and validates the YAML of a study; ``overrides`` replace top-level keys unless None.

    ``full`` applies the file's section ``full``: the study at its published size, named ``<study>_full``.
    """
    path = study_file(study)
    homes = [folder for folder in (PROJECT / "params", output_root() / "runs") if path.is_relative_to(folder)]
    name = path.relative_to(homes[0]).with_suffix("").as_posix() if homes else path.stem
    values, where = _values(path, full := full or study == f"{name}_full"), _shown(path)
    params = validate(values | {key: value for key, value in overrides.items() if value is not None}, where)
    if (params.study if homes else params.study.split("/")[-1]) != name:
        raise InputError(f"{where}: key `study` is {params.study!r}. Expected {name!r}, the file's name.")
    if not homes:
        os.environ[STUDY_FILE] = os.pathsep.join(filter(None, [os.environ.get(STUDY_FILE), str(path)]))
    if full:
        params = params.model_copy(update={"study": f"{params.study}_full"})
    if problem := next(_problems(params), None):
        raise InputError(f"{where}: {problem}")
    return params


def _values(path: Path, full: bool) -> dict[str, Any]:
    """The keys of the study in ``path``, at its published size if ``full``."""
    try:
        values = _read_yaml(path)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{_shown(path)} is not valid YAML: {error}. Fix: correct that place.") from error
    if not isinstance(values, dict):
        problem = f"expected `key: value` lines, found {type(values).__name__}"
        raise InputError(f"{_shown(path)}: {problem}. Fix: name the file of a study.")
    overlay = values.pop("full", None)
    if full and not isinstance(overlay, dict):
        problem = "has no section `full`: the study has one size only"
        raise InputError(f"{_shown(path)} {problem}. Fix: leave out `full`.")
    return _merged(values, overlay) if full else values


def _shown(path: Path) -> Path:
    return path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path


def _like(recipe: Any, followed: tuple[str, ...] = ()) -> Any:
    """``recipe`` with all keys of the recipe that its key ``like`` names, but for those that it has itself.

    Sections are merged, other values are replaced, and a key that is null gets its default. Raises ValueError where
    there is no such recipe.
    """
    if not isinstance(recipe, dict) or LIKE not in recipe:
        return recipe
    study, _, name = (named := str(recipe[LIKE])).rpartition("/")
    names = study_names()
    if study.removesuffix("_full") not in names:
        expected = f"`{LIKE}: <study>/<recipe>`, a study in params/, found {named!r}"
        raise ValueError(f"{expected}.{did_you_mean(study, names)} Studies: {', '.join(names)}")
    values = _values(study_file(study), full=study.endswith("_full"))
    sections = [section for stage in STAGES if isinstance(section := values.get(stage), dict)]
    known = {of: found for section in sections for of, found in section.items() if isinstance(found, dict)}
    if name not in known:
        has = f"It has: {', '.join(map(str, known)) or 'none'}"
        raise ValueError(f"`{LIKE}: {named}`: study {study!r} has no recipe {name!r}.{did_you_mean(name, known)} {has}")
    if named in followed:
        raise ValueError(f"`{LIKE}: {named}` comes back to itself, by {' and '.join(followed)}")
    whole, own = _like(known[name], (*followed, named)), {key: recipe[key] for key in recipe if key != LIKE}
    kept = {key: value for key, value in whole.items() if key in _PARTS or key not in own}
    return {key: value for key, value in _merged(kept, own).items() if value is not None}


# Keys of a recipe that hold a section. A mapping that is a value, such as `class_weights`, is replaced whole.
_PARTS = {key for key, field in Recipe.model_fields.items() if section_of(field.annotation)}


def _merged(values: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """``values`` with those of ``overlay`` in their place; sections are merged, lists and what is `like` another recipe
    are replaced.
    """
    both = {key for key in overlay if isinstance(overlay[key], dict) and isinstance(values.get(key), dict)}
    sections = {key for key in both if LIKE not in overlay[key]}
    return values | {key: _merged(values[key], new) if key in sections else new for key, new in overlay.items()}


def _problems(params: StudyParams) -> Iterator[str]:
    """Keys of a whole study that contradict each other; a notebook has only some of them."""
    may_leak, is_published = params.baseline | params.transfer, params.split_rule == "system_003"
    for name, leak in params.leaks.items():
        if leak.recipe not in may_leak:
            expected = f"Expected one of `baseline` or `transfer`: {', '.join(may_leak)}. Fix: correct the value."
            yield f"key `leaks.{name}.recipe` is {leak.recipe!r}. {expected}"
    for name in sorted({*params.references, *params.references.values()} - params.recipes.keys()):
        known = ", ".join(params.recipes)
        yield f"key `references` names {name!r}. Expected recipes of the study: {known}. Fix: correct it."
    if duplicates := sorted(params.arms.keys() & params.recipes.keys()):
        yield f"a recipe and an arm of a leak are both {', '.join(duplicates)}. Fix: rename the recipe."
    if params.split_rule != "by_lesion" and is_published != (params.dataset == "isic9"):
        problem = f"does not fit the dataset {params.dataset!r}. Fix: correct the value."
        yield f"key `split_rule` is {params.split_rule!r}, which {problem}"
    for name, recipe in params.recipes.items():
        if is_published and recipe.case_table == "corrected":
            yield f"`split_rule: system_003` splits the raw table. Fix: `case_table: raw` in {name}."


def validate(values: dict[str, Any], where: object) -> StudyParams:
    """``values`` as a study; raises InputError naming ``where``, the key and what was expected."""
    try:
        return StudyParams.model_validate(values)
    except ValidationError as error:
        raise InputError("\n".join(_explain(problem, where) for problem in error.errors())) from None


def notebook_params(names: dict[str, Any]) -> StudyParams:
    """Validates the names that a notebook's parameters cells have set so far; papermill accepts misspelt keys.

    Call ``notebook_params(globals())`` in the cell after the parameters, before any other import. ``LESION_THREADS``
    replaces ``threads``, since nbval cannot inject parameters. A study file that papermill injects means the same as
    under `make study`: keys that it leaves out have their defaults, not the cell's values.
    """
    if not os.environ.get(JOB):
        os.environ[BY_HAND] = "1"
    # IPython's own names, and the overlay in a study file, which `load_study` applies.
    ignored = {"In", "Out", "exit", "quit", "open", "get_ipython", "notebook_params", "full"}
    # When the cell runs again in JupyterLab, names that later cells have defined are not parameters.
    modules = {name for name, value in names.items() if isinstance(value, ModuleType)}
    set_so_far = [name for name in names if not name.startswith("_") and name not in ignored | modules]
    injected = [cell for cell in names.get("In", []) if cell.startswith("# Parameters\n")]
    if injected and "study" in (assigned := assignments(injected[-1])):
        set_so_far = [name for name in set_so_far if name in assigned]
    values = {name: names[name] for name in names.setdefault("_parameter_names", set_so_far) if name in names}
    if threads := os.environ.get("LESION_THREADS"):
        values["threads"] = threads
    return validate(values, "the notebook's parameters")


def assignments(source: str) -> dict[str, ast.expr]:
    """The names that a cell of parameters sets, with their values."""
    return {ast.unparse(node.targets[0]): node.value for node in ast.parse(source).body if isinstance(node, ast.Assign)}


def publish_numbers(params: StudyParams, notebook: str, numbers: dict[str, Any]) -> None:
    """Writes the key numbers of this execution of ``notebook`` for the index of the study's reports."""
    write_json(run_folder(params.study) / "numbers" / f"{run_name(notebook, params.run)}.json", numbers)


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that a section has twice, of which YAML would drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if twice := sorted({str(key) for key in keys if keys.count(key) > 1}):
            problem = f"the key `{twice[0]}` appears twice in one section. Fix: remove one"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> Any:
    """What ``path`` holds; ValueError for a file that is too large, no UTF-8, or nested too deeply."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    text = path.read_text(encoding="utf-8")
    try:
        if _entries(yaml.compose(text, Loader=yaml.SafeLoader), {}) > MOST_ENTRIES:
            raise ValueError(f"it holds more than {MOST_ENTRIES:,} values, with those that anchors repeat")
        return yaml.load(text, Loader=_UniqueKeys)
    except RecursionError as error:
        raise ValueError("it is nested too deeply, or contains itself") from error


def _entries(node: Any, known: dict[int, int]) -> int:
    """How many values ``node`` holds if anchors are written out; RecursionError if it holds itself."""
    if id(node) not in known:
        children = getattr(node, "value", ())
        pairs = [child for pair in children for child in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 if isinstance(children, str) else 1 + sum(_entries(child, known) for child in pairs)
    return known[id(node)]


def _explain(problem: Any, where: object) -> str:
    *section, name = problem["loc"] or ("",)
    key, value, kind = ".".join(map(str, problem["loc"])), problem["input"], problem["type"]
    model = _model_at(section)
    renamed = RENAMED.get(model.__name__, {})
    is_old_name = kind in ("extra_forbidden", "model_type") and name in renamed
    if new := renamed.get(f"{name}: {value}") or (renamed[name] if is_old_name else None):
        return f"{where}: key `{key}` has a new name. Fix: write `{new}` instead."
    if kind == "extra_forbidden":
        fields = [*model.model_fields, *[LIKE] * (model is Recipe)]
        expected = f"Expected one of: {', '.join(fields)}. Fix: correct or remove it."
        return f"{where}: unknown key `{key}`.{did_you_mean(name, fields)} {expected}"
    expected = problem["msg"].removeprefix("Value error, ")
    if isinstance(value, dict):
        return f"{where}: {key and f'`{key}`: '}{expected}. Fix: correct these keys."
    return f"{where}: key `{key}` is {value!r}. Expected: {expected}. Fix: correct the value."


def _model_at(section: list[int | str]) -> type[BaseModel]:
    """The model of a section of a study, such as ``["baseline", <a recipe's name>, "augmentation"]``."""
    model: type[BaseModel] = StudyParams
    is_entry = False  # the name of a recipe or the number of a phase, not a field
    for part in section:
        field = None if is_entry else model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        model = section_of(annotation) or model
        is_entry = get_origin(annotation) in (dict, tuple)
    return model
