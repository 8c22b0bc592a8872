"""A confusion matrix from a paper judged: what the counts show, how precisely, and what they hide.

Every interval is by image, since a matrix names no lesions; it is too narrow if a lesion has several images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from scipy.special import expit

from lesion_utils.checks.findings import not_above, say, too_good
from lesion_utils.datasets import ham10000
from lesion_utils.errors import InputError, first_ten
from lesion_utils.evaluation import metrics
from lesion_utils.evaluation.bootstrap import MAX_REDRAWN, interval_row, percentile_interval, unknown, wilson
from lesion_utils.evaluation.judge import FEW
from lesion_utils.rounding import number
from lesion_utils.tables import parse_numbers, read_table, require_columns, require_unique
from lesion_utils.views import asked_views, code_of

MIN_IMAGES = 10  # of a class; with fewer, its numbers are shown and marked "too few"
MOST_CLASSES = 50
MOST_IMAGES = 1e9
UNLIKELY = 0.001  # p below which class counts do not fit a dataset
FITS = 0.05  # p from which they fit another explanation
CLASS_COUNTS: dict[str, dict[str, int]] = yaml.safe_load(Path(__file__).with_name("class_counts.yml").read_text())
CASE_MIXES = ("ham10000", "isic2018")  # of CLASS_COUNTS
ORDERS = {  # in which people print HAM10000's classes
    "by code": ham10000.CLASSES,
    "by full name": ("akiec", "bcc", "bkl", "df", "nv", "mel", "vasc"),
    "as ISIC 2018": ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc"),
    "of a much copied notebook": ("akiec", "bcc", "bkl", "df", "nv", "vasc", "mel"),
}
_COLUMNS = ["metric", "value", "low", "high", "n", "note"]
_Z2 = 1.959964**2  # of a 95% interval
_UNKNOWN = (np.nan, np.nan)


class MatrixVerdict(NamedTuple):
    """What ``judge_matrix`` finds."""

    counts: pd.DataFrame  # (k, k) int64, rows true, columns predicted
    numbers: pd.DataFrame  # metric, value, low, high, n, note; indexed by metric
    by_class: pd.DataFrame  # recall, precision and specificity with hits, n and interval; indexed by class
    predictive: pd.DataFrame  # PPV and NPV of a view at a prevalence
    at_case_mix: pd.DataFrame  # as ``numbers``, if classes were as frequent as in ``case_mix``; empty without
    findings: list[str]  # what changes how the numbers must be read
    notes: list[str]  # how the matrix was read


def judge_matrix(
    matrix: pd.DataFrame,
    classes: Sequence[str] | None = None,
    class_counts: Sequence[float] | None = None,
    dataset: str | None = None,
    melanoma: str | None = None,
    malignant: Sequence[str] | None = None,
    prevalences: Sequence[float] = (0.05,),
    case_mix: Mapping[str, float] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> MatrixVerdict:
    """Judges a confusion matrix, (k, k), rows true and columns predicted, as ``parse_matrix.read`` returns it.

    ``classes`` names the classes of a matrix without names. ``dataset`` may be "ham10000": class counts are compared
    with it by a multinomial test, and seven classes without names get its names in alphabetical order.
    ``class_counts`` are the images of each class: a matrix of shares needs them, and one of whole numbers that may be
    percentages. ``melanoma`` and ``malignant`` name the classes of these views (``asked_views``). PPV and NPV are given
    at each of ``prevalences`` (above 0, below 1) for each view; without views, for each class. ``case_mix``: images per
    class of another dataset (``read_case_mix``), whose class frequencies the numbers are recomputed for.

    Shares have Wilson's interval. Balanced accuracy, macro F1 and Matthews' correlation (Gorodkin, Comput Biol Chem
    28:367, 2004) have that of ``resamples`` multinomial draws of the images, PPV and NPV that of Mercaldo, Lau and Zhou
    (Stat Med 26:2170, 2007). Raises InputError for a matrix that does not hold counts of two or more classes.
    """
    if wrong := [prevalence for prevalence in prevalences if not 0 < prevalence < 1]:
        raise InputError(f"prevalence {wrong[0]:g}: expected a number between 0 and 1.")
    notes: list[str] = []
    counts = _counts(_with_names(matrix, classes, dataset, notes), class_counts, notes)
    views = asked_views(list(counts.index), melanoma, malignant)
    of_views, predictive = _of_views(counts, views or {name: [name] for name in counts.index}, prevalences)
    rows = [*_overall(counts, resamples, seed), *(of_views if views else [])]
    numbers = pd.DataFrame(rows, [row[0] for row in rows], _COLUMNS)
    unknown_kind = [name for name in counts.index if code_of(name) is None]
    if views and unknown_kind and malignant is None:
        notes.append(say("unknown kind", classes=first_ten(unknown_kind)))
    findings = _findings(counts, numbers) + (_unlike_ham10000(counts, seed) if dataset else [])
    notes += [] if dataset else [say("not compared")]
    at_mix = pd.DataFrame(columns=_COLUMNS)
    if case_mix is not None:
        at_mix = _at_case_mix(counts, case_mix, views, resamples, seed)
    return MatrixVerdict(counts, numbers, _by_class(counts), predictive, at_mix, findings, notes)


def other_way(matrix: pd.DataFrame, verdict: MatrixVerdict, **options: Any) -> str:
    """What the numbers would be if the other side of ``matrix`` were true; "" if the same, or if it cannot be."""
    try:
        other = judge_matrix(matrix.T, resamples=2, **options).numbers["value"]  # no interval is shown
    except InputError:
        return ""
    ours = verdict.numbers["value"]
    names = [name for name in ("balanced accuracy", "melanoma sensitivity", "malignant sensitivity") if name in ours]
    changed = [f"{name} {number(other[name])} instead of {number(ours[name])}" for name in names]
    return say("other way", changed=", ".join(changed)) if (other[names] != ours[names]).any() else ""


def read_case_mix(mix: str) -> dict[str, float]:
    """Images of each class: of a named dataset (``CASE_MIXES``), or of a table with the columns class and count."""
    if mix in CASE_MIXES:
        return dict(CLASS_COUNTS[mix])
    expected, path = "a CSV file with the columns class and count", Path(mix)
    if not path.is_file():
        raise InputError(f"no case mix {mix!r}. Expected {', '.join(CASE_MIXES)}, or {expected}.")
    table = read_table(path, expected)
    require_columns(path, table, ("class", "count"), f"Expected {expected}.")
    require_unique(path, table["class"], "Fix: keep one row per class.")
    return dict(zip(table["class"], parse_numbers(path, table["count"], 0, MOST_IMAGES), strict=True))


def _at_case_mix(
    counts: pd.DataFrame, mix: Mapping[str, float], views: Mapping[str, list], resamples: int, seed: int
) -> pd.DataFrame:
    """Numbers if the classes were as frequent as in ``mix``: each row keeps its shares and gets its class's weight.

    The frequencies are taken as exact. Intervals are those of ``resamples`` draws of the images of each true class.
    """
    names, images = counts.index.str.lower(), counts.sum(axis=1).to_numpy()
    weights = pd.Series(mix, dtype=np.float64).rename(str.lower).reindex(names).to_numpy()
    if (missing := np.isnan(weights)).any() or not weights.sum() > 0:
        problem = f"the case mix has no count of {first_ten(counts.index[missing])}"
        raise InputError(f"{problem}; it has {first_ten(mix)}. Fix: use its names (--classes), or add the class.")
    if (absent := (images == 0) & (weights > 0)).any():
        raise InputError(f"the matrix has no image of {first_ten(counts.index[absent])}, which the case mix has.")
    own, rng, shares = counts.to_numpy(), np.random.default_rng(seed), weights / weights.sum()
    draws = [rng.multinomial(n, row / max(n, 1), resamples) for n, row in zip(images, own, strict=True)]
    cells = np.concatenate([own[None], np.stack(draws, axis=1)]) * (shares / np.maximum(images, 1))[:, None]
    measured = {"accuracy": metrics.accuracy(cells), "macro F1": metrics.macro_f1(cells)}
    measured["Matthews correlation"] = metrics.matthews(cells)
    for view, members in views.items():
        merged = metrics.merged(cells, counts.index.isin(members))
        measured[f"{view} sensitivity"] = metrics.sensitivity(merged, 1)
        measured[f"{view} specificity"] = metrics.sensitivity(merged, 0)
    measured |= {f"precision {name}": metrics.precision(cells, index) for index, name in enumerate(counts.index)}
    rows = {name: _estimate(of[0], of[1:]) for name, of in measured.items()}
    rows |= {"majority baseline accuracy": unknown(f"always {counts.index[shares.argmax()]}") | {"value": shares.max()}}
    rows["accuracy"]["note"] = _rests_on(counts.sum(axis=1)[weights > 0])
    return pd.DataFrame(rows).T.infer_objects().assign(metric=list(rows), n=int(images.sum()))[_COLUMNS]


def _rests_on(images: pd.Series) -> str:
    few = first_ten(f"{name}, n = {size}" for name, size in images.items() if size < MIN_IMAGES)
    return f"rests on few images ({few})" if few else ""


def _estimate(value: float, draws: np.ndarray) -> dict:
    """``value, low, high, note`` of a number from its draws; NaN with the reason where it is not defined."""
    if np.isnan(value):
        return unknown("not defined for these counts")
    if (lacking := int(np.isnan(draws).sum())) > MAX_REDRAWN * len(draws):
        return unknown(f"no interval: not defined in {lacking:,} of {len(draws):,} draws") | {"value": value}
    return interval_row(value, draws)


def _with_names(matrix: pd.DataFrame, classes: Sequence[str] | None, dataset: str | None, notes: list) -> pd.DataFrame:
    k, published = len(matrix), list(ham10000.CLASSES)
    if dataset not in (None, "ham10000"):
        raise InputError(f"unknown dataset {dataset!r}. Expected ham10000.")
    if k > MOST_CLASSES:
        raise InputError(f"the matrix is {k} x {k}. Expected a square matrix of up to {MOST_CLASSES} classes.")
    unnamed = all(str(name).isdigit() for name in matrix.index)
    if unnamed and classes is None and dataset and k == len(published):
        _refuse_other_order(matrix)
        classes = published
        notes.append(say("names taken", classes=", ".join(classes)))
    names = list(classes or (name if isinstance(name, str) else f"class {name + 1}" for name in matrix.index))
    if len(names) != k or len(set(names)) != k:
        raise InputError(f"{len(set(names))} different names for a matrix of {k} classes: {first_ten(names)}.")
    if not unnamed and names != list(matrix.index):
        differ = f"the matrix names its classes {first_ten(matrix.index)}; --classes says {first_ten(names)}"
        raise InputError(f"{differ}. Expected the same names and order. Fix: leave out --classes, or the names.")
    codes = [code_of(name) for name in names]
    if dataset and set(codes) == set(published) and [name.lower() for name in names] != codes:
        pairs = zip(names, codes, strict=True)
        notes.append(say("names read", names=first_ten(f"{name} as {code}" for name, code in pairs)))
        names = [str(code) for code in codes]
    if dataset and {name.lower() for name in names} != set(published):
        differ = f"the classes {first_ten(names)} are not those of HAM10000, {', '.join(published)}"
        raise InputError(f"{differ}. Fix: name them with --classes, or leave out --dataset.")
    return pd.DataFrame(matrix.to_numpy(), pd.Index(names, name="true"), pd.Index(names, name="predicted"))


def _refuse_other_order(matrix: pd.DataFrame) -> None:
    """Raises InputError if the class counts fit another order of HAM10000's classes, and not the one by code."""
    images, likely = matrix.sum(axis=1), {}
    if images.sum() <= 0 or not (images == images.round()).all():
        return
    for name, order in ORDERS.items():
        shares = [
            pd.Series(CLASS_COUNTS[like])[list(order)] for like in ("ham10000", "single-image lesions of ham10000")
        ]
        likely[name] = max(_multinomial_p(images, like, 0) for like in shares)
    fitting = [name for name, p in likely.items() if p >= FITS]
    if likely["by code"] < UNLIKELY and fitting:
        orders = " or ".join(f"{','.join(ORDERS[name])} ({name})" for name in fitting)
        problem = "the text names no classes, and its class counts do not fit HAM10000's classes by code"
        raise InputError(f"{problem}. They fit {orders}. Fix: give the order of its rows, --classes A,B,…")


