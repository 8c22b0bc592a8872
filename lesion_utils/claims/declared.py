"""What published systems claim, declared as data before the studies are run, and the rule that judges each claim.

``params/published/claims.yml`` lists claims: the words, what is to be measured (the estimand), in which direction
the claim points and by which margin. From these follows the region in which the number lies if the claim is true; the
verdict compares the region with the interval of what was measured and knows nothing else.
"""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lesion_utils.errors import InputError, first_ten
from lesion_utils.recipes import Fraction, Name, Positive
from lesion_utils.study import CLAIMS, StudyName

HOLDS, FAILS, UNDECIDED, UNCHECKED = "holds", "does not hold", "undecided", "cannot be checked here"
SCALED = "a scaled-down run judges differences within the study, no absolute figure"

Part: TypeAlias = Literal["validation", "test"]
Table: TypeAlias = Literal["originals", "with_copies"]
FACTS = Literal[
    "images",
    "classes",
    "malignant classes",
    "class share",
    "classes with fewer images",
    "classes with more images",
    "largest to smallest class",
    "known in training",
    "category code",
    "fill shown",
]


class _Declared(BaseModel):
    # `recipes.Strict` cannot serve: pydantic lets no validator of all fields look at the one that tells kinds apart.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Value(_Declared):
    """A metric of a recipe."""

    kind: Literal["value"]
    study: StudyName
    recipe: Name
    split: Part = "validation"
    metric: str
    table: Table = Field(
        "originals", description="with_copies: the offline copies of the part too, where there are any"
    )
    among: tuple[str, ...] = Field((), description="classes: on their images alone; empty: on all")

    def __str__(self) -> str:
        return f"{self.metric} of {self.recipe} on {_part(self.split, self.table)}{_of(self.among)}, {self.study}"


class Difference(_Declared):
    """A metric of a recipe minus that of another one of the study; paired where they are of the same cases."""

    kind: Literal["difference"]
    study: StudyName
    recipe: Name
    reference: Name
    split: Part = "validation"
    metric: str
    table: Table = "originals"
    among: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = f"{self.metric} of {self.recipe} minus that of {self.reference}"
        return f"{what} on {_part(self.split, self.table)}{_of(self.among)}, {self.study}"


class WithCopies(_Declared):
    """A metric on the validation images and their copies, minus that of another recipe on its originals alone."""

    kind: Literal["with_copies"]
    study: StudyName
    recipe: Name = Field(description="one with offline copies made before the split")
    reference: Name
    metric: str
    split: Literal["validation"] = "validation"

    def __str__(self) -> str:
        return (
            f"{self.metric} of {self.recipe} on {_part('validation', 'with_copies')} minus that of {self.reference} on "
            f"its validation originals, {self.study}"
        )


class Training(_Declared):
    """Accuracy in training as the history has it, in the epoch whose weights were kept, or its gap to validation's."""

    kind: Literal["training"]
    study: StudyName
    recipe: Name
    quantity: Literal["accuracy", "gap"]
    reference: Name | None = Field(None, description="minus the same of this recipe")
    table: Table = "originals"
    split: Literal["validation"] = "validation"

    def __str__(self) -> str:
        what = "training accuracy"
        if self.quantity == "gap":
            what += f" minus accuracy on {_part('validation', self.table)}"
        minus = f", minus the same of {self.reference}" if self.reference else ""
        return f"{what} of {self.recipe}{minus}, {self.study}"


class Matrix(_Declared):
    """A number of a published confusion matrix, rows true and columns predicted, as it is pasted in ``matrix``."""

    kind: Literal["matrix"]
    matrix: str
    classes: tuple[str, ...]
    metric: str = Field(description="of the matrix' verdict; `recall <class>`; `macro F1`; or `above the majority`")

    def __str__(self) -> str:
        what = "accuracy minus the largest class's share" if self.metric == "above the majority" else self.metric
        return f"{what} in the published confusion matrix"


