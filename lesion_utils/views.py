"""Melanoma and malignant: the two questions that a clinician asks of any set of classes."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from lesion_utils.errors import InputError

# names of HAM10000, ISIC 2018, ISIC 2019, the 9-class folders, ISIC 2020 and 2024; case, - and _ do not matter
MELANOMA = {"mel", "melanoma", "malignant melanoma"}
MALIGNANT = MELANOMA | {
    *("malignant", "bcc", "basal cell carcinoma", "scc", "squamous cell carcinoma"),
    *("ak", "actinic keratosis", "actinic keratoses"),  # pre-malignant; akiec joins them with carcinoma in situ
    *("akiec", "actinic keratoses and intraepithelial carcinoma", "bowen's disease", "intraepithelial carcinoma"),
}

Views: TypeAlias = Mapping[str, Sequence[str]] | None  # the classes of each view; None: recognised by name


def views_of(classes: Sequence[str], views: Views = None) -> dict[str, list[str]]:
    """The classes of each view: ``{"melanoma": [...], "malignant": [...]}``; ``views`` replaces what names say.

    A view with no class or all is left out, as is ``malignant`` like melanoma. Raises InputError for an unknown class.
    """
    if views is None:
        by_name = {"melanoma": MELANOMA, "malignant": MALIGNANT}
        views = {view: [name for name in classes if _plain(name) in names] for view, names in by_name.items()}
        if views["malignant"] == views["melanoma"]:
            views.pop("malignant")
    for view, names in views.items():
        if unknown := [name for name in names if name not in classes]:
            raise InputError(f"view {view!r}: no class {', '.join(unknown)}. Expected some of {', '.join(classes)}.")
    return {view: list(names) for view, names in views.items() if 0 < len(set(names)) < len(classes)}


def asked_views(
    classes: Sequence[str], melanoma: str | None = None, malignant: Sequence[str] | None = None
) -> dict[str, list[str]]:
    """``views_of`` the classes, with ``melanoma`` or ``malignant`` given by the caller: some classes, not all."""
    given = {"melanoma": None if melanoma is None else [melanoma], "malignant": malignant}
    asked = {view: list(names) for view, names in given.items() if names is not None}
    views = views_of(classes, views_of(classes) | asked)
    for view in asked.keys() - views.keys():
        names = ", ".join(asked[view]) or "no class"
        raise InputError(f"{view}: {names}. Expected some, but not all, of the classes {', '.join(classes)}.")
    return views


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").replace("’", "'").split())