def _counts(matrix: pd.DataFrame, class_counts: Sequence[float] | None, notes: list[str]) -> pd.DataFrame:
    """``matrix`` as int64 if it holds counts, or shares of its rows or of all images and there are ``class_counts``."""
    values = matrix.to_numpy(np.float64)
    _refuse_cell(matrix, ~np.isfinite(values), "is not a finite number")
    _refuse_cell(matrix, values < 0, "is negative")
    if not values.any():
        raise InputError("the matrix holds only zeros. Expected counts.")
    if (values.sum(1) > 0).sum() < 2:
        name = matrix.index[values.sum(1).argmax()]
        raise InputError(f"every image is of one class, {name}. Expected images in two or more rows, the true classes.")
    if class_counts is not None:
        values = _with_class_counts(matrix, values, class_counts, notes)
    else:
        _refuse_shares(values)
    _refuse_cell(matrix, values != np.round(values), "is not a whole number")
    if values.sum() > MOST_IMAGES:
        raise InputError(f"{values.sum():.3g} images. Expected at most {MOST_IMAGES:,.0f}.")
    return pd.DataFrame(values.astype(np.int64), matrix.index, matrix.columns)


def _refuse_cell(matrix: pd.DataFrame, bad: np.ndarray, problem: str) -> None:
    for row, column in np.argwhere(bad):
        cell = f"row {matrix.index[row]}, column {matrix.columns[column]}"
        raise InputError(f"{matrix.iat[row, column]:g} {problem} ({cell}). Expected a count of images.")


