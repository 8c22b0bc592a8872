"""Whether the parts of anybody's split share lesions or images, and whether its test part is like the whole."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import hypergeom, norm

from lesion_utils.audit.links import KINDS, shared, tied
from lesion_utils.errors import InputError, first_ten
from lesion_utils.evaluation.bootstrap import exact_interval, wilson
from lesion_utils.evaluation.views import asked_views
from lesion_utils.paths import records
from lesion_utils.tables import blank

PARTS = ("train", "validation", "test")
PAIRS = (("test", "train"), ("validation", "train"), ("test", "validation"))  # which of the first are in the second
ANY = "any of these"
CHANCE = 0.001  # a warning needs that chance alone makes it more rarely, over all classes together,
UNLIKE = 1.25  # and a class whose odds in test are this many times those in the whole, or less than 1 / UNLIKE,
MORE_SINGLES = 0.05  # or this much higher a share of images of lesions with one image

EXAMPLES = 3  # shown of each kind

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Names:
    """What a table calls its columns and the parts of its split."""

    image_id: str = "image_id"
    lesion_id: str | None = None  # None: lesion_id, if there is such a column
    label: str = "dx"
    split: str = "split"
    train: str = "train"
    validation: str = "validation"
    test: str = "test"


@dataclass(frozen=True)
class LeakCheck:
    """What was found in one split; see ``leakcheck``."""

    cases: pd.DataFrame  # image_id, lesion_id (None where unknown), label, split
    shares: pd.DataFrame  # part, against, what, images, of, share, melanoma images, melanoma of, melanoma share
    tied: pd.DataFrame  # part, image_id, what, against, partner: each image that another part knows, by kind
    classes: pd.DataFrame  # label, whole, test (shares of the images), n in test
    baseline: dict[str, Any]  # label, share, low, high, n: always naming the most frequent class of training
    melanoma: list[str]  # the labels that count as melanoma
    unchecked: list[str]
    warnings: list[str]

    def text(self, name: str) -> str:
        """The check as a terminal shows it; cells of the table stand in it as they are."""
        cases = self.cases
        sizes = ", ".join(f"{part} {n:,}" for part, n in cases["split"].value_counts().items())
        lesions = f" of {cases['lesion_id'].nunique():,} lesions" if cases["lesion_id"].notna().any() else ""
        lines = [f"{name}: {len(cases):,} images{lesions}; {sizes}.", "", self.verdict]
        for (part, against), rows in self.shares.groupby(["part", "against"], sort=False):
            lines += ["", f"{part.capitalize()} images with a tie to {against} (counts of this split, so no interval):"]
            for row in rows.to_dict("records"):
                lines.append(f"  {row['what']:16}{_share(row, ''):26}{_share(row, 'melanoma ')}".rstrip())
                ties = self.tied[(self.tied[["part", "against", "what"]] == [part, against, row["what"]]).all(axis=1)]
                if examples := [f"{tie.image_id} with {tie.partner}" for tie in ties[:EXAMPLES].itertuples()]:
                    lines.append(f"{'':18}e.g. {', '.join(examples)}")
        base = self.baseline
        lines += ["", *(f"Not checked: {what}." for what in self.unchecked), *(f"WARNING {w}." for w in self.warnings)]
        lines.append(
            f"Baseline: always naming {base['label']}, the most frequent class of train, is right for "
            f"{base['share']:.1%} of {base['n']:,} test images (95 % interval {base['low']:.1%} to {base['high']:.1%})."
        )
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The check as JSON takes it; a share of nothing is null."""
        tables = {"shares": self.shares, "tied": self.tied, "classes": self.classes}
        return {
            "images": len(self.cases),
            "lesions": int(self.cases["lesion_id"].nunique()) or None,
            "parts": self.cases["split"].value_counts().to_dict(),
            "verdict": self.verdict,
            "leak": self.found,
            **{name: records(table) for name, table in tables.items()},
            "baseline": self.baseline,
            "melanoma": self.melanoma,
            "unchecked": self.unchecked,
            "warnings": self.warnings,
        }

    @property
    def found(self) -> bool:
        """Whether two parts share anything."""
        return len(self.tied) > 0

    @property
    def verdict(self) -> str:
        """One line."""
        if self.found:
            kinds = [kind for kind in KINDS if kind in set(self.tied["what"])]
            places = {
                f"{part} and {other}" for part, other in zip(self.tied["part"], self.tied["against"], strict=True)
            }
            return f"LEAK between {', '.join(sorted(places))}: {', '.join(kinds)}"
        lesions, pictures = self.cases["lesion_id"].notna().any(), "same pixels" in set(self.shares["what"])
        if lesions and pictures:
            return "clean"
        return f"clean as far as {'' if lesions else 'image '}ids{' and pictures' if pictures else ''} show"


