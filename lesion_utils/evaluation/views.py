"""Which classes are melanoma and which malignant: the two questions that a clinician asks of any set of classes.

Malignant are melanoma, basal and squamous cell carcinoma and actinic keratoses: these are pre-malignant, but HAM10000's
class ``akiec`` holds them together with carcinoma in situ.
"""

from collections.abc import Mapping, Sequence

from lesion_utils.errors import InputError

# HAM10000 and ISIC 2018, ISIC 2019, the 9-class folders, ISIC 2020 and 2024; case, - and _ do not matter
MELANOMA = {"mel", "melanoma", "malignant melanoma"}
MALIGNANT = MELANOMA | {
    "malignant",
    *("bcc", "basal cell carcinoma"),
    *("scc", "squamous cell carcinoma"),
    *("ak", "actinic keratosis", "actinic keratoses"),
    *("akiec", "actinic keratoses and intraepithelial carcinoma", "bowen's disease", "intraepithelial carcinoma"),
}


def views_of(classes: Sequence[str], views: Mapping[str, Sequence[str]] | None = None) -> dict[str, list[str]]:
    """The classes that each view counts as positive: ``{"melanoma": [...], "malignant": [...]}``.

    ``views`` replaces what the names tell. A view is left out where it has no class or holds all of them, and
    ``malignant`` where it is melanoma alone. Raises InputError if ``views`` names a class that is not there.
    """
    if views is None:
        known = {"melanoma": MELANOMA, "malignant": MALIGNANT}
        views = {view: [name for name in classes if _plain(name) in names] for view, names in known.items()}
        if views["malignant"] == views["melanoma"]:
            views.pop("malignant")
    for view, names in views.items():
        if strange := [name for name in names if name not in classes]:
            raise InputError(
                f"view {view!r}: no class {', '.join(strange)}; the classes are {', '.join(map(str, classes))}."
            )
    return {view: list(names) for view, names in views.items() if 0 < len(set(names)) < len(classes)}


def asked_views(
    classes: Sequence[str], melanoma: str | None = None, malignant: Sequence[str] | None = None
) -> dict[str, list[str]]:
    """``views_of`` the classes, where a person may say which class is ``melanoma`` and which ones are ``malignant``.

    Raises InputError if one of them is not there, or if a view holds no class or every class.
    """
    asked = {"melanoma": None if melanoma is None else [melanoma], "malignant": malignant}
    said = {view: list(names) for view, names in asked.items() if names is not None}
    views = views_of(classes, views_of(classes) | said)
    if useless := [view for view in said if view not in views]:
        raise InputError(
            f"{useless[0]}: {', '.join(said[useless[0]])} is to be told from the rest, but the classes are "
            f"{', '.join(classes)}. Expected some of them, not all."
        )
    return views


def _plain(name: object) -> str:
    return " ".join(str(name).casefold().replace("_", " ").replace("-", " ").replace("’", "'").split())
