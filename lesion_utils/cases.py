"""A study's case tables: read from its dataset, corrected, split, and written once by notebook 01.

``cases.csv`` in the run folder holds the corrected table; ``cases_raw.csv`` the data as published, where that differs.
Beside each, a .json holds what it was made from. All other notebooks read these files, and nothing splits again.
"""

from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from lesion_utils.audit import corrections
from lesion_utils.audit.images import pixel_digests
from lesion_utils.audit.same_lesion import LIST as SAME_LESION
from lesion_utils.audit.same_lesion import merged_lesions
from lesion_utils.datasets import LAYOUTS, Layout, ham10000, isic2018, phantom
from lesion_utils.datasets.case_table import fetch_or
from lesion_utils.datasets.own import GIVEN
from lesion_utils.digests import digest, file_digest, file_digests
from lesion_utils.errors import InputError, did_you_mean, first_ten
from lesion_utils.paths import (
    PROJECT,
    atomic_write,
    cache_folder,
    current,
    data_root,
    is_usable,
    of_batch,
    read_json,
    remove,
    require_intact,
    resolve,
    run_folder,
    seal,
    write_json,
)
from lesion_utils.published.splits import check_published_counts, published_split
from lesion_utils.splits import assert_disjoint, deal_folds, split_by_lesion, split_digest, split_of_fold, split_off
from lesion_utils.study import StudyParams
from lesion_utils.views import VIEWS, declared_views

EDA = "01_eda"  # the notebook that writes them


def layout(params: StudyParams) -> Layout:
    """The layout of the study's data; that of own images with what the study says of them."""
    known = LAYOUTS[params.dataset]
    if not known.own:
        return known
    module = replace(known.module, classes=params.classes, columns=params.columns, metadata=params.metadata)
    grouped_by = module.grouped_by(resolve(params.data)) if params.data else known.grouped_by
    return replace(known, module=module, recognised=module.recognised, grouped_by=grouped_by)


def data_title(params: StudyParams) -> str:
    """What figures and reports call the study's data; whether its lesions are unknown, and it is scaled down."""
    unknown = ", lesions not known" if layout(params).grouped_by == "image" else ""
    return layout(params).title + unknown + (", scaled-down run" if params.scaled_down_how else "")


def data_folder(params: StudyParams) -> Path:
    """The folder of the study's images: the key ``data``, or where `lesion fetch` puts them; the phantom is written on
    first use, into a cache by its options.
    """
    if params.data is not None:
        return resolve(params.data)
    if not layout(params).made_up:
        if (folder := data_root() / params.dataset).is_dir():
            return folder
        problem = f"study {params.study!r} needs a data folder: key `data` is not set, and {folder} does not exist"
        fix = f"Fix: {fetch_or(params.dataset)}{params.command} DATA=<folder>, or papermill … -p data <folder>."
        raise InputError(f"{problem}. {fix}")
    folder = cache_folder("phantom") / digest([phantom.version(), params.phantom.model_dump()])
    if not is_usable(folder):
        remove(folder)
        seal(phantom.write(folder, params.phantom))
    return folder


def ham10000_folder(params: StudyParams) -> Path | None:
    """The folder of HAM10000's table, from which images in another layout take their lesions; None if there is none.

    For other layouts the key ``ham10000`` (InputError where it has no table), or that folder beside the data folder, or
    where `lesion fetch` puts it.
    """
    if layout(params).ham10000 == "itself":
        return data_folder(params)
    if layout(params).ham10000 == "none":
        return None
    if params.ham10000 is not None:
        return ham10000.table_file(resolve(params.ham10000)).parent
    usual = [root / "ham10000" for root in (data_folder(params).parent, data_root())]
    return next(filter(ham10000.metadata_files, usual), None)


def related_sets(params: StudyParams) -> dict[str, pd.DataFrame]:
    """Case tables that the study's images may overlap with, by title: HAM10000, where its images are available."""
    folder = ham10000_folder(params) if layout(params).ham10000 == "lesions" else None
    return {LAYOUTS["ham10000"].title: ham10000.read(folder)} if folder and ham10000.image_files(folder) else {}


