"""Training, validation and test: grouped by lesion, stratified by diagnosis, fixed by one seed."""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from lesion_utils.audit.corrections import apply, corrections
from lesion_utils.datasets import data_folder, ham10000, read_cases
from lesion_utils.digests import digest
from lesion_utils.errors import InputError, first_ten
from lesion_utils.paths import atomic_write, run_folder
from lesion_utils.study import StudyParams

SPLITS = ("train", "validation", "test")
UNUSED = "unused"  # the value of `split` of a case that takes no part


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
            f"{first_ten(counts[counts < folds].index)}. Fix: raise the share or add cases."
        )
    grouped = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    chosen = next(grouped.split(cases, cases["label"], cases["lesion_id"]))[1]
    split = pd.Series("train", index=cases.index, name="split")
    split.iloc[chosen] = name
    return split


def split_cases(params: StudyParams, table: str = "corrected") -> pd.DataFrame:
    """The case table of a study with its column ``split``; the same for all notebooks of the study.

    With a published ``split`` both tables are the data as published. Else a data set that comes with a test part keeps
    it. In the ``corrected`` table no lesion stands in two parts; the
    ``raw`` one is the data as published, and where it has a test part, validation is drawn from the rest by image, as
    the users of such folders do.
    """
    cases = read_cases(params)
    if params.split_rule != "by_lesion":
        cases["split"] = published_split(params, cases)
        return cases
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


# Images of each part, and of a class in it, that a published system states, where that tells its split from others.
PUBLISHED: dict[str, dict[str, int | dict[str, int]]] = {
    "system_000": {"validation": {"nv": 1006, "mel": 167, "bkl": 165, "bcc": 77, "akiec": 49, "vasc": 22, "df": 17}},
    "system_001": {"validation": {"akiec": 26, "bcc": 30, "bkl": 75, "df": 6, "mel": 39, "nv": 751, "vasc": 11}},
    "system_002": {"train": 7210, "validation": 802, "test": 2003},
    "system_003": {"train": 1792, "validation": 447, "test": 118},
}


def published_split(params: StudyParams, cases: pd.DataFrame) -> pd.Series:
    """``train``, ``validation`` or ``test`` of each case, by the rule and the seed of a published system.

    The rules work on the rows of the metadata table in their order, or on sorted file names. 000: 15 % of the images,
    stratified, for validation; its test set is another (key ``isic2018``). 001: 17 % of the lesions with one image,
    stratified; that part is validation and test at once, so there is no test. 002: 20 % of the images for test, of the
    rest 10 % for validation. 003 and 004: of the images in ``Train`` the last fifth after Keras' shuffling (its
    ``image_dataset_from_directory``) for validation; ``Test``, which they never score, is the test part.

    Raises InputError where the numbers of images are not those of HAM10000's, or the 9-class set's, published split.
    """
    if params.split_rule == "system_003":
        split = cases["published_split"].copy()
        training = cases[split == "train"]
        order = np.array(sorted(training.index, key=lambda row: (training["label"][row], training["path"][row])))
        np.random.RandomState(123).shuffle(order)  # the legacy generator, as Keras has it
        split[order[-int(0.2 * len(order)) :]] = "validation"
    else:
        own = cases[cases["published_split"] != "test"]
        rows = ham10000.table_order(data_folder(params))
        split = pd.Series("test", index=cases.index)
        split[own.index] = _RULES[params.split_rule](own.set_index("image_id").loc[rows])[own["image_id"]].to_numpy()
    if params.dataset != "phantom":
        _check_supports(params.split_rule, cases["label"], split)
    return split.rename("split")


def _of_system_000(cases: pd.DataFrame) -> pd.Series:
    return _parts(
        cases, validation=train_test_split(cases, test_size=0.15, random_state=47, stratify=cases["label"])[1]
    )


def _of_system_001(cases: pd.DataFrame) -> pd.Series:
    alone = cases[cases.groupby("lesion_id")["label"].transform("size") == 1]
    return _parts(
        cases, validation=train_test_split(alone, test_size=0.17, random_state=101, stratify=alone["label"])[1]
    )


def _of_system_002(cases: pd.DataFrame) -> pd.Series:
    training, test = train_test_split(cases, test_size=0.2, random_state=1234)
    return _parts(cases, test=test, validation=train_test_split(training, test_size=0.1, random_state=2)[1])


_RULES = {"system_000": _of_system_000, "system_001": _of_system_001, "system_002": _of_system_002}


def _parts(cases: pd.DataFrame, **parts: pd.DataFrame) -> pd.Series:
    split = pd.Series("train", index=cases.index)
    for name, part in parts.items():
        split[part.index] = name
    return split


def _check_supports(system: str, labels: pd.Series, split: pd.Series) -> None:
    for part, published in PUBLISHED[system].items():
        counts = labels[split == part].value_counts().to_dict()
        found = counts if isinstance(published, dict) else sum(counts.values())
        if found != published:
            raise InputError(
                f"the {part} part of {system} has {found} images, published are {published}: this is not the data set "
                f"that it split. Fix: the whole set with its metadata table as published, or `split_rule: by_lesion`."
            )


def use_share(cases: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """``cases`` with only ``share`` of the training lesions of each class, at least one; the others are ``unused``."""
    lesions = cases[cases["split"] == "train"].drop_duplicates("lesion_id").sample(frac=1, random_state=seed)
    place = lesions.groupby("label").cumcount()
    kept = lesions.loc[place < lesions.groupby("label")["lesion_id"].transform("size") * share, "lesion_id"]
    left = (cases["split"] == "train") & ~cases["lesion_id"].isin(kept)
    return cases.assign(split=cases["split"].mask(left, UNUSED))


def case_tables(params: StudyParams, trainings: Iterable[str]) -> dict[str, pd.DataFrame]:
    """``split_cases`` of every table of cases that ``trainings`` (names of recipes) use: corrected, raw or both."""
    return {
        table: split_cases(params, table)
        for table in dict.fromkeys(params.trainings[training].case_table for training in trainings)
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
    held_out = keyed[~keyed["split"].isin(["train", UNUSED])]
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
        f"Fix: correct the table or the split; or set `allow_leak: true` in the recipe, and every number that comes "
        f"of it is marked leaky."
    )


def split_digest(cases: pd.DataFrame) -> str:
    """Changes if any image changes its split, label or lesion."""
    return digest(cases[["image_id", "lesion_id", "label", "split"]].to_numpy().tolist())


def write_cases(cases: pd.DataFrame, study: str) -> None:
    """Writes ``cases.csv`` of the study, file names instead of paths so that the folder may move."""
    with atomic_write(run_folder(study) / "cases.csv") as beside:
        cases.assign(path=cases["path"].map(lambda path: "/".join(np.array(path.split("/"))[-2:]))).to_csv(
            beside, index=False
        )


def written_cases(study: str) -> pd.DataFrame:
    """The cases as notebook 1 wrote them, without their pictures; InputError, with the cure, if it has not run."""
    path = run_folder(study) / "cases.csv"
    if not path.is_file():
        raise InputError(f"{path} does not exist. Fix: make study STUDY={study}, or run notebooks/01_eda.ipynb.")
    ids = ("image_id", "isic_id", "lesion_id", "label")
    return pd.read_csv(path, dtype=dict.fromkeys(ids, str), keep_default_na=False, na_values={"age": [""]})
