"""What one set of cases holds twice, and what two sets share."""

import pandas as pd


def same_pixels(cases: pd.DataFrame, digests: pd.Series) -> pd.DataFrame:
    """The cases whose pixels another case has too, with a column ``group`` numbering each such set."""
    twice = digests.duplicated(keep=False)
    groups = digests[twice].rank(method="dense").astype(int)
    return cases[twice].assign(group=groups).sort_values(["group", "image_id"])


def conflicting_labels(cases: pd.DataFrame, digests: pd.Series) -> pd.DataFrame:
    """The groups of ``same_pixels`` that stand under more than one label."""
    same = same_pixels(cases, digests)
    return same[same.groupby("group")["label"].transform("nunique") > 1]


def shared_lesions(cases: pd.DataFrame, others: pd.DataFrame) -> set[str]:
    """Ids of lesions with an image in both sets."""
    return set(cases["lesion_id"]) & set(others["lesion_id"])
