"""The prediction table that everything in this room judges: validated once, with its classes and bootstrap draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeAlias

import numpy as np
import pandas as pd

from lesion_utils import predictions
from lesion_utils.errors import InputError, first_ten
from lesion_utils.evaluation import bootstrap
from lesion_utils.evaluation.metrics import Ranking
from lesion_utils.views import Views, views_of

CORRECTED = "prior_corrected"  # column of the classes after prior correction, which ``prior.correct_prior`` adds
Frames: TypeAlias = pd.DataFrame | Sequence[pd.DataFrame]


@dataclass
class Run:
    """The answers of one run for n cases, with what metrics compute from them once for all draws."""

    rows: np.ndarray  # (n,) of the table: all its cases, or in cross-validation those of the run's fold
    truth: np.ndarray  # (n,) class indices
    predicted: np.ndarray  # (n,) class indices
    probabilities: np.ndarray | None  # (n, k); None if a run of the table has none
    corrected: np.ndarray | None = None  # (n,) class indices after prior correction, if there was one
    frame: int = 0  # number of the table's frame that it is from

    def __post_init__(self) -> None:
        self.ranking = cache(self._ranking)  # by the classes, given as bytes of (k,) bool
        self.case_values = cache(lambda of: of(self.truth, self.probabilities))  # (n,)
        self._draws: tuple[np.ndarray, int] | None = None
        self._known: dict[tuple[str, bytes], np.ndarray] = {}

    def known(self, draws: tuple[np.ndarray, int]) -> dict[tuple[str, bytes], np.ndarray]:
        """What was computed of this run, by metric: its value and those in ``draws``, (1 + B,). Add what is new."""
        if self._draws is not draws:
            self._draws, self._known = draws, {}
        return self._known

    def weigh(self, weights: np.ndarray) -> np.ndarray:
        """The ``weights`` of the cases of a table, (B, …), for those of this run, (B, n)."""
        return weights if len(self.rows) == weights.shape[1] else weights[:, self.rows]

    def _ranking(self, member: bytes) -> Ranking:
        assert self.probabilities is not None
        positive = np.frombuffer(member, bool)
        return Ranking(self.probabilities[:, positive].sum(1).round(12), positive[self.truth])  # equal sums are ties


class PredictionTable:
    """What one or more runs of a model predict for the same cases; every number about it uses its ``draws`` of lesions.

    A frame has the columns ``image_id, lesion_id, label`` and a probability ``p_<class>`` for each class, or else
    ``predicted``. In cross-validation a frame holds one pass through the folds, and its column ``fold`` says whose
    model predicts a case: each fold is a run, judged on its own cases. With probabilities the predicted class is the
    most probable one (the first of equals), whatever else the frame says. ``name`` names the table in messages. Raises
    InputError for a frame that breaks the contract, and for runs that differ in cases, labels, lesions or classes.

    It has ``frames`` in the row order of the first, ``frame``; the ``k`` ``classes`` of the ``p_`` columns in their
    order, else all labels and predictions by name; ``truth``, the labels as class indices, (n,); ``lesion_ids``, (n,),
    and ``lesions``, their number; ``runs``, and ``predicted``, (n,), and ``probabilities``, (n, k), of the first; and
    ``leaky``: a run has seen lesions or images of these cases in training.
    """

    def __init__(self, frames: Frames, resamples: int = 2000, seed: int = 0, name: str = "the prediction table"):
        listed = [frames] if isinstance(frames, pd.DataFrame) else list(frames)
        if not listed:
            raise InputError(f"{name}: no run. Expected the prediction tables of one or more runs.")
        first, *others = [predictions.validate(frame, name) for frame in listed]
        self.frames = [first, *(_aligned(first, other) for other in others)]
        self.frame, self.resamples, self.seed, self.name = first, resamples, seed, name
        self.has_probabilities = all(predictions.classes_of(frame) for frame in self.frames)
        self.classes = predictions.classes_of(first)
        if not self.has_probabilities:
            named = (predictions.classes_of(frame) or [*frame["label"], *frame["predicted"]] for frame in self.frames)
            self.classes = sorted({label for labels in named for label in labels})
        self.k, self.truth = len(self.classes), pd.Index(self.classes).get_indexer(first["label"])
        answers = [self._answers(frame) for frame in self.frames]
        self.fold = first.get("fold", pd.Series(0, first.index)).to_numpy()
        self.predicted, self._scores, _ = answers[0]
        self.predicted_by_frame = [predicted for predicted, *_ in answers]
        self.runs = [run for number in range(len(answers)) for run in self._runs(number, *answers[number])]
        self.lesion_ids = first["lesion_id"].to_numpy()
        self.lesion_codes, unique = pd.factorize(self.lesion_ids)
        self.lesions = len(unique)
        self.leaky = any(map(predictions.is_leaky, self.frames))

    def _runs(self, number: int, *answers: np.ndarray | None) -> list[Run]:
        """The run of frame ``number``, or its runs, by fold, from its ``_answers``."""
        runs = []
        for rows in (np.flatnonzero(self.fold == each) for each in np.unique(self.fold)):
            predicted, scores, corrected = (None if of is None else of[rows] for of in answers)
            runs.append(Run(rows, self.truth[rows], predicted, scores, corrected, number))  # type: ignore[arg-type]
        return runs

    def _answers(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        if self.has_probabilities:
            scores = frame[[f"p_{name}" for name in self.classes]].to_numpy(np.float64)
            corrected = pd.Index(self.classes).get_indexer(frame[CORRECTED]) if CORRECTED in frame else None
            return scores.argmax(1), scores, corrected
        predicted = frame.get("predicted")
        if classes := predictions.classes_of(frame):  # another run has none
            predicted = np.asarray(classes, object)[predictions.probabilities(frame).argmax(1)]
        return pd.Index(self.classes).get_indexer(predicted), None, None

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def probabilities(self) -> np.ndarray:
        """Raises InputError if the table has predicted classes only."""
        if self._scores is None:
            raise InputError(f"{self.name} has predicted classes only. Expected p_<class> for each class.")
        return self._scores

    @property
    def weights(self) -> np.ndarray:  # how often each case is in each draw, (resamples, n)
        return self.draws[0]

    @property
    def point_and_draws(self) -> np.ndarray:  # all cases once, then ``weights``, (1 + resamples, n)
        return np.vstack([np.ones_like(self.weights[:1]), self.weights])

    @cached_property
    def draws(self) -> tuple[np.ndarray, int]:
        """``weights``, and how many draws were repeated (``bootstrap.lesion_draws``); made when first needed."""
        least = bootstrap.MIN_LESIONS  # a class too rare for its own metrics must not change the draws of the others
        return bootstrap.lesion_draws(self.lesion_ids, self.truth, self.k, self.resamples, self.seed, least)

    def has_draws_of(self, other: "PredictionTable") -> bool:
        """Whether the draws of both are the same, and their cases and classes in the same order."""
        same_cases = self.draws is other.draws and self.frame["image_id"].equals(other.frame["image_id"])
        return same_cases and self.classes == other.classes

    def with_runs_of(self, other: "PredictionTable") -> "PredictionTable":
        """The runs of this table and then those of ``other``, on the draws of this one."""
        return self.with_frames([*self.frames, *other.frames])

    def with_frames(self, frames: Frames) -> "PredictionTable":
        """A table of ``frames`` with the same cases, on the draws of this one."""
        table = PredictionTable(frames, self.resamples, self.seed, self.name)
        table.draws = self.draws  # the same lesions and labels, so the same draws
        return table

    def view(self, name: str, views: Views = None) -> tuple[str, ...]:
        """The classes of the view ``name``; raises InputError if these classes have no such view."""
        existing = views_of(self.classes, views) if views is None or any(views.values()) else dict(views)
        if name not in existing:
            classes, found = ", ".join(self.classes), ", ".join(existing) or "none"
            raise InputError(f"No view {name!r} for the classes {classes}; there is {found}. Fix: name its classes.")
        return tuple(existing[name])

    def is_labelled(self, classes: Sequence[str]) -> np.ndarray:
        """Which cases have one of ``classes`` as their label, (n,) bool."""
        return np.isin(self.classes, classes)[self.truth]

    def probability_of(self, classes: Sequence[str]) -> np.ndarray:
        """The summed probability of ``classes`` for each case, (n,), rounded so that equal sums are equal."""
        return self.probabilities[:, np.isin(self.classes, classes)].sum(1).round(12)

    def size(self, chosen: np.ndarray) -> tuple[int, int]:
        """Images and lesions of the cases ``chosen``, (n,) bool."""
        return int(chosen.sum()), int(np.count_nonzero(np.bincount(self.lesion_codes[chosen])))

    def lesions_with(self, positive: np.ndarray, name: str) -> dict[str, int]:
        """The lesions of the cases ``positive``, (n,) bool, and of the rest, by a name for the reader."""
        return {name: self.size(positive)[1], f"not {name}": self.size(~positive)[1]}

    def share(self, hits: np.ndarray, among: np.ndarray, name: str) -> dict:
        """The share of ``hits`` ``among`` the cases called ``name``, both (n,) bool, as a dict of ``ESTIMATE``."""
        images, lesions = self.size(among)
        draws = bootstrap.share_draws(self.weights, hits[:, None], among)[:, 0]
        share = hits[among].mean() if images else np.nan
        return bootstrap.estimate_row(share, draws, {name: lesions}, images, lesions, is_share=True)


def require_same_classes(classes: Sequence[str], others: Sequence[str]) -> None:
    if set(classes) != set(others):
        raise InputError(f"The prediction tables have different classes: {', '.join(classes)}; {', '.join(others)}.")


def _aligned(first: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    classes, of_other = predictions.classes_of(first), predictions.classes_of(other)
    if classes and of_other:
        require_same_classes(classes, of_other)
    first, other = first.set_index("image_id"), other.set_index("image_id")
    if len(unmatched := first.index.symmetric_difference(other.index)):
        raise InputError(f"The prediction tables have different cases; in only one of them: {first_ten(unmatched)}.")
    other = other.loc[first.index]
    for column in ("label", "lesion_id", *({"fold"} & {*first, *other})):
        if (differs := first[column] != other[column]).any():
            raise InputError(f"The prediction tables differ in {column} for {first_ten(first.index[differs])}.")
    return other.reset_index()
