"""The claims of ``params/published/claims.yml``, declared before the studies are run, and the rule that judges them.

What is measured (the estimand), the direction and the margin of a claim give the region in which the number lies if it
is true. ``rules`` compares only this region with what was measured.
"""

import contextlib
import functools
import math
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import jinja2
import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from lesion_utils.digests import digest, text_at
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT
from lesion_utils.recipes import Fraction, Name, Positive
from lesion_utils.rounding import as_written
from lesion_utils.study import CLAIMS, StudyName

VERDICTS = HOLDS, FAILS, UNDECIDED, NOT_MEASURABLE, UNCHECKED, REPRODUCED, DIFFERS = (
    *("holds", "does not hold", "undecided", "not measurable here", "cannot be checked here"),
    *("reproduced", "not reproduced"),  # of a figure in the system's own output
)
KINDS = {
    "model": "statements about a model",
    "data": "statements about the data",
    "output": "statements about their own published output",
    "finding": "our findings",
}


class _Declared(BaseModel, extra="forbid", frozen=True, allow_inf_nan=False):
    pass  # `recipes.Strict` cannot serve: pydantic allows no validator of all fields on `kind`, which tells kinds apart


# What a reader sees of each kind of estimand, as a Jinja template, and of each fact.
_WORDS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("words.yml").read_text(encoding="utf-8"))
FACTS: dict[str, str] = _WORDS.pop("facts")
_RECIPES: dict[str, str] = _WORDS.pop("recipes")


class _Estimand(_Declared):
    def __str__(self) -> str:
        template = jinja2.Template(_WORDS[self.kind])  # type: ignore[attr-defined]
        named = {key: in_words(value) for key, value in self if key in ("recipe", "reference")}
        facts = {"as_written": as_written, "fact_words": FACTS.get(getattr(self, "fact", ""))}
        return template.render(dict(self) | named | facts)


def in_words(recipe: str) -> str:
    """What a reader calls a recipe of a published system; its name where no words are known."""
    return _RECIPES.get(recipe, recipe)


class Metric(_Estimand):
    """A metric of a recipe; with ``reference`` minus the same of that recipe, paired where the cases are the same."""

    kind: Literal["metric"]
    study: StudyName
    recipe: Name
    reference: Name | None = None
    metric: str
    split: Literal["validation", "test"] = "validation"
    with_copies: bool = Field(False, description="judged also on the copies that fell to validation, if there are any")
    reference_with_copies: bool | None = Field(None, description="the same for the reference; null: as with_copies")
    among: tuple[str, ...] = Field((), description="only on images of these classes; empty: on all images")

    @property
    def is_corrected(self) -> bool:
        """Whether both arms get their own prior correction first: what a moved threshold gives is free."""
        return self.reference is not None and self.metric == "balanced accuracy"

    @property
    def reference_copies(self) -> bool:
        return self.with_copies if self.reference_with_copies is None else self.reference_with_copies


class Training(_Estimand):
    """Training accuracy of the model that was kept, or its gap to validation accuracy; else as ``Metric``."""

    kind: Literal["training"]
    study: StudyName
    recipe: Name
    reference: Name | None = None
    quantity: Literal["accuracy", "gap"]
    split: Literal["validation"] = "validation"
    with_copies: bool = False


class Matrix(_Estimand):
    """A number of a published confusion matrix: rows are true classes, columns predicted classes."""

    kind: Literal["matrix"]
    classes: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]
    metric: str = Field(description="as `lesion matrix` names it; `recall <class>`; `above the majority`")
    case_mix: Literal["ham10000", "isic2018"] | None = Field(None, description="if classes were as frequent as there")


class Share(_Estimand):
    """A published share of ``n`` images, or minus a baseline on the same images or another published share."""

    kind: Literal["share"]
    what: str
    share: Fraction
    n: Positive
    mean_over: Literal["isic2018"] | None = Field(None, description="the share is the mean of those of its classes")
    baseline_is: str = ""
    baseline: Fraction = 0
    baseline_n: Positive | None = Field(None, description="images of the other published share; null: the same images")


class Data(_Estimand):
    """A fact of a study's cases; there is no sampling in it."""

    kind: Literal["data"]
    study: StudyName
    fact: str
    of: str | None = Field(None, description="the class that the fact is about")
    published_split: Literal["train", "test"] | None = Field(None, description="count only this split of the set")
    recipe: Name | None = Field(None, description="shared with training: count this recipe's copies; fill shown: its")
    names: dict[str, str] = Field({}, description="category code: the name of each label")

    @model_validator(mode="after")
    def _what_the_fact_needs(self) -> "Data":
        if self.fact not in FACTS:
            raise ValueError(f"unknown fact `{self.fact}`. Expected one of {', '.join(FACTS)}")
        for key, value in (("of", self.of), ("recipe", self.recipe)):
            if ("{" + key + "}" in FACTS[self.fact]) != bool(value) and self.fact != "shared with training":
                raise ValueError(f"`{key}: {value}` does not fit the fact `{self.fact}`")
        if self.published_split and "{images}" not in FACTS[self.fact]:
            raise ValueError(f"`published_split: {self.published_split}` does not fit the fact `{self.fact}`")
        if bool(self.names) != (self.fact == "category code"):
            raise ValueError("the fact `category code` needs `names`, and no other fact has them")
        return self


Estimand: TypeAlias = Metric | Training | Matrix | Share | Data
Direction = Literal["equals", "at_least", "at_most", "higher", "lower", "not_higher", "no_difference"]


