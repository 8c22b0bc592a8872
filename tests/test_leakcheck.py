"""Leakcheck: known shares on HAM10000, planted leaks in a phantom, and a clear answer to every unusable split."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from typer.testing import CliRunner

from lesion_utils.checks.split import ANY, leakcheck
from lesion_utils.cli import app
from lesion_utils.datasets import ham10000

SPLITS = ["train", "test", "validation"]


def run(*arguments: object):
    result = CliRunner().invoke(app, ["leakcheck", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def made_up(lesions: int = 60, seed: int = 0) -> pd.DataFrame:
    """A clean split in HAM10000's words: lesions of one to three images, two classes."""
    rng = np.random.default_rng(seed)
    lesion = np.repeat(np.arange(lesions), rng.integers(1, 4, lesions))
    return pd.DataFrame(
        {
            "lesion_id": [f"L{k}" for k in lesion],
            "image_id": [f"I{k}" for k in range(len(lesion))],
            "dx": np.where(lesion % 3 == 0, "mel", "nv"),
            "split": np.array(["train", "train", "train", "test", "validation"])[lesion // 3 % 5],
        }
    )


def written(table: pd.DataFrame, folder: Path, **options) -> Path:
    table.to_csv(folder / "split.csv", index=False, **options)
    return folder / "split.csv"


def share(found, part: str, against: str, what: str) -> dict:
    rows = found.shares.set_index(["part", "against", "what"])
    return rows.loc[(part, against, what)].to_dict()


# ------------------------------------------------------------------------------------------------- real, known truth


@pytest.fixture(scope="module")
def metadata(real_ham) -> pd.DataFrame:
    return pd.read_csv(real_ham / "HAM10000_metadata.csv")[["image_id", "lesion_id", "dx"]]


def test_random_image_splits_of_ham10000_leak_as_much_as_is_known(metadata):
    shares, melanoma = [], []
    for seed in range(20):
        test = np.random.default_rng(seed).permutation(len(metadata)) < len(metadata) // 5
        found = leakcheck(metadata.assign(split=np.where(test, "test", "train")))
        row = share(found, "test", "train", "same lesion")
        assert row == share(found, "test", "train", ANY)
        assert row["of"] == 2003
        shares.append(row["share"])
        melanoma.append(row["melanoma share"])
        assert found.leak and found.warnings == []  # a leak, but a test part like the whole
    assert 0.375 < np.mean(shares) < 0.395
    assert 0.66 < np.mean(melanoma) < 0.71


def test_a_split_of_ham10000_by_lesion_is_clean(metadata):
    lesion = pd.factorize(metadata["lesion_id"])[0]
    part = np.random.default_rng(0).choice(["train", "validation", "test"], lesion.max() + 1, p=[0.6, 0.2, 0.2])
    found = leakcheck(metadata.assign(split=part[lesion]))
    assert not found.leak and found.warnings == []
    assert found.verdict == "clean, judged by ids only"
    assert found.baseline["label"] == "nv" and found.baseline["share"] == pytest.approx(0.67, abs=0.04)


def test_a_hold_out_of_single_image_lesions_is_a_warning(metadata):
    single = metadata.groupby("lesion_id")["image_id"].transform("size") == 1
    assert single.sum() == 5514
    test = metadata[single].sample(938, random_state=0).index
    found = leakcheck(metadata.assign(split=np.where(metadata.index.isin(test), "test", "train")))
    assert not found.leak
    singles, prevalence = found.warnings
    assert "100% of the 938 test images" in singles and "55.1%" in singles
    assert re.search(r"mel 4\.\d+% instead of 11\.1%", prevalence) and re.search(r"nv [78]\d[.\d]*%", prevalence)
    assert found.baseline["share"] == pytest.approx(0.801, abs=0.03)


# ------------------------------------------------------------------------------------------------ planted, properties


@pytest.mark.slow
@settings(max_examples=20)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 4), st.sampled_from(["mel", "nv"]), st.sampled_from(SPLITS)),
        min_size=2,
        max_size=25,
        unique_by=lambda row: (row[0], row[3]),
    ),
    with_lesions=st.booleans(),
)
def test_shares_are_those_counted_one_by_one(rows, with_lesions):
    table = pd.DataFrame(rows, columns=["image_id", "lesion_id", "dx", "split"])
    if not {"train", "test"} <= set(table["split"]):
        return
    found = leakcheck(table if with_lesions else table.drop(columns="lesion_id"))
    several = len({row[1] for row in rows}) < len({row[:2] for row in rows})  # images of a lesion
    keys = {"same id": 0, **({"same lesion": 1} if with_lesions and several else {})}
    places = [(a, b) for a, b in (("test", "train"), ("validation", "train"), ("test", "validation"))]
    for part, against in places:
        these, those = ([row for row in rows if row[3] == name] for name in (part, against))
        if not (these and those):
            continue
        hits = {what: [row for row in these if row[at] in {r[at] for r in those}] for what, at in keys.items()}
        hits[ANY] = [row for row in these if any(row in known for known in hits.values())]
        for what, known in hits.items():
            row = share(found, part, against, what)
            assert (row["images"], row["of"]) == (len(known), len(these))
            if found.melanoma:
                melanoma = [one for one in these if one[2] == "mel"]
                assert (row["melanoma images"], row["melanoma of"]) == (
                    sum(r[2] == "mel" for r in known),
                    len(melanoma),
                )
    assert found.leak == (found.shares["images"] > 0).any()
    assert json.loads(json.dumps(found.as_dict()))["leak"] == found.leak


