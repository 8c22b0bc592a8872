"""A case table as tables and sentences for readers: classes, diagnosis types, patients, images of one lesion."""

from collections.abc import Mapping

import pandas as pd

from lesion_utils.rounding import number, percent


def facts(cases: pd.DataFrame, title: str, grouped_by: str) -> pd.DataFrame:
    """The dataset in one table: a row per fact."""
    unknown, known_groups = cases["lesion_id"] == cases["isic_id"], {f"{grouped_by}s": cases["lesion_id"].nunique()}
    if grouped_by == "image":
        grouped_by, known_groups = "lesion", {"lesions": "not known"}
    rows = {
        "dataset": title,
        "images": len(cases),
        **known_groups,
        "classes": cases["label"].nunique(),
        f"images whose {grouped_by} is unknown (each is treated as a separate one)": int(unknown.sum()),
        "images without a recorded source": int(cases["source"].isna().sum()),
        "split as published": "train and test" if cases["published_split"].notna().all() else "none",
    }
    return pd.DataFrame({"value": rows}).rename_axis("fact")


def class_table(cases: pd.DataFrame, meanings: Mapping[str, str]) -> pd.DataFrame:
    """Each class, the largest first: images, lesions, and the share of its images that have siblings."""
    counts = cases.groupby("label").agg(images=("image_id", "size"), lesions=("lesion_id", "nunique"))
    siblings = has_siblings(cases).groupby(cases["label"]).mean()
    shares = {"share of images": counts["images"] / len(cases), "images with siblings": siblings}
    texts = {name: share.map(percent) for name, share in shares.items()}
    table = counts.assign(**texts).sort_values("images", ascending=False)
    table.insert(0, "meaning", [meanings.get(label, "") for label in table.index])
    return table.rename_axis("class")


def imbalance_sentence(cases: pd.DataFrame) -> str:
    """What the class sizes alone do to accuracy and balanced accuracy."""
    sizes = cases["label"].value_counts()
    largest, smallest, classes = sizes.index[0], sizes.index[-1], len(sizes)
    return (
        f"Always answering {largest} is correct for {percent(sizes.iloc[0] / len(cases))} of {len(cases):,} images. "
        f"Its balanced accuracy is 1/{classes} = {percent(1 / classes)}. The largest class has "
        f"{number(sizes.iloc[0] / sizes.iloc[-1])} times the images of the smallest, {smallest}."
    )


def diagnosis_sentence(cases: pd.DataFrame) -> str:
    """Which diagnosis types reveal the class."""
    types = cases.dropna(subset=["dx_type"]).groupby("dx_type")["label"].agg(["size", "nunique", "first"])
    if types.empty:
        return "How the diagnoses were made is not recorded."
    only = types[types["nunique"] == 1]
    named = "; ".join(f"{name}: {row['size']:,} images, all {row['first']}" for name, row in only.iterrows())
    return f"Diagnosis types that occur in one class only: {len(only)} of {len(types)}{f' ({named})' if named else ''}."


def patient_table(cases: pd.DataFrame) -> pd.DataFrame:
    """Age, sex and body site of each class and of all images, with the number of images where each is missing."""
    groups = {label: cases[cases["label"] == label] for label in cases["label"].value_counts().index} | {"all": cases}
    return pd.DataFrame({name: _patients(group) for name, group in groups.items()}).T.rename_axis("class")


def _patients(cases: pd.DataFrame) -> dict[str, str | int]:
    lower, median, upper = (number(float(age)) for age in cases["age"].quantile([0.25, 0.5, 0.75], "nearest"))
    any_age = cases["age"].notna().any()
    sex, site = cases["sex"].dropna(), cases["localization"].value_counts(normalize=True)
    return {
        "images": len(cases),
        "median age, years (quartiles)": f"{median} ({lower}-{upper})" if any_age else "not recorded",
        "age missing": int(cases["age"].isna().sum()),
        "female": percent((sex == "female").mean()) if len(sex) else "not recorded",
        "sex missing": len(cases) - len(sex),
        "most frequent site": f"{site.index[0]} ({percent(site.iloc[0])})" if len(site) else "not recorded",
        "site missing": int(cases["localization"].isna().sum()),
    }


def age_sentence(cases: pd.DataFrame) -> str:
    """How far age alone separates the classes."""
    median = cases.groupby("label")["age"].median().dropna()
    if median.empty:
        return "Age is not recorded."
    low, high = (f"{number(age)} years ({median.index[median == age][0]})" for age in (median.min(), median.max()))
    return f"Where age is recorded, the median of a class ranges from {low} to {high}."


def has_siblings(cases: pd.DataFrame) -> pd.Series:
    """Whether another image shows the lesion of each case."""
    return cases["lesion_id"].duplicated(keep=False)


def siblings_sentence(cases: pd.DataFrame) -> str:
    """How many images have siblings, and how many would leak if training images were drawn at random, not by lesion."""
    if (cases["lesion_id"] == cases["isic_id"]).all():
        return "Which images show one lesion is not known, so a split by image may leak unseen."
    siblings, training = has_siblings(cases), (cases["split"] == "train").mean()
    of_class = siblings.groupby(cases["label"]).mean()
    others = cases.groupby("lesion_id")["image_id"].transform("size") - 1
    leaking = (1 - (1 - training) ** others).mean()
    return (
        f"{percent(siblings.mean())} of {len(cases):,} images show a lesion that other images show, too: from "
        f"{percent(of_class.min())} of class {of_class.idxmin()} to {percent(of_class.max())} of {of_class.idxmax()}. "
        f"If training images ({percent(training)}) were drawn image by image, {percent(leaking)} of all other images "
        "would be expected to show a lesion of training."
    )
