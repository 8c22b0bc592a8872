"""How the published systems split their images: a case table and the order of its rows in, a split out."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from lesion_utils.errors import InputError

# Images of each split, or of each class in it, where the published count distinguishes this split from others.
PUBLISHED_COUNTS: dict[str, dict[str, int | dict[str, int]]] = {
    "system_000": {"validation": {"nv": 1006, "mel": 167, "bkl": 165, "bcc": 77, "akiec": 49, "vasc": 22, "df": 17}},
    "system_001": {"validation": {"akiec": 26, "bcc": 30, "bkl": 75, "df": 6, "mel": 39, "nv": 751, "vasc": 11}},
    "system_002": {"train": 7210, "validation": 802, "test": 2003},
    "system_003": {"train": 1792, "validation": 447, "test": 118},
}


def _system_000(cases: pd.DataFrame) -> pd.Series:
    """15% of the images, stratified, for validation; the test set is ISIC 2018 Task 3's."""
    drawn = train_test_split(cases, test_size=0.15, random_state=47, stratify=cases["label"])[1]
    return _with_splits(cases, validation=drawn)


def _system_001(cases: pd.DataFrame) -> pd.Series:
    """17% of the lesions with one image, stratified, for validation, which is the test set at once."""
    single = cases[cases.groupby("lesion_id")["label"].transform("size") == 1]
    drawn = train_test_split(single, test_size=0.17, random_state=101, stratify=single["label"])[1]
    return _with_splits(cases, validation=drawn)


def _system_002(cases: pd.DataFrame) -> pd.Series:
    """20% of the images for test, 10% of the others for validation."""
    training, test = train_test_split(cases, test_size=0.2, random_state=1234)
    return _with_splits(cases, test=test, validation=train_test_split(training, test_size=0.1, random_state=2)[1])


def _system_003(cases: pd.DataFrame) -> pd.Series:
    """Systems 003 and 004: the last fifth of ``Train`` after the shuffling of Keras' ``image_dataset_from_directory``.

    ``Test``, which they never score, is the test split.
    """
    split = cases["published_split"].copy()
    training = cases[split == "train"]
    order = np.array(sorted(training.index, key=lambda row: (training["label"][row], training["path"][row])))
    np.random.RandomState(123).shuffle(order)  # the legacy generator, as in Keras
    split[order[-int(0.2 * len(order)) :]] = "validation"
    return split


RULES: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "system_000": _system_000,
    "system_001": _system_001,
    "system_002": _system_002,
    "system_003": _system_003,
}


def _with_splits(cases: pd.DataFrame, **rows: pd.DataFrame) -> pd.Series:
    split = pd.Series("train", index=cases.index)
    for name, chosen in rows.items():
        split[chosen.index] = name
    return split


def published_split(system: str, cases: pd.DataFrame, row_order: list[str] | None = None) -> pd.Series:
    """``train``, ``validation`` or ``test`` of each case, by the rule and the seed of a published system.

    ``row_order`` holds the image ids in the order of HAM10000's metadata table, on which the rules of 000, 001 and 002
    depend; images that are not in it are test images. Without it, all ``cases`` are split in their order.
    """
    if row_order is None:
        return RULES[system](cases).rename("split")
    split = RULES[system](cases.set_index("image_id").loc[row_order])
    return cases["image_id"].map(split).fillna("test").rename("split")


def check_published_counts(system: str, labels: pd.Series, split: pd.Series) -> None:
    """Raises InputError if the images of a split are not as many as the published system states."""
    for name, published in PUBLISHED_COUNTS[system].items():
        class_counts = labels[split == name].value_counts().to_dict()
        count = class_counts if isinstance(published, dict) else sum(class_counts.values())
        if count != published:
            raise InputError(
                f"the {name} split of {system} has {count} images, published are {published}: this is not the data "
                f"set that it split. Fix: use the whole set with its metadata table as published, or "
                f"`split: by_lesion`."
            )