class Claim(_Declared):
    """One claim, with what is measured and when the claim holds."""

    id: Annotated[str, Field(pattern=r"^[0-9]{3}_[a-z0-9_]+$", description="begins with the system")]
    quote: str | None = Field(None, description="the system's own text, word for word")
    states: str | None = Field(None, description="what its notebooks, code and outputs say")
    estimand: Annotated[Estimand, Field(discriminator="kind")] | None = None
    direction: Direction | None = None
    margin: Annotated[float, Field(ge=0)] | None = None
    published: float | None = None
    why: str | None = Field(None, description="why nothing can be measured here")
    note: str | None = Field(None, description="what else to know when reading the verdict")
    below: str | None = Field(None, description="id of the primary measurement of the same statement, which counts")
    declared: Literal["before", "after"] = Field("before", description="before or after the results were known")

    @model_validator(mode="after")
    def _complete(self) -> "Claim":
        measured = self.estimand is not None
        if (self.quote is None) == (self.states is None):
            raise ValueError("expected either `quote` (the system's text) or `states` (its code and outputs)")
        if {measured} != {self.direction is not None, self.margin is not None}:
            raise ValueError("expected `estimand`, `direction` and `margin` together, or none of them")
        if measured != (self.why is None):
            raise ValueError("expected `why` where there is no `estimand`, and only there")
        if self.published is None and self.direction in ("equals", "at_least", "at_most"):
            raise ValueError(f"the direction {self.direction} needs the number `published`")
        return self

    @property
    def words(self) -> str:
        return " ".join((self.quote or self.states or "").split())

    @property
    def about(self) -> str:
        """The kind of the claim, a key of ``KINDS``; claims are counted by kind."""
        if self.states is not None:
            return "finding"
        kinds = {"matrix": "output", "share": "output", "data": "data"}
        return kinds.get(self.estimand.kind, "model") if self.estimand else "model"

    @property
    def study(self) -> str | None:  # that measures the claim; None where none is needed
        return getattr(self.estimand, "study", None)

    @property
    def is_arithmetic(self) -> bool:
        """Whether it is a figure that the system's own output must give: judged at its printed digits, exactly."""
        return self.direction == "equals" and isinstance(self.estimand, Matrix | Share)

    @property
    def declaration(self) -> str:
        """Digest of what is measured and of when the claim holds; a measurement of another declaration is stale."""
        keys = {"estimand", "direction", "margin", "published"}
        return digest(self.model_dump(mode="json", include=keys, exclude_defaults=True))[:12]

    @property
    def region(self) -> tuple[float, float]:
        """Where the number of a claim with an estimand lies if it is true: lower and upper end, both included."""
        published, margin = self.published or 0.0, self.margin or 0.0
        return {
            "equals": (published - margin, published + margin),
            "at_least": (published - margin, math.inf),
            "at_most": (-math.inf, published + margin),
            "higher": (margin, math.inf),
            "lower": (-math.inf, -margin),
            "not_higher": (-math.inf, margin),
            "no_difference": (-margin, margin),
        }[str(self.direction)]


def read_ledger(path: Path = CLAIMS) -> list[Claim]:
    """The claims of a ledger in their order; raises InputError naming the claim and the key if it is invalid."""
    if not path.is_file():
        raise InputError(f"{path} does not exist. Expected a YAML list of claims. Fix: restore the file.")
    return list(_parsed(path, path.read_text(encoding="utf-8")))


@functools.lru_cache(maxsize=4)  # pages and jobs ask for it again and again
def _parsed(path: Path, text: str) -> tuple[Claim, ...]:
    try:
        values: Any = yaml.safe_load(text)
        if not isinstance(values, list):
            raise InputError(f"{path.name}: expected a list of claims, found {type(values).__name__}.")
        claims = TypeAdapter(tuple[Claim, ...]).validate_python(values)
    except yaml.YAMLError as error:
        raise InputError(f"{path.name} is not valid YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        number, key = int(first["loc"][0]), ".".join(map(str, first["loc"][1:]))
        name = values[number].get("id") if isinstance(values[number], dict) else None
        where = f"{path.name}, claim {name or f'number {number + 1}'}, key `{key}`"
        raise InputError(f"{where}: {first['msg']}. Fix: correct it.") from None
    if duplicates := [name for name, count in Counter(claim.id for claim in claims).items() if count > 1]:
        raise InputError(f"{path.name}: duplicate id {', '.join(duplicates)}. Fix: rename one of the two.")
    words = {claim.id: claim.words for claim in claims if claim.below is None}
    for claim in claims:
        if claim.below is not None and words.get(claim.below) != claim.words:
            raise InputError(
                f"{path.name}, claim {claim.id}: key `below` is {claim.below!r}. Expected the id of a claim with "
                "the same words and without `below`. Fix: correct it."
            )
    return claims


def other_sentences() -> dict[str, dict[str, list[str]]]:
    """Sentences of the systems' texts that are no claim: their first words by system and reason."""
    return yaml.safe_load(Path(__file__).with_name("other_sentences.yml").read_text(encoding="utf-8"))


def is_declared_at(made_by: str, claim: Claim) -> bool | None:
    """Whether the ledger at the commit ``made_by`` declares ``claim`` as it is now; None if that ledger is unknown."""
    text = text_at(made_by, CLAIMS.relative_to(PROJECT).as_posix())
    return None if text is None else claim.declaration == _declarations(text).get(claim.id)


@functools.lru_cache(maxsize=16)
def _declarations(text: str) -> dict[str, str]:
    """The declarations of a ledger by id, without those in another form than today's."""
    declarations = {}
    for value in yaml.safe_load(text):
        with contextlib.suppress(ValidationError):
            claim = Claim.model_validate(value)
            declarations[claim.id] = claim.declaration
    return declarations


def claims_of_study(study: str) -> list[Claim]:
    return [claim for claim in read_ledger() if claim.study == study]
