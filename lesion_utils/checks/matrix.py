"""A confusion matrix from a paper judged: what the counts say, how surely, and what they hide.

A matrix knows no lesions, so every interval here is by image, and too narrow if a lesion has several images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import binomtest

from lesion_utils.datasets import ham10000
from lesion_utils.errors import InputError, first_ten
from lesion_utils.evaluation import metrics
from lesion_utils.evaluation.bootstrap import LEVEL, MAX_REDRAWN, percentile_interval
from lesion_utils.evaluation.judge import FEW
from lesion_utils.evaluation.views import asked_views

MIN_IMAGES = 10  # of a class, below which its numbers are shown and called too few
MOST_CLASSES = 50
UNLIKE = 0.001  # probability below which supports do not fit a data set
ALIKE = 0.05  # above which they fit another explanation

_Z2 = 1.959964**2  # of a 95 % interval


class MatrixVerdict(NamedTuple):
    """What ``judge_matrix`` finds."""

    counts: pd.DataFrame  # (k, k) int64, rows true, columns predicted
    numbers: pd.DataFrame  # metric, value, low, high, n, note; indexed by metric
    by_class: pd.DataFrame  # recall and precision with hits, n and interval; indexed by class
    predictive: pd.DataFrame  # PPV and NPV of a view at a prevalence
    findings: list[str]  # what changes how the numbers must be read
    notes: list[str]  # how the matrix was read


def judge_matrix(
    matrix: pd.DataFrame,
    classes: Sequence[str] | None = None,
    supports: Sequence[float] | None = None,
    dataset: str | None = None,
    melanoma: str | None = None,
    malignant: Sequence[str] | None = None,
    prevalences: Sequence[float] = (0.05,),
    resamples: int = 2000,
    seed: int = 0,
) -> MatrixVerdict:
    """Judges a confusion matrix, (k, k), rows true and columns predicted, as ``read_matrix`` returns it.

    ``classes`` names the classes of a matrix without names; without them, seven classes of ``dataset`` "ham10000" (the
    only data set known) get its names in alphabetical order. ``supports`` are the images of each class, where the
    matrix holds shares of them. ``melanoma`` and ``malignant`` name the classes of these views; without them the
    names tell (``views_of``). PPV and NPV are given at each of ``prevalences``, of each view, or of each class.

    Shares have Wilson's interval; balanced accuracy and Matthews' correlation (Gorodkin, Comput Biol Chem 28:367, 2004)
    that of ``resamples`` multinomial draws of the images; PPV and NPV that of Mercaldo, Lau and Zhou (Stat Med 26:2170,
    2007). Supports are compared with the data set's by a multinomial test.

    Raises InputError for what is no matrix of counts of two or more classes.
    """
    notes: list[str] = []
    matrix = _with_names(matrix, classes, dataset, notes)
    counts = _counts(matrix, supports, notes)
    groups = asked_views(list(counts.index), melanoma, malignant)
    for prevalence in prevalences:
        if not 0 < prevalence < 1:
            raise InputError(f"a prevalence of {prevalence:g}: expected a number between 0 and 1.")
    by_class = _by_class(counts)
    numbers = pd.DataFrame([*_whole(counts, resamples, seed), *_view_rows(counts, groups)])
    numbers = numbers.set_axis(list(numbers["metric"]), axis=0)
    findings = _findings(counts, numbers)
    if dataset is not None:
        findings += _unlike(counts, seed)
    else:
        notes.append("the class counts were compared with no data set (--dataset ham10000)")
    of_whom = groups or {name: [name] for name in counts.index}
    return MatrixVerdict(counts, numbers, by_class, _predictive(counts, of_whom, prevalences), findings, notes)


def _with_names(
    matrix: pd.DataFrame, classes: Sequence[str] | None, dataset: str | None, notes: list[str]
) -> pd.DataFrame:
    if dataset not in (None, "ham10000"):
        raise InputError(f"no data set {dataset!r} is known. Expected ham10000.")
    k = len(matrix)
    if matrix.shape != (k, k) or not k:
        raise InputError(f"the matrix is not square: {matrix.shape[0]} x {matrix.shape[1]}.")
    if k > MOST_CLASSES:
        raise InputError(f"a matrix of {k} classes; one of up to {MOST_CLASSES} can be judged.")
    unnamed = all(isinstance(name, int | np.integer) or str(name).isdigit() for name in matrix.index)
    if unnamed and classes is None and dataset and k == len(ham10000.CLASSES):
        classes = list(ham10000.CLASSES)
        notes.append(f"no names in the text: taken as HAM10000's in alphabetical order, {', '.join(classes)}")
    if classes is None:
        names = [f"class {int(name) + 1}" if not isinstance(name, str) else name for name in matrix.index]
    elif len(classes) != k or len(set(classes)) != k:
        raise InputError(f"{len(set(classes))} different names for a matrix of {k} classes: {first_ten(classes)}.")
    elif unnamed or list(classes) == list(matrix.index):
        names = list(classes)
    else:
        raise InputError(
            f"the matrix names its classes {first_ten(matrix.index)}, which are not {first_ten(classes)} in this "
            "order. Fix: leave out --classes, or the names in the text."
        )
    if dataset and {name.lower() for name in names} != set(ham10000.CLASSES):
        raise InputError(
            f"the classes {first_ten(names)} are not HAM10000's, {', '.join(ham10000.CLASSES)}. "
            "Fix: name them by --classes, or leave out --dataset."
        )
    return matrix.set_axis(pd.Index(names, name="true"), axis=0).set_axis(pd.Index(names, name="predicted"), axis=1)


def _counts(matrix: pd.DataFrame, supports: Sequence[float] | None, notes: list[str]) -> pd.DataFrame:
    """``matrix`` as int64 if it holds counts, or shares of the rows and there are ``supports``."""
    try:
        values = matrix.to_numpy(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the matrix holds what is no number ({error}). Expected counts.") from error
    for bad, what in ((~np.isfinite(values), "no finite number"), (values < 0, "a negative number")):
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise InputError(
                f"{what} ({values[row, column]:g}) in the row of {matrix.index[row]}, column "
                f"{matrix.columns[column]}. Expected counts."
            )
    if not values.any():
        raise InputError("the matrix holds nothing but zeros. Expected counts.")
    shares = _is_shares(values)
    if supports is not None:
        values = _from_shares(matrix, values, supports, notes)
    elif shares:
        raise InputError(
            "the matrix is normalised (it holds shares, not counts), and shares have no interval without their n. "
            "Fix: paste the counts, or give the images of each class in the order of the rows: --supports 26,30,…"
        )
    elif (values != np.round(values)).any():
        row, column = np.argwhere(values != np.round(values))[0]
        raise InputError(
            f"{values[row, column]:g} in the row of {matrix.index[row]}, column {matrix.columns[column]}, is no count. "
            "Expected whole numbers of images."
        )
    if values.sum() > 1e9:
        raise InputError(f"{values.sum():.3g} images. Expected counts of up to a thousand million in all.")
    if (values.sum(1) > 0).sum() < 2:
        only = matrix.index[values.sum(1).argmax()]
        raise InputError(
            f"one class only: every image is of {only}. Expected images of two or more classes; rows are true classes."
        )
    return pd.DataFrame(values.astype(np.int64), index=matrix.index, columns=matrix.columns)


def _is_shares(values: np.ndarray) -> bool:
    """Whether rows, columns or the whole sum to 1, or to 100 with a fraction somewhere."""
    k = len(values)
    fractions = (values != np.round(values)).any()
    for sums in (values.sum(1), values.sum(0), values.sum(keepdims=True)):
        filled = sums[sums > 0]
        if np.allclose(filled, 1, atol=0.005 * k) and (fractions or np.size(sums) > 1):
            return True
        if fractions and np.allclose(filled, 100, atol=0.5 * k):
            return True
    return False


def _from_shares(matrix: pd.DataFrame, values: np.ndarray, supports: Sequence[float], notes: list[str]) -> np.ndarray:
    """Counts from shares of the rows; each row sums to its support by largest remainders."""
    given = np.asarray(supports, np.float64)
    if (
        given.shape != (len(values),)
        or not np.isfinite(given).all()
        or (given < 0).any()
        or (given != np.round(given)).any()
    ):
        raise InputError(f"--supports {first_ten(supports)}: expected {len(values)} counts, one for each row.")
    sums = values.sum(1)
    if np.array_equal(sums, given):
        return values  # counts already
    if odd := [
        str(name)
        for name, row, support in zip(matrix.index, sums, given, strict=True)
        if min(abs(row - 1), abs(row - 100) / 100) > 0.005 * len(values) and (row or support)
    ]:
        raise InputError(
            f"the row(s) of {first_ten(odd)} sum neither to their support nor to 1 or 100 %. "
            "Expected shares of the rows, or counts that agree with --supports."
        )
    exact = values / np.where(sums > 0, sums, 1)[:, None] * given[:, None]
    counts = np.floor(exact)
    for row, missing in enumerate((given - counts.sum(1)).round().astype(int)):
        counts[row, np.argsort(counts[row] - exact[row], kind="stable")[:missing]] += 1
    step = next(10.0**-d for d in range(16) if np.allclose(values, values.round(d), rtol=0, atol=1e-9))
    off = np.ceil(step / 2 / max(1, round(sums.max() / 100) * 100) * given.max())
    notes.append(f"counts rebuilt from rounded shares and --supports: a count may be off by up to {off:.0f}")
    return counts


def _share(name: str, hits: int, n: int, note: str = "") -> dict:
    """``hits`` of ``n`` with Wilson's interval (JASA 22:209, 1927); NaN where n is 0."""
    value = low = high = np.nan
    if n:
        interval = binomtest(int(hits), int(n)).proportion_ci(LEVEL, method="wilson")
        value, low, high = hits / n, float(interval.low), float(interval.high)
    return {"metric": name, "value": value, "low": low, "high": high, "n": int(n), "note": note}