def test_the_partner_is_one_that_is_tied():
    table = made_up()
    table.loc[table["split"] == "test", "lesion_id"] = "L0"
    found = leakcheck(table)
    lesion = table.set_index("image_id")["lesion_id"]
    split = table.set_index("image_id")["split"]
    assert (found.tied["image_id"].map(lesion) == found.tied["partner"].map(lesion)).all()
    assert (found.tied["partner"].map(split) == found.tied["against"]).all()
    assert set(found.tied.loc[found.tied["against"] == "train", "image_id"]) == set(lesion[split == "test"].index)


@pytest.mark.slow
def test_random_splits_by_lesion_of_a_sound_set_seldom_warn():
    rng = np.random.default_rng(0)
    warned = 0
    for _ in range(30):
        lesion = np.repeat(np.arange(300), rng.choice([1, 2, 5], 300, p=[0.6, 0.3, 0.1]))
        label = rng.choice(["nv", "mel", "bkl"], 300, p=[0.7, 0.2, 0.1])[lesion]
        split = np.where(rng.random(300) < 0.3, "test", "train")[lesion]
        ids = [f"I{k}" for k in range(len(lesion))]
        table = pd.DataFrame({"lesion_id": lesion, "image_id": ids, "dx": label, "split": split})
        warned += bool(leakcheck(table).warnings)
    assert warned == 0


def test_other_class_frequencies_are_a_warning_with_or_without_lesions():
    table = made_up(1200)
    table = table[(table["split"] != "test") | (table["dx"] == "nv") | table["lesion_id"].str.endswith("3")]
    for cases in (table, table.drop(columns="lesion_id")):
        (warning,) = leakcheck(cases).warnings
        assert re.search(r"mel [\d.]+% instead of [\d.]+%", warning)


@pytest.fixture(scope="module")
def with_pictures(phantom_folder, tmp_path_factory) -> tuple[pd.DataFrame, Path]:
    """A clean split of a phantom, its pictures in one folder."""
    folder = tmp_path_factory.mktemp("pictures")
    cases = ham10000.read(phantom_folder).drop_duplicates("lesion_id")[:40].reset_index(drop=True)
    for path in cases["path"]:
        shutil.copy(path, folder)
    table = cases[["image_id", "lesion_id"]].assign(dx=cases["label"], split=["train", "train", "train", "test"] * 10)
    table.loc[2, "lesion_id"] = table.at[1, "lesion_id"]  # were each its own, lesions would count as not known
    return table, folder


