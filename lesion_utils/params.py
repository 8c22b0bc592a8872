"""What a study is made of: its parameters and its recipes, and the one place that knows their defaults.

The defaults are the values of the ``quick`` study; ``params/<study>.yml`` says what differs. A study is
flat at the top level so that plain papermill takes the same file.
"""

import os
import re
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lesion_utils.errors import InputError

PROJECT = Path(__file__).resolve().parents[1]
STAGES = ("baseline", "rebalancing", "transfer")
ARMS = ("leaky", "clean")  # of a paired leak

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]


def _kinds(kind: Any) -> list[Any]:
    """``kind`` and every type inside it: ``tuple[int, str] | None`` holds a tuple, int, str and None."""
    return [kind, *(inner for argument in get_args(kind) for inner in _kinds(argument))]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_yaml_booleans_as_numbers(cls, value: Any, info: Any) -> Any:
        # YAML 1.1 reads `no` and `off` as False, which pydantic would take for 0.
        kinds = _kinds(cls.model_fields[info.field_name].annotation)
        values = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(one, bool) for one in values) and bool not in kinds and (int in kinds or float in kinds):
            raise ValueError("expected a number, got a yes/no value")
        return value


class Augmentation(_Strict):
    """Random changes of each training image, drawn anew in every epoch."""

    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    rotation: Fraction = Field(0.0, description="largest turn either way, as a fraction of a full turn")
    zoom: Fraction = Field(0.0, description="largest change of scale either way")
    shift: Fraction = Field(0.0, description="largest shift either way, as a fraction of the side")
    shear: Fraction = Field(0.0, description="largest shear either way on each axis, as the tangent of its angle")
    brightness: Fraction = Field(0.0, description="largest change either way, as a fraction of the range")
    contrast: Fraction = Field(0.0, description="largest relative change of contrast either way")


class OfflineCopies(_Strict):
    """Copies that Augmentor writes beside the training images before training (systems 003 and 004)."""

    per_class: Annotated[int, Field(ge=0)] = Field(30, description="copies added to every class; 0: one of each image")
    rotation: float = Field(10, gt=0, le=25, description="largest rotation either way, degrees")
    probability: Fraction = Field(0.7, description="asked probability of a rotation; Augmentor fires at p + 0.05")


class Phase(_Strict):
    """One stretch of training: which part of the network learns, for how long, how fast."""

    train: str = Field("all", description="`all`, `head`, or the backbone layer from which on weights are trained")
    epochs: Positive = 8
    learning_rate: float = Field(1e-3, gt=0, le=1)
    schedule: Literal["constant", "cosine"] = "constant"


