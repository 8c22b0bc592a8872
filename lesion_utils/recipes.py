"""A recipe: everything that decides how a model is trained, as data.

Published systems are recipes too, their bugs with them: what a bug was worth is the corrected recipe with its field
put back.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]


def kinds(kind: Any) -> list[Any]:
    """``kind`` and every type inside it: ``tuple[int, str] | None`` holds a tuple, int, str and None."""
    return [kind, *(inner for argument in get_args(kind) for inner in kinds(argument))]


class Strict(BaseModel):
    """What a parameter file holds: unknown keys, infinite numbers and changes afterwards are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_yaml_booleans_as_numbers(cls, value: Any, info: Any) -> Any:
        # YAML 1.1 reads `no` and `off` as False, which pydantic would take for 0.
        known = kinds(cls.model_fields[info.field_name].annotation)
        values = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(one, bool) for one in values) and bool not in known and (int in known or float in known):
            raise ValueError("expected a number, got a yes/no value")
        return value


class Augmentation(Strict):
    """Random changes of each training image, drawn anew in every epoch."""

    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    rotation: Fraction = Field(0.0, description="largest turn either way, as a fraction of a full turn")
    zoom: Fraction = Field(0.0, description="largest change of scale either way, the same for both axes")
    shift: Fraction = Field(0.0, description="largest shift either way, as a fraction of the side")
    shear: Fraction = Field(0.0, description="largest shear either way on each axis, as the tangent of its angle")
    brightness: Fraction = Field(0.0, description="largest change either way, as a fraction of the range")
    contrast: Fraction = Field(0.0, description="largest relative change of contrast either way")
    fill: Literal["reflect", "nearest", "black"] = Field("reflect", description="what lies outside a picture")
    rotation_crop: Literal["none", "inscribed", "corner"] = Field(
        "none",
        description="what is cut out of a turned picture and scaled up: nothing; the largest upright rectangle of its "
        "shape that holds no fill (Esteva and others, Nature 542:115, 2017); or the lower right corner that system 000 "
        "cuts out by mistake, mostly fill",
    )

    @model_validator(mode="after")
    def _a_crop_follows_a_rotation(self) -> "Augmentation":
        if self.rotation_crop != "none" and not self.rotation:
            raise ValueError("`rotation_crop` cuts a turned picture; expected a `rotation` above 0 beside it")
        return self

    @property
    def changes(self) -> bool:
        """Whether it changes any picture."""
        return self.flip != "none" or any(
            (self.rotation, self.zoom, self.shift, self.shear, self.brightness, self.contrast)
        )


class OfflineCopies(Strict):
    """Copies of images that are written to disk before training: by Augmentor (003, 004) or other changes (001)."""

    per_class: Annotated[int, Field(ge=0)] = Field(30, description="copies added to every class; 0: one of each image")
    toward: Positive | None = Field(
        None,
        description="instead of `per_class`: the size to which copies raise every class but the largest (system 001)",
    )
    rounds: Positive = Field(
        1, description="how often copies are made: system 004 ran Augmentor on a folder that held copies already"
    )
    before_split: bool = Field(
        False,
        description="copies are made of training and validation images alike, then dealt out to both by chance, as "
        "systems 003 and 004 do; needs `allow_leak`",
    )
    rotation: float = Field(10, gt=0, le=25, description="largest rotation either way, degrees")
    probability: Fraction = Field(0.7, description="asked probability of a rotation; Augmentor fires at p + 0.05")
    change: Augmentation | None = Field(None, description="random changes that make a copy, instead of Augmentor's")


class Phase(Strict):
    """One stretch of training: which part of the network learns, for how long, how fast."""

    train: str = Field("all", description="`all`, `head`, or the backbone layer from which on weights are trained")
    epochs: Positive = 8
    learning_rate: float = Field(1e-3, gt=0, le=1)
    schedule: Literal["constant", "cosine", "step", "never"] = Field(
        "constant",
        description="of the learning rate. step: divided by `step_divisor` every `step_every` epochs (Esteva and "
        "others, 2017); never: that step under the condition of system 000, which no epoch meets",
    )
    step_every: Positive = 30
    step_divisor: float = Field(16, gt=1)


class Plateau(Strict):
    """The learning rate is lowered where the recipe's `monitor` has stopped to improve."""

    patience: Positive = Field(2, description="epochs without a better `monitor` before the rate is lowered")
    factor: float = Field(0.5, gt=0, lt=1, description="by which the rate is multiplied")
    smallest: float = Field(0.0, ge=0, description="rate below which it is not lowered")