def _shares_of(values: np.ndarray) -> tuple[str, int]:
    """What ``values`` may be shares (1) or percentages (100) of, rounded to 0.01 or to 1%: "each row", "the matrix" or
    "each column"; an empty string if rounding cannot explain the sums.
    """
    for what, axis in (("each row", 1), ("the matrix", None), ("each column", 0)):
        for whole in (1, 100):
            half, used = 0.005 * whole, values.sum(axis, keepdims=True) > 0
            least, most = (np.maximum(values + off, 0).sum(axis, keepdims=True) for off in (-half, half))
            fits = (least < whole + 1e-9) & (most > whole - 1e-9)
            if fits[used].all() and (axis is None or used.sum() > 1):
                return what, whole
    return "", 0


def _refuse_shares(values: np.ndarray) -> None:
    """Raises InputError for ``values`` that are shares, or may be shares as well as counts."""
    what, whole = _shares_of(values)
    if not what:
        return
    give = "give the images of each true class, in the order of the matrix: --class-counts 26,30,…"
    if what == "each column":
        give = "if the columns are the true classes: --rows predicted --class-counts 26,30,…"
    if (values != np.round(values)).any():
        problem = f"the matrix is normalised: {what} sums to {whole}. Without class counts it has no 95% CIs"
        raise InputError(f"{problem}. Fix: paste the counts; or {give}")
    problem = f"the matrix may hold counts or {'shares' if whole == 1 else 'percentages'}: {what} sums to {whole}"
    counts = ",".join(f"{images:.0f}" for images in values.sum(1))
    fix = f"if these are counts, and the rows are the true classes: --class-counts {counts}; if not, paste the counts"
    raise InputError(f"{problem}, within rounding. Fix: {fix}; or {give}")