class Recipe(_Strict):
    """Everything that decides how a model is trained; the trainer has no other input than this and cases."""

    backbone: Literal["small_cnn", "mobilenet_v1", "mobilenet_v2", "inception_v3"] = "small_cnn"
    alpha: float = Field(1.0, gt=0, le=2, description="width multiplier of the MobileNets")
    weights: str = Field("none", description="`none`, `imagenet`, or the path of a weights file")
    cut: str | None = Field(None, description="backbone layer whose output is the feature map; null: the last")
    image_size: tuple[Positive, Positive] = Field((48, 64), description="height, width in pixels")
    scaling: Literal["zero_to_one", "minus_one_to_one"] | None = Field(
        None, description="input range; null: the one the backbone was made for"
    )
    pooling: Literal["average", "flatten"] = "flatten"
    standardise: bool = Field(False, description="standardise pooled features by their training mean and variance")
    hidden: Annotated[int, Field(ge=0)] = Field(128, description="units of a hidden dense layer; 0: none")
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    freeze_batch_norm: bool = Field(True, description="keep the batch-norm statistics of a pretrained backbone")
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float = Field(2.0, ge=0)
    focal_alpha: float = Field(0.25, gt=0, description="constant factor of the focal loss, as system 000 sets it")
    class_weights: Literal["none", "balanced"] = "none"
    sampler: Literal["none", "over", "under", "equal", "root"] = Field(
        "none",
        description="class sizes of an epoch. over, under: all as the largest, the smallest; equal, root: all alike, "
        "or proportional to their square root, in an epoch of as many images as there are",
    )
    augmentation: Augmentation = Augmentation()
    feature_views: Positive = Field(
        1,
        description="views of each training picture whose frozen features a `head` phase learns from, in turn from "
        "epoch to epoch: the picture itself and augmented ones",
    )
    offline_copies: OfflineCopies | None = None
    optimizer: Literal["adam", "sgd", "rmsprop"] = "adam"
    batch_size: Positive = 32
    phases: tuple[Phase, ...] = Field((Phase(),), min_length=1)
    monitor: Literal["val_loss", "val_balanced_accuracy"] = "val_loss"
    keep: Literal["best", "last"] = Field("best", description="weights kept: best by `monitor`, or the last epoch's")
    early_stopping: Positive | None = Field(None, description="epochs without a better `monitor` before a phase ends")
    flip_views: bool = Field(False, description="predict the mean over a picture and its three flips")
    prior_correction: float = Field(
        0.0,
        ge=0,
        le=2,
        description="probabilities are divided by the class shares of a training epoch to this power; 1: as if all "
        "classes were equally frequent (logit adjustment; Menon et al., ICLR 2021)",
    )
    reduce_lr: Positive | None = Field(None, description="epochs without a better `monitor` before the rate is halved")
    cases: Literal["corrected", "raw"] = Field(
        "corrected", description="the table of cases: with the audit's corrections applied, or as published"
    )
    allow_leak: bool = Field(
        False,
        description="train although training shares a lesion or an image with validation or test; every number that "
        "comes of it carries the word leaky",
    )

    @model_validator(mode="after")
    def _heads_come_first(self) -> "Recipe":
        parts = [phase.train for phase in self.phases]
        if parts != sorted(parts, key=lambda part: part != "head"):
            raise ValueError("a phase that trains the `head` alone comes before those that train the backbone")
        return self

    @model_validator(mode="after")
    def _views_need_a_change(self) -> "Recipe":
        if self.feature_views > 1 and self.augmentation == Augmentation():
            raise ValueError("`feature_views` above 1 are augmented views; expected an `augmentation` beside it")
        return self

    @model_validator(mode="after")
    def _one_schedule(self) -> "Recipe":
        if self.reduce_lr and any(phase.schedule == "cosine" for phase in self.phases):
            raise ValueError("`reduce_lr` and the schedule `cosine` both set the learning rate; expected one of them")
        return self


class Phantom(_Strict):
    """The embedded made-up data set; see ``datasets/phantom.py``."""

    lesions: Annotated[int, Field(ge=14)] = 600
    seed: Annotated[int, Field(ge=0)] = 0
    signal: Fraction = Field(0.6, description="how strongly the class shows in the picture; 0: not at all")
    duplicates: Annotated[int, Field(ge=0)] = Field(0, description="images planted again under another id and lesion")
    conflicting_labels: Annotated[int, Field(ge=0)] = Field(0, description="images planted again under another label")
    source_shortcut: Fraction = Field(0.0, description="probability that a melanoma comes from the marked source")


class PairedLeak(_Strict):
    """Two trainings of one recipe that differ in a leak alone; see ``leaks.py``."""

    recipe: Name = Field("small_cnn", description="a recipe of the study")
    kind: Literal["siblings", "copies"] = Field(
        "siblings", description="what leaks: other images of the test lesions, or augmented copies of test images"
    )
    repeats: Annotated[int, Field(ge=1)] = Field(3, description="pairs of trainings, seeds `seed`, `seed` + 1, …")


class Judging(_Strict):
    """What the judge is asked for beside the usual metrics."""

    specificity: float = Field(0.9, gt=0, lt=1, description="at which sensitivity is reported")
    sensitivity: float = Field(0.9, gt=0, lt=1, description="at which specificity is reported")
    partial_auc_above: float = Field(0.8, ge=0, lt=1, description="sensitivity above which the partial AUC is taken")
    prevalence: float = Field(0.05, gt=0, lt=1, description="of melanoma where the classifier would be used; for PPV")