def test_pictures_show_what_ids_do_not(with_pictures, tmp_path):
    table, pictures = with_pictures
    folder = Path(shutil.copytree(pictures, tmp_path / "pictures"))
    ids = list(table["image_id"])
    shutil.copy(folder / f"{ids[0]}.jpg", folder / f"{ids[3]}.jpg")  # of train to one of test
    ImageOps.mirror(Image.open(folder / f"{ids[1]}.jpg")).save(folder / f"{ids[7]}.jpg", quality=60)
    split = written(table, tmp_path)
    assert run(split).exit_code == 0
    result = run(split, "--images", folder, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    rows = {row["what"]: row for row in found["shares"]}
    assert {what: row["images"] for what, row in rows.items()} == {
        **{"same id": 0, "same lesion": 0, "same pixels": 1, "near-duplicate": 1},
        ANY: 2,
    }
    assert {(tie["image_id"], tie["what"], tie["partner"]) for tie in found["tied"]} == {
        (ids[3], "same pixels", ids[0]),
        (ids[7], "near-duplicate", ids[1]),
    }
    text = run(split, "--images", folder).stdout
    assert "LEAK between test and train: same pixels, near-duplicate" in text and f"{ids[3]} with {ids[0]}" in text


def test_clean_pictures_are_clean(with_pictures, tmp_path):
    table, folder = with_pictures
    result = run(written(table, tmp_path), "--images", folder)
    assert result.exit_code == 0 and "\nclean\n" in result.stdout and "Not checked: pixels" not in result.stdout
    result = run(written(table.drop(columns="lesion_id"), tmp_path), "--images", folder)
    assert result.exit_code == 3 and re.search(r"^NOT CHECKED: .*image ids and pictures only", result.stdout, re.M)


def test_pictures_are_found_by_path_name_or_stem_and_nowhere_else(with_pictures, tmp_path):
    table, pictures = with_pictures
    folder = tmp_path / "pictures"
    ids = table["image_id"]
    for k, name in enumerate(ids):
        (folder / f"part {k % 2}").mkdir(parents=True, exist_ok=True)
        shutil.copy(pictures / f"{name}.jpg", folder / f"part {k % 2}" / f"{name}.JPG")
    (folder / "notes.txt").write_text("no picture")
    places = [f"part {k % 2}/{name}" for k, name in enumerate(ids)]
    for named in (ids, ids + ".JPG", places, [place + ".JPG" for place in places]):
        assert not leakcheck(table.assign(image_id=named), folder).leak
    outside = written(table.assign(image_id=["../outside", *ids[1:]]), tmp_path)
    shutil.copy(pictures / f"{ids[0]}.jpg", tmp_path / "outside.jpg")
    result = run(outside, "--images", folder)
    assert result.exit_code == 2 and "row 2 ('../outside')" in result.stderr


# ------------------------------------------------------------------------------------------------------ the command


def test_only_overlap_exits_1(tmp_path):
    clean = made_up()
    assert run(written(clean, tmp_path)).exit_code == 0
    warned = clean.assign(split=np.where(clean["dx"] == "mel", "test", "train"))
    result = run(written(warned, tmp_path))
    assert result.exit_code == 0 and "WARNING class frequencies" in result.stdout
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        leaky = clean.copy()
        lesion = clean.loc[clean["split"] == one, "lesion_id"].iloc[0]
        leaky.loc[clean.index[clean["split"] == other][0], "lesion_id"] = lesion
        result = run(written(leaky, tmp_path))
        assert result.exit_code == 1 and "LEAK" in result.stdout and "same lesion" in result.stdout


def test_an_id_in_two_splits_is_a_finding(tmp_path):
    table = made_up()
    again = table[table["split"] == "train"][:2].assign(split="test")
    result = run(written(pd.concat([table, again]), tmp_path), "--json")
    assert result.exit_code == 1
    rows = {(row["part"], row["against"], row["what"]): row["images"] for row in json.loads(result.stdout)["shares"]}
    assert rows["test", "train", "same id"] == rows["test", "train", "same lesion"] == rows["test", "train", ANY] == 2


def test_other_names_for_columns_and_splits(tmp_path):
    table = made_up().replace({"split": {"train": "0", "test": "1", "validation": "2"}, "dx": {"mel": "MM"}})
    table.columns = ["patient spot", "file", "diagnosis", "fold"]
    table.loc[table["fold"] == "1", "patient spot"] = table["patient spot"].iloc[0]
    split = written(table, tmp_path, sep=";")
    names = ["--image-id", "file", "--lesion-id", "patient spot", "--label", "diagnosis", "--split", "fold"]
    parts = ["--train", 0, "--test", 1, "--validation", 2]
    result = run(split, *names, *parts, "--melanoma", "MM", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["melanoma"] == ["MM"] and found["parts"].keys() == {"train", "test", "validation"}
    row = found["shares"][1]
    assert (row["what"], row["share"], row["melanoma share"]) == ("same lesion", 1, 1)
    assert "not checked: melanoma" in run(split, *names, *parts).stdout.lower()


def test_without_lesions_it_says_what_was_not_checked(tmp_path):
    table = made_up()
    split = written(table.drop(columns="lesion_id"), tmp_path)
    result = run(split)
    assert result.exit_code == 3  # a leak cannot be excluded
    assert "NOT CHECKED" in result.stdout and "--metadata" in result.stdout and "clean" not in result.stdout
    assert "same lesion" not in result.stdout
    of_dataset = tmp_path / "metadata.csv"
    table.sample(frac=1, random_state=0)[["image_id", "lesion_id", "dx"]].to_csv(of_dataset, index=False)
    assert run(split, "--metadata", of_dataset).exit_code == 0
    table.assign(lesion_id="L0").to_csv(of_dataset, index=False)
    assert run(split, "--metadata", of_dataset).exit_code == 1
    table.assign(lesion_id="unknown").to_csv(of_dataset, index=False)  # one word is not one lesion
    assert run(split, "--metadata", of_dataset).exit_code == 3
    table[1:].to_csv(of_dataset, index=False)
    assert "the lesion of 1 image" in run(split, "--metadata", of_dataset).stdout
    table.assign(image_id="other").head(1).to_csv(of_dataset, index=False)
    refused = run(split, "--metadata", of_dataset)
    assert refused.exit_code == 2 and "none of the image ids" in refused.stderr


@pytest.mark.parametrize("unknown", ["", "-1", "nan", "Unknown"])
def test_images_whose_lesion_is_not_known_are_counted_and_not_called_clean(tmp_path, unknown):
    table = made_up()
    table.loc[[2, 9], "lesion_id"] = unknown
    result = run(written(table, tmp_path))
    assert result.exit_code == 3 and "the lesion of 2 image" in result.stdout and "clean" not in result.stdout
    table.loc[table["split"] == "test", "lesion_id"] = table["lesion_id"].iloc[0]
    assert run(written(table, tmp_path)).exit_code == 1


def test_usual_names_of_parts_need_no_option_and_a_leak_needs_no_label(tmp_path):
    usual = {"train": "Training", "validation": "dev", "test": "hold-out"}
    table = made_up().replace({"split": usual}).drop(columns="dx")
    result = run(written(table, tmp_path))
    assert result.exit_code == 0 and "Baseline" not in result.stdout and "melanoma alone" in result.stdout
    table.loc[table["split"] == "hold-out", "lesion_id"] = table["lesion_id"].iloc[0]
    assert run(written(table, tmp_path)).exit_code == 1


def test_a_file_per_part_is_read_by_its_name_or_from_a_folder(tmp_path):
    table = made_up()
    names = {"train": "my_train.csv", "validation": "val.csv", "test": "test-set.csv"}
    for part, of in table.groupby("split"):
        of.drop(columns="split").to_csv(tmp_path / names[part], index=False)
    for files in ([tmp_path], [tmp_path / name for name in names.values()]):
        result = run(*files, "--json")
        assert result.exit_code == 0 and json.loads(result.stdout)["parts"] == table["split"].value_counts().to_dict()
    leaky = table[table["split"] == "test"].assign(lesion_id=table["lesion_id"].iloc[0])
    leaky.drop(columns="split").to_csv(tmp_path / "test-set.csv", index=False)
    assert run(tmp_path).exit_code == 1
    (tmp_path / "training.csv").write_text("image_id\nI0\n")
    for wrong, word in (
        ([tmp_path], "second file"),
        ([tmp_path / "val.csv", tmp_path / "my_train.csv"], "no file of test"),
    ):
        refused = run(*wrong)
        assert refused.exit_code == 2 and word in refused.stderr


def test_each_fold_is_compared_with_the_rest(tmp_path):
    table = made_up()
    folds = pd.factorize(table["lesion_id"])[0] % 3
    assert run(written(table.assign(fold=folds), tmp_path), "--split", "fold").exit_code == 0
    split = folds.copy()
    other = table["lesion_id"].duplicated(keep="last").to_numpy().nonzero()[0][0]
    split[other] = (split[other] + 1) % 3  # one image of a lesion of two or three
    result = json.loads(run(written(table.assign(fold=split), tmp_path), "--split", "fold", "--json").stdout)
    assert len(result["pairs"]) == 3 and all(against == "the rest" for _, against in result["pairs"])
    tied = {tie["image_id"] for tie in result["tied"]}
    assert tied == set(table.loc[table["lesion_id"] == table["lesion_id"][other], "image_id"])


# command line behind the file names: files, options, images tied, images of the part, image that is tied
HANDED = {
    "l1": (["l1_split_named_val.csv"], [], 1, 2, ["I10"]),
    "l2": (["l2_train.csv", "l2_test.csv"], [], 1, 2, ["I4"]),
    "l3": (["l3_folds.csv"], ["--split", "fold"], 2, 4, ["I1", "I3"]),
    "l4": (["l4_some_lesions_unknown.csv"], [], 1, 3, ["I4"]),
    "l6": (["l6_no_label.csv"], [], 1, 2, ["I1"]),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", HANDED)
def test_a_handed_split_has_its_right_answer(name):
    files, options, hits, n, tied = HANDED[name]
    if not (SHARED / "cases").is_dir():
        pytest.skip("no ../shared/cases")
    result = run(*(SHARED / "cases" / file for file in files), *options, "--json")
    found = json.loads(result.stdout)
    row = next(row for row in found["shares"] if row["what"] == ANY)
    assert result.exit_code == 1 and (row["images"], row["of"]) == (hits, n)
    assert [tie["image_id"] for tie in found["tied"] if tie["part"] == row["part"]] == tied


@pytest.mark.parametrize("again", [0, 2])
def test_a_lesion_id_that_is_the_images_own_shows_nothing_about_lesions(tmp_path, again):
    table = made_up().assign(lesion_id=lambda table: table["image_id"])
    twice = table[table["split"] == "train"][:again].assign(split="test")  # the same images, so no lesion of several
    result = run(written(pd.concat([table, twice]), tmp_path))
    assert result.exit_code == (1 if again else 3)
    assert ("LEAK between test and train: same id\n" if again else "judged by image ids only\n") in result.stdout
    assert "Not checked: lesions (each image has its own lesion_id" in result.stdout
    assert "same lesion" not in result.stdout and " lesions;" not in result.stdout


def test_without_a_validation_split(tmp_path):
    table = made_up().replace({"split": {"validation": "train"}})
    result = run(written(table, tmp_path))
    assert result.exit_code == 0 and "Validation" not in result.stdout


def test_one_class_only_is_answered(tmp_path):
    result = run(written(made_up().assign(dx="nv"), tmp_path))
    assert result.exit_code == 0 and "WARNING one class only, nv" in result.stdout
    assert "right for 100%" in result.stdout
    assert json.loads(run(tmp_path / "split.csv", "--json").stdout)["baseline"]["low"] < 1


def test_help_has_examples_and_exit_codes():
    text = run("--help").stdout
    assert (
        "lesion leakcheck split.csv --images" in text and "Exit codes: 0 clean" in text and "1 two splits share" in text
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[["image_id", "dx"]], r"missing column\(s\) split; .*image_id, dx.*--split"),
        (lambda t: t.drop(columns=["dx", "image_id"]), r"missing column\(s\) image_id"),
        (lambda t: t.assign(split="train"), r"no row of test in column split.*train"),
        (lambda t: t.replace({"split": {"train": "validation"}}), r"no row of train"),
        (lambda t: t.replace({"split": {"train": "learn"}}), r"unknown split.*row 2 \('learn'\).*--train"),
        (lambda t: t.assign(split=t["split"].where(t.index != 3, "")), r"no split in 1 row\(s\): row 5"),
        (lambda t: t.assign(split=t["split"].where(t.index != 3, "NaN")), r"no split in 1 row"),
        (lambda t: t.assign(image_id=t["image_id"].where(t.index != 4, "")), r"no image_id in 1 row\(s\): row 6"),
        (lambda t: t.assign(dx=t["dx"].where(t.index != 4, "")), r"no dx in 1 row\(s\): row 6"),
        (lambda t: pd.concat([t, t[:2]]), r"duplicate rows in 4 row\(s\): row 2"),
        (lambda t: pd.concat([t, t[:1].assign(dx="bkl")]), r"duplicate image in one split in 2 row\(s\)"),
        (lambda t: t[:0], r"no rows"),
    ],
)
def test_unusable_tables_are_named(tmp_path, change, message):
    result = run(written(change(made_up()), tmp_path))
    assert result.exit_code == 2 and result.stdout == ""
    assert re.search(message, result.stderr, flags=re.DOTALL), result.stderr
    assert "split.csv" in result.stderr


def test_unusable_files_are_named(tmp_path):
    (tmp_path / "empty.csv").touch()
    (tmp_path / "binary.csv").write_bytes(bytes(range(128, 256)))
    with (tmp_path / "huge.csv").open("w") as huge:
        huge.write("image_id,lesion_id,dx,split\n")
        os.truncate(huge.fileno(), 2 * 10**9)
    for name, message in (
        ("missing.csv", "does not exist"),
        ("empty.csv", "no rows"),
        ("binary.csv", "not a text file"),
        ("huge.csv", "2,000 MB"),
    ):
        result = run(tmp_path / name)
        assert result.exit_code == 2 and name in result.stderr and message in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--train", "test", r"unknown split.*--train"),
        ("--test", "train", r"unknown split.*--test"),
        ("--lesion-id", "lesion", r"missing column\(s\) lesion"),
        ("--melanoma", "melanom", r"no class melanom.*mel, nv"),
        ("--images", "nowhere", r"nowhere is not a folder"),
    ],
)
def test_options_that_name_nothing(tmp_path, option, value, message):
    result = run(written(made_up(), tmp_path), option, value)
    assert result.exit_code == 2 and re.search(message, result.stderr)


