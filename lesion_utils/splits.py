"""Training, validation and test: grouped by lesion, stratified by diagnosis, fixed by one seed."""

from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from lesion_utils.artefacts import digest, run_folder, writing
from lesion_utils.audit.overlap import shared_lesions
from lesion_utils.datasets import read_cases
from lesion_utils.errors import InputError, first_ten
from lesion_utils.params import StudyParams

SPLITS = ("train", "validation", "test")


def split_by_lesion(cases: pd.DataFrame, test: float, validation: float, seed: int) -> pd.Series:
    """``train``, ``validation`` or ``test`` for each case; no lesion stands in two, class shares are alike.

    ``test`` and ``validation`` are shares of all cases; each becomes the nearest one-in-k share of the cases left.
    """
    split = pd.Series("train", index=cases.index, name="split")
    for name, share in (("test", test), ("validation", validation)):
        left = cases[split == "train"]
        folds = max(2, round(len(left) / (share * len(cases))))
        if left.groupby("label")["lesion_id"].nunique().min() < folds:
            counts = left.groupby("label")["lesion_id"].nunique()
            raise InputError(
                f"a {name} share of {share} needs {folds} lesions of each class; found fewer for "
                f"{first_ten(counts[counts < folds].index)}. Cure: raise the share or add cases."
            )
        grouped = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        chosen = next(grouped.split(left, left["label"], left["lesion_id"]))[1]
        split[left.index[chosen]] = name
    return split


def split_cases(params: StudyParams) -> pd.DataFrame:
    """The case table of a study with its column ``split``; the same for all notebooks of the study."""
    cases = read_cases(params)
    cases["split"] = split_by_lesion(cases, params.test_fraction, params.validation_fraction, params.split_seed)
    assert_disjoint(cases)
    return cases


def assert_disjoint(cases: pd.DataFrame) -> None:
    """Raises InputError if a lesion stands in more than one split."""
    for one, other in combinations(SPLITS, 2):
        if shared := shared_lesions(cases[cases["split"] == one], cases[cases["split"] == other]):
            raise InputError(f"lesions in both {one} and {other}: {first_ten(sorted(shared))}.")


def split_digest(cases: pd.DataFrame) -> str:
    """Changes if any image changes its split, label or lesion."""
    return digest(cases[["image_id", "lesion_id", "label", "split"]].to_numpy().tolist())


def write_cases(cases: pd.DataFrame, study: str) -> None:
    """Writes ``cases.csv`` of the study, file names instead of paths so that the folder may move."""
    with writing(run_folder(study) / "cases.csv") as beside:
        cases.assign(path=cases["path"].map(lambda path: "/".join(np.array(path.split("/"))[-2:]))).to_csv(
            beside, index=False
        )
