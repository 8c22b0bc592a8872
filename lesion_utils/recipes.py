"""A recipe: everything that decides how a model is trained, as data; published systems too, bugs included."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lesion_utils.backbones import BACKBONES, SCALINGS
from lesion_utils.digests import file_digest
from lesion_utils.errors import InputError, first_ten
from lesion_utils.paths import data_root, resolve

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]

# What replaces an old key, or an old `key: value`, in each section of a study file. Old keys are refused.
RENAMED: dict[str, dict[str, str]] = yaml.safe_load(Path(__file__).with_name("renamed_keys.yml").read_text("utf-8"))


def nested_types(annotation: Any) -> list[Any]:
    """``annotation`` and every type inside it: ``tuple[int, str] | None`` holds a tuple, int, str and None."""
    return [annotation, *(inner for argument in get_args(annotation) for inner in nested_types(argument))]


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field of this type holds, or that each of its entries is; None for other values."""
    kinds = nested_types(annotation)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


class Strict(BaseModel):
    """A section of a parameter file. Unknown keys, infinite numbers and later changes are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_yaml_booleans_as_numbers(cls, value: Any, info: Any) -> Any:
        # YAML 1.1 reads `no` and `off` as False, which pydantic would take for 0.
        types = nested_types(cls.model_fields[info.field_name].annotation)
        values = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(item, bool) for item in values) and bool not in types and (int in types or float in types):
            raise ValueError("expected a number, got a yes/no value")
        return value

    def contradictions(self) -> list[tuple[Any, str]]:
        """What fields must not say together: whether they do, and the rule that they break."""
        return []

    @model_validator(mode="after")
    def _fields_agree(self) -> "Strict":
        if broken := [rule for is_wrong, rule in self.contradictions() if is_wrong]:
            raise ValueError(broken[0])
        return self


class Augmentation(Strict):
    """Random changes of each training image, drawn anew in every epoch."""

    # what changes a picture. keras_layers: Keras' random layers, one after another, each with its own resampling;
    # image_data_generator: one affine map per picture by Keras' ImageDataGenerator
    engine: Literal["keras_layers", "image_data_generator"] = "keras_layers"
    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    rotation: Fraction = 0.0  # largest turn either way, as a fraction of a full turn
    # largest change of scale either way; the same for both axes with keras_layers, drawn for each axis with
    # image_data_generator
    zoom: Fraction = 0.0
    shift: Fraction = 0.0  # largest shift either way, as a fraction of the side
    shear: Fraction = 0.0  # largest shear either way, as the tangent of its angle; on both axes with keras_layers
    brightness: Fraction = 0.0  # largest change either way, as a fraction of the range
    contrast: Fraction = 0.0  # largest relative change of contrast either way
    fill: Literal["reflect", "nearest", "black"] = "reflect"  # what lies outside a picture
    # what is cut out of a rotated picture and scaled up. inscribed: the largest upright rectangle without fill (Esteva
    # et al., Nature 542:115, 2017); corner: the lower right corner, mostly fill, which system 000 takes by mistake
    rotation_crop: Literal["none", "inscribed", "corner"] = "none"

    def contradictions(self):
        recolours = self.brightness or self.contrast
        return [
            (self.rotation_crop != "none" and not self.rotation, "`rotation_crop` needs a `rotation` above 0"),
            (recolours and self.engine != "keras_layers", "`brightness` and `contrast` need `engine: keras_layers`"),
        ]

    @property
    def changes(self) -> bool:
        """Whether it changes any picture."""
        sizes = (self.rotation, self.zoom, self.shift, self.shear, self.brightness, self.contrast)
        return self.flip != "none" or any(sizes)


class OfflineCopies(Strict):
    """Copies of images written to disk before training: by Augmentor (003, 004), or by other changes (001)."""

    per_class: Positive = 30  # copies added to every class, in each round
    one_of_each: bool = False  # one copy of each image, instead of `per_class`
    # size to which copies raise every class but the largest, instead of `per_class` (system 001)
    target_class_size: Positive | None = None
    rounds: Positive = 1  # how often `per_class` copies are made; system 004 ran Augmentor twice
    # copies are made of training and validation images, then dealt out to both at random, as systems 003 and 004 do;
    # needs `allow_leak`
    before_split: bool = False
    rotation: float = Field(10, gt=0, le=25)  # largest rotation either way, degrees
    probability: Fraction = 0.7  # nominal probability of a rotation; Augmentor rotates at p + 0.05
    change: Augmentation | None = None  # random changes that make a copy, instead of Augmentor's

    def contradictions(self):
        is_wrong = self.one_of_each and self.target_class_size
        return [(is_wrong, "expected `one_of_each` or `target_class_size`, not both")]


class Phase(Strict):
    """One stretch of training: which layers learn, for how long, how fast."""

    train: str = "all"  # `all`, `head`, or the first backbone layer whose weights are trained
    # height, width of the pictures that this phase learns from; null: that of the backbone
    image_size: tuple[Positive, Positive] | None = None
    epochs: Positive = 8
    learning_rate: float = Field(1e-3, gt=0, le=1)
    # of the learning rate. step: divided by `step_divisor` every `step_every` epochs (Esteva et al., 2017);
    # step_never_reached: the step of system 000, whose condition no epoch meets, so that the rate stays
    schedule: Literal["constant", "cosine", "step", "step_never_reached"] = "constant"
    step_every: Positive = 30
    step_divisor: float = Field(16, gt=1)
    warm_up: Count = 0  # steps in which the rate of `cosine` rises from 0
    weighted: bool = True  # whether the recipe's `class_weights` count; deferred reweighting counts them at the end

    def contradictions(self):
        return [
            (self.warm_up and self.schedule != "cosine", "`warm_up` needs `schedule: cosine`"),
            (self.image_size and self.train == "head", "`image_size` needs a phase that trains more than the `head`"),
        ]


class Plateau(Strict):
    """Lowers the learning rate when the recipe's `monitor` has stopped improving."""

    patience: Positive = 2  # epochs without a better `monitor` before the rate is lowered
    factor: float = Field(0.5, gt=0, lt=1)  # by which the rate is multiplied
    smallest: float = Field(0.0, ge=0)  # rate below which it is not lowered