def _share(row: dict[str, Any], whose: str) -> str:
    n, share = row[f"{whose}of"], row[f"{whose}share"]
    return f"{whose}{row[f'{whose}images']:,} of {n:,} ({share:.2%})" if n else f"{whose}none there" if whose else ""


def leakcheck(
    table: pd.DataFrame,
    images: Path | None = None,
    names: Names | None = None,
    melanoma: str | None = None,
    threads: int = 2,
    where: object = "the table",
) -> LeakCheck:
    """What the parts of a split share, and how its test part differs from the whole.

    ``table`` holds one row an image: id, label, part, and the lesion where it is known, in columns called as ``names``
    says. Where each image has a lesion of its own, lesions count as not known. ``images`` is a folder with a picture
    for each id, a file's name with or without its end, or its place in the folder; without it nothing is said of pixels
    and near-duplicates. Of test against training, validation against training and test against validation it counts the
    images tied to the other part, by ``overlap.tied``, all and those of ``melanoma`` (by default told by its name).
    Shares are counts of this very split, so they have no interval.

    Warnings: a test part with a higher share of images of single-image lesions than the whole (``MORE_SINGLES``; by
    lesion, hypergeometric below ``CHANCE``), a class whose odds differ there by the factor ``UNLIKE`` (normal with the
    design effect of lesions, Bonferroni over the classes, below ``CHANCE``), one class only. Raises InputError naming
    ``where`` and the rows (the header is row 1) for whatever cannot be used.
    """
    cases = _cases(table, names or Names(), where)
    views = asked_views(sorted(set(cases["label"])), melanoma)
    melanomas = views.get("melanoma", [])
    unchecked = []
    if cases["lesion_id"].isna().all():
        unchecked.append("lesions, and lesions with one image: there is no column of lesion ids")
    elif cases.drop_duplicates(["image_id", "lesion_id"])["lesion_id"].is_unique:
        unchecked.append(
            "lesions: each image has a lesion id of its own, so each lesion has one image or lesions are not known"
        )
        cases["lesion_id"] = None
    if images is None:
        unchecked.append("pixels and near-duplicates: no pictures were given")
    if not melanomas:
        unchecked.append("melanoma apart: there is no class of that name, or no other")
    if images is not None:
        cases["path"] = _paths(images, cases["image_id"])
    numbers = tied(cases, threads, pictures=images is not None)
    if cases["lesion_id"].isna().all():
        numbers = numbers.drop(columns="same lesion")
    shares, links = _overlaps(cases, numbers, cases["label"].isin(melanomas))
    in_test = cases["split"] == "test"
    return LeakCheck(
        cases=cases,
        shares=shares,
        tied=links,
        classes=_classes(cases, in_test),
        baseline=_baseline(cases, in_test),
        melanoma=melanomas,
        unchecked=unchecked,
        warnings=[*_single_images(cases, in_test), *_prevalence(cases, in_test)],
    )


# ------------------------------------------------------------------------------------------------------------ input