def _whole(counts: pd.DataFrame, resamples: int, seed: int) -> list[dict]:
    """Accuracy, its two baselines, balanced accuracy and Matthews' correlation."""
    cells = counts.to_numpy()
    n, supports = int(cells.sum()), cells.sum(1)
    draws = multinomial_draws(counts, resamples, seed)
    whole = (draws.sum(2) > 0)[:, supports > 0].all(1)
    lacking = resamples - int(whole.sum())
    note = "" if lacking <= MAX_REDRAWN * resamples else f"no interval: {lacking:,} of {resamples:,} draws lack a class"
    rows = [
        _share("accuracy", int(np.trace(cells)), n),
        _baseline("majority baseline accuracy", supports.max() / n, n, f"always {counts.index[supports.argmax()]}"),
        _baseline(
            "stratified-random baseline accuracy", ((supports / n) ** 2).sum(), n, "drawn by the classes' shares"
        ),
    ]
    for name, of in (("balanced accuracy", metrics.balanced_accuracy), ("Matthews correlation", metrics.matthews)):
        value, low, high = float(of(cells[None].astype(np.float64))[0]), np.nan, np.nan
        if np.isfinite(value) and not note:
            low, high = percentile_interval(of(draws[whole]))
        rests = _rests_on(counts) if name == "balanced accuracy" and np.isfinite(value) else ""
        rows.append({"metric": name, "value": value, "low": low, "high": high, "n": n})
        rows[-1]["note"] = "; ".join(filter(None, [note, rests]))
    return rows


