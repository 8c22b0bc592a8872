"""Melanoma and malignant: the two questions that a clinician asks of any set of classes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from lesion_utils.errors import InputError

CLASS_NAMES: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("class_names.yml").read_text("utf-8"))
_CODES = {name: code for code, about in CLASS_NAMES.items() for name in (code, *about["names"])}

VIEWS = "views"  # key under which the views that a study declares travel with its tables, in their ``attrs``
Views: TypeAlias = Mapping[str, Sequence[str]] | None  # the classes of each view; None: recognised by name


class ClassNames(list[str]):
    """Names of classes with the ``views`` that their study declares; None: names say them."""

    views: Views = None


def class_names(names: Iterable[str], table: Any) -> list[str]:
    """``names``, with the views that the ``attrs`` of their ``table`` declare."""
    classes = ClassNames(names)
    classes.views = table.attrs.get(VIEWS)
    return classes


def declared_views(kinds: Mapping[str, str]) -> dict[str, list[str]]:
    """The views of classes whose kind a study says. Melanoma is always one, perhaps of no class: then its numbers are
    not estimable. Malignant is left out where the kind of a class is not known, where no class or all belong to it, and
    where it is like melanoma.
    """
    views = {"melanoma": [name for name, kind in kinds.items() if kind == "melanoma"]}
    malignant = [name for name, kind in kinds.items() if kind in ("melanoma", "malignant")]
    is_known = "unknown" not in kinds.values() and 0 < len(malignant) < len(kinds)
    return views | ({"malignant": malignant} if is_known and malignant != views["melanoma"] else {})


def views_of(classes: Sequence[str], views: Views = None) -> dict[str, list[str]]:
    """The classes of each view: ``{"melanoma": [...], "malignant": [...]}``; ``views`` replaces what names say.

    A view with no class or all is left out, as is ``malignant`` like melanoma, unless a study declares them.
    Raises InputError for an unknown class.
    """
    if views is None and (declared := getattr(classes, "views", None)) is not None:
        return {view: list(names) for view, names in declared.items()}
    if views is None:
        codes = {name: code_of(name) for name in classes}
        malignant = [name for name, code in codes.items() if code and CLASS_NAMES[code]["malignant"]]
        views = {"melanoma": [name for name in classes if codes[name] == "mel"], "malignant": malignant}
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


def code_of(name: str) -> str | None:
    """The code in ``CLASS_NAMES`` of a class, also of ``Melanoma (MEL)``; None if the name is not known."""
    for text in (name, re.sub(r"\(.*?\)", " ", name), *re.findall(r"\((.*?)\)", name)):
        plain = " ".join(re.sub(r"[_*`-]", " ", text.casefold()).replace("’", "'").split())
        if code := _CODES.get(plain) or _CODES.get(plain.removesuffix("s")):
            return code
    return None


def same_classes(names: Sequence[Any], others: Sequence[Any]) -> dict[Any, Any] | None:
    """For each of ``others`` its name among ``names``, where both are the same classes: alike, in another case, or
    ``mel`` and ``Melanoma``. None if they are not.
    """
    if set(names) == set(others):
        return {name: name for name in others}

    def plain(name: object) -> str:
        return code_of(str(name)) or str(name).casefold()

    by_code = {plain(name): name for name in names}
    renamed = {name: by_code.get(plain(name)) for name in others}
    return renamed if set(renamed.values()) == set(names) and len(renamed) == len(set(names)) else None
