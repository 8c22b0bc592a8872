"""Splits: no lesion on two sides, every case on one, classes alike, and the same split for the same seed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion_utils.audit.images import open_image
from lesion_utils.cases import (
    check_cases,
    make_case_tables,
    read_case_tables,
    read_cases,
    read_pictures,
    read_written_cases,
    write_case_tables,
    written_split_digest,
)
from lesion_utils.datasets import ham10000
from lesion_utils.errors import InputError
from lesion_utils.published.splits import PUBLISHED_COUNTS
from lesion_utils.runtime import keras
from lesion_utils.splits import (
    SPLITS,
    assert_disjoint,
    deal_folds,
    find_leaks,
    refuse_leak,
    split_by_lesion,
    split_digest,
    split_of_fold,
    use_share,
)
from lesion_utils.study import StudyParams


def made_up(lesions: dict[str, int], seed: int = 0, most_views: int = 4) -> pd.DataFrame:
    """Cases in random order: so many lesions a class, with one to ``most_views`` images each."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"{label}{lesion}-{view}", f"{label}{lesion}", label)
        for label, n in lesions.items()
        for lesion in range(n)
        for view in range(rng.integers(1, most_views + 1))
    ]
    cases = pd.DataFrame(rows, columns=["image_id", "lesion_id", "label"])
    return cases.sample(frac=1, random_state=seed, ignore_index=True)


@pytest.mark.slow
@settings(max_examples=25)
@given(
    lesions=st.lists(st.integers(12, 60), min_size=2, max_size=5),
    share=st.sampled_from([0.1, 0.2, 0.25]),
    seed=st.integers(0, 9),
)
def test_lesions_stay_together_all_cases_are_used_and_classes_are_alike(lesions, share, seed):
    cases = made_up({f"c{k}": n for k, n in enumerate(lesions)}, seed)
    cases["split"] = split_by_lesion(cases, share, share, seed)
    assert (cases.groupby("lesion_id")["split"].nunique() == 1).all()
    assert set(cases["split"]) == set(SPLITS) and cases["split"].notna().all()
    counts = pd.crosstab(cases["label"], cases["split"])
    # exact up to the images of a few lesions, which cannot be cut
    for held_out in ("validation", "test"):
        assert abs(counts[held_out].sum() - share * len(cases)) <= 6
        assert (counts[held_out] - share * counts.sum(axis=1)).abs().max() <= 8
        assert (counts[held_out] > 0).all()


def test_the_split_depends_on_the_seed_alone():
    cases = made_up({"nv": 40, "mel": 20})
    one, same, other = (split_by_lesion(cases, 0.2, 0.2, seed) for seed in (3, 3, 4))
    assert one.equals(same)
    assert not one.equals(other)


def test_test_cases_stay_when_the_share_of_validation_changes():
    cases = made_up({"nv": 40, "mel": 20})
    one, other = (split_by_lesion(cases, 0.2, share, 0) for share in (0.1, 0.25))
    assert ((one == "test") == (other == "test")).all()
    assert (one == "validation").sum() < (other == "validation").sum()


def test_too_few_lesions_of_a_class_are_named():
    cases = made_up({"nv": 40, "mel": 20, "df": 4, "vasc": 3})
    with pytest.raises(InputError, match=r"0\.2 needs 5 lesions.*df, vasc\. Fix"):
        split_by_lesion(cases, 0.2, 0.2, 0)
    few_left = made_up({"nv": 40, "mel": 20, "df": 5})
    with pytest.raises(InputError, match=r"0\.1 needs 8 lesions.*df\."):
        split_by_lesion(few_left, 0.2, 0.1, 0)


def test_assert_disjoint_names_lesion_and_splits():
    cases = pd.DataFrame({"lesion_id": list("aabbc"), "split": ["train", "train", "validation", "test", "test"]})
    with pytest.raises(InputError, match=r"lesions in both validation and test: b\."):
        assert_disjoint(cases)
    assert_disjoint(cases.drop(index=3))


