"""How the published systems split their images: a case table and the order of its rows in, a split out."""

from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from lesion_utils.errors import InputError

Rows: TypeAlias = dict[str, pd.Index]  # labels of the rows of validation and test; all other rows are for training

# Images of each split, or of each class in it, where the published count distinguishes this split from others.
PUBLISHED_COUNTS: dict[str, dict[str, int | dict[str, int]]] = {
    "system_000": {"validation": {"nv": 1006, "mel": 167, "bkl": 165, "bcc": 77, "akiec": 49, "vasc": 22, "df": 17}},
    "system_001": {"validation": {"akiec": 26, "bcc": 30, "bkl": 75, "df": 6, "mel": 39, "nv": 751, "vasc": 11}},
    "system_002": {"train": 7210, "validation": 802, "test": 2003},
    "system_003": {"train": 1792, "validation": 447, "test": 118},
}


def _two_parts(cases: pd.DataFrame, **options: Any) -> list[pd.DataFrame]:
    from sklearn.model_selection import train_test_split  # slow: every job imports this room

    return train_test_split(cases, **options)


def _system_000(cases: pd.DataFrame) -> Rows:
    """15% of the images, stratified, for validation; the test set is ISIC 2018 Task 3's."""
    return {"validation": _two_parts(cases, test_size=0.15, random_state=47, stratify=cases["label"])[1].index}


def _system_001(cases: pd.DataFrame) -> Rows:
    """17% of the lesions with one image, stratified, for validation, which is also the test set."""
    single = cases[~cases["lesion_id"].duplicated(keep=False)]
    return {"validation": _two_parts(single, test_size=0.17, random_state=101, stratify=single["label"])[1].index}


def _system_002(cases: pd.DataFrame) -> Rows:
    """20% of the images for test, 10% of the others for validation."""
    training, test = _two_parts(cases, test_size=0.2, random_state=1234)
    return {"test": test.index, "validation": _two_parts(training, test_size=0.1, random_state=2)[1].index}


def _system_003(cases: pd.DataFrame) -> Rows:
    """Systems 003 and 004: the last fifth of ``Train`` after the shuffling of Keras' ``image_dataset_from_directory``.

    ``Test``, which they never score, is the test split.
    """
    training = cases[cases["published_split"] == "train"]
    order = np.array(training.sort_values(["label", "path"]).index)
    np.random.RandomState(123).shuffle(order)  # the legacy generator, as in Keras
    return {"test": cases.index.difference(training.index), "validation": order[-int(0.2 * len(order)) :]}


RULES = {"system_000": _system_000, "system_001": _system_001, "system_002": _system_002, "system_003": _system_003}


def published_split(system: str, cases: pd.DataFrame, row_order: list[str] | None = None) -> pd.Series:
    """``train``, ``validation`` or ``test`` of each case, by the rule and the seed of a published system.

    ``row_order`` holds the image ids in the order of HAM10000's metadata table, on which the rules of 000, 001 and 002
    depend; images that are not in it are test images. Without it, all ``cases`` are split in their order.
    """
    by_id = cases.set_index("image_id")
    ordered = by_id if row_order is None else by_id.loc[row_order]
    split = pd.Series("train", index=ordered.index)
    for name, rows in RULES[system](ordered).items():
        split[rows] = name
    return cases["image_id"].map(split).fillna("test").rename("split")


def check_published_counts(system: str, labels: pd.Series, split: pd.Series) -> None:
    """Raises InputError if the images of a split are not as many as the published system states."""
    for name, published in PUBLISHED_COUNTS[system].items():
        class_counts = labels[split == name].value_counts().to_dict()
        count = class_counts if isinstance(published, dict) else sum(class_counts.values())
        if count != published:
            differs = f"the {name} split of {system} has {count} images, published are {published}"
            fix = "Fix: use the whole set with its metadata table as published, or `split_rule: by_lesion`."
            raise InputError(f"{differs}: this is another dataset. {fix}")