@pytest.mark.parametrize("spoil", ["missing", "text", "truncated", "twice"])
def test_unusable_pictures_are_named(with_pictures, tmp_path, spoil):
    table, pictures = with_pictures
    folder = Path(shutil.copytree(pictures, tmp_path / "pictures"))
    path = folder / f"{table['image_id'][5]}.jpg"
    if spoil == "missing":
        path.unlink()
    elif spoil == "text":
        path.write_text("<html>404</html>")
    elif spoil == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        shutil.copy(path, path.with_suffix(".png"))
    message = {"missing": "no picture", "twice": "more than one picture"}.get(spoil, "cannot be decoded")
    result = run(written(table, tmp_path), "--images", folder)
    assert result.exit_code == 2 and message in result.stderr and path.stem in result.stderr


def test_cells_are_shown_and_never_obeyed(tmp_path):
    table = made_up()
    evil = ['=HYPERLINK("http://x","y")', "<script>alert(1)</script>", "\x1b[2J\x1b[31m", "a\u202eb"]
    table.loc[:3, "image_id"] = evil
    table.loc[:3, "split"] = "train"
    table = pd.concat([table, table[:4].assign(split="test")])
    table["dx"] = table["dx"].replace({"nv": "\x1b]0;title\x07nv"})
    result = run(written(table, tmp_path))
    assert result.exit_code == 1
    assert evil[0] in result.stdout and evil[1] in result.stdout
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", result.stdout)
    plain = run(tmp_path / "split.csv", "--json").stdout
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", plain)
    assert evil[2] in {tie["image_id"] for tie in json.loads(plain)["tied"]}
    table.loc[5, "split"] = "\x1b[2J"
    result = run(written(table, tmp_path))
    assert result.exit_code == 2 and "\x1b" not in result.stderr