@pytest.fixture
def clean_cases() -> pd.DataFrame:
    """Three training and four held-out cases of seven lesions; ``pixels`` are their digests."""
    parts = ["train"] * 3 + ["validation"] * 2 + ["test"] * 2
    names = list("abcdefg")
    return pd.DataFrame({"image_id": names, "isic_id": names, "lesion_id": names, "split": parts, "pixels": names})


def test_clean_cases_may_be_trained_on(clean_cases):
    assert find_leaks(clean_cases).empty
    for allow_leak in (False, True):
        assert refuse_leak("cnn", clean_cases, allow_leak) is False


@pytest.mark.parametrize(("column", "what"), [("lesion_id", "lesion"), ("isic_id", "image"), ("pixels", "image")])
@pytest.mark.parametrize(("row", "part"), [(3, "validation"), (6, "test")])
def test_an_image_or_lesion_of_training_and_a_held_out_case_is_refused(clean_cases, column, what, row, part):
    clean_cases.loc[row, column] = "b"
    image = clean_cases["image_id"][row]
    with pytest.raises(InputError, match=rf"cnn: .* 1 {part} case\(s\) with the same {what}: {image}\..*allow_leak"):
        refuse_leak("cnn", clean_cases, allow_leak=False)
    assert refuse_leak("cnn", clean_cases, allow_leak=True) is True


def test_validation_and_test_may_share_lesions_and_unused_cases_do_not_leak(clean_cases):
    clean_cases.loc[4, "lesion_id"] = clean_cases.loc[5, "lesion_id"]
    clean_cases.loc[0, "split"] = "unused"
    clean_cases.loc[6, "lesion_id"] = clean_cases.loc[0, "lesion_id"]
    assert find_leaks(clean_cases).empty


def test_the_digest_changes_when_an_image_moves_and_with_nothing_else():
    cases = made_up({"nv": 5, "mel": 5})
    cases = cases.assign(split="train", path="a", age=3.0)
    before = split_digest(cases)
    assert split_digest(cases.assign(path="b", age=4.0)) == before
    for column in ("image_id", "lesion_id", "label", "split"):
        moved = cases.copy()
        moved.loc[3, column] = "test"
        assert split_digest(moved) != before


def test_the_cases_of_a_study_are_split_once_and_for_all(tiny_study):
    cases = make_case_tables(tiny_study)["corrected"]
    assert cases.drop(columns=["pixels", "split"]).equals(read_cases(tiny_study))
    assert split_digest(
        make_case_tables(tiny_study.model_copy(update={"seed": 9, "run": 2}))["corrected"]
    ) == split_digest(cases)
    assert split_digest(make_case_tables(tiny_study.model_copy(update={"split_seed": 1}))["corrected"]) != split_digest(
        cases
    )


@pytest.fixture
def nine_classes(isic9_folder, tiny_study) -> StudyParams:
    return tiny_study.model_copy(update={"dataset": "isic9", "data": str(isic9_folder)})


def test_a_published_test_part_stays_and_the_raw_table_is_the_set_as_published(nine_classes):
    raw = make_case_tables(nine_classes)["raw"]
    assert raw.drop(columns=["pixels", "split"]).equals(read_cases(nine_classes))
    assert (raw["split"] == "test").equals(raw["published_split"] == "test")
    assert (raw["split"] == "validation").sum() > 0
    leaks = find_leaks(raw)
    assert {("test", "image"), ("test", "lesion"), ("validation", "image")} <= set(
        leaks.groupby(["split", "shares"]).groups
    )


def test_the_corrected_table_has_lost_some_cases_and_every_leak(nine_classes):
    tables = make_case_tables(nine_classes)
    raw, corrected = tables["raw"], tables["corrected"]
    assert set(corrected["image_id"]) < set(raw["image_id"])
    assert (corrected["split"] == "test").equals(corrected["published_split"] == "test")
    assert find_leaks(corrected).empty
    assert_disjoint(corrected)