def multinomial_draws(counts: pd.DataFrame, resamples: int, seed: int) -> np.ndarray:
    """Confusion matrices, (resamples, k, k) float64, of as many images drawn from those of ``counts``."""
    cells = counts.to_numpy()
    n = int(cells.sum())
    draws = np.random.default_rng(seed).multinomial(n, cells.ravel() / n, size=resamples)
    return draws.reshape(resamples, *cells.shape).astype(np.float64)


def _rests_on(counts: pd.DataFrame) -> str:
    """The classes that are too few and yet weigh as much as any other in balanced accuracy."""
    small = [f"{name}, n = {n}" for name, n in counts.sum(axis=1).items() if n < MIN_IMAGES]
    return f"rests on {first_ten(small)}" if small else ""


def _baseline(name: str, value: float, n: int, note: str) -> dict:
    return {"metric": name, "value": float(value), "low": np.nan, "high": np.nan, "n": n, "note": note}


def _sizes(n: int) -> str:
    if n == 0:
        return "no image"
    return f"too few: n < {MIN_IMAGES}" if n < MIN_IMAGES else f"small: n < {FEW}" if n < FEW else ""


def _by_class(counts: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for place, name in enumerate(counts.index):
        hits, n = int(counts.iat[place, place]), int(counts.iloc[place].sum())
        predicted = int(counts.iloc[:, place].sum())
        recall, precision = _share("recall", hits, n), _share("precision", hits, predicted)
        ends = {
            f"{share['metric']}{end}": share[key]
            for share in (recall, precision)
            for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))
        }
        rows.append({"class": str(name), "hits": hits, "n": n, "predicted": predicted} | ends | {"note": _sizes(n)})
    return pd.DataFrame(rows).set_axis(list(counts.index), axis=0)