def arm_name(leak: str, arm: str) -> str:
    """The name under which an arm of a paired leak is trained."""
    return f"{leak}_{arm}"


class StudyParams(_Strict):
    """All parameters of a study. Paths are relative to the project root, whatever the working folder."""

    study: Name = "quick"
    dataset: Literal["phantom", "ham10000", "isic9"] = "phantom"
    data: str | None = Field(None, description="folder of the data set; the phantom needs none")
    ham10000: str | None = Field(
        None,
        description="folder of HAM10000, from which isic9 takes lesions; null: the folder `ham10000` beside the data "
        "folder, if there is one",
    )
    weights: str | None = Field(None, description="folder of ImageNet weights; null: Keras downloads them")
    phantom: Phantom = Phantom()
    test_fraction: float = Field(0.2, gt=0, lt=0.5)
    validation_fraction: float = Field(0.2, gt=0, lt=0.5)
    split_seed: Annotated[int, Field(ge=0)] = Field(0, description="fixed once; trying others is a defect")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="training seed of repeat 0; repeat r trains with seed + r")
    repeats: Positive = 1
    repeat: Annotated[int, Field(ge=0)] = 0
    threads: Positive = Field(2, description="results depend on it, so it is stated, never read off the machine")
    resamples: Annotated[int, Field(ge=100)] = Field(2000, description="bootstrap draws behind an interval")
    judging: Judging = Judging()
    show_samples: bool = Field(True, description="show pictures of cases; off for reports that are published")
    baseline: dict[Name, Recipe] = {}
    rebalancing: dict[Name, Recipe] = {}
    transfer: dict[Name, Recipe] = {}
    leaks: dict[Name, PairedLeak] = Field({}, description="how large a leak is, measured by paired trainings")

    @field_validator("rebalancing", "transfer")
    @classmethod
    def _one_name_one_recipe(cls, recipes: dict[str, Recipe], info: Any) -> dict[str, Recipe]:
        for stage in STAGES[: STAGES.index(info.field_name)]:
            if twice := set(recipes) & set(info.data.get(stage) or ()):
                raise ValueError(f"recipe names stand once in a study; also under {stage}: {', '.join(sorted(twice))}")
        return recipes

    @property
    def recipes(self) -> dict[str, Recipe]:
        """All recipes of the study by name, in the order of the stages."""
        return {name: recipe for stage in STAGES for name, recipe in getattr(self, stage).items()}

    @property
    def arms(self) -> dict[str, Recipe]:
        """The two trainings of each paired leak, ``<leak>_leaky`` and ``<leak>_clean``, by name.

        They use the corrected table. A notebook is given the recipes of some stages only; leaks of the others are none
        of its business.
        """
        return {
            arm_name(name, arm): self.recipes[leak.recipe].model_copy(
                update={"cases": "corrected", "allow_leak": arm == "leaky"}
            )
            for name, leak in self.leaks.items()
            if leak.recipe in self.recipes
            for arm in ARMS
        }

    @property
    def trainings(self) -> dict[str, Recipe]:
        """Everything that is trained, by name: the recipes, and the arms of the paired leaks."""
        return self.recipes | self.arms

    def stage_of(self, training: str) -> str:
        """The stage in which ``training``, a recipe or an arm, is trained."""
        recipe_of = {arm_name(name, arm): leak.recipe for name, leak in self.leaks.items() for arm in ARMS}
        return next(stage for stage in STAGES if recipe_of.get(training, training) in getattr(self, stage))

    @property
    def training_seed(self) -> int:
        """The seed of this repeat."""
        return self.seed + self.repeat