def test_names_are_what_the_columns_are_called():
    table = made_up()
    named = table.rename(columns={"image_id": "a", "lesion_id": "b", "dx": "c", "split": "d"})
    assert (
        leakcheck(named, names=dict(zip(("image_id", "lesion_id", "label", "split"), "abcd", strict=True))).as_dict()
        == leakcheck(table).as_dict()
    )


@pytest.mark.parametrize(
    ("trained", "tested"),
    [("ISIC_1.jpg", "ISIC_1"), ("ISIC_1", "isic_1"), ("train/ISIC_1.jpg", "test/ISIC_1.jpg"), ("a\\1.png", "b/1.PNG")],
)
def test_one_image_spelt_in_two_ways_is_a_leak(tmp_path, trained, tested):
    path = tmp_path / "split.csv"
    rows = [(trained, "train"), ("other.jpg", "train"), (tested, "test"), ("third.jpg", "test")]
    pd.DataFrame(rows, columns=["image_id", "split"]).to_csv(path, index=False)
    found = json.loads(run(path, "--json").stdout)
    assert found["leak"] and [(row["image_id"], row["partner"]) for row in found["tied"]] == [(tested, trained)]
    assert any("1" in warning and "ending" in warning for warning in found["warnings"])


def test_names_that_repeat_within_a_part_keep_their_folders(tmp_path):
    """mel/1.jpg and nv/1.jpg are two pictures."""
    path = tmp_path / "split.csv"
    rows = [("mel/1.jpg", "train"), ("nv/1.jpg", "train"), ("bcc/1.jpg", "test"), ("df/2.jpg", "test")]
    pd.DataFrame(rows, columns=["image_id", "split"]).to_csv(path, index=False)
    assert not json.loads(run(path, "--json").stdout)["leak"]