def _four(counts: pd.DataFrame, members: list[str]) -> tuple[int, int, int, int]:
    """True positives, positives, true negatives and negatives of ``members`` against the rest."""
    inside = counts.index.isin(members)
    cells = counts.to_numpy()
    return (
        int(cells[np.ix_(inside, inside)].sum()),
        int(cells[inside].sum()),
        int(cells[np.ix_(~inside, ~inside)].sum()),
        int(cells[~inside].sum()),
    )


def _view_rows(counts: pd.DataFrame, views: dict[str, list[str]]) -> list[dict]:
    rows = []
    for view, members in views.items():
        hits, positives, rejected, negatives = _four(counts, members)
        of = ", ".join(members)
        rows.append(_share(f"{view} sensitivity", hits, positives, "; ".join(filter(None, [of, _sizes(positives)]))))
        rows.append(_share(f"{view} specificity", rejected, negatives, of))
    return rows


def _predictive(counts: pd.DataFrame, views: dict[str, list[str]], prevalences: Sequence[float]) -> pd.DataFrame:
    rows = []
    for view, members in views.items():
        hits, positives, rejected, negatives = _four(counts, members)
        if not positives or not negatives:
            continue
        here = positives / (positives + negatives)
        for prevalence in sorted({here, *prevalences}):
            row = {"view": view, "prevalence": prevalence, "of_this_matrix": prevalence == here}
            # NPV is the PPV of the absence of the diagnosis
            for name, one in (
                ("ppv", _ppv(hits, positives, rejected, negatives, prevalence)),
                ("npv", _ppv(rejected, negatives, hits, positives, 1 - prevalence)),
            ):
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), one, strict=True))
            rows.append(row)
    return pd.DataFrame(rows)


def _ppv(
    hits: float, positives: float, rejected: float, negatives: float, prevalence: float
) -> tuple[float, float, float]:
    """PPV at a prevalence with its logit interval; NaN where nothing is called positive."""
    called = hits / positives * prevalence
    false = (negatives - rejected) / negatives * (1 - prevalence)
    if called + false == 0:
        return np.nan, np.nan, np.nan
    value = called / (called + false)
    if 0 in (
        hits,
        positives - hits,
        rejected,
        negatives - rejected,
    ):  # the adjusted logit, of Agresti and Coull's counts
        hits, positives, rejected, negatives = hits + _Z2 / 2, positives + _Z2, rejected + _Z2 / 2, negatives + _Z2
    sensitivity, specificity = hits / positives, rejected / negatives
    centre = np.log(sensitivity * prevalence / ((1 - specificity) * (1 - prevalence)))
    variance = (1 - sensitivity) / (sensitivity * positives) + specificity / ((1 - specificity) * negatives)
    spread = np.sqrt(_Z2 * variance)
    low, high = float(expit(centre - spread)), float(expit(centre + spread))
    return value, min(low, value), max(high, value)