@pytest.mark.parametrize("with_raw", [False, True])
def test_written_tables_come_back_as_they_were_made(tiny_study, nine_classes, output, with_raw):
    study = nine_classes if with_raw else tiny_study
    made = make_case_tables(study)
    write_case_tables(study, made)
    assert (output / "runs" / "tiny" / "cases_raw.csv").is_file() == with_raw
    for name, cases in read_case_tables(study).items():
        pd.testing.assert_frame_equal(cases, made[name], check_dtype=False)
        assert split_digest(cases) == split_digest(made[name])


def test_a_study_with_another_test_set_finds_the_pictures_of_both(phantom_folder, isic2018_folder):
    study = StudyParams(data=str(phantom_folder), isic2018=str(isic2018_folder), split_rule="system_000")
    write_case_tables(study, make_case_tables(study))
    assert all(Path(path).is_file() for path in read_case_tables(study)["corrected"]["path"])


def test_a_missing_or_outdated_case_table_is_refused_with_the_command_that_makes_it(tiny_study, output):
    for read in (read_case_tables, read_written_cases):
        with pytest.raises(InputError, match=r"runs/tiny/cases.*Fix: .*STUDY=tiny.*01_eda"):
            read(tiny_study)
    write_case_tables(tiny_study, make_case_tables(tiny_study))
    for change in ({"split_seed": 1}, {"test_fraction": 0.3}, {"split_rule": "system_002"}, {"data": None}):
        with pytest.raises(InputError, match=r"cases\.csv.*(data|split|fraction).*STUDY=tiny"):
            read_case_tables(tiny_study.model_copy(update=change))


def test_a_written_case_table_has_no_location_of_this_machine(tiny_study, output, phantom_folder):
    made = make_case_tables(tiny_study)
    write_case_tables(tiny_study, made)
    text = (output / "runs" / "tiny" / "cases.csv").read_text()
    assert str(phantom_folder) not in text and str(phantom_folder.parent.name) not in text
    written = read_written_cases(tiny_study)
    assert (phantom_folder / written["path"][0]).is_file()
    assert split_digest(written) == split_digest(made["corrected"])


def test_a_moved_data_folder_needs_no_new_table(tiny_study, ham_folder, output):
    write_case_tables(tiny_study, make_case_tables(tiny_study))
    moved = tiny_study.model_copy(update={"data": str(ham_folder)})
    assert read_case_tables(moved)["raw"]["path"].str.startswith(str(ham_folder)).all()


def test_a_study_decodes_each_picture_once(nine_classes, output, monkeypatch):
    decoded = []
    monkeypatch.setattr("lesion_utils.audit.images.open_image", lambda path: decoded.append(path) or open_image(path))
    read_pictures(nine_classes)  # `lesion check`
    write_case_tables(nine_classes, make_case_tables(nine_classes))  # notebook 01
    tables = read_case_tables(nine_classes)  # the others
    assert refuse_leak("cnn", tables["raw"], allow_leak=True)
    assert len(decoded) == len(set(decoded)) == len(tables["raw"])


def test_the_real_ham10000_has_ten_lesions_of_each_class_in_validation_and_test(real_ham, tiny_study):
    study = tiny_study.model_copy(update={"dataset": "ham10000", "data": str(real_ham)})
    cases = make_case_tables(study)["corrected"]
    lesions = cases.groupby(["split", "label"])["lesion_id"].nunique().unstack()
    assert lesions.loc[["validation", "test"], list(ham10000.CLASSES)].min(axis=None) >= 10
    shares = cases["split"].value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.2, abs=0.002) and shares["validation"] == pytest.approx(0.2, abs=0.002)


# published splits