def _cases(table: pd.DataFrame, names: Names, where: object) -> pd.DataFrame:
    """``image_id, lesion_id, label, split`` of a table that can be used, ``split`` in the words of ``PARTS``."""
    columns = {"image_id": names.image_id, "label": names.label, "split": names.split}
    if names.lesion_id or "lesion_id" in table:
        columns["lesion_id"] = names.lesion_id or "lesion_id"
    if missing := [column for column in columns.values() if column not in table]:
        raise InputError(
            f"{where}: missing column(s) {', '.join(missing)}; found {first_ten(table.columns)}. Expected image ids, "
            "labels, the part of the split, and lesion ids where they are known. Fix: say which columns hold them, "
            "--image-id, --label, --split, --lesion-id."
        )
    table = table.reset_index(drop=True).astype(object).fillna("").astype(str)
    table = table.apply(lambda column: column.str.strip())
    cases = pd.DataFrame({name: table[column] for name, column in columns.items()})
    for name, column in columns.items():
        cure = "Fix: fill it in, or leave the column out" if name == "lesion_id" else "Fix: fill it in"
        _refuse(where, blank(cases[name]), f"no {column}", cases["image_id"], cure)
    _refuse(
        where, table.duplicated(keep=False), "rows that stand twice", cases["image_id"], "Fix: leave the copies out"
    )
    known = {getattr(names, part): part for part in PARTS}
    if len(known) < len(PARTS):
        raise InputError(
            f"--train {names.train}, --validation {names.validation}, --test {names.test}: three names needed."
        )
    _refuse(
        where,
        ~cases["split"].isin(known),
        "an unknown part of the split",
        cases["split"],
        f"Expected {', '.join(known)}. Fix: say what the parts are called, --train, --validation, --test; leave out "
        "rows of no part",
    )
    cases["split"] = cases["split"].map(known)
    if gone := [getattr(names, part) for part in ("train", "test") if part not in set(cases["split"])]:
        there = ", ".join(sorted(set(cases["split"].map(lambda part: getattr(names, part)))))
        raise InputError(
            f"{where}: no row of {' or '.join(gone)} in column {names.split}; all are {there}. Expected training and "
            "test images. Fix: say what the parts are called, --train and --test."
        )
    twice = cases.duplicated(["image_id", "split"], keep=False)
    _refuse(where, twice, "an image id that stands twice in one part", cases["image_id"], "Fix: keep one row an image")
    return cases if "lesion_id" in cases else cases.assign(lesion_id=None)


def _refuse(where: object, bad: pd.Series, what: str, values: pd.Series, cure: str) -> None:
    """Raises InputError naming the rows of ``bad``, if there are any."""
    if bad.any():
        rows = first_ten(f"row {row + 2} ({value[:60]})" for row, value in values[bad].items())
        raise InputError(f"{where}: {what}, {bad.sum():,} row(s): {rows}. {cure}.")


def _paths(folder: Path, image_ids: pd.Series) -> pd.Series:
    """The file of each image; only files below ``folder`` are looked at, whatever the ids say."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder. Expected the folder with the pictures of the table.")
    named: dict[str, set[str]] = {}
    for place, _, files in os.walk(folder):
        for file in files:
            path = Path(place, file)
            if path.suffix.lower() in _PICTURES:
                inside = path.relative_to(folder)
                for name in {file, path.stem, inside.as_posix(), inside.with_suffix("").as_posix()}:
                    named.setdefault(name, set()).add(str(path))
    if missing := [name for name in image_ids if name not in named]:
        raise InputError(
            f"{folder}: no picture for {len(missing):,} of {len(image_ids):,} image ids: {first_ten(missing)}. "
            f"Expected <image id>.jpg, or another of {', '.join(_PICTURES)}, there or in folders below. Fix: name the "
            "folder that holds them all."
        )
    if several := [name for name in image_ids if len(named[name]) > 1]:
        raise InputError(
            f"{folder}: more than one picture for {len(several):,} image ids: {first_ten(several)}. Fix: use the "
            "place of the file in the folder as its id, or keep one."
        )
    return image_ids.map(lambda name: next(iter(named[name])))


# ---------------------------------------------------------------------------------------------------------- overlap


def _overlaps(cases: pd.DataFrame, numbers: pd.DataFrame, melanoma: pd.Series) -> tuple[pd.DataFrame, pd.DataFrame]:
    shares, links = [], []
    for part, against in PAIRS:
        these, those = cases["split"] == part, cases["split"] == against
        if not (these.any() and those.any()):
            continue
        hits = pd.DataFrame({kind: shared(numbers[kind], these, those) for kind in numbers})
        for kind in numbers:
            first = cases.loc[those, "image_id"].groupby(numbers.loc[those, kind]).first()
            images = cases.loc[hits[kind], "image_id"]
            partner = numbers.loc[hits[kind], kind].map(first)
            links.append(
                pd.DataFrame({"part": part, "image_id": images, "what": kind, "against": against, "partner": partner})
            )
        for kind, hit in {**hits, ANY: hits.any(axis=1)}.items():
            counts = [int(hit.sum()), int(these.sum()), int((hit & melanoma).sum()), int((these & melanoma).sum())]
            shares.append([part, against, kind, *counts])
    names = ["part", "against", "what", "images", "of", "melanoma images", "melanoma of"]
    table = pd.DataFrame(shares, columns=names)
    for prefix in ("", "melanoma "):
        table[f"{prefix}share"] = table[f"{prefix}images"] / table[f"{prefix}of"].replace(0, np.nan)
    return table, pd.concat(links, ignore_index=True)


# --------------------------------------------------------------------------------------------------- the test part


def _lesions(cases: pd.DataFrame) -> pd.Series:
    """What is drawn as one: the lesion, or the image where lesions are unknown."""
    return cases["lesion_id"].fillna(cases["image_id"])


def _design_effects(cases: pd.DataFrame) -> pd.Series:
    """By how much the images of one lesion raise the variance of each class's share over independent images; 1 or more.

    The variance of the ratio estimator with lesions as clusters (Kish, Survey Sampling, 1965), over p (1 - p) / n.
    """
    counts = cases.groupby([_lesions(cases), "label"]).size().rename_axis(["lesion", "label"])
    sizes = counts.groupby("lesion").transform("sum")
    share = cases["label"].value_counts(normalize=True)
    square, product = ((counts * with_).groupby("label").sum() for with_ in (counts, sizes))
    spread = square - 2 * share * product + share**2 * (counts.groupby("lesion").sum() ** 2).sum()
    return (spread / (len(cases) * share * (1 - share))).clip(lower=1)


def _classes(cases: pd.DataFrame, in_test: pd.Series) -> pd.DataFrame:
    test = cases.loc[in_test, "label"]
    table = cases["label"].value_counts(normalize=True).rename_axis("label").rename("whole").to_frame()
    table["test"] = test.value_counts(normalize=True).reindex(table.index, fill_value=0.0)
    table["n in test"] = test.value_counts().reindex(table.index, fill_value=0)
    return table.reset_index()


def _baseline(cases: pd.DataFrame, in_test: pd.Series) -> dict[str, Any]:
    """The interval is Wilson's, with the number of images that the design effect of lesions leaves."""
    label = cases.loc[cases["split"] == "train", "label"].value_counts().index[0]
    test = cases[in_test]
    share = float((test["label"] == label).mean())
    if share in (0, 1):
        low, high = exact_interval(share, _lesions(test).nunique())
    else:
        n = len(test) / _design_effects(test)[label]
        low, high = wilson(share * n, n)
    return {"label": label, "share": share, "low": low, "high": high, "n": len(test)}