class Recipe(Strict):
    """Everything that decides how a model is trained; the trainer has no other input than this and cases."""

    backbone: Literal["small_cnn", "mobilenet_v1", "mobilenet_v2", "inception_v3", "inception_resnet_v2"] = "small_cnn"
    alpha: float = Field(1.0, gt=0, le=2, description="width multiplier of the MobileNets")
    weights: str = Field("none", description="`none`, `imagenet`, or the path of a weights file")
    cut: str | None = Field(None, description="backbone layer whose output is the feature map; null: the last")
    image_size: tuple[Positive, Positive] = Field((48, 64), description="height, width in pixels")
    batch_norm: bool = Field(False, description="small CNN: batch normalisation after each convolution")
    last_pooling: bool = Field(True, description="small CNN: max pooling after the last convolution, too")
    scaling: Literal["zero_to_one", "minus_one_to_one", "z_score", "z_score_by_part"] | None = Field(
        None,
        description="input range; null: the one the backbone was made for. z_score: by one mean and one standard "
        "deviation of all training values; z_score_by_part: training and validation by those of both, test by its own "
        "(system 002)",
    )
    pooling: Literal["average", "flatten"] = "flatten"
    standardise: bool = Field(False, description="standardise pooled features by their training mean and variance")
    feature_dropout: Share = Field(0.0, description="dropout before the hidden layer")
    hidden: Annotated[int, Field(ge=0)] = Field(128, description="units of a hidden dense layer; 0: none")
    dropout: Share = Field(0.0, description="dropout before the last layer")
    freeze_batch_norm: bool = Field(True, description="keep the batch-norm statistics of a pretrained backbone")
    loss: Literal["cross_entropy", "focal", "binary_focal"] = Field(
        "cross_entropy",
        description="focal: of the true class; binary_focal: of each class against the rest, as system 000 writes it",
    )
    focal_gamma: float = Field(2.0, ge=0)
    focal_alpha: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="factor of `focal`; of `binary_focal` that of the true class, the others have the rest",
    )
    loss_per_case: bool = Field(
        True,
        description="false: the loss is one number a batch, as in system 000, so that class weights cannot weigh cases",
    )
    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]] = Field(
        "none", description="balanced: inversely proportional to the class sizes in training; or by class, else 1"
    )
    sampler: Literal["none", "over", "under", "equal", "root"] = Field(
        "none",
        description="class sizes of an epoch. over, under: all as the largest, the smallest; equal, root: all alike, "
        "or proportional to their square root, in an epoch of as many images as there are",
    )
    class_size: Positive | None = Field(
        None,
        description="size that `over` raises smaller classes to, `under` cuts larger ones to, `equal` brings all to",
    )
    redraw: bool = Field(True, description="draw what the sampler shows anew in each epoch; system 000 draws it once")
    epoch_images: Positive | None = Field(None, description="images after which an epoch ends; null: all it shows")
    augmentation: Augmentation = Augmentation()
    feature_views: Annotated[int, Field(ge=0)] = Field(
        0,
        description="augmented views of each training picture whose frozen features a `head` phase learns from, one "
        "after another from epoch to epoch; 0: the picture itself",
    )
    offline_copies: OfflineCopies | None = None
    training_share: float = Field(
        1.0, gt=0, le=1, description="share of each class's training lesions that is used, for scaled-down runs"
    )
    optimizer: Literal["adam", "sgd", "rmsprop"] = "adam"
    optimizer_options: dict[Literal["momentum", "rho", "epsilon"], float] = Field(
        {}, description="of the optimizer, where they are not Keras' own"
    )
    batch_size: Positive = 32
    phases: tuple[Phase, ...] = Field((Phase(),), min_length=1)
    monitor: Literal["val_loss", "val_accuracy", "val_balanced_accuracy"] = "val_loss"
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
    reduce_lr: Plateau | None = None
    cases: Literal["corrected", "raw"] = Field(
        "corrected", description="the table of cases: with the audit's corrections applied, or as published"
    )
    allow_leak: bool = Field(
        False,
        description="train although training shares a lesion or an image with validation or test; every number that "
        "comes of it carries the word leaky",
    )
    exports: tuple[Literal["saved_model", "h5", "pickle"], ...] = Field(
        (), description="further forms in which the trained model is written, with its history and its test cases"
    )

    @model_validator(mode="after")
    def _heads_come_first(self) -> "Recipe":
        parts = [phase.train for phase in self.phases]
        if parts != sorted(parts, key=lambda part: part != "head"):
            raise ValueError("a phase that trains the `head` alone comes before those that train the backbone")
        return self

    @model_validator(mode="after")
    def _views_need_a_change(self) -> "Recipe":
        if self.feature_views and not self.augmentation.changes:
            raise ValueError("`feature_views` are augmented views; expected an `augmentation` beside it")
        return self

    @model_validator(mode="after")
    def _one_schedule(self) -> "Recipe":
        other = next((phase.schedule for phase in self.phases if phase.schedule != "constant"), None)
        if self.reduce_lr and other:
            raise ValueError(f"`reduce_lr` and the schedule `{other}` both set the learning rate; expected one of them")
        return self

    @model_validator(mode="after")
    def _a_size_belongs_to_a_sampler(self) -> "Recipe":
        if self.class_size and self.sampler not in ("over", "under", "equal"):
            raise ValueError(
                f"`class_size` means nothing to the sampler `{self.sampler}`; expected over, under or equal"
            )
        return self

    @model_validator(mode="after")
    def _options_of_the_optimizer(self) -> "Recipe":
        known = {"adam": {"epsilon"}, "sgd": {"momentum"}, "rmsprop": {"momentum", "rho", "epsilon"}}[self.optimizer]
        if odd := sorted(set(self.optimizer_options) - known):
            raise ValueError(f"`optimizer_options` {', '.join(odd)} are none of {self.optimizer}'s, {', '.join(known)}")
        return self

    @model_validator(mode="after")
    def _batch_norm_learns(self) -> "Recipe":
        if self.batch_norm and self.freeze_batch_norm:
            raise ValueError("`batch_norm` of an untrained network has to learn; expected `freeze_batch_norm: false`")
        return self

    @model_validator(mode="after")
    def _copies_before_the_split_leak(self) -> "Recipe":
        if self.offline_copies and self.offline_copies.before_split and not self.allow_leak:
            raise ValueError("copies made `before_split` stand on both sides of it; expected `allow_leak: true`")
        return self
