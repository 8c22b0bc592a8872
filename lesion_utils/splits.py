"""Training, validation and test: grouped by lesion, stratified by diagnosis, fixed by one seed."""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from lesion_utils.artefacts import digest, run_folder, writing
from lesion_utils.audit.corrections import apply, corrections
from lesion_utils.datasets import read_cases
from lesion_utils.errors import InputError, first_ten
from lesion_utils.params import StudyParams

SPLITS = ("train", "validation", "test")


def split_by_lesion(cases: pd.DataFrame, test: float, validation: float, seed: int) -> pd.Series:
    """``train``, ``validation`` or ``test`` for each case; no lesion stands in two, class shares are alike.

    ``test`` and ``validation`` are shares of all cases; each becomes the nearest one-in-k share of the cases left.
    """
    split = split_off(cases, "test", test, len(cases), seed)
    left = cases[split == "train"]
    split[left.index] = split_off(left, "validation", validation, len(cases), seed)
    return split


def split_off(cases: pd.DataFrame, name: str, share: float, of: int, seed: int) -> pd.Series:
    """``name`` for about ``share * of`` of the cases, ``train`` for the others; by lesion, class shares alike."""
    folds = max(2, round(len(cases) / (share * of)))
    counts = cases.groupby("label")["lesion_id"].nunique()
    if counts.min() < folds:
        raise InputError(
            f"a {name} share of {share} needs {folds} lesions of each class; found fewer for "
            f"{first_ten(counts[counts < folds].index)}. Cure: raise the share or add cases."
        )
    grouped = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    chosen = next(grouped.split(cases, cases["label"], cases["lesion_id"]))[1]
    split = pd.Series("train", index=cases.index, name="split")
    split.iloc[chosen] = name
    return split


def split_cases(params: StudyParams, table: str = "corrected") -> pd.DataFrame:
    """The case table of a study with its column ``split``; the same for all notebooks of the study.

    A data set that comes with a test part keeps it. In the ``corrected`` table no lesion stands in two parts; the
    ``raw`` one is the data as published, and where it has a test part, validation is drawn from the rest by image, as
    the users of such folders do.
    """
    cases = read_cases(params)
    if cases["published_split"].isna().all():
        cases["split"] = split_by_lesion(cases, params.test_fraction, params.validation_fraction, params.split_seed)
        return cases
    if table == "corrected":
        cases = apply(cases, corrections(cases, params.threads))
    cases["split"] = cases["published_split"]
    training = cases[cases["split"] == "train"]
    if table == "raw":
        training = training.assign(lesion_id=training["image_id"])
    cases.loc[training.index, "split"] = split_off(
        training, "validation", params.validation_fraction, len(training), params.split_seed
    )
    return cases


def case_tables(params: StudyParams, trainings: Iterable[str]) -> dict[str, pd.DataFrame]:
    """``split_cases`` of every table of cases that ``trainings`` (names of recipes) use: corrected, raw or both."""
    return {
        table: split_cases(params, table)
        for table in dict.fromkeys(params.trainings[training].cases for training in trainings)
    }


def assert_disjoint(cases: pd.DataFrame) -> None:
    """Raises InputError if a lesion stands in more than one split."""
    for one, other in combinations(SPLITS, 2):
        lesions, others = (set(cases.loc[cases["split"] == part, "lesion_id"]) for part in (one, other))
        if shared := lesions & others:
            raise InputError(f"lesions in both {one} and {other}: {first_ten(sorted(shared))}.")


def known_in_training(cases: pd.DataFrame, pictures: Sequence[str]) -> pd.DataFrame:
    """The validation and test cases that training knows, with a column ``knows``: the lesion, or the image.

    ``pictures`` holds a digest of each case's pixels; an image is the same if its id or its pixels are.
    """
    keyed = cases.assign(picture=list(pictures))
    training = keyed[keyed["split"] == "train"]
    held_out = keyed[keyed["split"].isin(["validation", "test"])]
    image = held_out["isic_id"].isin(training["isic_id"]) | held_out["picture"].isin(training["picture"])
    lesion = held_out["lesion_id"].isin(training["lesion_id"])
    knows = pd.Series(np.where(image, "image", "lesion"), index=held_out.index)
    return cases.loc[held_out.index].assign(knows=knows)[image | lesion]


def refuse_leak(name: str, cases: pd.DataFrame, pictures: Sequence[str], allow_leak: bool) -> bool:
    """The gate before every training: whether training ``name`` knows a validation or test case.

    Raises InputError if it does and ``allow_leak`` is not set.
    """
    known = known_in_training(cases, pictures)
    if known.empty or allow_leak:
        return not known.empty
    counts = known.groupby(["split", "knows"]).size()
    found = ", ".join(f"{n:,} {split} case(s) with the same {what}" for (split, what), n in counts.items())
    raise InputError(
        f"{name}: training knows {found}: {first_ten(known['image_id'])}. Expected neither on both sides. "
        f"Cure: correct the table or the split; or set `allow_leak: true` in the recipe, and every number that comes "
        f"of it is marked leaky."
    )


def split_digest(cases: pd.DataFrame) -> str:
    """Changes if any image changes its split, label or lesion."""
    return digest(cases[["image_id", "lesion_id", "label", "split"]].to_numpy().tolist())


def write_cases(cases: pd.DataFrame, study: str) -> None:
    """Writes ``cases.csv`` of the study, file names instead of paths so that the folder may move."""
    with writing(run_folder(study) / "cases.csv") as beside:
        cases.assign(path=cases["path"].map(lambda path: "/".join(np.array(path.split("/"))[-2:]))).to_csv(
            beside, index=False
        )


def written_cases(study: str) -> pd.DataFrame:
    """The cases as notebook 1 wrote them, without their pictures; InputError, with the cure, if it has not run."""
    path = run_folder(study) / "cases.csv"
    if not path.is_file():
        raise InputError(f"{path} does not exist. Cure: make study STUDY={study}, or run notebooks/01_eda.ipynb.")
    ids = ("image_id", "isic_id", "lesion_id", "label")
    return pd.read_csv(path, dtype=dict.fromkeys(ids, str), keep_default_na=False, na_values={"age": [""]})