class BackboneOptions(Strict):
    """The network below the classifier. Frozen features are cached by all of these fields: see ``features.py``."""

    name: Literal[*BACKBONES] = "small_cnn"  # type: ignore[valid-type]
    alpha: float = Field(1.0, gt=0, le=2)  # width multiplier of the MobileNets
    weights: str = "none"  # `none`, `imagenet`, or the path of a weights file (.h5, or of PyTorch before 1.6)
    cut: str | None = None  # layer whose output is the feature map; null: the last
    image_size: tuple[Positive, Positive] = (48, 64)  # height, width in pixels
    # input range; null: the one the backbone was made for. about_127: (value - 127) / 128. z_score: standardised by
    # mean and standard deviation of all training values; z_score_by_split: training and validation by those of both,
    # test by its own (system 002)
    scaling: Literal[*SCALINGS, "z_score", "z_score_by_split"] | None = None  # type: ignore[valid-type]
    pooling: Literal["average", "flatten"] = "flatten"  # from feature map to features
    batch_norm: bool = False  # small CNN: batch normalisation after each convolution
    last_pooling: bool = True  # small CNN: max pooling also after the last convolution
    # EfficientNet-Lite: the last residual block is left out of a training step with this probability, earlier ones with
    # smaller ones (Huang et al., 2016)
    drop_path: Share = 0.0

    def contradictions(self):
        lite = self.name.startswith("efficientnet_lite")
        return [(self.drop_path and not lite, "`drop_path` needs an EfficientNet-Lite")]

    def weights_file(self, folder: str | None) -> Path | None:
        """The file with the weights, in an installed package or in ``folder``, the study's ``weights``, by default that
        of `lesion fetch`; None: random, or downloaded by Keras. Raises InputError unless exactly one file fits.
        """
        if self.weights == "none":
            return None
        if self.weights != "imagenet":
            if not (path := resolve(self.weights)).is_file():
                raise InputError(f"weights file {path} does not exist. Expected `none`, `imagenet` or a file's path.")
            return path
        pattern = BACKBONES[self.name].weights_file
        if pattern is None:
            raise InputError(f"there are no ImageNet weights for {self.name}. Fix: `weights: none` in the recipe.")
        if callable(pattern):
            return pattern(self.name)
        where = resolve(folder or data_root() / "weights")
        files = sorted(where.glob(pattern := pattern.format(alpha=self.alpha)))
        if folder is None and not files:
            return None
        if len(files) != 1:
            problem = f"expected one file {pattern} for {self.name}, found {first_ten(f.name for f in files) or 'none'}"
            fix = "Fix: lesion fetch weights, then leave WEIGHTS out; or WEIGHTS=<folder with this file>."
            raise InputError(f"weights folder {where}: {problem}. {fix}")
        return files[0]

    def weights_digest(self, folder: str | None) -> str:
        """Changes with the content of the weights that training starts from."""
        path = self.weights_file(folder)
        return file_digest(path) if path else self.weights


