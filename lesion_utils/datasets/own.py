"""A person's own images with any class names: a folder for each class, or a table with a row for each image.

``<class>/<image>``, or ``<part>/<class>/<image>`` where all outer folders are parts such as train, val and test. A
table beside the folders may say which images show one lesion or patient. Where nothing says this, each image is a group
of its own, and every title says so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lesion_utils.datasets.case_table import MISSING, ages, case_table, require_folder, words_or_none
from lesion_utils.datasets.usual_names import (
    OF_CASES,
    known_lesions,
    one_spelling,
    part_of,
    picture_files,
    pictures_in,
    usual_column,
)
from lesion_utils.errors import InputError, first_ten
from lesion_utils.tables import (
    blank,
    read_table,
    require_columns,
    require_filled,
    require_one_of,
    require_unique,
)

GIVEN = "given_split"  # column of the case table: the split that the data came with
SUFFIXES = (".csv", ".tsv", ".tab", ".parquet")
NEEDED = ("image_id", "label")
SEXES = {"f": "female", "w": "female", "woman": "female", "m": "male", "man": "male"}  # as our tables count them
WORDS = ("sex", "localization", "source", "dx_type")
KINDS = {
    "benign": "benign",
    "malignant": "malignant",
    "melanoma": "melanoma (malignant)",
    "unknown": "not said whether malignant",
}


@dataclass(frozen=True)
class Own:
    """A layout's module (see ``registry.Layout``), with what the study says of its data."""

    by_folder: bool
    classes: Mapping[str, str] = field(default_factory=dict)  # of each class its kind, one of KINDS
    columns: Mapping[str, str] = field(default_factory=dict)  # of a name in OF_CASES its column, where it is unusual
    metadata: str | None = None  # the table, from the data folder

    @property
    def CLASSES(self) -> dict[str, str]:
        return {name: KINDS[kind] for name, kind in self.classes.items()}

    @property
    def EXPECTED(self) -> str:
        if self.by_folder:
            return "<class>/<image>.jpg, or <train|val|test>/<class>/<image>.jpg"
        return "images and a table of them with the columns image_id and label"

    def recognised(self, folder: Path) -> bool:
        """Whether a folder has this layout, with the usual names of columns; it may still have faults."""
        if self.by_folder:
            tops = visible(folder, folders=True)
            outer = tops if tops and all(part_of(path.name) for path in tops) else [folder]
            classes = [path for top in outer for path in visible(top, folders=True)]
            return len({path.name for path in classes if has_picture(path)}) > 1
        return any(map(self._is_labelled, tables_in(folder)))

    def _is_labelled(self, path: Path) -> bool:
        try:
            return set(NEEDED) <= set(self.columns_of(path, read_table(path, self.EXPECTED)))
        except InputError:
            return False

    def table_file(self, folder: Path, _: Path | None = None) -> Path | None:
        """The table of the images: the one that the study names, otherwise the one in ``folder``; None for folders."""
        require_folder(folder, self.EXPECTED, "<your study>.yml")
        if self.metadata or self.by_folder:
            return folder / self.metadata if self.metadata else None
        tables = tables_in(folder)
        if len(tables) == 1:
            return tables[0]
        names = first_ten(path.name for path in tables) or "none"
        fix = "Fix: name it, `metadata: <its name>` in the study's file, or --metadata of `lesion new`."
        raise InputError(f"{folder}: which table says the labels? Tables in it: {names}. {fix}")

    def image_files(self, folder: Path) -> list[Path]:
        return pictures_in(folder)

    def columns_of(self, path: Path, table: pd.DataFrame) -> dict[str, str]:
        """The column of each name in ``OF_CASES``: the one that the study says ("": none), otherwise the one with a
        usual name.

        Raises InputError where several have a usual name, and where the named column is missing.
        """
        named = [column for column in self.columns.values() if column]
        require_columns(path, table, named, "Fix: correct `columns` in the study's file.")
        known = dict(self.columns)
        for name, usual in OF_CASES.items():
            if name not in known and not (self.by_folder and name in ("label", "split")):  # folders say these
                option = f"`columns: {{{name}: NAME}}` in the study's file, or `lesion new … --column {name}=NAME`."
                if column := usual_column(path, table, name, usual, option):
                    known[name] = column
        if "patient_id" in self.columns and "lesion_id" not in self.columns:
            known.pop("lesion_id", None)
        return {name: column for name, column in known.items() if column}

    def grouped_by(self, folder: Path) -> str:
        """What the data say of the images that belong together: their lesion, their patient, or nothing (image)."""
        if not folder.is_dir() or not (path := self.table_file(folder)):
            return "image"
        known = self.columns_of(path, read_table(path, self.EXPECTED))
        return "lesion" if "lesion_id" in known else "patient" if "patient_id" in known else "image"

    def read(self, folder: Path, _: Path | None = None) -> pd.DataFrame:
        """The case table, one row per image, in the order of the image ids.

        ``isic_id`` is the image id; an image whose lesion or patient is not known has its id as ``lesion_id``. The
        column ``GIVEN`` is there where the data come with a split. Raises InputError for all that cannot be used.
        """
        path = self.table_file(folder)
        cases = pd.DataFrame()
        if path is not None:
            cases = self._read_table(path, folder)
            if extra := {*map(str, self.image_files(folder))} - {*cases["path"]}:
                names = first_ten(sorted(Path(name).relative_to(folder).as_posix() for name in extra))
                fix = "Fix: add rows for them, or move them out of the folder."
                raise InputError(f"{folder}: {len(extra):,} image(s) without a row in {path.name}: {names}. {fix}")
        if self.by_folder:
            described = cases.set_index("path").drop(columns="image_id") if path else pd.DataFrame()
            cases = _read_folders(folder, self.EXPECTED).join(described, on="path")
        for name in ("label", "image_id"):
            refuse_names(path or folder, cases[name])
        labels = cases["label"].unique()
        if len(labels) < 2:
            raise InputError(f"{path or folder} has one class only, {labels[0]!r}. Expected two or more classes.")
        alike = pd.Series(labels).groupby(pd.Series(labels).str.casefold()).agg(list)
        if len(alike) < len(labels):
            names = first_ten(" and ".join(names) for names in alike if len(names) > 1)
            raise InputError(f"{path or folder}: classes that differ in case only: {names}. Fix: give both one name.")
        groups = cases["lesion_id"] if "lesion_id" in cases else pd.Series(None, cases.index, dtype=object)
        alone = cases.loc[groups.isna(), "image_id"]
        if len(same := alone[alone.isin(groups.dropna())]):
            fix = "Fix: fill in the group of these images, or rename the groups."
            raise InputError(f"{path}: group(s) with the id of an image that has none: {first_ten(same)}. {fix}")
        return case_table(**cases.assign(lesion_id=groups.fillna(cases["image_id"]), isic_id=cases["image_id"]))

    def _read_table(self, path: Path, folder: Path) -> pd.DataFrame:
        table = read_table(path, "the columns image_id and label")
        known = self.columns_of(path, table)
        needed = NEEDED[:1] if self.by_folder else NEEDED
        if lacking := [name for name in needed if name not in known]:
            problem = f"{path}: no column is known to be {' or '.join(lacking)}"
            usual = "; ".join(f"{name} may be {', '.join(OF_CASES[name])}" for name in lacking)
            fix = f"`columns: {{{lacking[0]}: <its name>}}` in the study's file, or `lesion new … --column`."
            raise InputError(f"{problem}; the table has {first_ten(table.columns)}. {usual}. Fix: {fix}")
        cases = pd.DataFrame({name: table[column] for name, column in known.items()})
        for name in needed:
            require_filled(path, cases[name].rename(known[name]))
        require_unique(path, cases["image_id"].rename(known["image_id"]))
        cases["path"] = picture_files(folder, cases["image_id"])
        inside = cases["path"].map(lambda file: Path(file).relative_to(folder).as_posix())
        require_unique(path, inside.rename("picture"))
        if group := next((name for name in ("lesion_id", "patient_id") if name in known), None):
            cases["lesion_id"] = known_lesions(cases[group])
        if "split" in cases:
            given = cases["split"].rename(known["split"])
            cases[GIVEN] = parts = given.map(part_of)
            advice = "Fix: correct it, or leave the column out: `columns: {split: ''}` in the study's file."
            require_one_of(path, given, {*given[parts.notna()], "train", "test"}, advice=advice)
            if absent := {"train", "test"} - {*parts}:
                raise InputError(f"{path}: no image of {' or '.join(absent)} in column {given.name}. {advice}")
        for described in {"age", *WORDS} & set(cases):
            said = cases[described].mask(blank(cases[described]) | cases[described].str.lower().isin(MISSING), "")
            said = said.map(lambda word: SEXES.get(word.lower(), word)) if described == "sex" else said
            cases[described] = ages(path, said) if described == "age" else words_or_none(said)
        for text in {"image_id", "label"} & set(cases):
            cases[text] = cases[text].map(one_spelling)
        return cases.drop(columns=["patient_id", "split"], errors="ignore")