class Share(_Declared):
    """A published share of ``n`` images against a baseline: one on the same images, or another published share."""

    kind: Literal["share"]
    what: str
    share: Fraction
    n: Positive
    baseline_is: str
    baseline: Fraction
    baseline_n: Positive | None = Field(None, description="images of the other published share; null: the same images")

    def __str__(self) -> str:
        return f"{self.what} ({self.share:.2%}) minus {self.baseline_is} ({self.baseline:.2%})"


class Data(_Declared):
    """A fact of a study's cases; there is no sampling in it."""

    kind: Literal["data"]
    study: StudyName
    fact: FACTS
    of: str | None = Field(None, description="the class that the fact is about")
    part: Literal["all", "train", "test"] = Field("all", description="of the set as published")
    recipe: Name | None = Field(
        None,
        description="known in training: with the copies of this recipe's validation part; fill shown: by which recipe",
    )
    names: dict[str, str] = Field({}, description="category code: the name of each label")

    @model_validator(mode="after")
    def _what_the_fact_needs(self) -> "Data":
        about_class = self.fact in ("class share", "classes with fewer images", "classes with more images")
        if (self.of is None) == (about_class or self.fact == "category code"):
            raise ValueError(f"the fact `{self.fact}` and the class `of: {self.of}` do not fit")
        if self.fact == "fill shown" and self.recipe is None:
            raise ValueError("the fact `fill shown` needs the `recipe` that shows it")
        if bool(self.names) != (self.fact == "category code"):
            raise ValueError("`names` belong to the fact `category code`, and to no other")
        return self

    def __str__(self) -> str:
        of, images = self.of, "images" if self.part == "all" else f"images in the published {self.part} part"
        told = {
            "images": f"number of {images}",
            "classes": "number of classes",
            "malignant classes": "number of classes that are malignant",
            "class share": f"share of {of} among the {images}",
            "classes with fewer images": f"number of classes with fewer {images} than {of}",
            "classes with more images": f"number of classes with more {images} than {of}",
            "largest to smallest class": f"{images} of the largest class for one of the smallest",
            "known in training": "share of the validation images"
            + (f", copies of {self.recipe} among them," if self.recipe else "")
            + " whose lesion or source is in training"
            + (", as an image or as a copy" if self.recipe else ""),
            "fill shown": f"share of what {self.recipe} shows of augmented pictures that lies outside them (mean)",
            "category code": f"code that pandas.Categorical gives to {of}",
        }
        return f"{told[self.fact]}, {self.study}"


class Nothing(_Declared):
    """Nothing here could tell."""

    kind: Literal["none"]

    def __str__(self) -> str:
        return "none"


Estimand = Annotated[
    Value | Difference | WithCopies | Training | Matrix | Share | Data | Nothing, Field(discriminator="kind")
]
Direction = Literal["equals", "at_least", "at_most", "higher", "lower", "not_higher", "no_difference"]