def data_digest(params: StudyParams) -> str:
    """Changes with the name or content of any image and any byte of a table, not with the folders' locations."""
    if params.dataset == "phantom" and params.data is None:
        identity = ["phantom", phantom.version(), params.phantom.model_dump(mode="json")]
    else:
        identity = _identity(layout(params), data_folder(params), ham10000_folder(params))
        identity += [params.columns] if params.columns else []
    if params.isic2018 is not None:
        identity += _identity(LAYOUTS["isic2018"], resolve(params.isic2018), None)
    if params.merge_same_lesion:
        identity.append(file_digest(same_lesion_list(params)))
    return digest(identity)


def _identity(layout: Layout, folder: Path, ham: Path | None) -> list:
    table, images = layout.module.table_file(folder, ham), layout.module.image_files(folder)
    if layout.name_parts is None:
        names = [path.relative_to(folder).as_posix() for path in images]
    else:
        names = ["/".join(path.parts[-layout.name_parts :]) for path in images]
    return [file_digest(table) if table else None, [*zip(names, file_digests(folder, images), strict=True)]]


def read_cases(params: StudyParams) -> pd.DataFrame:
    """All cases of a study, without splits, also those of ``isic2018``; InputError for all that cannot be used."""
    cases = layout(params).module.read(data_folder(params), ham10000_folder(params))
    if params.merge_same_lesion:
        pairs = pd.read_csv(same_lesion_list(params), dtype=str)
        cases["lesion_id"] = merged_lesions(cases, pairs)
    if params.classes:
        _require_classes(params, cases)
        cases.attrs[VIEWS] = declared_views(params.classes)
    if params.isic2018 is None:
        return cases
    if params.split_rule != "system_000" or layout(params).ham10000 != "itself":
        problem = f"key `isic2018` is set, but the split is {params.split_rule!r} of {params.dataset!r}"
        fix = "Expected `split_rule: system_000` on HAM10000. Fix: remove `isic2018`."
        raise InputError(f"study {params.study!r}: {problem}. {fix}")
    cases = pd.concat([cases, isic2018.read(resolve(params.isic2018))])
    if len(duplicates := cases.loc[cases["image_id"].duplicated(), "image_id"]):
        problem = f"{len(duplicates)} image(s) are both in {data_folder(params)} and in the test set {params.isic2018}"
        fix = "Expected none. Fix: use the two sets as they were published."
        raise InputError(f"{problem}: {first_ten(duplicates)}. {fix}")
    return cases.sort_values("image_id", ignore_index=True)


def _require_classes(params: StudyParams, cases: pd.DataFrame) -> None:
    """Refuses labels that the study does not name, and classes without an image."""
    named, labels = list(params.classes), sorted(cases["label"].unique())
    where = f"study {params.study!r}, key `classes`, and the data in {data_folder(params)}"
    if unknown := [label for label in labels if label not in named]:
        problem = f"label(s) that the study does not name: {first_ten(unknown)}.{did_you_mean(unknown[0], named)}"
        raise InputError(f"{where}: {problem} Expected one of {first_ten(named)}. Fix: correct either.")
    if empty := [name for name in named if name not in labels]:
        raise InputError(f"{where}: class(es) without an image: {first_ten(empty)}. Fix: correct either.")


def read_pictures(params: StudyParams) -> pd.DataFrame:
    """``read_cases`` with the column ``pixels``, the digest of each decoded picture, kept while the data stay the same.

    Raises InputError naming a file that cannot be decoded.
    """
    cases, data = read_cases(params), data_digest(params)
    file = run_folder(params.study) / "checked" / "pixels.json"
    kept = read_json(file, missing={})
    if kept.get("data") == data and list(kept["pixels"]) == list(cases["image_id"]):
        return cases.assign(pixels=list(kept["pixels"].values()))
    cases["pixels"] = pixel_digests(cases, params.threads)
    write_json(file, {"data": data, "pixels": dict(zip(cases["image_id"], cases["pixels"], strict=True))})
    return cases