def test_lesions_are_joined_whatever_the_ending_of_the_ids(tmp_path):
    split, metadata = tmp_path / "split.csv", tmp_path / "metadata.csv"
    pd.DataFrame({"image_id": ["x/A.jpg", "x/B.jpg"], "split": ["train", "test"]}).to_csv(split, index=False)
    pd.DataFrame({"image_id": ["A", "B"], "lesion_id": ["L", "L"]}).to_csv(metadata, index=False)
    found = json.loads(run(split, "--metadata", metadata, "--json").stdout)
    assert found["leak"] and {row["what"] for row in found["tied"]} == {"same lesion"}


def test_columns_that_give_the_label_away_are_named(tmp_path):
    table = made_up(200)
    table["file"] = "images/" + table["dx"] + "/" + table["image_id"] + ".jpg"
    table["dx_type"] = np.where(table["dx"] == "nv", "follow_up", "histo")
    table["site"] = np.where(np.arange(len(table)) % 3 == 0, "back", "arm")
    path = tmp_path / "split.csv"
    table.to_csv(path, index=False)
    warnings = " ".join(json.loads(run(path, "--json").stdout)["warnings"])
    assert "column file" in warnings and "dx_type 'follow_up'" in warnings
    assert "site" not in warnings and ".." not in warnings
    table.drop(columns=["file", "dx_type"]).to_csv(path, index=False)
    assert json.loads(run(path, "--json").stdout)["warnings"] == []