def _with_class_counts(
    matrix: pd.DataFrame, values: np.ndarray, class_counts: Sequence[float], notes: list
) -> np.ndarray:
    """``values`` if they are counts; if they are shares, each row sums to its class count, by largest remainders."""
    images, sums = np.asarray(class_counts, np.float64), values.sum(1)
    if images.shape != sums.shape or not (np.isfinite(images) & (images >= 0) & (images == images.round())).all():
        expected = f"expected {len(values)} whole numbers, one for each row"
        raise InputError(f"--class-counts {first_ten(class_counts)}: {expected}.")
    if np.array_equal(sums, images):
        return values  # counts already
    what, whole = _shares_of(values)
    sides = "--rows predicted, if the columns are the true classes"
    if what == "each column":
        problem = f"each column sums to {whole}: shares of predicted classes do not give counts"
        raise InputError(f"{problem}. Fix: paste the counts; or {sides}.")
    expected = {"each row": whole * (images > 0), "the matrix": whole * images / max(images.sum(), 1)}.get(what, images)
    off = (abs(sums - expected) > 0.005 * len(values) * whole + 1e-9) | ((sums > 0) != (images > 0))
    if off.any():
        rows = zip(matrix.index[off], sums[off], expected[off], strict=True)
        differ = first_ten(f"{name}: {number(total)}, expected {number(wanted)}" for name, total, wanted in rows)
        problem = f"--class-counts does not fit the sums of the rows ({differ})"
        raise InputError(f"{problem}. Fix: correct the class counts; or {sides}.")
    if not what:
        return values
    exact = values / np.where(sums > 0, sums, 1)[:, None] * images[:, None]
    counts = np.floor(exact)
    for row, missing in enumerate((images - counts.sum(1)).round().astype(int)):
        counts[row, np.argsort(counts[row] - exact[row], kind="stable")[:missing]] += 1
    step = next(10.0**-d for d in range(16) if np.allclose(values, values.round(d), rtol=0, atol=1e-9))
    unit = (images[:, None] if what == "each row" else images.sum()) / whole
    notes.append(say("from shares", most=np.ceil((abs(counts - values * unit) + step / 2 * unit).max() - 1e-6)))
    return counts


