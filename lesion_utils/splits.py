"""Training, validation and test: grouped by lesion, stratified by diagnosis; and the check for leaks between them."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from lesion_utils.digests import digest
from lesion_utils.errors import InputError, first_ten
from lesion_utils.rounding import percent

SPLITS = ("train", "validation", "test")
UNUSED = "unused"  # the value of `split` of a case that is in none of them


def split_by_lesion(cases: pd.DataFrame, test: float, validation: float, seed: int) -> pd.Series:
    """``train``, ``validation`` or ``test`` for each case; no lesion is in two of them, class shares are alike.

    ``test`` and ``validation`` are shares of all cases; each becomes the nearest one-in-k share of the remaining cases.
    """
    split = split_off(cases, "test", test, len(cases), seed)
    remaining = cases[split == "train"]
    split[remaining.index] = split_off(remaining, "validation", validation, len(cases), seed)
    return split


def split_off(cases: pd.DataFrame, name: str, share: float, total: int, seed: int) -> pd.Series:
    """``name`` for about ``share * total`` of the cases, ``train`` for the others; by lesion, class shares alike.

    Raises InputError where a class has too few lesions.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # slow: every job imports this room

    folds = max(2, round(len(cases) / (share * total)))
    _require_lesions(cases, folds, name, share)
    grouped = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    chosen = next(grouped.split(cases, cases["label"], cases["lesion_id"]))[1]
    split = pd.Series("train", index=cases.index, name="split")
    split.iloc[chosen] = name
    return split


def _require_lesions(cases: pd.DataFrame, needed: int, name: str, share: float) -> None:
    lesions = cases.groupby("label")["lesion_id"].nunique()
    if lesions.min() < needed:
        raise InputError(
            f"a {name} share of {share:g} needs {needed} lesions of each class; fewer have "
            f"{first_ten(lesions[lesions < needed].index)}. Fix: raise the share or add cases."
        )


def deal_folds(cases: pd.DataFrame, folds: int, validation: float, seed: int) -> pd.DataFrame:
    """The columns ``test_fold``, from 0, and ``validation_fold``, for which a case is held out, as text; "" for none.

    The cases are dealt into ``folds`` by lesion, class shares alike; ``validation``, a share of all cases, is part
    or all of the fold after the tested one. Raises InputError where a class has too few lesions.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # slow

    tested = pd.Series("", cases.index)
    grouped = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    _require_lesions(cases, folds, "fold", 1 / folds)
    for fold, (_, rows) in enumerate(grouped.split(cases, cases["label"], cases["lesion_id"])):
        tested.iloc[rows] = str(fold)
    validated = tested.map(lambda fold: str((int(fold) - 1) % folds))
    if round(1 / (folds * validation)) > 1:
        for fold in sorted(set(validated)):
            of_fold = cases[validated == fold]
            kept = split_off(of_fold, "validation", validation, len(cases), seed)
            validated[kept.index[kept == "train"]] = ""
    return pd.DataFrame({"test_fold": tested, "validation_fold": validated})


def split_of_fold(cases: pd.DataFrame, fold: int) -> pd.Series:
    """The split of a run that is tested on ``fold``, from the columns of ``deal_folds``."""
    held_out = [cases["test_fold"] == str(fold), cases["validation_fold"] == str(fold)]
    return pd.Series(np.select(held_out, ["test", "validation"], "train"), cases.index, name="split")


def use_share(cases: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """``cases`` with only ``share`` of the training lesions of each class, at least one; the others are ``unused``."""
    lesions = cases[cases["split"] == "train"].drop_duplicates("lesion_id").sample(frac=1, random_state=seed)
    rank = lesions.groupby("label").cumcount()
    kept = lesions.loc[rank < lesions.groupby("label")["lesion_id"].transform("size") * share, "lesion_id"]
    dropped = (cases["split"] == "train") & ~cases["lesion_id"].isin(kept)
    return cases.assign(split=cases["split"].mask(dropped, UNUSED))


def assert_disjoint(cases: pd.DataFrame) -> None:
    """Raises InputError if a lesion is in more than one split."""
    lesions = cases.groupby("split")["lesion_id"].agg(set)
    for first, second in combinations([name for name in SPLITS if name in lesions], 2):
        if shared := lesions[first] & lesions[second]:
            raise InputError(f"lesions in both {first} and {second}: {first_ten(sorted(shared))}.")


def find_leaks(cases: pd.DataFrame) -> pd.DataFrame:
    """The validation and test cases that share their image or lesion with a training case.

    The column ``shares`` says which, ``image`` or ``lesion``. Images are the same if their ``isic_id`` or their
    ``pixels`` (the digest of the decoded picture) are.
    """
    training = cases[cases["split"] == "train"]
    held_out = cases[~cases["split"].isin(["train", UNUSED])]
    image = held_out["isic_id"].isin(training["isic_id"]) | held_out["pixels"].isin(training["pixels"])
    lesion = held_out["lesion_id"].isin(training["lesion_id"])
    return held_out.assign(shares=np.where(image, "image", "lesion"))[image | lesion]


def split_table(cases: pd.DataFrame, splits: Sequence[str]) -> pd.DataFrame:
    """Images and, in brackets, lesions of each class and of all in each of ``splits``."""
    both = pd.concat([cases, cases.assign(label="all")])
    counts = both.groupby(["label", "split"]).agg(images=("image_id", "size"), lesions=("lesion_id", "nunique"))
    texts = counts["images"].map("{:,}".format) + " (" + counts["lesions"].map("{:,})".format)
    order = [*cases["label"].value_counts().index, "all"]
    return texts.unstack(fill_value="0 (0)").reindex(order)[list(splits)].rename_axis("class")


def leak_table(cases: pd.DataFrame, held_out: Sequence[str]) -> pd.DataFrame:
    """How many images of each class and of all leak into training (``find_leaks``), for each split of ``held_out``."""
    both = pd.concat([cases, cases.assign(label="all")])
    leaks = both["image_id"].isin(find_leaks(cases)["image_id"])
    counts = leaks.groupby([both["label"], both["split"]]).agg(["sum", "size", "mean"])
    texts = [f"{row['sum']:.0f} of {row['size']:,.0f} ({percent(row['mean'])})" for _, row in counts.iterrows()]
    order = [*cases["label"].value_counts().index, "all"]
    table = pd.Series(texts, counts.index).unstack(fill_value="none").reindex(order)
    return table[list(held_out)].rename_axis("class")


def refuse_leak(name: str, cases: pd.DataFrame, allow_leak: bool) -> bool:
    """The check before training ``name``: whether a validation or test case leaks into training (``find_leaks``).

    Raises InputError if one does and ``allow_leak`` is not set.
    """
    leaks = find_leaks(cases)
    if leaks.empty or allow_leak:
        return not leaks.empty
    counts = leaks.groupby(["split", "shares"]).size()
    found = ", ".join(f"{n:,} {split} case(s) with the same {what}" for (split, what), n in counts.items())
    raise InputError(
        f"{name}: training has {found}: {first_ten(leaks['image_id'])}. Expected no shared image or lesion. "
        f"Fix: correct the case table or the split; or set `allow_leak: true` in the recipe: then all its results are "
        f"marked leaky."
    )


def split_digest(cases: pd.DataFrame) -> str:
    """Changes if any image changes its split, label or lesion."""
    return digest(cases[["image_id", "lesion_id", "label", "split"]].to_numpy().tolist())
