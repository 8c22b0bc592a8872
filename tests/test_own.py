"""A person's own images: which folders and tables are read, which are refused, and the first study on them."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from lesion_utils.cases import check_cases, data_digest, data_title, layout, make_case_tables, read_cases
from lesion_utils.checks.any_folder import read_folder
from lesion_utils.cli import app
from lesion_utils.datasets import LAYOUTS, phantom_pictures, read_any
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, judge
from lesion_utils.evaluation.operating import choose, most_probable
from lesion_utils.figures import ages, class_colour
from lesion_utils.paths import PROJECT
from lesion_utils.predictions import build, classes_of
from lesion_utils.study import StudyParams, load_study
from lesion_utils.views import VIEWS, declared_views, views_of

LOOKS = {"Nävus": "nv", "Spitz naevus": "mel", "wart": "bkl"}
KINDS = {"Nävus": "benign", "Spitz naevus": "unknown", "wart": "benign"}
FOLDERS, TABLE = LAYOUTS["folders"].module, LAYOUTS["table"].module


@pytest.fixture
def pictures(tmp_path):
    """Writes small pictures to the given paths of the folder ``images``."""

    def write(*names):
        for number, name in enumerate(names):
            path = tmp_path / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(number).integers(0, 255, (6, 8, 3), np.uint8)).save(path)
        return tmp_path / "images"

    return write


@pytest.fixture
def tabled(pictures):
    """A folder of pictures a, b, … and the table ``labels.csv`` with the given header and rows."""

    def write(*lines, names="abcd"):
        folder = pictures(*(f"{name}.jpg" for name in names))
        (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder

    return write


def new(*words):
    return CliRunner().invoke(app, ["new", *map(str, words)])


# folders


def test_folders_are_classes_and_each_image_is_a_group_of_its_own(pictures):
    folder = pictures("Nävus/a b.jpg", "Nävus/c.PNG", "wart/a b.jpg", ".hidden/x.jpg", "wart/._a b.jpg")
    (folder / "wart" / "Thumbs.db").write_text("x")
    cases = FOLDERS.read(folder)
    assert cases["image_id"].tolist() == ["Nävus/a b", "Nävus/c", "wart/a b"]
    assert cases["label"].tolist() == ["Nävus", "Nävus", "wart"]
    assert (cases["lesion_id"] == cases["image_id"]).all() and FOLDERS.grouped_by(folder) == "image"
    assert "given_split" not in cases and cases["age"].isna().all()


def test_accents_apart_from_their_letters_are_the_same_name(pictures):
    folder = pictures("Na\u0308vus/a.jpg", "wart/b.jpg")
    assert FOLDERS.read(folder)["label"].tolist() == ["N\u00e4vus", "wart"]


def test_outer_folders_are_parts(pictures):
    names = [f"{part}/{label}/{part}.jpg" for part in ("Train", "val", "Test") for label in ("mole", "wart")]
    cases = FOLDERS.read(pictures(*names))
    assert cases["given_split"].tolist() == ["test", "test", "train", "train", "validation", "validation"]
    assert cases["image_id"].iloc[0] == "Test/mole/Test"


def test_a_table_beside_the_folders_says_which_images_show_one_patient(pictures):
    folder = pictures("mole/a.jpg", "mole/b.jpg", "wart/c.jpg")
    (folder / "people.csv").write_text("file,patient,sex\na.jpg,P1,F\nb,P1,m\nwart/c.jpg,,unknown\n")
    module = replace(FOLDERS, metadata="people.csv")
    cases = module.read(folder)
    assert cases["lesion_id"].tolist() == ["P1", "P1", "wart/c"] and module.grouped_by(folder) == "patient"
    assert cases["sex"].tolist() == ["female", "male", None]


@pytest.mark.parametrize(
    ("names", "facts"),
    [
        (["mole/a.jpg"], ["one class only", "mole"]),
        (["a.jpg", "mole/b.jpg", "wart/c.jpg"], ["not directly in a class folder", "a.jpg"]),
        (["mole/deep/a.jpg", "wart/c.jpg"], ["not directly in a class folder", "mole/deep/a.jpg"]),
        (["train/mole/a.jpg", "train/wart/b.jpg"], ["no folder of this part", "test"]),
        (["train/mole/a.jpg", "train/wart/b.jpg", "test/mole/c.jpg"], ["not in every part", "wart"]),
        (["val/mole/a.jpg", "valid/mole/b.jpg"], ["two folders of one part", "val", "valid"]),
        (["test/a.jpg", "wart/b.jpg"], ["test", "parts or classes", "wart"]),
        (["mole/a.jpg", "mole/a.png", "wart/b.jpg"], ["ending only", "mole/a"]),
        (["Mole/a.jpg", "mole/b.jpg"], ["differ in case only", "Mole and mole"]),
        (["mo\x1ble/a.jpg", "wart/b.jpg"], ["no usable class name", "\\x1b", "rename"]),
        (["mole /a.jpg", "wart/b.jpg"], ["no usable class name", "'mole '"]),
        (["none/a.jpg", "wart/b.jpg"], ["no usable class name", "'none'"]),
        (["mole/a\x07.jpg", "wart/b.jpg"], ["no usable image id", "\\x07"]),
    ],
)
def test_folders_that_cannot_be_used_are_refused(pictures, names, facts):
    with pytest.raises(InputError) as caught:
        FOLDERS.read(pictures(*names))
    assert all(fact in str(caught.value) for fact in facts), caught.value


def test_an_empty_class_folder_is_refused(pictures):
    folder = pictures("mole/a.jpg", "wart/b.jpg")
    (folder / "naevus").mkdir()
    with pytest.raises(InputError, match="without an image: naevus"):
        FOLDERS.read(folder)


# tables


def test_a_table_is_read_by_usual_names_or_by_those_that_the_study_says(tabled):
    folder = tabled(
        "Image,DX,lesion,age,site", "a,mole,1,50,arm", "b.jpg,mole,1,,", "c,wart,-1,unknown,leg", "d,wart,,,"
    )
    cases = TABLE.read(folder)
    assert cases["lesion_id"].tolist() == ["1", "1", "c", "d"] and TABLE.grouped_by(folder) == "lesion"
    assert cases["age"].tolist()[0] == 50 and cases["age"].isna().sum() == 3
    assert cases["localization"].tolist() == ["arm", None, "leg", None]
    named = replace(TABLE, columns={"label": "lesion", "lesion_id": "", "age": ""})
    with pytest.raises(InputError, match="no lesion"):
        named.read(folder)
    assert replace(TABLE, columns={"lesion_id": ""}).grouped_by(folder) == "image"


def test_a_patient_groups_where_the_study_says_so(tabled):
    folder = tabled("image,label,lesion_id,patient", "a,mole,1,P", "b,mole,2,P", "c,wart,3,Q", "d,wart,4,Q")
    assert TABLE.grouped_by(folder) == "lesion"
    by_patient = replace(TABLE, columns={"patient_id": "patient"})
    assert by_patient.grouped_by(folder) == "patient" and set(by_patient.read(folder)["lesion_id"]) == {"P", "Q"}


@pytest.mark.parametrize(
    ("lines", "facts"),
    [
        (["image,label", "a,mole", "b,mole", "c,wart", "z,wart"], ["no picture", "row 5", "'z'"]),
        (["image,label", "a,mole", "b,mole", "c,wart"], ["1 image(s) without a row in labels.csv", "d.jpg"]),
        (["image,label", "a,mole", "b,mole", "c,wart", "d,"], ["no label", "row 5"]),
        (["image,label", "a,mole", "a,mole", "c,wart", "d,wart"], ["duplicate image", "'a'"]),
        (["image,label", "a,mole", "a.jpg,mole", "c,wart", "d,wart"], ["duplicate picture", "a.jpg"]),
        (
            ["image,kind", "a,mole", "b,mole", "c,wart", "d,wart"],
            ["known to be label", "image, kind", "columns: {label:"],
        ),
        (["photo,label", "a,mole", "b,mole", "c,wart", "d,wart"], ["known to be image_id", "columns: {image_id:"]),
        (["image,dx,diagnosis", "a,mole,x", "b,mole,x"], ["dx, diagnosis", "columns: {label: dx}"]),
        (["image,label", "a,mole", "b,mole", "c,mole", "d,mole"], ["one class only"]),
        (["image,label,lesion", "a,mole,b", "b,mole,", "c,wart,", "d,wart,"], ["id of an image", "b"]),
        (["image,label,set", "a,mole,1", "b,mole,2", "c,wart,1", "d,wart,2"], ["set", "columns: {split: ''}"]),
        (["image,label,set", "a,mole,train", "b,mole,val", "c,wart,train", "d,wart,val"], ["no image of test"]),
        (["image,label,age", "a,mole,old", "b,mole,", "c,wart,1", "d,wart,2"], ["age", "'old'"]),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tabled, lines, facts):
    with pytest.raises(InputError) as caught:
        TABLE.read(tabled(*lines))
    assert all(fact in str(caught.value) for fact in facts), caught.value


def test_an_id_in_two_folders_is_refused(tabled):
    folder = tabled("image,label", "a,mole", "b,wart", names=["x/a", "y/a", "b"])
    with pytest.raises(InputError, match=r"more than one picture for the image id.*'a'"):
        TABLE.read(folder)


def test_several_tables_are_a_question(tabled):
    folder = tabled("image,label", "a,mole", "b,mole", "c,wart", "d,wart")
    (folder / "other.csv").write_text("x\n1\n")
    with pytest.raises(InputError, match=r"which table.*labels\.csv, other\.csv.*metadata"):
        TABLE.read(folder)
    assert len(replace(TABLE, metadata="labels.csv").read(folder)) == 4


# the study


@pytest.fixture
def study(pictures, threads):
    """A study on ten images of each of three classes, whose keys may be replaced."""
    folder = pictures(*(f"{label}/{number}.jpg" for label in LOOKS for number in range(10)))

    def params(**values):
        known = {"study": "mine", "dataset": "folders", "data": str(folder), "classes": KINDS, "threads": threads}
        return StudyParams(**known | values)

    return params


def test_the_study_splits_own_images_and_says_that_lesions_are_not_known(study):
    cases = make_case_tables(study())["corrected"]
    assert cases.groupby("label")["split"].value_counts().unstack().to_dict("list") == {
        "test": [2, 2, 2],
        "train": [6, 6, 6],
        "validation": [2, 2, 2],
    }
    assert layout(study()).classes["Nävus"] == "benign" and "lesions not known" in data_title(study())
    assert cases.attrs[VIEWS] == {"melanoma": []}


def test_a_split_that_the_data_come_with_is_kept(pictures, study):
    parts = {"train": 12, "test": 3}
    names = [f"{part}/{label}/{n}.jpg" for part, size in parts.items() for label in LOOKS for n in range(size)]
    folder = pictures(*(f"parts/{name}" for name in names)) / "parts"
    split = make_case_tables(study(data=str(folder)))["corrected"].set_index("image_id")["split"]
    assert (split[split.index.str.startswith("test/")] == "test").all() and (split == "test").sum() == 9
    assert 6 <= (split == "validation").sum() <= 9
    with pytest.raises(InputError, match="folds"):
        make_case_tables(study(data=str(folder), folds=3))
    lesions = pd.DataFrame({"image": names, "lesion": [str(number) for number in range(len(names))]})
    lesions.loc[[0, len(names) - 1], "lesion"] = "both"
    lesions.to_csv(folder / "lesions.csv", index=False)
    with pytest.raises(InputError, match=r"leaks.*both.*Fix"):
        check_cases(study(data=str(folder), metadata="lesions.csv"))


@pytest.mark.parametrize(
    ("classes", "facts"),
    [
        (KINDS | {"cyst": "benign"}, ["class(es) without an image: cyst"]),
        ({"Nävus": "benign", "warts": "benign", "Spitz naevus": "benign"}, ["does not name: wart", "`warts`"]),
    ],
)
def test_classes_must_be_those_of_the_data(study, classes, facts):
    with pytest.raises(InputError) as caught:
        read_cases(study(classes=classes))
    assert all(fact in str(caught.value) for fact in facts), caught.value


def test_a_class_with_too_few_lesions_is_refused_before_anything_runs(study):
    folder = Path(study().data)
    for number in range(3, 10):
        (folder / "wart" / f"{number}.jpg").unlink()
    with pytest.raises(InputError, match="5 lesions of each class; fewer have wart"):
        check_cases(study())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"classes": {}}, "lesion new"),
        ({"classes": {"a": "benign", "b": "bad"}}, "unknown"),
        ({"dataset": "phantom"}, "own images"),
        ({"columns": {"colour": "x"}}, "image_id"),
        ({"columns": {"label": "x"}}, "folders say label"),
        ({"split_rule": "system_002"}, "by_lesion"),
    ],
)
def test_keys_that_do_not_fit_are_refused(study, values, words):
    with pytest.raises(ValueError, match=words):
        study(**values)


def test_the_data_digest_knows_names_and_columns_and_not_the_place(study, tmp_path):
    before = data_digest(study())
    moved = Path(shutil.copytree(study().data, tmp_path / "moved"))
    assert data_digest(study(data=str(moved))) == before
    (moved / "wart" / "1.jpg").rename(moved / "wart" / "one.jpg")
    assert data_digest(study(data=str(moved))) != before


# melanoma and malignant


def test_what_the_study_says_of_classes_replaces_their_names():
    assert declared_views({"a": "melanoma", "b": "malignant", "c": "benign"}) == {
        "melanoma": ["a"],
        "malignant": ["a", "b"],
    }
    assert declared_views({"a": "melanoma", "b": "benign"}) == {"melanoma": ["a"]}
    assert declared_views({"a": "malignant", "b": "benign"}) == {"melanoma": [], "malignant": ["a"]}
    assert declared_views({"a": "malignant", "b": "unknown"}) == {"melanoma": []}


@pytest.fixture
def predicted():
    """The prediction table of 60 cases of two classes, of which names say other things than the study."""

    def table(**kinds):
        cases = pd.DataFrame({"label": np.repeat(["melanoma", "nevus"], 30), "image_id": [f"i{n}" for n in range(60)]})
        cases["lesion_id"] = cases["image_id"]
        cases.attrs[VIEWS] = declared_views(kinds)
        right = np.random.default_rng(0).uniform(0.4, 1, 60)
        scores = np.where((cases["label"] == "melanoma").to_numpy()[:, None], [[1, 0]], [[0, 1]])
        scores = scores * right[:, None] + (1 - scores) * (1 - right[:, None])
        return PredictionTable(build(cases, ["melanoma", "nevus"], scores), 100)

    return table


def test_declared_views_travel_with_the_prediction_table(predicted):
    table = predicted(melanoma="benign", nevus="melanoma")
    assert views_of(table.classes) == {"melanoma": ["nevus"]} == views_of(classes_of(table.frame))
    assert choose(table, sensitivity=0.9).positive == ("nevus",)
    again = table.with_frames([frame.assign(extra=1) for frame in table.frames])
    assert again.view("melanoma") == ("nevus",)


def test_without_a_melanoma_class_its_numbers_are_not_estimable_and_say_why(predicted):
    table = predicted(melanoma="benign", nevus="unknown")
    rows = judge(table).query("kind == 'view'")
    assert len(rows) and rows["value"].isna().all() and set(rows["note"]) == {"no class is known to be melanoma"}
    for point in (choose(table, sensitivity=0.9), most_probable(table)):
        assert "no class is known to be melanoma" in str(point) and not point.called(table).any()


def test_classes_that_we_do_not_know_have_colours_of_their_own():
    labels = ["nv", *LOOKS, "cyst"]
    assert len({class_colour(label, labels) for label in labels}) == len(labels)


def test_the_figure_of_ages_is_drawn_without_an_age(pictures):
    assert "missing: 2" in ages(FOLDERS.read(pictures("mole/a.jpg", "wart/b.jpg")), "Own").get_suptitle()


# lesion new


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_new_writes_a_study_that_loads_and_asks_what_names_do_not_say(study, here):
    assert study().data
    done = new("my_study", "--data", "images")
    assert done.exit_code == 0 and "Spitz naevus, wart" in done.output, done.output
    text = (here / "my_study.yml").read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if re.match(r"\w", line)]) == 5
    assert re.search(r"wart: unknown +# malignant\?", text) and re.search(r"Nävus: benign +# 10 images", text)
    params = load_study("my_study.yml")
    assert params.classes == {"Nävus": "benign", "Spitz naevus": "unknown", "wart": "unknown"}
    check_cases(params)
    again = new("my_study", "--data", "images")
    assert again.exit_code == 2 and "exists" in again.output
    assert (here / "my_study.yml").read_text(encoding="utf-8") == text


def test_new_finds_columns_and_quotes_names_that_yaml_would_change(pictures, here):
    labels = ["no", "1", "a: b, #c", "melanoma", "bcc"]
    rows = [(f"{label[0]}{n}", label, f"P{label}{n}", n) for label in labels for n in range(6)]
    folder = pictures(*(f"{row[0]}.jpg" for row in rows))
    pd.DataFrame(rows, columns=["file", "diagnosis", "patient", "age"]).to_csv(folder / "t.csv", index=False)
    done = new("mine", "--data", "images")
    assert done.exit_code == 0, done.output
    params = load_study("mine.yml")
    assert params.columns == {"image_id": "file", "label": "diagnosis", "patient_id": "patient", "age": "age"}
    assert params.metadata == "t.csv" and layout(params).grouped_by == "patient"
    expected = dict.fromkeys(["no", "1", "a: b, #c"], "unknown") | {"melanoma": "melanoma", "bcc": "malignant"}
    assert params.classes == expected and "lesions not known" not in data_title(params)


def test_new_takes_a_published_layout_as_it_is(phantom_folder, here):
    done = new("mine", "--data", phantom_folder)
    assert done.exit_code == 0, done.output
    assert (load_study("mine.yml").dataset, load_study("mine.yml").classes) == ("ham10000", {})


def test_new_asks_where_folders_and_a_table_may_say_the_class(pictures, here):
    folder = pictures(*(f"{label}/{label}{n}.jpg" for label in ("mole", "wart") for n in range(6)))
    rows = [(f"{label}{n}", f"{label}!") for label in ("mole", "wart") for n in range(6)]
    pd.DataFrame(rows, columns=["image", "dx"]).to_csv(folder / "t.csv", index=False)
    asked = new("mine", "--data", "images")
    assert asked.exit_code == 2 and all(word in asked.output for word in ("folders", "table", "?", "--dataset"))
    assert not (here / "mine.yml").exists()
    for dataset, classes in (("folders", {"mole", "wart"}), ("table", {"mole!", "wart!"})):
        assert new(dataset, "--data", "images", "--dataset", dataset).exit_code == 0
        assert set(load_study(f"{dataset}.yml").classes) == classes


def test_new_asks_where_a_folder_is_almost_a_published_set(pictures, here):
    pictures(
        *(f"{part}/{label}/ISIC_000000{n}.jpg" for part in ("Train", "Test") for label in ("a", "b") for n in range(6))
    )
    asked = new("mine", "--data", "images")
    assert asked.exit_code == 2 and all(word in asked.output for word in ("isic9 (", "or folders", "--dataset"))
    done = new("mine", "--data", "images", "--dataset", "folders")
    assert done.exit_code == 0 and load_study("mine.yml").dataset == "folders", done.output


def test_new_asks_for_the_column_of_labels(tabled, here):
    rows = [f"{letter},{'mole' if n < 6 else 'wart'},x" for n, letter in enumerate("abcdefghijkl")]
    tabled("image,dx,diagnosis", *rows, names="abcdefghijkl")
    asked = new("mine", "--data", "images")
    assert asked.exit_code == 2 and "dx, diagnosis" in asked.output
    assert new("mine", "--data", "images", "--column", "label=dx").exit_code == 0
    assert load_study("mine.yml").columns == {"image_id": "image", "label": "dx"}


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["quick", "--data", "."], ["quick", "exists"]),
        (["mine", "--data", "nowhere"], ["nowhere", "not a folder"]),
        (["mine", "--data", "."], ["no picture"]),
        (["My Study", "--data", "images"], ["study"]),
        (["mine", "--data", "images", "--dataset", "foldrs"], ["dataset", "folders"]),
        (["mine", "--data", "images", "--column", "dx"], ["NAME=COLUMN"]),
    ],
)
def test_new_refuses_what_it_cannot_use(here, pictures, words, facts):
    if "images" in words:
        pictures(*(f"{label}/{n}.jpg" for label in ("mole", "wart") for n in range(6)))
    done = new(*words)
    assert done.exit_code == 2 and all(fact in done.output for fact in facts), done.output
    assert not list(here.glob("*.yml"))


def test_other_commands_read_such_folders(pictures):
    folder = pictures("mole/a.jpg", "wart/b.jpg")
    assert read_any(folder)["label"].tolist() == read_folder(folder)[0]["label"].tolist() == ["mole", "wart"]


# the whole way

PAGE = (PROJECT / "docs" / "your_own_data.md").read_text(encoding="utf-8")


def draw(folder: Path, seed: int, lesions: int) -> None:
    """Three classes of made-up pictures in folders, one picture of each lesion."""
    for place, (label, look) in enumerate(LOOKS.items()):
        (folder / label).mkdir(parents=True)
        for number in range(lesions):
            rng = np.random.default_rng([seed, place, number])
            view = phantom_pictures.view(phantom_pictures.draw(look, rng), rng, marked=False)
            view.resize((64, 48)).save(folder / label / f"IMG_{number}.jpg")


def commands(heading: str) -> list[str]:
    """The command lines under a heading of the page."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line.strip() for line in section.splitlines() if re.match(r"    (?:make|lesion) ", line)]