class _Loader(yaml.SafeLoader):
    """YAML with the floats of YAML 1.2: ``1e-4`` is a number."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)


def resolve(path: str | Path) -> Path:
    """``path`` as given if absolute, else from the project root; links are kept as they are."""
    return Path(os.path.abspath(PROJECT / Path(path).expanduser()))


def output_root() -> Path:
    """The folder that holds ``runs/`` and ``reports/``: the project, or ``LESION_OUTPUT`` (used by tests)."""
    return resolve(os.environ.get("LESION_OUTPUT", PROJECT))


def study_file(study: str) -> Path:
    """The YAML of a study: ``params/<study>.yml``, or the file itself if ``study`` ends in .yml.

    Raises InputError naming the studies there are.
    """
    path = resolve(study if study.endswith(".yml") else f"params/{study}.yml")
    if not path.is_file():
        folder = PROJECT / "params"
        known = sorted(str(there.relative_to(folder).with_suffix("")) for there in folder.glob("**/*.yml"))
        raise InputError(
            f"no study named {study!r}: {path} does not exist. "
            f"Studies there are: {', '.join(known)}. Cure: make study STUDY=<one of them, or your own .yml file>."
        )
    return path


def load_study(study: str, **overrides: Any) -> StudyParams:
    """Reads and validates the YAML of a study; ``overrides`` replace top-level keys unless None."""
    path = study_file(study)
    where = path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected `key: value` lines, found {type(values).__name__}")
    params = validate(values | {key: value for key, value in overrides.items() if value is not None}, where)
    if params.study != path.stem:
        raise InputError(f"{where}: key `study` is {params.study!r}; expected {path.stem!r}, the file's name.")
    for name, leak in params.leaks.items():
        if leak.recipe not in (known := params.baseline | params.transfer):
            raise InputError(
                f"{where}: key `leaks.{name}.recipe` is {leak.recipe!r}. Expected one of `baseline` or `transfer`: "
                f"{', '.join(known)}. Cure: correct the value."
            )
    if twice := sorted(set(params.arms) & set(params.recipes)):
        raise InputError(f"{where}: a recipe has the name of a leak's training: {', '.join(twice)}. Cure: rename it.")
    return params


def validate(values: dict[str, Any], where: object) -> StudyParams:
    """``values`` as a study; raises InputError naming ``where``, the key and what was expected."""
    try:
        return StudyParams.model_validate(values)
    except ValidationError as error:
        raise InputError("\n".join(_explain(problem, where) for problem in error.errors())) from None


def notebook_params(names: dict[str, Any]) -> StudyParams:
    """Validates the names that a notebook's parameters cells have set so far.

    Called as ``notebook_params(globals())`` in the cell right after the parameters, before any other
    import: papermill lets a misspelt key pass and injects ``1e-4`` as a string. ``LESION_THREADS`` replaces
    ``threads``, since nbval can inject no parameter.
    """
    shell = {"In", "Out", "exit", "quit", "open", "get_ipython", "notebook_params"}
    # When the cell runs again in JupyterLab, what later cells have defined is no parameter.
    known = names.setdefault(
        "_parameter_names",
        [
            name
            for name, value in names.items()
            if not name.startswith("_") and name not in shell and not isinstance(value, ModuleType)
        ],
    )
    values = {name: names[name] for name in known if name in names}
    if threads := os.environ.get("LESION_THREADS"):
        values["threads"] = threads
    return validate(values, "the notebook's parameters")


def _explain(problem: Any, where: object) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(_model_at(problem["loc"][:-1]).model_fields)
        return f"{where}: unknown key `{key}`. Expected one of: {known}. Cure: correct or remove it."
    return f"{where}: key `{key}` is {problem['input']!r}. Expected: {problem['msg']}. Cure: correct the value."


def _model_at(place: tuple[int | str, ...]) -> type[BaseModel]:
    """The model that stands at ``place`` in a study, such as ``("baseline", <a recipe's name>, "augmentation")``."""
    model: type[BaseModel] = StudyParams
    is_entry = False  # the name of a recipe or the number of a phase, not a field
    for part in place:
        if not is_entry:
            kinds = _kinds(model.model_fields[str(part)].annotation)
            model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
            is_entry = get_origin(kinds[0]) in (dict, tuple)
        else:
            is_entry = False
    return model