class Recipe(Strict):
    """Everything that decides how a model is trained, but for the cases and the seed."""

    backbone: BackboneOptions = BackboneOptions()
    standardise: bool = False  # standardise pooled features by their training mean and variance
    feature_dropout: Share = 0.0  # dropout before the hidden layer
    hidden: Count = 128  # units of a hidden dense layer; 0: none
    dropout: Share = 0.0  # dropout before the last layer
    # the last layer compares directions: a class's score is this factor times the cosine of features and class weights
    cosine_scale: float | None = Field(None, gt=0)
    freeze_batch_norm: bool = True  # keep the batch-norm statistics of a pretrained backbone
    # focal: of the true class; binary_focal: of each class against the rest, as system 000 writes it;
    # logit_adjusted: cross-entropy of scores to which `adjustment` times the log share of each class is added (Menon et
    # al., 2021); with 1 it is the balanced softmax of Ren et al. (2020);
    # ldam: cross-entropy of scores with a margin, which is larger for rare classes (Cao et al., 2019)
    loss: Literal["cross_entropy", "focal", "binary_focal", "logit_adjusted", "ldam"] = "cross_entropy"
    label_smoothing: Share = 0.0  # share of the truth that is dealt out to all classes alike
    adjustment: float = Field(1.0, gt=0)
    ldam_margin: float = Field(0.5, gt=0)  # of the rarest class, as a difference of cosines
    focal_gamma: float = Field(2.0, ge=0)
    # factor of `focal`; in `binary_focal` of the true class, the other classes get 1 - focal_alpha
    focal_alpha: float = Field(0.25, gt=0, lt=1)
    # per_batch: one loss value per batch, as in system 000, so that class weights cannot weigh cases
    loss_reduction: Literal["per_case", "per_batch"] = "per_case"
    # balanced, square_root: inversely proportional to the class sizes in training, or to their square root; effective:
    # to the effective number of images (Cui et al., 2019); or by class, else 1
    class_weights: (
        Literal["none", "balanced", "square_root", "effective"] | dict[str, Annotated[float, Field(gt=0)]]
    ) = "none"
    effective_beta: float = Field(0.999, gt=0, lt=1)  # how much images of a class repeat each other
    # class sizes of an epoch. over, under: all as the largest, the smallest; equal: all the same; root: proportional to
    # their square root; with equal and root an epoch has as many images as training
    sampler: Literal["none", "over", "under", "equal", "root"] = "none"
    # size that `over` raises smaller classes to, `under` cuts larger ones to, `equal` brings all to
    class_size: Positive | None = None
    resample_each_epoch: bool = True  # the sampler draws anew in each epoch; system 000 draws once
    epoch_images: Positive | None = None  # images after which an epoch ends; null: all
    augmentation: Augmentation = Augmentation()
    # alpha of mixup: inputs and labels of a batch are mixed in pairs, by shares from Beta(alpha, alpha) (Zhang et al.,
    # 2018); 0: not at all
    mixup: float = Field(0.0, ge=0)
    # augmented views of each training picture whose frozen features a `head` phase learns from, a new view in each
    # epoch; 0: the picture itself
    feature_views: Count = 0
    offline_copies: OfflineCopies | None = None
    # share of each class's training lesions that is used, for scaled-down runs
    training_share: float = Field(1.0, gt=0, le=1)
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    # options of the optimizer that differ from Keras' defaults
    optimizer_options: dict[Literal["momentum", "rho", "epsilon", "weight_decay"], float] = Field({})
    # the weights judged and kept are a moving average over the steps of a phase, of which the old average makes up this
    # share; 0: the weights themselves
    weight_average: Share = 0.0
    batch_size: Positive = 32
    phases: tuple[Phase, ...] = Field((Phase(),), min_length=1)
    # the number on validation that decides which epoch is kept, when to stop and when to lower the rate
    monitor: Literal["val_loss", "val_accuracy", "val_balanced_accuracy", "val_macro_auc"] = "val_loss"
    keep: Literal["best", "last"] = "best"  # weights kept: best by `monitor`, or the last epoch's
    early_stopping: Positive | None = None  # epochs without a better `monitor` before a phase ends
    flip_views: bool = False  # predict the mean over a picture and its three flips
    turn_views: bool = False  # ... and over the same four views of the picture turned by a quarter
    reduce_lr: Plateau | None = None
    case_table: Literal["corrected", "raw"] = "corrected"  # with the audit's corrections applied, or as published
    # train although training shares a lesion or an image with validation or test; all results are marked leaky
    allow_leak: bool = False
    # further forms in which the trained model is written, with its history and its test cases
    exports: tuple[Literal["saved_model", "h5", "pickle"], ...] = ()

    @property
    def has_sizes(self) -> bool:
        """Whether its network sees pictures of more than one size."""
        return self.turn_views or any(phase.image_size for phase in self.phases)

    @property
    def larger_is_better(self) -> bool:
        return self.monitor != "val_loss"  # of the monitor

    @property
    def identity(self) -> dict[str, Any]:
        """What decides a training: all fields but those at their default, so that a field added later changes none."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def contradictions(self):
        layers = [phase.train for phase in self.phases]
        scheduled = any(phase.schedule != "constant" for phase in self.phases)
        options = {
            "adam": ["epsilon"],
            "adamw": ["epsilon", "weight_decay"],
            "sgd": ["momentum"],
            "rmsprop": ["epsilon", "momentum", "rho"],
        }[self.optimizer]
        options_rule = f"`optimizer_options` of {self.optimizer}: {', '.join(options)}"
        before_split = self.offline_copies and self.offline_copies.before_split
        sized, focal = ("over", "under", "equal"), self.loss in ("focal", "binary_focal")
        flattened = self.has_sizes and self.backbone.pooling != "average"
        weighted_none = self.class_weights == "none" and not all(phase.weighted for phase in self.phases)
        return [
            (layers != sorted(layers, key=lambda name: name != "head"), "phases of the `head` alone must come first"),
            (self.feature_views and not self.augmentation.changes, "`feature_views` need an `augmentation`"),
            (self.reduce_lr and scheduled, "expected `reduce_lr` or a phase's `schedule`, not both"),
            (self.class_size and self.sampler not in sized, f"`class_size` needs a sampler of {', '.join(sized)}"),
            (self.optimizer_options.keys() - set(options), options_rule),
            (self.backbone.batch_norm and self.freeze_batch_norm, "`batch_norm` needs `freeze_batch_norm: false`"),
            (self.label_smoothing and focal, "`label_smoothing` needs another `loss` than a focal one"),
            (self.loss == "ldam" and not self.cosine_scale, "`loss: ldam` needs a `cosine_scale`"),
            (flattened, "the `image_size` of a phase and `turn_views` need `pooling: average`"),
            (self.turn_views and not self.flip_views, "`turn_views` need `flip_views`"),
            (weighted_none, "a phase that is not `weighted` needs `class_weights` in the recipe"),
            (before_split and not self.allow_leak, "copies made `before_split` need `allow_leak: true`"),
        ]