def test_the_page_shows_a_study_that_can_be_used():
    shown, added = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert len(shown.splitlines()) == 5 and StudyParams(**yaml.safe_load(shown)).dataset == "folders"
    assert StudyParams(**yaml.safe_load(shown + added)).transfer == load_study("recommended").transfer


@pytest.mark.slow
def test_every_command_of_the_page_works_on_a_made_up_set(tmp_path, threads):
    """The folder ``my_images`` has three classes, none known to be melanoma, and no lesions."""
    draw(tmp_path / "my_images", 0, 50)
    draw(tmp_path / "more_images", 1, 4)
    environment = os.environ | {"LESION_OUTPUT": str(tmp_path / "output"), "PYTHONPATH": str(PROJECT)}
    printed = {}

    def run(line: str) -> None:
        line = line.replace("make study STUDY=", "lesion study ").split("#")[0].strip()
        words = [sys.executable, "-m", "lesion_utils", *line.split()[1:]]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        printed[line] = done.stdout + done.stderr
        found = 1 if line.startswith(("lesion score", "lesion audit")) else 0  # they found something
        assert done.returncode in (0, found), f"{line}\n{printed[line]}"

    first, *later = commands("Your first study")
    run(first)
    file = tmp_path / "my_study.yml"
    cnn = {"backbone": {"image_size": [24, 32]}, "hidden": 8, "phases": [{"epochs": 1}]}
    tiny = {
        "threads": threads,
        "resamples": 100,
        "baseline": {"small_cnn": cnn},
        "rebalancing": {"oversampling": cnn | {"sampler": "over"}},
        "transfer": {"small_cnn_2": cnn},
    }
    known = yaml.safe_load(file.read_text(encoding="utf-8"))
    file.write_text(yaml.safe_dump(known | tiny, allow_unicode=True), encoding="utf-8")
    for line in [*later, *commands("Use and judge the model")]:
        run(line)
    reports = tmp_path / "output" / "reports" / "my_study"
    pages = {path.stem: path.read_text(encoding="utf-8") for path in reports.glob("*.html")}
    assert len([name for name in pages if name.startswith("0")]) == 5
    assert all("not known" in page for page in pages.values())
    assert "no class is known to be melanoma" in pages["05_evaluation"]
    predicted = pd.read_csv(tmp_path / "predictions.csv")
    assert len(predicted) == 12 and predicted["problem"].isna().all() and predicted["melanoma"].isna().all()
    assert set(pd.read_csv(tmp_path / "more.csv")["label"]) == set(LOOKS)