def _share(hits: float, n: float) -> tuple[float, float, float]:
    return (hits / n, *wilson(hits, n)) if n else (np.nan, np.nan, np.nan)


def _overall(counts: pd.DataFrame, resamples: int, seed: int) -> list[tuple]:
    cells, images = counts.to_numpy(np.float64), counts.sum(axis=1)
    n, shares = int(images.sum()), images / images.sum()
    draws = np.random.default_rng(seed).multinomial(n, cells.ravel() / n, size=resamples).astype(np.float64)
    draws = draws.reshape(resamples, *cells.shape)
    complete = draws.sum(2)[:, images > 0].all(1)
    lacking = int((~complete).sum())
    note = "" if lacking <= MAX_REDRAWN * resamples else f"no interval: {lacking:,} of {resamples:,} draws lack a class"
    rows: list[tuple] = [
        ("accuracy", *_share(cells.trace(), n), n, ""),
        ("majority baseline accuracy", shares.max(), *_UNKNOWN, n, f"always {shares.idxmax()}"),
        ("stratified-random baseline accuracy", (shares**2).sum(), *_UNKNOWN, n, "drawn by the classes' shares"),
    ]
    of_all = {"balanced accuracy": metrics.balanced_accuracy, "macro F1": metrics.macro_f1}
    others = {"weighted F1": _weighted_f1, "Matthews correlation": metrics.matthews, "Cohen's kappa": _kappa}
    for name, metric in (of_all | others).items():
        value = metric(cells[None])[0]
        interval = _UNKNOWN if note or np.isnan(value) else percentile_interval(metric(draws[complete]))
        rests = _rests_on(images) if name in of_all and not np.isnan(value) else ""
        rows.append((name, value, *interval, n, "; ".join(filter(None, [note, rests]))))
    return rows