def same_lesion_list(params: StudyParams) -> Path:
    """The tracked list of pairs of images that show one lesion under two ids; InputError if the dataset has none."""
    file = PROJECT / "reports" / params.dataset / SAME_LESION
    if not file.is_file():
        have = first_ten(path.parent.name for path in sorted(PROJECT.glob(f"reports/*/{SAME_LESION}"))) or "none"
        problem = f"study {params.study!r}: there is no list of images that show one lesion for {params.dataset!r}"
        raise InputError(f"{problem}. Expected one of: {have}. Fix: leave `merge_same_lesion` out.")
    return file


def has_raw_table(params: StudyParams) -> bool:
    """Whether the data as published differ from the corrected table."""
    return layout(params).corrected and params.split_rule == "by_lesion"


def check_cases(params: StudyParams) -> pd.DataFrame:
    """``read_cases``; raises InputError for all that can be refused before any picture is decoded."""
    cases = read_cases(params)
    if not has_raw_table(params):
        _with_split(params, cases, cases)
    return cases


def make_case_tables(params: StudyParams) -> dict[str, pd.DataFrame]:
    """The tables ``corrected`` and ``raw`` of a study, with the columns ``pixels`` and ``split``.

    With a published split rule, and where a dataset has no published test split, both are the same. With ``folds`` they
    have the columns of ``splits.deal_folds``, and ``split`` is that of this run; the raw table is dealt out image by
    image. Otherwise the test split is the published one; in the corrected table no lesion is in two splits, and in the
    raw one validation is drawn from the training images one by one, as users of such folders do.
    """
    cases = read_pictures(params)
    if not has_raw_table(params):
        return dict.fromkeys(("corrected", "raw"), _with_split(params, cases, cases))
    corrected = corrections.apply(cases, corrections.corrections(cases))
    return {
        "corrected": _with_split(params, corrected, corrected),
        "raw": _with_split(params, cases, cases.assign(lesion_id=cases["image_id"])),
    }