def test_lesion_ids_that_pandas_wrote_as_decimals_are_the_same(tmp_path):
    for name, lesions in {"train": ["0", "1"], "test": ["1.0", "2.0"]}.items():
        table = pd.DataFrame({"image_id": [f"{name}{number}" for number in range(2)], "lesion_id": lesions})
        pd.concat([table, table.assign(image_id=table["image_id"] + "b")]).to_csv(tmp_path / f"{name}.csv", index=False)
    found = json.loads(run(tmp_path / "train.csv", tmp_path / "test.csv", "--json").stdout)
    assert found["leak"] and {row["image_id"] for row in found["tied"]} == {"test0", "test0b"}


# ------------------------------------------------------------------------------ names of ids, columns and parts


@pytest.mark.parametrize(
    "copy",
    [
        "{}_downsampled",
        "{}_aug1",
        "aug/{}_flip_rot90.png",
        "{}.JPG",
        "nv_original_{}.jpg_0f8fad5b-d9cd-469f-a165-70867728950e.jpg",
    ],
)
def test_a_copy_of_a_training_image_is_that_image(copy):
    table = made_up()
    image = table.loc[table["split"] == "train", "image_id"].iloc[0]
    copied = table.iloc[[0]].assign(image_id=copy.format(image), split="test", lesion_id="another")
    found = leakcheck(pd.concat([table, copied], ignore_index=True))
    assert share(found, "test", "train", "same id")["images"] == 1
    assert not leakcheck(pd.concat([table, copied.assign(image_id="view_2")], ignore_index=True)).leak