class Claim(_Declared):
    """One claim, with what is to be measured and when it holds."""

    id: Annotated[str, Field(pattern=r"^[0-9]{3}_[a-z0-9_]+$")]
    system: Annotated[str, Field(pattern=r"^[0-9]{3}$")]
    source: Literal["text", "audit"] = Field(description="the system's own text; or read from its notebooks and code")
    quote: str | None = Field(None, description="word for word, for a text")
    states: str | None = Field(None, description="what is claimed or found, for an audit")
    estimand: Estimand
    direction: Direction | None = None
    margin: Annotated[float, Field(ge=0)] | None = None
    published: float | None = None
    why: str | None = Field(None, description="nothing here could tell, because")
    note: str | None = Field(None, description="what else to know when the verdict is read")
    declared: Literal["before", "after"] = Field("before", description="the results of the studies were known")

    @model_validator(mode="after")
    def _complete(self) -> "Claim":
        if not self.id.startswith(f"{self.system}_"):
            raise ValueError(f"id {self.id} does not begin with its system, {self.system}")
        if (self.quote is None, self.states is None) != (self.source == "audit", self.source == "text"):
            raise ValueError("a text has a `quote`, an audit says what it `states`; expected one of them")
        if isinstance(self.estimand, Nothing):
            if self.why is None or self.direction is not None or self.margin is not None:
                raise ValueError("with estimand `none` expected `why`, and neither `direction` nor `margin`")
        elif self.direction is None or self.margin is None or self.why is not None:
            raise ValueError("expected `direction` and `margin`, and no `why`, since there is an estimand")
        elif self.published is None and self.direction in ("equals", "at_least", "at_most"):
            raise ValueError(f"the direction {self.direction} needs the number `published`")
        return self

    @property
    def words(self) -> str:
        """The quote, or what the audit states, in one line."""
        return " ".join((self.quote or self.states or "").split())

    @property
    def study(self) -> str | None:
        """The study that measures it; None where none is needed."""
        return getattr(self.estimand, "study", None)

    @property
    def absolute(self) -> bool:
        """Whether it is about a trained model's own figure, not about a difference or about data."""
        of_one = isinstance(self.estimand, Training) and self.estimand.reference is None
        return of_one or isinstance(self.estimand, Value)

    @property
    def region(self) -> tuple[float, float]:
        """Where the estimand lies if the claim is true: from, to, both included."""
        if self.direction is None or self.margin is None:
            raise InputError(f"claim {self.id} has no region: nothing can be measured. Expected another claim.")
        return region(self.direction, self.margin, self.published)


def region(direction: Direction, margin: float, published: float | None = None) -> tuple[float, float]:
    """Where an estimand lies if the claim is true: from, to, both included."""
    around = 0.0 if published is None else published
    return {
        "equals": (around - margin, around + margin),
        "at_least": (around - margin, math.inf),
        "at_most": (-math.inf, around + margin),
        "higher": (margin, math.inf),
        "lower": (-math.inf, -margin),
        "not_higher": (-math.inf, margin),
        "no_difference": (-margin, margin),
    }[direction]


def verdict_of(within: tuple[float, float], low: float, high: float) -> str:
    """*holds* where the interval ``low`` to ``high`` lies in the region, *does not hold* where wholly outside it.

    Else the sample is too small to tell: *undecided*. Without an interval: *cannot be checked here*.
    """
    if math.isnan(low) or math.isnan(high):
        return UNCHECKED
    if within[0] <= low and high <= within[1]:
        return HOLDS
    return FAILS if high < within[0] or low > within[1] else UNDECIDED


def read_ledger(path: Path | None = None) -> list[Claim]:
    """The claims of ``params.CLAIMS``, or of another file, in their order.

    Raises InputError naming the claim and the key for what is no ledger, and for an id that stands twice.
    """
    path = path or CLAIMS
    if not path.is_file():
        raise InputError(f"{path} does not exist. Expected a YAML list of claims. Fix: restore it.")
    return list(_read(path, path.stat().st_mtime_ns))


@functools.lru_cache(maxsize=4)  # a page asks for it again and again
def _read(path: Path, changed: int) -> tuple[Claim, ...]:
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path.name} is not valid YAML: {error}") from error
    if not isinstance(values, list):
        raise InputError(f"{path.name}: expected a list of claims, found {type(values).__name__}.")
    claims = []
    for place, value in enumerate(values):
        name = value.get("id", f"number {place + 1}") if isinstance(value, dict) else f"number {place + 1}"
        try:
            claims.append(Claim.model_validate(value))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise InputError(f"{path.name}, claim {name}, key `{key}`: {first['msg']}. Fix: correct it.") from None
    ids = [claim.id for claim in claims]
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        raise InputError(f"{path.name}: an id stands twice: {first_ten(twice)}. Fix: rename one.")
    return tuple(claims)


def of_study(study: str) -> list[Claim]:
    """The claims that ``study`` measures."""
    return [claim for claim in read_ledger() if claim.study == study]


def _part(split: str, table: str) -> str:
    return f"{split} with its copies" if table == "with_copies" else split


def _of(classes: Sequence[str]) -> str:
    return f" among {', '.join(classes)}" if classes else ""