@pytest.mark.parametrize("system", ["system_000", "system_001", "system_002"])
def test_the_published_splits_of_ham10000_have_the_published_supports(real_ham, system):
    cases = make_case_tables(StudyParams(dataset="ham10000", data=str(real_ham), split_rule=system))["corrected"]
    assert len(cases) == 10_015
    for part, published in PUBLISHED_COUNTS[system].items():
        counts = cases.loc[cases["split"] == part, "label"].value_counts()
        assert published == (counts.to_dict() if isinstance(published, dict) else counts.sum())
    known = find_leaks(cases.assign(pixels=cases["image_id"]))
    shares = (known.groupby("split").size() / cases.groupby("split").size()).dropna().round(3).to_dict()
    # as counted on the published table: the only split without a shared lesion is system 001's
    assert (
        shares
        == {
            "system_000": {"validation": 0.411},
            "system_001": {},
            "system_002": {"validation": 0.367, "test": 0.36},
        }[system]
    )


def test_the_published_sizes_of_training_and_validation(real_ham):
    cases = make_case_tables(StudyParams(dataset="ham10000", data=str(real_ham), split_rule="system_000"))["corrected"]
    assert cases["split"].value_counts().to_dict() == {"train": 8512, "validation": 1503}
    cases = make_case_tables(StudyParams(dataset="ham10000", data=str(real_ham), split_rule="system_001"))["corrected"]
    assert cases["split"].value_counts().to_dict() == {"train": 9077, "validation": 938}


def test_the_split_of_system_003_is_keras_own(isic9_folder, real_isic9):
    cases = make_case_tables(StudyParams(dataset="isic9", data=str(real_isic9), split_rule="system_003"))["raw"]
    assert cases["split"].value_counts().to_dict() == {"train": 1792, "validation": 447, "test": 118}
    folder = next(real_isic9.iterdir()) / "Train"
    options = {"validation_split": 0.2, "seed": 123, "image_size": (8, 8), "verbose": False}
    theirs = keras.utils.image_dataset_from_directory(folder, subset="validation", **options)
    assert set(theirs.file_paths) == set(cases.loc[cases["split"] == "validation", "path"])


def test_another_set_than_the_published_one_is_refused(isic9_folder, phantom_folder, monkeypatch):
    with pytest.raises(InputError, match=r"train split of system_003 has \d+ images, published are 1792.*whole set"):
        make_case_tables(StudyParams(dataset="isic9", data=str(isic9_folder), split_rule="system_003"))
    with pytest.raises(InputError, match=r"validation split of system_000 has \{.*\} images, published are"):
        make_case_tables(StudyParams(dataset="ham10000", data=str(phantom_folder), split_rule="system_000"))[
            "corrected"
        ]


def test_the_rules_of_published_splits_on_a_phantom(phantom_folder, isic2018_folder):
    def split_by(system: str, **options) -> pd.DataFrame:
        return make_case_tables(StudyParams(data=str(phantom_folder), split_rule=system, **options))["corrected"]

    alone = split_by("system_001")
    held_out = alone[alone["split"] == "validation"]
    assert (alone.groupby("lesion_id")["image_id"].transform("size")[held_out.index] == 1).all() and len(held_out)
    assert set(alone["split"]) == {"train", "validation"}
    shares = split_by("system_002")["split"].value_counts(normalize=True)
    assert shares[["test", "validation"]].tolist() == pytest.approx([0.2, 0.08], abs=0.01)
    with_test = split_by("system_000", isic2018=str(isic2018_folder))
    assert set(with_test.loc[with_test["split"] == "test", "published_split"]) == {"test"}
    without = split_by("system_000")
    own = with_test[with_test["split"] != "test"].set_index("image_id")["split"]
    assert own.to_dict() == without.set_index("image_id")["split"].to_dict()


def test_the_rows_order_of_the_table_decides_a_published_split(ham_folder):
    before = make_case_tables(StudyParams(data=str(ham_folder), split_rule="system_002"))["corrected"]
    path = ham10000.table_file(ham_folder)
    pd.read_csv(path).iloc[::-1].to_csv(path, index=False)
    after = make_case_tables(StudyParams(data=str(ham_folder), split_rule="system_002"))["corrected"]
    assert not before["split"].equals(after["split"]) and before["image_id"].equals(after["image_id"])