def _with_split(params: StudyParams, table: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """``table`` with its split by the lesions of ``groups``, or with its folds by them and the split of this run; own
    images keep the split that they came with, and validation is taken from training where it has none.
    """
    if GIVEN in table:
        return table.assign(split=_given_split(params, table))
    if params.folds > 1:
        dealt = table.assign(**deal_folds(groups, params.folds, params.validation_fraction, params.split_seed))
        return dealt.assign(split=split_of_fold(dealt, params.fold))
    if has_raw_table(params):
        training = groups[groups["published_split"] == "train"]
        validation = split_off(training, "validation", params.validation_fraction, len(training), params.split_seed)
        return table.assign(split=validation.reindex(table.index).fillna(table["published_split"]))
    return table.assign(split=_split(params, groups))


def _given_split(params: StudyParams, cases: pd.DataFrame) -> pd.Series:
    data, split = f"study {params.study!r}: the data in {data_folder(params)}", cases[GIVEN]
    if params.folds > 1:
        raise InputError(f"{data} come with a split, so they cannot be dealt into `folds`. Fix: remove one of the two.")
    try:
        assert_disjoint(cases.assign(split=split))
    except InputError as error:
        fix = "Fix: move all images of a lesion into one part, or give the data without parts."
        raise InputError(f"{data} come with a split that leaks: {error} {fix}") from None
    if "validation" in set(split):
        return split
    training = cases[split == "train"]
    validation = split_off(training, "validation", params.validation_fraction, len(training), params.split_seed)
    return validation.reindex(cases.index).fillna(split)


def _split(params: StudyParams, cases: pd.DataFrame) -> pd.Series:
    if params.split_rule == "by_lesion":
        return split_by_lesion(cases, params.test_fraction, params.validation_fraction, params.split_seed)
    order = ham10000.table_order(data_folder(params)) if layout(params).ham10000 == "itself" else None
    split = published_split(params.split_rule, cases, order)
    if not layout(params).made_up:
        check_published_counts(params.split_rule, cases["label"], split)
    return split


def case_table_files(params: StudyParams) -> dict[str, Path]:
    """The files of the corrected and the raw case table; one and the same where these do not differ."""
    raw = "cases_raw.csv" if has_raw_table(params) else "cases.csv"
    return {"corrected": run_folder(params.study) / "cases.csv", "raw": run_folder(params.study) / raw}


def write_case_tables(params: StudyParams, tables: dict[str, pd.DataFrame]) -> None:
    """Writes the tables of ``make_case_tables``, with paths relative to the data folder, which may move."""
    for name, file in case_table_files(params).items():
        cases = tables[name]
        pairs = zip(cases["path"], _folders(params, cases), strict=True)
        paths = [PurePath(path).relative_to(folder).as_posix() for path, folder in pairs]
        with atomic_write(file) as temporary:
            cases.assign(path=paths).to_csv(temporary, index=False)
        of_runs = [cases]
        if params.folds > 1:
            of_runs = [cases.assign(split=split_of_fold(cases, fold)) for fold in range(params.folds)]
        write_json(file.with_suffix(".json"), _made_from(params) | {"split digests": [*map(split_digest, of_runs)]})


def read_case_tables(params: StudyParams) -> dict[str, pd.DataFrame]:
    """The tables ``corrected`` and ``raw`` that notebook 01 wrote; InputError if missing or made from others."""
    files, tables = {name: _current(params, file) for name, file in case_table_files(params).items()}, {}
    for file in set(files.values()):
        written = read_json(file.with_suffix(".json"), params.fix(EDA))
        if changed := [key for key, value in _made_from(params).items() if written.get(key) != value]:
            raise InputError(f"{file} was made with another {' and '.join(changed)}. Fix: {params.fix(EDA)}")
        cases = read_written_cases(params, file)
        pairs = zip(_folders(params, cases), cases["path"], strict=True)
        tables[file] = cases.assign(path=[str(folder / path) for folder, path in pairs])
    return {name: tables[file] for name, file in files.items()}


def written_split_digest(params: StudyParams, table: str, run: int) -> str | None:
    """The digest of the split of ``run`` in the ``corrected`` or ``raw`` case table as written; None where its JSON is
    not kept.
    """
    about = _current(params, case_table_files(params)[table]).with_suffix(".json")
    digests = read_json(about, params.fix(EDA), missing={}).get("split digests")
    return digests[run % params.folds] if digests else None


def read_written_cases(params: StudyParams, file: Path | None = None) -> pd.DataFrame:
    """The cases as written to ``file``, by default the corrected ones, with the split of this run; InputError if it
    does not exist.
    """
    file = file or _current(params, case_table_files(params)["corrected"])
    cases = pd.read_csv(require_intact(file, params.fix(EDA)), dtype=str, keep_default_na=False)
    if params.folds > 1:
        cases["split"] = split_of_fold(cases, params.fold)
    if "age" in cases:  # it is not tracked
        cases["age"] = pd.to_numeric(cases["age"])
    for name in set(cases) & {"sex", "localization", "dx_type", "source", "published_split", "ham10000_label"}:
        cases[name] = cases[name].astype(object).where(cases[name] != "", None)
    return cases


def _current(params: StudyParams, file: Path) -> Path:
    return file if of_batch(file) == file else current(file, _made_from(params))


def _made_from(params: StudyParams) -> dict[str, Any]:
    keys = {"split_rule", "test_fraction", "validation_fraction", "split_seed", "folds"}
    return {"data": data_digest(params)} | params.model_dump(mode="json", include=keys)


def _folders(params: StudyParams, cases: pd.DataFrame) -> list[Path]:
    """The folder that holds the picture of each case."""
    own, test = data_folder(params), resolve(params.isic2018) if params.isic2018 else None
    return [test if test and split == "test" else own for split in cases["published_split"]]
