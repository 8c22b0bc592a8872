"""Checks whether the splits of a dataset share lesions or images, and whether test resembles the whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import hypergeom, norm

from lesion_utils.audit.findings import revealing
from lesion_utils.audit.links import KINDS, link_groups, linked_to
from lesion_utils.checks.columns import of_originals, plain_ids, written_alike
from lesion_utils.checks.findings import say
from lesion_utils.checks.read_split import NAMES, cases_of, columns_of, with_lesions
from lesion_utils.datasets.usual_names import OF_CASES, known_lesions, picture_files, usual_column
from lesion_utils.errors import first_ten
from lesion_utils.evaluation.bootstrap import exact_interval, wilson
from lesion_utils.paths import records
from lesion_utils.rounding import percent
from lesion_utils.views import asked_views

PAIRS = (("test", "train"), ("validation", "train"), ("test", "validation"))  # which of the first are in the second
ANY = "any of these"
SAME_PATIENT = "same patient"
CHANCE = 0.001  # a warning needs a p-value below this (over all classes together),
UNLIKE = 1.25  # and a class whose odds in test differ from those in the whole by this factor or more,
MORE_SINGLES = 0.05  # or a share of images of single-image lesions that is higher by this much or more
MOST_VALUES, MOST_ROWS = 50, 20_000  # of a column that may give the label away
NAMED = 0.9  # share of rows whose text contains their label
_OTHER = "column "  # before the names of the table's other columns
REST = "the rest"  # what a fold is compared with


@dataclass(frozen=True)
class LeakCheck:
    """What ``leakcheck`` found."""

    cases: pd.DataFrame  # image_id, lesion_id (None where unknown), label, split
    shares: pd.DataFrame  # part, against, what, images, of, share, melanoma images, melanoma of, melanoma share
    tied: pd.DataFrame  # part, image_id, what, against, partner: each image that is linked to another split, by kind
    classes: pd.DataFrame  # label, whole, test (shares of the images), n in test
    # label, share, low, high, n: always predicting the most frequent class of training; None: no labels, or folds
    baseline: dict[str, Any] | None
    melanoma: list[str]  # the labels that count as melanoma
    unchecked: list[str]
    warnings: list[str]
    notes: list[str]  # how the table was read
    unit: str  # what is known of each image: its lesion, or its patient

    @property
    def leak(self) -> bool:
        return len(self.tied) > 0

    @property
    def exit_code(self) -> int:
        """1 for a leak, 3 where lesions are not known, so that a leak cannot be excluded, else 0."""
        return 1 if self.leak else 3 if self.cases["lesion_id"].isna().any() else 0

    @property
    def verdict(self) -> str:
        if self.leak:
            kinds = [kind for kind in (*KINDS, SAME_PATIENT) if kind in set(self.tied["what"])]
            pairs = dict.fromkeys(self.tied["part"] + " and " + self.tied["against"])
            return f"LEAK between {', '.join(pairs)}: {', '.join(kinds)}"
        unknown, pictures = self.cases["lesion_id"].isna(), "same pixels" in set(self.shares["what"])
        by = f"ids{' and pictures' if pictures else ''}"
        if unknown.all():
            return f"NOT CHECKED: lesions are not known. No image is shared, judged by image {by} only"
        if unknown.any():
            return f"NOT CHECKED: the lesion of {unknown.sum():,} images is not known. Of the others, nothing is shared"
        return "clean" if pictures else f"clean, judged by {by} only"

    def as_dict(self) -> dict[str, Any]:
        """The check as JSON takes it; a share of nothing is null."""
        lesions, parts = int(self.cases["lesion_id"].nunique()) or None, self.cases["split"].value_counts().to_dict()
        counts = {"images": len(self.cases), f"{self.unit}s": lesions, "parts": parts}
        tables = {name: records(getattr(self, name)) for name in ("shares", "tied", "classes")}
        rest = {name: getattr(self, name) for name in ("baseline", "melanoma", "unchecked", "warnings", "notes")}
        rest["pairs"] = [
            list(pair) for pair in dict.fromkeys(zip(self.shares["part"], self.shares["against"], strict=True))
        ]
        return counts | {"verdict": self.verdict, "leak": self.leak} | tables | rest


def leakcheck(
    table: pd.DataFrame | Mapping[str, pd.DataFrame],
    images: Path | None = None,
    names: Mapping[str, str] | None = None,
    melanoma: str | None = None,
    threads: int = 2,
    where: object = "the table",
    metadata: Path | None = None,
) -> LeakCheck:
    """What the splits of a dataset share, and how its test split differs from the whole.

    ``table`` has one row per image, or is one such table for each part. ``names`` says what it calls its columns and
    parts where that is not usual (``read_split``). A column with neither training nor test holds folds, each of which
    is compared with the rest. If every image has a lesion of its own, lesions count as unknown; ``metadata`` is a table
    that knows them. ``images`` is a folder with a picture for each id: the file's name with or without its ending, or
    its path in the folder. Without it, pixels and near-duplicates are not checked. A column of patients links images,
    too; without lesions it takes their place. Images linked to another split
    (``link_groups``) are counted for each of ``PAIRS``: all, and those of ``melanoma`` (by default recognised by name).

    Warnings: a test split with a higher share of images of single-image lesions than the whole (``MORE_SINGLES``; by
    lesion, hypergeometric below ``CHANCE``), a class whose odds differ by the factor ``UNLIKE`` (normal with the design
    effect of lesions, Bonferroni over the classes, below ``CHANCE``), one class only. Raises InputError naming
    ``where`` and the rows for whatever cannot be used.
    """
    folds: list[str] = []
    given = pd.concat(table.values(), ignore_index=True) if isinstance(table, Mapping) else table.reset_index(drop=True)
    if isinstance(table, Mapping):
        of_parts = [cases_of(of, names or {}, f"{where}, {part}", part)[0] for part, of in table.items()]
        cases = pd.concat(of_parts, ignore_index=True)
    else:
        cases, folds = cases_of(table, names or {}, where)
    if metadata is not None:
        cases = with_lesions(cases, metadata)
    columns = columns_of(given, names or {}, where)
    guessed = {
        column: name for name, column in columns.items() if column not in (name, NAMES[name], (names or {}).get(name))
    }
    cases["lesion_id"] = cases["lesion_id"].astype(object).str.casefold().str.replace(r"^0+(?=\d+$)", "", regex=True)
    patients = usual_column(where, given, "patient", OF_CASES["patient_id"], "--lesion-id NAME")
    unit = "patient" if patients and columns.get("lesion_id") == patients and metadata is None else "lesion"
    cases["isic_id"] = of_originals(plain_ids(cases["image_id"], cases["split"]))
    labels = sorted(set(cases["label"]) - {""})
    melanomas = asked_views(labels, melanoma).get("melanoma", []) if labels else []
    unchecked = []
    if cases["lesion_id"].isna().all():
        unchecked.append(say("no lesion column"))
    elif not written_alike(cases["lesion_id"], cases["split"]):
        shown = cases.dropna(subset="lesion_id").groupby("split")["lesion_id"].first()
        unchecked.append(say("lesions spelt", ids=first_ten(f"{part} {of}" for part, of in shown.items())))
        cases["lesion_id"] = None
    elif cases.drop_duplicates(["image_id", "lesion_id"])["lesion_id"].dropna().is_unique:
        unchecked.append(say("own lesion ids"))
        cases["lesion_id"] = None
    elif (unknown := int(cases["lesion_id"].isna().sum())) > 0:
        unchecked.append(say("some lesions", n=unknown))
    if images is None:
        unchecked.append(say("no pictures"))
    else:
        cases["path"] = picture_files(images, cases["image_id"])
    if not melanomas:
        unchecked.append(say("no melanoma"))
    groups = link_groups(cases, threads, pictures=images is not None)
    if cases["lesion_id"].isna().all():
        groups = groups.drop(columns="same lesion")
    if patients and unit == "lesion":
        ids = known_lesions(given[patients].fillna("").astype(str))
        groups[SAME_PATIENT] = pd.factorize(ids)[0]
    elif unit == "patient":
        groups = groups.rename(columns={"same lesion": SAME_PATIENT})
    shares, tied = _overlaps(cases, groups, cases["label"].isin(melanomas), folds)
    if folds or not labels:
        classes, warnings, baseline = pd.DataFrame(columns=["whole", "test", "n in test"]), [], None
    else:
        in_test = cases["split"] == "test"
        whole = cases["label"].value_counts(normalize=True)
        n = cases.loc[in_test, "label"].value_counts().reindex(whole.index, fill_value=0)
        classes = pd.DataFrame({"whole": whole, "test": n / in_test.sum(), "n in test": n})
        warnings = [*_single_images(cases, in_test), *_other_frequencies(cases, in_test, classes)]
        baseline = _baseline(cases, cases[in_test])
    if labels:
        warnings += _revealing(given, cases, columns)
    if spelt := cases["image_id"].nunique() - cases["isic_id"].nunique():
        warnings.append(say("ids spelt", n=spelt))
    table_of_classes = classes.rename_axis("label").reset_index()
    read = first_ten(f"{column} as {name}" for column, name in guessed.items())
    notes = [say("columns read", columns=read)] if read else []
    return LeakCheck(cases, shares, tied, table_of_classes, baseline, melanomas, unchecked, warnings, notes, unit)


def _revealing(given: pd.DataFrame, cases: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    """Which columns of the ``given`` table, in the rows of ``cases``, give the label away."""
    used = {names[name] for name in ("label", "lesion_id", "split") if name in names}
    others = given[[name for name in given if name not in used]].astype(str)
    known = cases[["image_id", "lesion_id", "label"]].join(
        others.drop(columns=names["image_id"], errors="ignore").add_prefix(_OTHER)
    )
    few = [name for name in known if name.startswith(_OTHER) and 2 <= known[name].nunique() <= MOST_VALUES]
    found = [row[6].replace(_OTHER, "").rstrip(".") for row in revealing(known, few)]
    labels = cases["label"].str.casefold().to_numpy()
    rows = np.random.default_rng(0).permutation(len(cases))[:MOST_ROWS]
    for name in others:
        texts = others[name].str.casefold().to_numpy()
        named, by_chance = (
            np.mean([label != "" and label in text for label, text in zip(labels[of], texts[rows], strict=True)])
            for of in (rows, np.roll(rows, 1))
        )
        if named >= NAMED and 1 - named <= (1 - by_chance) / 5:
            found.append(say("names class", column=name, share=percent(named)))
    return found


def _overlaps(
    cases: pd.DataFrame, groups: pd.DataFrame, melanoma: pd.Series, folds: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    shares, tied = [], []
    pairs = [(split, cases["split"] == split, against, cases["split"] == against) for split, against in PAIRS]
    if folds:
        of_fold = {fold: cases["split"] == fold for fold in folds}
        pairs = [(f"fold {fold}", members, REST, ~members) for fold, members in of_fold.items()]
    for split, members, against, reference in pairs:
        if not (members.any() and reference.any()):
            continue
        hits = pd.DataFrame({kind: linked_to(groups[kind], members, reference) for kind in groups})
        for kind, hit in {**hits, ANY: hits.any(axis=1)}.items():
            which = {"part": split, "against": against, "what": kind}
            counts = {"images": hit.sum(), "of": members.sum()}
            of_melanoma = {"melanoma images": (hit & melanoma).sum(), "melanoma of": (members & melanoma).sum()}
            shares.append(which | counts | of_melanoma)
            if kind in groups:
                first = cases.loc[reference, "image_id"].groupby(groups.loc[reference, kind]).first()
                partner = groups.loc[hit, kind].map(first)
                tied.append(pd.DataFrame(which | {"image_id": cases.loc[hit, "image_id"], "partner": partner}))
    table = pd.DataFrame(shares)
    for prefix in ("", "melanoma "):
        table[f"{prefix}share"] = table[f"{prefix}images"] / table[f"{prefix}of"].replace(0, np.nan)
    return table, pd.concat(tied, ignore_index=True)[["part", "image_id", "what", "against", "partner"]]


def _design_effects(cases: pd.DataFrame) -> pd.Series:
    """The factor by which images of one lesion raise the variance of each class's share over independent images.

    1 or more: the variance of the ratio estimator with lesions as clusters (Kish, Survey Sampling, 1965), over
    p (1 - p) / n. Where lesions are unknown, each image is its own.
    """
    lesion_ids = cases["lesion_id"].fillna(cases["image_id"])
    counts = cases.groupby([lesion_ids, "label"]).size().rename_axis(["lesion", "label"])
    sizes = counts.groupby("lesion").transform("sum")
    share = cases["label"].value_counts(normalize=True)
    square, product = ((counts * factor).groupby("label").sum() for factor in (counts, sizes))
    spread = square - 2 * share * product + share**2 * (counts.groupby("lesion").sum() ** 2).sum()
    return (spread / (len(cases) * share * (1 - share))).clip(lower=1)


def _baseline(cases: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
    """The interval is Wilson's, with the number of images that the design effect of lesions leaves."""
    label = cases.loc[cases["split"] == "train", "label"].value_counts().index[0]
    share = float((test["label"] == label).mean())
    if share in (0, 1):
        low, high = exact_interval(share, test["lesion_id"].fillna(test["image_id"]).nunique())
    else:
        n = len(test) / _design_effects(test)[label]
        low, high = wilson(share * n, n)
    return {"label": label, "share": share, "low": low, "high": high, "n": len(test)}