def _single_images(cases: pd.DataFrame, in_test: pd.Series) -> list[str]:
    if cases["lesion_id"].isna().all():
        return []
    images = cases.groupby("lesion_id")["image_id"].transform("nunique")
    whole, test = (images == 1).mean(), (images[in_test] == 1).mean()
    single = images.groupby(cases["lesion_id"]).first() == 1
    there = single[single.index.isin(cases.loc[in_test, "lesion_id"])]
    chance = hypergeom.sf(there.sum() - 1, len(single), single.sum(), len(there))
    if chance >= CHANCE or test - whole < MORE_SINGLES:
        return []
    return [
        f"single-image lesions: {test:.1%} of the {in_test.sum():,} test images are of lesions with one image, of the "
        f"whole table {whole:.1%} (p < {CHANCE:g}, by lesion). Such lesions differ from the rest, in HAM10000 four in "
        "five are nevi: a number on this test part does not hold for the whole"
    ]


def _prevalence(cases: pd.DataFrame, in_test: pd.Series) -> list[str]:
    labels = cases["label"].unique()
    if len(labels) == 1:
        return [f"one class only, {labels[0]}: there is nothing to tell apart"]
    classes = _classes(cases, in_test).set_index("label")
    variance = classes["whole"] * (1 - classes["whole"]) * _design_effects(cases)[classes.index] / in_test.sum()
    error = np.sqrt(variance * (1 - in_test.mean()))  # the test part is drawn from the whole
    chance = 2 * norm.sf((classes["test"] - classes["whole"]).abs() / error) * len(classes)
    odds = classes[["test", "whole"]] / (1 - classes[["test", "whole"]])
    unlike = classes[(chance < CHANCE) & ~(odds["test"] / odds["whole"]).between(1 / UNLIKE, UNLIKE)]
    found = first_ten(f"{label} {row['test']:.1%} instead of {row['whole']:.1%}" for label, row in unlike.iterrows())
    if not found:
        return []
    return [
        f"prevalence: classes of the test part differ from the whole table, {found} (p < {CHANCE:g} over all "
        f"classes, odds a factor of {UNLIKE:g} or more apart): accuracy and predictive values there are not the whole's"
    ]