def visible(folder: Path, folders: bool = False) -> list[Path]:
    """What is in ``folder``, or only its folders, without hidden ones."""
    inside = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    return [path for path in inside if path.is_dir()] if folders else inside


def has_picture(folder: Path) -> bool:
    try:
        return bool(pictures_in(folder))
    except InputError:
        return False


def tables_in(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if path.suffix.lower() in SUFFIXES and path.is_file()]


def refuse_names(where: object, names: pd.Series) -> None:
    """Refuses ids and classes that a table or a terminal cannot hold as they are."""
    bad = names[~names.map(str.isprintable) | (names != names.str.strip()) | blank(names)].unique()
    if len(bad):
        what = {"label": "class name", "image_id": "image id"}[str(names.name)]
        expected = "Expected printable characters, no space at either end, and no word for a missing value"
        raise InputError(f"{where}: no usable {what}: {first_ten(map(repr, bad))}. {expected}. Fix: rename it.")


def _read_folders(folder: Path, expected: str) -> pd.DataFrame:
    tops = visible(folder, folders=True)
    parts = {path.name: part_of(path.name) for path in tops}
    has_parts = bool(parts) and all(parts.values())
    if not has_parts and any(parts.values()):
        mixed = [", ".join(name for name, part in parts.items() if bool(part) == is_part) for is_part in (True, False)]
        question = f"are {mixed[0]} parts or classes? Beside them are {mixed[1]}"
        raise InputError(f"{folder}: {question}. Expected {expected}. Fix: rename a class, or move it into the parts.")
    classes = [path for top in (tops if has_parts else [folder]) for path in visible(top, folders=True)]
    files = pictures_in(folder)
    inner = [file.relative_to(folder) for file in files]
    of_parts = [{path.name for path in classes if path.parent == top} for top in tops] if has_parts else [set[str]()]
    problems: dict[str, Iterable[object]] = {
        "two folders of one part": [name for name, part in parts.items() if part and [*parts.values()].count(part) > 1],
        "no folder of this part": {"train", "test"} - {*parts.values()} if has_parts else (),
        "class folder(s) that are not in every part": set().union(*of_parts) - set(of_parts[0]).intersection(*of_parts),
        "class folder(s) without an image": [path.relative_to(folder) for path in classes if not has_picture(path)],
        "image(s) not directly in a class folder": [path for path in inner if len(path.parts) != 2 + has_parts],
    }
    for problem, names in problems.items():
        if shown := first_ten(sorted(map(str, names))):
            raise InputError(f"{folder}: {problem}: {shown}. Expected {expected}.")
    cases = pd.DataFrame({"path": [*map(str, files)], "label": [one_spelling(path.parts[-2]) for path in inner]})
    cases["image_id"] = [one_spelling(path.with_suffix("").as_posix()) for path in inner]
    if (twice := cases["image_id"].duplicated()).any():
        shown = first_ten(cases.loc[twice, "image_id"])
        raise InputError(f"{folder}: files whose names differ in their ending only: {shown}. Fix: keep one of each.")
    return cases.assign(**{GIVEN: [parts[path.parts[0]] for path in inner]}) if has_parts else cases