def _findings(counts: pd.DataFrame, numbers: pd.DataFrame) -> list[str]:
    findings = []
    supports = counts.sum(axis=1)
    accuracy, majority = numbers.loc["accuracy"], numbers.loc["majority baseline accuracy"]
    if accuracy["low"] <= majority["value"]:
        findings.append(
            f"accuracy {accuracy['value']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f}) is not shown to be "
            f"above {majority['note']} ({majority['value']:.3f})"
        )
    if len(small := supports[(supports > 0) & (supports < MIN_IMAGES)]):
        sizes = first_ten(f"{name}: {n}" for name, n in small.items())
        findings.append(
            f"classes of fewer than {MIN_IMAGES} images ({sizes}): too few for numbers of their own, and "
            "balanced accuracy rests on them as much as on the largest class"
        )
    if len(none := supports[supports == 0]):
        findings.append(f"no image of {first_ten(none.index)}: balanced accuracy is not estimable")
    findings += ham10000.too_good(counts.index, numbers.at["balanced accuracy", "value"])
    if len(set(supports)) == 1 and supports.iloc[0] == 100:
        findings.append("every row sums to 100: if these are percentages, n and every interval are wrong (--supports)")
    return findings


def _unlike(counts: pd.DataFrame, seed: int) -> list[str]:
    """How the class counts differ from HAM10000's, if they do more than chance explains."""
    supports = counts.sum(axis=1).set_axis(counts.index.str.lower())
    whole, single = (pd.Series(of)[supports.index] for of in (ham10000.IMAGES, ham10000.SINGLE_IMAGE_LESIONS))
    if len(more := supports[supports > whole]):
        found = first_ten(f"{name}: {n:,} of {whole[name]:,}" for name, n in more.items())
        return [f"more images than HAM10000 has ({found}): copies of images, or another data set, are among them"]
    if (probability := _fit(supports, whole, seed)) >= UNLIKE:
        return []
    gap = ((supports / supports.sum() - whole / whole.sum()) / (whole / whole.sum()) ** 0.5).abs().idxmax()
    found = (
        f"class counts unlike HAM10000's (multinomial test, p = {probability:.1g} < {UNLIKE}), most of all {gap}: "
        f"{supports[gap] / supports.sum():.3f} of the images, there {whole[gap] / whole.sum():.3f}"
    )
    if _fit(supports, single, seed) >= ALIKE:
        found += (
            ". They look like a hold-out of single-image lesions, which would share no lesion with training, if "
            "that is what it is, but has fewer of the classes whose lesions were photographed several times, melanoma "
            "first"
        )
    elif _fit(supports, pd.Series(1, supports.index), seed) >= ALIKE:
        found += ". They look balanced: accuracy and precision hold for equally frequent classes only"
    return [f"{found}; accuracy, precision and predictive values hold for these shares only"]


def _fit(supports: pd.Series, like: pd.Series, seed: int, draws: int = 9999) -> float:
    """Probability of counts at least as far (chi-square) from the shares ``like``, by multinomial draws."""
    n = int(supports.sum())
    expected = n * like.to_numpy() / like.sum()
    drawn = np.random.default_rng(seed).multinomial(n, expected / n, size=draws)
    far = [((counts - expected) ** 2 / expected).sum(-1) for counts in (drawn, supports.to_numpy())]
    return float((1 + (far[0] >= far[1]).sum()) / (1 + draws))