@settings(max_examples=20)
@given(share=st.floats(0.05, 1), seed=st.integers(0, 100))
def test_a_share_of_the_training_lesions_keeps_every_class_and_whole_lesions(share, seed):
    cases = made_up({"nv": 40, "mel": 12, "df": 3}).assign(split="train")
    cases.loc[cases.index[:5], "split"] = "test"
    used = use_share(cases, share, seed)
    assert set(used.loc[used["split"] == "train", "label"]) == {"nv", "mel", "df"}
    training = cases["split"] == "train"
    assert (used.loc[~training, "split"] == "test").all()
    of_lesion = used[training].groupby("lesion_id")["split"].nunique()
    assert (of_lesion == 1).all()
    kept = used[used["split"] == "train"].groupby("label")["lesion_id"].nunique()
    before = cases[training].groupby("label")["lesion_id"].nunique()
    assert (kept == np.ceil(before * share)).all()


# cross-validation


@settings(max_examples=15)
@given(lesions=st.lists(st.integers(12, 60), min_size=2, max_size=4), folds=st.integers(3, 5), seed=st.integers(0, 9))
def test_each_lesion_is_tested_in_one_fold_and_validates_at_most_one_other(lesions, folds, seed):
    cases = made_up({f"c{k}": n for k, n in enumerate(lesions)}, seed)
    dealt = cases.assign(**deal_folds(cases, folds, 0.5 / folds, seed))
    assert (dealt.groupby("lesion_id")[["test_fold", "validation_fold"]].nunique() == 1).all(axis=None)
    splits = pd.DataFrame({fold: split_of_fold(dealt, fold) for fold in range(folds)})
    assert ((splits == "test").sum(axis=1) == 1).all() and ((splits == "validation").sum(axis=1) <= 1).all()
    for fold in range(folds):
        one = dealt.assign(split=splits[fold])
        assert_disjoint(one)
        assert set(one["split"]) == set(SPLITS)
        shares = pd.crosstab(one["label"], one["split"], normalize="columns")
        assert (shares["test"] - shares["train"]).abs().max() < 0.15


def test_validation_may_be_a_whole_fold_and_the_deal_is_that_of_its_seed():
    cases = made_up({"a": 60, "b": 40})
    dealt = deal_folds(cases, 5, 0.2, 1)
    assert (dealt["validation_fold"] != "").all()
    assert dealt.equals(deal_folds(cases, 5, 0.2, 1)) and not dealt.equals(deal_folds(cases, 5, 0.2, 2))
    with pytest.raises(InputError, match="fewer have few"):
        deal_folds(made_up({"a": 60, "few": 4}), 5, 0.2, 1)


@pytest.mark.slow
def test_the_written_table_gives_each_run_its_fold(tmp_path, monkeypatch):
    monkeypatch.setenv("LESION_OUTPUT", str(tmp_path))
    params = StudyParams(folds=3, runs=3, phantom={"lesions": 120})
    write_case_tables(params, make_case_tables(params))
    tested = set()
    for run in range(3):
        at = params.model_copy(update={"run": run})
        cases = read_case_tables(at)["corrected"]
        assert written_split_digest(at, "corrected", run) == split_digest(cases)
        of_run = set(cases.loc[cases["split"] == "test", "image_id"])
        assert not tested & of_run
        tested |= of_run
    assert tested == set(cases["image_id"])


@pytest.mark.slow
def test_too_many_folds_are_refused_before_any_picture_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setenv("LESION_OUTPUT", str(tmp_path))
    params = StudyParams(phantom={"lesions": 200})
    check_cases(params)  # enough lesions for one split
    with pytest.raises(InputError, match=r"a fold share of 0\.025 needs 40 lesions"):
        check_cases(params.model_copy(update={"folds": 40}))


@pytest.mark.parametrize(
    ("keys", "rule"), [({"folds": 5, "runs": 7}, "runs"), ({"folds": 5, "split_rule": "system_001"}, "split_rule")]
)
def test_folds_need_runs_that_fill_them_and_a_split_by_lesion(keys, rule):
    with pytest.raises(ValueError, match=f"`{rule}"):
        StudyParams(**keys)