def _single_images(cases: pd.DataFrame, in_test: pd.Series) -> list[str]:
    images = cases.groupby("lesion_id")["image_id"].transform("nunique")  # NaN where lesions are unknown
    whole, test = (images == 1).mean(), (images[in_test] == 1).mean()
    single = images.groupby(cases["lesion_id"]).first() == 1
    single_in_test = single[single.index.isin(cases.loc[in_test, "lesion_id"])]
    p = hypergeom.sf(single_in_test.sum() - 1, len(single), single.sum(), len(single_in_test))
    if not p < CHANCE or test - whole < MORE_SINGLES:
        return []
    return [say("single images", test=percent(test), n=in_test.sum(), whole=percent(whole), limit=CHANCE)]


def _other_frequencies(cases: pd.DataFrame, in_test: pd.Series, classes: pd.DataFrame) -> list[str]:
    if len(classes) == 1:
        return [say("one class", label=classes.index[0])]
    variance = classes["whole"] * (1 - classes["whole"]) * _design_effects(cases)[classes.index] / in_test.sum()
    error = np.sqrt(variance * (1 - in_test.mean()))  # the test split is drawn from the whole
    p = 2 * norm.sf((classes["test"] - classes["whole"]).abs() / error) * len(classes)
    odds = classes[["test", "whole"]] / (1 - classes[["test", "whole"]])
    unlike = classes[(p < CHANCE) & ~(odds["test"] / odds["whole"]).between(1 / UNLIKE, UNLIKE)]
    if unlike.empty:
        return []
    rows = [f"{label} {percent(row['test'])} instead of {percent(row['whole'])}" for label, row in unlike.iterrows()]
    return [say("other frequencies", rows=first_ten(rows), limit=CHANCE, factor=UNLIKE)]