def test_lesion_ids_that_differ_in_case_are_one_lesion():
    table = made_up()
    lesion = table.loc[table["split"] == "train", "lesion_id"].iloc[0]
    more = table.iloc[[0]].assign(image_id="X", lesion_id=lesion.lower(), split="test")
    assert leakcheck(pd.concat([table, more], ignore_index=True)).leak


@pytest.mark.parametrize(
    "parts",
    [("Training set", "Validation set", "Test set"), ("tr", "va", "te"), ("train_data", "val-split", "TestSet")],
)
def test_parts_are_known_by_their_usual_names(parts):
    table = made_up()
    usual = dict(zip(("train", "validation", "test"), parts, strict=True))
    assert set(leakcheck(table.assign(split=table["split"].map(usual))).cases["split"]) == set(usual)


def test_names_that_are_neither_parts_nor_folds_are_asked_about(tmp_path):
    table = made_up()
    table["split"] = table["split"].map({"train": "hospital A", "validation": "hospital B", "test": "hospital C"})
    result = run(written(table, tmp_path))
    assert result.exit_code == 2 and "hospital A" in result.output and "--train" in result.output
    result = run(
        written(table, tmp_path), "--train", "hospital A", "--validation", "hospital B", "--test", "hospital C"
    )
    assert result.exit_code == 0


def test_usual_columns_are_found_and_named(tmp_path):
    table = made_up().rename(columns={"image_id": "filename", "split": "Set", "dx": "Diagnosis", "lesion_id": "lesion"})
    result = run(written(table, tmp_path))
    assert result.exit_code == 0 and "Set as split" in result.output and "filename as image_id" in result.output
    folds = made_up().rename(columns={"split": "fold"})
    folds["fold"] = pd.factorize(folds["lesion_id"])[0] % 5
    assert set(leakcheck(folds).shares["part"]) == {f"fold {fold}" for fold in range(5)}
    result = run(written(table.assign(partition=table["Set"]), tmp_path))
    assert result.exit_code == 2 and "--split" in result.output


def test_the_index_of_a_parquet_file_is_a_column(tmp_path):
    made_up().set_index("image_id").to_parquet(tmp_path / "split.parquet")
    assert run(tmp_path / "split.parquet").exit_code == 0


def test_patients_are_checked_beside_lesions_and_called_patients(tmp_path):
    table = made_up().assign(patient_id=lambda of: of["lesion_id"].str.removeprefix("L").astype(int) // 9)
    found = leakcheck(table)
    assert found.leak and set(found.tied["what"]) == {"same patient"} and "same patient" in found.verdict
    apart = table.assign(patient_id=table["lesion_id"] + "p")
    assert not leakcheck(apart).leak and leakcheck(apart).exit_code == 0
    only = made_up().rename(columns={"lesion_id": "patient_id"})
    result = run(written(only, tmp_path))
    assert result.exit_code == 0 and "60 patients" in result.output and "lesions" not in result.output.splitlines()[0]
    only.loc[only.index[-1], "patient_id"] = only["patient_id"].iloc[0]
    only.loc[only.index[-1], "split"] = "test"
    assert set(leakcheck(only).tied["what"]) == {"same patient"}


def test_lesion_ids_that_parts_write_in_different_ways_are_not_called_apart(tmp_path):
    table = made_up()
    in_test = table["split"] == "test"
    other = table.assign(lesion_id=table["lesion_id"].mask(in_test, table["lesion_id"].str.removeprefix("L")))
    other["lesion_id"] = other["lesion_id"].mask(table["split"] == "validation", "V-" + other["lesion_id"])
    result = run(written(other, tmp_path))
    assert result.exit_code == 3 and "different ways" in result.output
    padded = table.assign(lesion_id=table["lesion_id"].str.removeprefix("L"))
    padded.loc[in_test, "lesion_id"] = padded.loc[in_test, "lesion_id"].str.zfill(7)
    padded.loc[in_test & (padded.index == padded.index[in_test][0]), "lesion_id"] = "0000000"
    assert leakcheck(padded).leak