def _weighted_f1(cells: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes, (B,), weighted by their images; a class that is never predicted has 0."""
    images = cells.sum(2)
    of_classes = [metrics.f1(cells, index) for index in range(cells.shape[1])]
    return np.nansum(np.stack(of_classes, axis=1) * images, axis=1) / images.sum(1)  # NaN: a class without any image


def _kappa(cells: np.ndarray) -> np.ndarray:
    """Cohen's kappa, (B,): agreement beyond that of the same shares by chance."""
    n = cells.sum((1, 2))
    agreed, chance = np.trace(cells, axis1=1, axis2=2) / n, (cells.sum(1) * cells.sum(2)).sum(1) / n**2
    with np.errstate(invalid="ignore"):
        return (agreed - chance) / (1 - chance)


def _size_note(n: float) -> str:
    if n >= MIN_IMAGES:
        return f"few: n < {FEW}" if n < FEW else ""
    return f"too few: n < {MIN_IMAGES}" if n else "no image"


def _by_class(counts: pd.DataFrame) -> pd.DataFrame:
    hits, n, predicted = np.diag(counts), counts.sum(axis=1), counts.sum()
    table = pd.DataFrame({"class": counts.index, "hits": hits, "n": n, "predicted": predicted}, list(counts.index))
    rest = n.sum() - n
    for name, right, of in (
        ("recall", hits, n),
        ("precision", hits, predicted),
        ("specificity", rest - predicted + hits, rest),
    ):
        table[[name, f"{name}_low", f"{name}_high"]] = list(map(_share, right, of))
    return table.assign(note=n.map(_size_note))


def _of_views(counts: pd.DataFrame, views: dict[str, list], prevalences: Sequence[float]) -> tuple[list, pd.DataFrame]:
    """Rows of sensitivity and specificity of each view, and the table of its PPV and NPV."""
    rows, predictive = [], []
    for view, members in views.items():
        table = metrics.merged(counts.to_numpy(np.float64), counts.index.isin(members))
        (negatives, positives), names = table.sum(1), ", ".join(members)
        note = "; ".join(filter(None, [names, _size_note(positives)]))
        rows.append((f"{view} sensitivity", *_share(table[1, 1], positives), int(positives), note))
        rows.append((f"{view} specificity", *_share(table[0, 0], negatives), int(negatives), names))
        own = positives / table.sum()
        for prevalence in sorted({own, *prevalences}) if negatives and positives else ():
            npv = _ppv(table[::-1, ::-1], 1 - prevalence)  # the PPV of the absence of the diagnosis
            predictive.append((view, prevalence, prevalence == own, *_ppv(table, prevalence), *npv))
    shares = ["ppv", "ppv_low", "ppv_high", "npv", "npv_low", "npv_high"]
    return rows, pd.DataFrame(predictive, columns=["view", "prevalence", "of_this_matrix", *shares])


def _ppv(table: np.ndarray, prevalence: float) -> tuple[float, float, float]:
    """PPV at a prevalence with its logit interval; NaN where no image is predicted positive."""
    (rejected, false), (_, hits) = table  # rows true, columns predicted; negative first
    negatives, positives = table.sum(1)
    right, wrong = hits / positives * prevalence, false / negatives * (1 - prevalence)
    if right + wrong == 0:
        return np.nan, np.nan, np.nan
    if not table.all():  # the adjusted logit, of Agresti and Coull's counts
        hits, positives, rejected, negatives = hits + _Z2 / 2, positives + _Z2, rejected + _Z2 / 2, negatives + _Z2
    sensitivity, specificity = hits / positives, rejected / negatives
    centre = np.log(sensitivity * prevalence / ((1 - specificity) * (1 - prevalence)))
    variance = (1 - sensitivity) / (sensitivity * positives) + specificity / ((1 - specificity) * negatives)
    low, high = expit(centre + np.sqrt(_Z2 * variance) * np.array([-1, 1]))
    value = right / (right + wrong)
    return value, min(low, value), max(high, value)


def _findings(counts: pd.DataFrame, numbers: pd.DataFrame) -> list[str]:
    images, majority = counts.sum(axis=1), numbers.at["majority baseline accuracy", "value"]
    findings = not_above(numbers.loc["accuracy"], majority, f"the accuracy of always predicting {images.idxmax()}")
    if few := first_ten(f"{name}: {n}" for name, n in images.items() if 0 < n < MIN_IMAGES):
        findings.append(say("small classes", limit=MIN_IMAGES, classes=few))
    if none := first_ten(images.index[images == 0]):
        findings.append(say("empty classes", classes=none))
    return findings + too_good(counts.index, numbers.at["balanced accuracy", "value"])


def _unlike_ham10000(counts: pd.DataFrame, seed: int) -> list[str]:
    """How class counts differ from HAM10000's, if they differ by more than chance."""
    images = counts.sum(axis=1).set_axis(counts.index.str.lower())
    names = ("ham10000", "single-image lesions of ham10000")
    whole, single = (pd.Series(CLASS_COUNTS[name])[images.index] for name in names)
    if len(more := images[images > whole]):
        return [say("more images", sizes=first_ten(f"{name}: {n:,} of {whole[name]:,}" for name, n in more.items()))]
    if (p := _multinomial_p(images, whole, seed)) >= UNLIKELY:
        return []
    shares, usual = images / images.sum(), whole / whole.sum()
    gap = ((shares - usual) / usual**0.5).abs().idxmax()
    explanations = {"like single-image lesions": single, "like balanced": whole * 0 + 1}
    like = next((say(name) for name, of in explanations.items() if _multinomial_p(images, of, seed) >= FITS), "")
    found = {"gap": gap, "share": number(shares[gap]), "usual": number(usual[gap]), "like": like}
    return [say("other counts", p=p, limit=UNLIKELY, **found)]


def _multinomial_p(images: pd.Series, like: pd.Series, seed: int, draws: int = 9999) -> float:
    """Probability of counts at least as far (chi-square) from the shares ``like``, by multinomial draws."""
    n = int(images.sum())
    expected = n * like.to_numpy() / like.sum()
    drawn = np.random.default_rng(seed).multinomial(n, expected / n, size=draws)
    far, own = (((counts - expected) ** 2 / expected).sum(-1) for counts in (drawn, images.to_numpy()))
    return float((1 + (far >= own).sum()) / (1 + draws))
