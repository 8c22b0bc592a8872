"""`lesion fetch` against a server on this machine that speaks and fails as the hosts of the datasets do.

What it serves are pictures of the phantom, in the archives and tables that the hosts have.
"""

import hashlib
import io
import json
import os
import pty
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import pandas as pd
import pytest
from archive_server import Archive
from keras.src.legacy.saving import legacy_h5_format
from typer.testing import CliRunner

from lesion_utils import fetch as module
from lesion_utils.cases import data_folder, ham10000_folder, read_cases
from lesion_utils.checks.any_folder import read_folder
from lesion_utils.cli import app
from lesion_utils.datasets import ham10000, isic9, isic2018
from lesion_utils.datasets.case_table import FETCHED
from lesion_utils.errors import InputError
from lesion_utils.models import load_backbone
from lesion_utils.paths import PROJECT, data_root
from lesion_utils.recipes import BackboneOptions
from lesion_utils.study import StudyParams, load_study

S3, S3_NEW = "isic-challenge-data.s3.amazonaws.com/2018", "isic-archive.s3.amazonaws.com/challenges/2018"
DATAVERSE = "dataverse.harvard.edu/api/access/datafile"
INPUT, GROUPS = "ISIC2018_Task3_Training_Input.zip", "ISIC2018_Task3_Training_LesionGroupings.csv"
TRUTH, TEST = "ISIC2018_Task3_Training_GroundTruth.zip", "ISIC2018_Task3_Test_Input.zip"
PART_1, PART_2, METADATA = f"{DATAVERSE}/3172585", f"{DATAVERSE}/3172584", f"{DATAVERSE}/4338392?format=original"


def packed(files: dict[str, bytes | str]) -> bytes:
    """A zip archive of these files, the same bytes each time."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content)
    return data.getvalue()


def one_hot(labels: pd.Series, marks=isic2018.MARKS) -> str:
    table = pd.DataFrame({mark: (labels == mark.lower()).astype(float) for mark in marks})
    return table.rename_axis("image").to_csv()


@pytest.fixture(scope="module")
def published(phantom_folder) -> dict[str, bytes]:
    """What the hosts have of HAM10000, by address."""
    cases = ham10000.read(phantom_folder)
    pictures = {path.name: path.read_bytes() for path in map(Path, cases["path"])}
    folder = "ISIC2018_Task3_Training_Input"
    files = {f"{folder}/{name}": data for name, data in pictures.items()}
    words = {ours: theirs for theirs, ours in module.DX_TYPES.items()}
    groups = cases[["image_id", "lesion_id"]].assign(diagnosis_confirm_type=cases["dx_type"].map(words))
    truth = TRUTH.replace(".zip", ".csv")
    half = len(pictures) // 2
    return {
        f"{S3}/{INPUT}": packed({f"{folder}/": "", f"{folder}/LICENSE.txt": "CC", **files}),
        f"{S3}/{TRUTH}": packed({f"a folder/{truth}": one_hot(cases.set_index("image_id")["label"])}),
        f"{S3}/{GROUPS}": groups.rename(columns={"image_id": "image"}).to_csv(index=False).encode(),
        PART_1: packed(dict(list(pictures.items())[:half]) | {"__MACOSX/._ISIC_1.jpg": "x"}),
        PART_2: packed(dict(list(pictures.items())[half:])),
        METADATA: (phantom_folder / "HAM10000_metadata.csv").read_bytes(),
    }


@pytest.fixture
def archive(published, monkeypatch):
    """The server; the digests of what it serves from Dataverse are those that are expected from there, and no numbers
    of images are announced.
    """
    monkeypatch.setattr(module, "WAITS", (0.01, 0.01, 0.01))
    server = Archive()
    server.files = dict(published)
    as_published = module.sources()

    def served() -> dict[str, module.Source]:
        def with_digest(file: module.File) -> module.File:
            data = server.files.get(file.url.partition("://")[2])
            return replace(file, md5=hashlib.md5(data).hexdigest()) if file.md5 and data else file

        def with_digests(source: module.Source) -> module.Source:
            parts = {part: [[*map(with_digest, files)] for files in choices] for part, choices in source.parts.items()}
            return replace(source, parts=parts, announced={})

        return {name: with_digests(source) for name, source in as_published.items()}

    monkeypatch.setattr(module, "sources", served)
    yield server
    server.server.shutdown()
    server.server.server_close()


def lesion_fetch(archive: Archive, name: str, *options: str):
    """The finished command, with the server as its mirror."""
    return CliRunner().invoke(app, ["fetch", name, "--source", archive.url, "--accept-licence", *options])


def loaded(done) -> Path:
    assert done.exit_code == 0, done.output
    return Path(done.stdout.split(": ")[0])


def refused(done) -> str:
    assert done.exit_code == 2, done.output
    return done.stderr


def statuses(archive: Archive, path: str) -> list[int]:
    return [status for asked, _, status in archive.asked if asked == path]


def without(archive: Archive, *beginnings: str) -> None:
    archive.files = {path: data for path, data in archive.files.items() if not path.startswith(beginnings)}


# --- what is loaded, and where it goes


def test_ham10000_of_the_isic_archive_is_read_by_a_study_without_a_folder(archive, phantom_folder):
    without(archive, DATAVERSE)
    done = lesion_fetch(archive, "ham10000")
    folder = loaded(done)
    assert "age, sex and site are not known" in done.stderr and "404" in done.stderr
    cases, original = ham10000.read(folder), ham10000.read(phantom_folder)
    for name in ("image_id", "lesion_id", "label", "dx_type"):
        assert cases[name].tolist() == original[name].tolist()
    assert cases["age"].isna().all() and set(cases["sex"]) == {None}
    checked = CliRunner().invoke(app, ["check-data", "ham10000"])
    assert f"checked {len(original):,} images" in checked.output and "of HAM10000" in checked.output, checked.output
    assert "CC BY-NC 4.0" in (folder / module.NOTE).read_text() and "180161" in (folder / module.NOTE).read_text()
    record = json.loads((folder / module.RECORD).read_text())
    assert record[INPUT]["sha256"] == hashlib.sha256(archive.files[f"{S3}/{INPUT}"]).hexdigest()
    assert record[INPUT]["from"] == f"{archive.url}/{S3}/{INPUT}"
    assert not [path for path in (data_root() / "downloads" / "ham10000").iterdir() if path.name != ".lock"]


def test_a_second_call_loads_nothing_and_asks_nothing(archive):
    folder = loaded(lesion_fetch(archive, "ham10000"))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    archive.asked.clear()
    again = CliRunner().invoke(app, ["fetch", "ham10000", "--source", archive.url])
    assert again.exit_code == 0 and archive.asked == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_dataverse_gives_the_whole_table_and_is_asked_under_a_name_of_our_own(archive, phantom_folder):
    without(archive, S3)
    archive.files["elsewhere/part_1.zip"] = archive.files[PART_1]
    archive.faults[PART_1] = [("redirect", "elsewhere/part_1.zip")]
    done = lesion_fetch(archive, "ham10000")
    folder = loaded(done)
    columns = ["image_id", "lesion_id", "label", "age", "sex", "localization", "source"]
    pd.testing.assert_frame_equal(ham10000.read(folder)[columns], ham10000.read(phantom_folder)[columns])
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        "HAM10000_images_part_1",
        "HAM10000_images_part_2",
    }
    assert statuses(archive, PART_1) == [302] and statuses(archive, "elsewhere/part_1.zip") == [200]
    assert all(agent.startswith("lesion-utils") for agent in archive.agents)
    # the order of the sources: both buckets of the ISIC Archive were asked before, each failure is one line
    assert [path for path, *_ in archive.asked][:2] == [f"{S3}/{INPUT}", f"{S3_NEW}/{INPUT}"]
    assert done.stderr.count("next source is asked") == 2


def test_the_server_refuses_the_default_name_of_requests(archive):
    import requests

    assert requests.get(f"{archive.url}/{PART_1}", timeout=10).status_code == 403


def test_isic2018_has_an_image_more_or_less_by_release(archive, isic2018_folder, phantom_folder):
    images = isic2018.image_files(isic2018_folder)
    truth = pd.read_csv(isic2018.table_file(isic2018_folder)).set_index("image")
    labels = truth.idxmax(axis=1).str.lower()
    labels[module.NO_PICTURE] = "nv"
    pictures = {f"ISIC2018_Task3_Test_Input/{path.name}": path.read_bytes() for path in images}
    archive.files[f"{S3}/{TEST}"] = packed(pictures)
    archive.files[f"{S3}/{isic2018.TRUTH}.zip"] = packed({f"t/{isic2018.TRUTH}.csv": one_hot(labels)})
    done = lesion_fetch(archive, "isic2018")
    folder = loaded(done)
    assert f"{module.NO_PICTURE} has no image in this release" in done.stderr
    assert isic2018.read(folder)["label"].tolist() == isic2018.read(isic2018_folder)["label"].tolist()
    assert f"{len(images):,} images" in done.output and f"ISIC2018={folder}" in done.output
    shutil.copytree(phantom_folder, data_root() / "ham10000")
    added = CliRunner().invoke(app, ["check-data", "published/000b_as_run", "--isic2018", str(folder)])
    assert f"checked {len(ham10000.read(phantom_folder)) + len(images):,} images" in added.output, added.output

    # the release of Dataverse: a table in the form of HAM10000's, and this time a label is missing
    shutil.rmtree(folder)
    without(archive, S3)
    pictures[f"ISIC2018_Task3_Test_Input/{module.NO_PICTURE}.jpg"] = images[0].read_bytes()
    table = labels.drop(module.NO_PICTURE).rename_axis("image_id").rename("dx").reset_index().assign(lesion_id="L")
    archive.files[f"{DATAVERSE}/3855824"] = packed(pictures)
    archive.files[f"{DATAVERSE}/6924466?format=original"] = table.to_csv(index=False).encode()
    done = lesion_fetch(archive, "isic2018")
    assert "has no label in this release" in done.stderr
    assert len(isic2018.read(loaded(done))) == len(images)
    # any other difference is refused
    shutil.rmtree(folder)
    archive.files[f"{DATAVERSE}/3855824"] = packed(dict(list(pictures.items())[1:]))
    assert "without an image" in refused(lesion_fetch(archive, "isic2018"))


@pytest.mark.slow  # the audit
def test_isic2019_is_a_folder_with_one_table_that_the_audit_reads(archive, phantom_folder):
    cases = ham10000.read(phantom_folder).iloc[::8].reset_index(drop=True)
    bucket, name = S3.replace("2018", "2019"), "ISIC_2019_Training"
    marks = module.ISIC2019_MARKS
    labels = cases.set_index("image_id")["label"].replace("akiec", "ak")
    about = {"image": cases["image_id"], "age_approx": cases["age"], "sex": cases["sex"]}
    about |= {"anatom_site_general": cases["localization"], "lesion_id": cases["lesion_id"]}
    archive.files = {
        f"{bucket}/{name}_Input.zip": packed({f"x/{Path(p).name}": Path(p).read_bytes() for p in cases["path"]}),
        f"{bucket}/{name}_GroundTruth.csv": one_hot(labels, marks).encode(),
        f"{bucket}/{name}_Metadata.csv": pd.DataFrame(about).to_csv(index=False).encode(),
    }
    done = lesion_fetch(archive, "isic2019")
    folder = loaded(done)
    program, *words = done.stdout.strip().split("Next: ")[1].split()
    audited = CliRunner().invoke(app, words)
    assert program == "lesion" and audited.exit_code in (0, 1) and "images" in audited.output, audited.output
    table, _ = read_folder(folder / f"{name}_Input", folder / f"{name}.csv")
    assert table["label"].tolist() == labels.tolist() and table["lesion_id"].tolist() == cases["lesion_id"].tolist()
    assert table["age"].equals(cases["age"])
    archive.files[f"{bucket}/{name}_GroundTruth.csv"] = one_hot(labels[1:], marks).encode()
    shutil.rmtree(folder)
    assert f"unknown image in 1 row(s): row 2 ({labels.index[0]!r})" in refused(lesion_fetch(archive, "isic2019"))


def nine_classes(isic9_folder) -> dict[str, bytes]:
    files = [path for path in isic9_folder.rglob("*") if path.is_file()]
    return {path.relative_to(isic9_folder).as_posix(): path.read_bytes() for path in files}


def test_isic9_comes_from_kaggle_without_kagglehub_and_takes_lesions_from_ham10000(archive, isic9_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)  # as if it were not installed
    address = "www.kaggle.com/api/v1/datasets/download/nodoubttome/skin-cancer9-classesisic"
    archive.files[address] = packed(nine_classes(isic9_folder))
    monkeypatch.setattr(module, "_from_kagglehub", lambda file, mirror, ask=module._from_kagglehub: ask(file, None))
    done = lesion_fetch(archive, "isic9")
    assert "pip install kagglehub" in done.stderr
    folder = loaded(done)
    shutil.copytree(isic9_folder.parent / "ham10000", data_root() / "ham10000")
    params = load_study("isic9")
    assert data_folder(params) == folder and ham10000_folder(params) == data_root() / "ham10000"
    beside = StudyParams(study="x", dataset="isic9", data=str(isic9_folder))
    assert read_cases(params)["lesion_id"].tolist() == read_cases(beside)["lesion_id"].tolist()


def test_isic9_comes_from_kagglehub_where_it_is_installed(archive, isic9_folder, monkeypatch):
    stand_in = types.SimpleNamespace(dataset_download=lambda name: str(isic9_folder))
    monkeypatch.setitem(sys.modules, "kagglehub", stand_in)
    done = CliRunner().invoke(app, ["fetch", "isic9", "--accept-licence"])
    record = json.loads((loaded(done) / module.RECORD).read_text())
    assert [entry["from"] for entry in record.values()] == ["nodoubttome/skin-cancer9-classesisic"]
    assert len(read_cases(load_study("isic9"))) == len(nine_classes(isic9_folder))
    assert any(isic9_folder.iterdir())  # what kagglehub keeps stays


def test_a_mirror_is_asked_alone(archive, isic9_folder, monkeypatch):
    asked = []
    monkeypatch.setitem(sys.modules, "kagglehub", types.SimpleNamespace(dataset_download=asked.append))
    assert "kagglehub has no mirror" in refused(lesion_fetch(archive, "isic9")) and asked == []


@pytest.mark.slow
def test_weights_in_the_form_of_keras_are_found_and_used(archive, monkeypatch):
    network, data = keras.applications.MobileNetV2(include_top=False, weights=None), io.BytesIO()
    with h5py.File(data, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
    wanted = module.sources()["weights"]
    only = replace(wanted, parts={"MobileNet V2": wanted.parts["MobileNet V2"]})
    monkeypatch.setattr(module, "sources", lambda: {"weights": only})
    ((file,),) = only.parts["MobileNet V2"]
    archive.files[file.url.partition("://")[2]] = data.getvalue()
    folder = loaded(lesion_fetch(archive, "weights"))
    options = BackboneOptions(name="mobilenet_v2", weights="imagenet", image_size=(64, 64))
    assert options.weights_file(None) == folder / file.name
    read = load_backbone(options, None)
    assert all((ours == theirs).all() for ours, theirs in zip(read.get_weights(), network.get_weights(), strict=True))


def test_every_network_of_the_studies_finds_its_weights_among_those_that_are_loaded():
    names = [file.saved_as for choices in module.sources()["weights"].parts.values() for (file,) in choices]
    for name in names:
        (data_root() / "weights").mkdir(parents=True, exist_ok=True)
        (data_root() / "weights" / name).touch()
    used = set()
    for path in (PROJECT / "params").rglob("*.yml"):
        if path.name != "claims.yml":
            name, full = path.relative_to(PROJECT / "params").with_suffix("").as_posix(), "\nfull:" in path.read_text()
            params = load_study(name, full=full)
            for backbone in [recipe.backbone for recipe in params.recipes.values()]:
                if backbone.weights == "imagenet" and not backbone.name.startswith("efficientnet_lite"):
                    used.add(backbone.weights_file(None).name)
    assert used == set(names)


# --- what may go wrong on the way


@pytest.fixture
def slept(monkeypatch) -> list[float]:
    """The seconds that this process would have waited, and does not; it goes through no proxy."""
    seconds = []
    monkeypatch.setattr(module, "time", types.SimpleNamespace(sleep=seconds.append))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return seconds


def no_names(*_, **__):
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


def test_without_a_network_it_says_so_once_and_soon(slept, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", no_names)
    message = refused(CliRunner().invoke(app, ["fetch", "ham10000", "--accept-licence"]))
    hosts = ["isic-challenge-data.s3.amazonaws.com", "isic-archive.s3.amazonaws.com", "dataverse.harvard.edu"]
    cause = "host name not found; is this machine online?"
    assert f"{hosts[0]}: {cause} The next source is asked.\n" in message
    assert f"error: ham10000: no source gives: images, table. Tried:\n  {', '.join(hosts)}: {cause}\nFix: " in message
    assert message.count(cause) == 2 and "HTTPSConnection" not in message and sum(slept) <= 5


def test_all_weights_that_are_missing_are_named_with_their_names_at_the_source(slept, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", no_names)
    message = refused(CliRunner().invoke(app, ["fetch", "weights", "--accept-licence"]))
    parts = module.sources()["weights"].parts
    assert f"no source gives: {', '.join(parts)}. Tried:\n  storage.googleapis.com: host name" in message
    for part, ((file,),) in parts.items():
        assert f"\n  {part}: {file.url} as {file.saved_as}\n" in message
    assert "The next source" not in message and sum(slept) <= 2


def test_a_network_that_ends_on_the_way_is_waited_for(archive, monkeypatch):
    address, real, lost = f"{S3}/{INPUT}", socket.getaddrinfo, []
    archive.faults[address] = [("cut", 50_000)]
    monkeypatch.setattr(module, "CHUNK", 1000)

    def names(*words, **options):
        if archive.asked and len(lost) < 2:
            lost.append(words)
            no_names()
        return real(*words, **options)

    monkeypatch.setattr(socket, "getaddrinfo", names)
    loaded(lesion_fetch(archive, "ham10000"))
    assert len(lost) == 2 and statuses(archive, address) == [200, 206]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.slow
def test_a_host_that_cannot_be_reached_is_named_with_the_cause(archive, slept, monkeypatch):
    here = f"127.0.0.1:{free_port()}"

    def tried(source: str) -> str:
        done = CliRunner().invoke(app, ["fetch", "ham10000", "--accept-licence", "--source", source])
        assert f"Fix: lesion fetch ham10000 --source {source} (later" in refused(done)
        return done.stderr.split("Tried:\n")[1].split("\nFix: ")[0]

    assert tried(f"http://name:secret@{here}/data") == f"  {here}: cannot be reached"
    assert sum(slept) <= 1 and len(slept) == 1  # the host is asked for one file only
    monkeypatch.setenv("HTTP_PROXY", f"http://{here}")
    proxy = "cannot be reached through the proxy of this machine"
    assert tried("http://mirror.example.org") == f"  mirror.example.org: {proxy}"
    monkeypatch.delenv("HTTP_PROXY")
    silent = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    host = f"127.0.0.1:{silent.getsockname()[1]}"
    assert tried(f"http://{host}") == f"  {host}: did not answer within 0.1 s"
    silent.close()


def test_a_long_message_is_shortened_between_words(archive):
    said = "needs a form " * 50
    archive.faults[PART_1] = [(400, said)]
    without(archive, S3)
    (line,) = [line for line in refused(lesion_fetch(archive, "ham10000")).splitlines() if "a form" in line]
    assert line.endswith((" a …", " form …", " needs …")) and len(line) < 300


def test_a_set_that_is_not_as_announced_is_kept_and_said(archive, phantom_folder, monkeypatch):
    served = module.sources()
    real = {"images": [10_015], "lesions": [7470]}
    only = replace(served["ham10000"], announced=real)
    monkeypatch.setattr(module, "sources", lambda: served | {"ham10000": only})
    cases = ham10000.read(phantom_folder)
    images, lesions = len(cases), cases["lesion_id"].nunique()
    for done in (lesion_fetch(archive, "ham10000"), lesion_fetch(archive, "ham10000")):  # also if nothing is missing
        assert done.exit_code == 1 and done.stdout == f"{only.folder}: {images} images, kept\n"
        differs = f"{images} instead of 10,015 images, {lesions} instead of 7,470 lesions"
        assert f"error: ham10000 is not as announced: {differs}. Fix: remove {only.folder}, then: " in done.stderr
    assert len(ham10000.read(only.folder)) == images

    checked = CliRunner().invoke(app, ["check-data", "ham10000"])
    warning = f"study 'ham10000': ham10000 is not as announced: {images} instead of 10,015 images."
    assert checked.exit_code == 0 and f"warning: {warning} Results are of these images.\n" in checked.stderr
    monkeypatch.setattr("lesion_utils.cli.study._snakemake", lambda *_: 0)
    study = CliRunner().invoke(app, ["study", "ham10000", "--dry-run"])
    assert study.stderr.count(f"warning: {warning}") == 1, study.output
    only.announced.update(images=[images, 1], lesions=[lesions])
    loaded(lesion_fetch(archive, "ham10000"))
    assert "warning" not in CliRunner().invoke(app, ["check-data", "ham10000"]).stderr


def test_what_is_announced_is_what_the_titles_and_the_page_say_and_the_real_sets_have(real_ham, real_isic9):
    page = (PROJECT / "docs" / "data.md").read_text(encoding="utf-8")
    known = module.sources()
    for source in known.values():
        numbers = [f"{number:,}" for what in ("images", "lesions") for number in source.announced.get(what, [])]
        assert all(number in source.title for number in numbers)
        assert not numbers or numbers[0] in page
    assert [name for name, source in known.items() if source.announced] == [name for name in known if name != "weights"]
    assert known["ham10000"].differences(ham10000.metadata(real_ham)) == ""
    assert known["isic9"].differences(isic9.read(real_isic9, None)) == ""
    lost = isic9.read(real_isic9, None).iloc[1:]
    assert known["isic9"].differences(lost).startswith("2,356 instead of 2,357 images, ")


def test_a_cut_connection_goes_on_where_it_ended(archive, monkeypatch):
    address, data = f"{S3}/{INPUT}", archive.files[f"{S3}/{INPUT}"]
    archive.faults[address] = [("cut", len(data) // 3)] * 2
    monkeypatch.setattr(module, "CHUNK", 1000)
    folder = loaded(lesion_fetch(archive, "ham10000"))
    ranges = [wanted for path, wanted, _ in archive.asked if path == address]
    begun = [int(wanted.removeprefix("bytes=").removesuffix("-") or 0) for wanted in ranges]
    assert len(ranges) == 3 and 0 == begun[0] < begun[1] < begun[2]
    assert statuses(archive, address) == [200, 206, 206]
    record = json.loads((folder / module.RECORD).read_text())
    assert record[INPUT]["sha256"] == hashlib.sha256(data).hexdigest()


def interrupted(archive: Archive, monkeypatch) -> int:
    """Leaves a part of the images behind, whose size it returns."""
    monkeypatch.setattr(module, "CHUNK", 1000)
    address = f"{S3}/{INPUT}"
    archive.faults[address] = [("cut", 50_000), (503, ""), (503, ""), (503, "")]
    archive.faults[f"{S3_NEW}/{INPUT}"] = [(503, "")] * 4
    archive.faults[PART_1] = [(400, "Guestbook Response entry is required but not present (Name,Email).")]
    message = refused(lesion_fetch(archive, "ham10000"))
    assert "Guestbook Response entry is required" in message
    assert message.count("503") == 3  # each in its line, and all in one below
    parts = [f"https://{address} as HAM10000_images_part_{n}.zip" for n, address in ((1, PART_1), (2, PART_2))]
    assert f"  images: {INPUT}, or {' and '.join(parts)}\n" in message and "from https://doi.org" in message
    assert f"to {data_root() / 'downloads' / 'ham10000'}" in message and "Fix: lesion fetch ham10000" in message
    assert not (data_root() / "ham10000").exists()
    part = data_root() / "downloads" / "ham10000" / f"{INPUT}.part"
    archive.asked.clear()
    return part.stat().st_size


def test_a_later_call_goes_on_with_the_part_of_an_earlier_one(archive, monkeypatch):
    size = interrupted(archive, monkeypatch)
    loaded(lesion_fetch(archive, "ham10000"))
    assert size > 0 and archive.asked[0] == (f"{S3}/{INPUT}", f"bytes={size}-", 206)


def test_another_bucket_goes_on_only_if_it_has_the_same_file(archive, monkeypatch):
    size, old = interrupted(archive, monkeypatch), f"{S3}/{INPUT}"
    archive.files[f"{S3_NEW}/{INPUT}"] = archive.files[old]
    archive.faults[old] = [(404, "")]
    loaded(lesion_fetch(archive, "ham10000"))
    assert archive.asked[1] == (f"{S3_NEW}/{INPUT}", f"bytes={size}-", 206)


@pytest.mark.parametrize("fault", [("none", 0), ("no if-range", 0)])
def test_a_file_that_changed_in_between_is_not_glued_together(archive, monkeypatch, fault):
    interrupted(archive, monkeypatch)
    address = f"{S3}/{INPUT}"
    with zipfile.ZipFile(io.BytesIO(archive.files[address])) as old:
        new = packed({name: old.read(name) + b" " for name in old.namelist()})
    archive.files[address] = new
    archive.faults[address] = [fault]
    folder = loaded(lesion_fetch(archive, "ham10000"))
    assert json.loads((folder / module.RECORD).read_text())[INPUT]["sha256"] == hashlib.sha256(new).hexdigest()


def test_a_slow_reply_and_a_busy_server_are_asked_again(archive, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    address = f"{S3}/{INPUT}"
    archive.faults[address] = [("slow", 1), (503, ""), (429, "")]
    loaded(lesion_fetch(archive, "ham10000"))
    assert len(statuses(archive, address)) == 4 and not statuses(archive, f"{S3_NEW}/{INPUT}")


def test_a_wrong_digest_is_refused_and_leaves_nothing(archive, monkeypatch):
    without(archive, S3)
    damaged = archive.files[PART_2][:-1] + b"?"
    served = module.sources()
    monkeypatch.setattr(module, "sources", lambda: served)
    archive.files[PART_2] = damaged
    message = refused(lesion_fetch(archive, "ham10000"))
    assert f"its MD5 is {hashlib.md5(damaged).hexdigest()}, that of the published file is" in message
    left = {path.name for path in (data_root() / "downloads" / "ham10000").glob("HAM*.???")}
    assert left == {"HAM10000_images_part_1.zip", "HAM10000_metadata.csv"}


def test_a_page_with_a_message_is_not_taken_for_data(archive):
    for address in (METADATA, f"{S3}/{INPUT}"):
        archive.files[address] = b"<html>Sign in</html>"
    done = lesion_fetch(archive, "ham10000")
    loaded(done)
    for problem in ("not a .zip file: it starts with b'<html", "not a .csv file"):
        assert f"{problem}" in done.stderr


def linked() -> bytes:
    link, data = zipfile.ZipInfo("ISIC_1.jpg"), io.BytesIO()
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    return data.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (packed({"a/ISIC_1.jpg": b"1", "../../escaped.jpg": b"2"}), "'../../escaped.jpg' would leave"),
        (packed({"/tmp/escaped.jpg": b"2"}), "would leave"),
        (packed({"C:\\escaped.jpg": b"2"}), "would leave"),
        (packed({"a\\..\\..\\escaped.jpg": b"2"}), "would leave"),
        (linked(), "'ISIC_1.jpg' would leave"),
        (packed({"ISIC_1.jpg": bytes(3_000_000)}), "it unpacks to 3 MB, more than"),
        (packed({"read.me": b"1"}), "no picture"),
        (packed({"ISIC_1.jpg": b"1"})[:-30], "not a whole .zip file"),
    ],
)
def test_an_unsafe_archive_is_refused_before_anything_is_written(archive, monkeypatch, content, problem, tmp_path):
    monkeypatch.setattr(module.File, "most_bytes", property(lambda file: 2e6))
    archive.files = {f"{S3}/{INPUT}": content}
    before = sorted(tmp_path.rglob("*"))
    assert problem in refused(lesion_fetch(archive, "ham10000"))
    new = [path for path in tmp_path.rglob("*") if path not in before and path.is_file()]
    assert [path.name for path in new if path.suffix not in (".json", ".part") and path.name != ".lock"] == []


def test_what_a_person_puts_into_the_folder_counts_as_loaded_and_stays(archive):
    downloads = data_root() / "downloads" / "ham10000"
    downloads.mkdir(parents=True)
    (downloads / "HAM10000_images_part_1.zip").write_bytes(archive.files[PART_1])
    (downloads / "HAM10000_images_part_2.zip").write_bytes(b"PK damaged")
    message = refused(lesion_fetch(archive, "ham10000"))
    assert "HAM10000_images_part_2.zip cannot be used: its MD5 is" in message and "Fix: remove it" in message
    (downloads / "HAM10000_images_part_2.zip").write_bytes(archive.files[PART_2])
    folder = loaded(lesion_fetch(archive, "ham10000"))
    assert [path for path, *_ in archive.asked] == [METADATA]
    assert {path.name for path in downloads.glob("*.zip")} == {f"HAM10000_images_part_{n}.zip" for n in (1, 2)}
    assert json.loads((folder / module.RECORD).read_text())["HAM10000_images_part_1.zip"]["from"] == "by hand"


def test_what_is_lost_is_loaded_again_and_must_be_what_was_loaded_first(archive):
    folder = loaded(lesion_fetch(archive, "ham10000"))
    lost = next((folder / "HAM10000_images").glob("*.jpg"))
    lost.unlink()
    address, first = f"{S3}/{INPUT}", archive.files[f"{S3}/{INPUT}"]
    archive.files[address] = packed({"ISIC_1.jpg": b"another"})
    without(archive, DATAVERSE)
    archive.asked.clear()
    assert "that of the file that was loaded first is" in refused(lesion_fetch(archive, "ham10000"))
    archive.files[address] = first
    loaded(lesion_fetch(archive, "ham10000"))
    assert lost.is_file() and not statuses(archive, METADATA)  # the table was there


def test_what_another_source_gives_takes_the_place_of_what_is_no_longer_whole(archive, phantom_folder):
    folder = loaded(lesion_fetch(archive, "ham10000"))
    next((folder / "HAM10000_images").glob("*.jpg")).unlink()
    without(archive, S3)
    loaded(lesion_fetch(archive, "ham10000"))
    assert sorted(path.name for path in folder.glob("*images*")) == [f"HAM10000_images_part_{n}" for n in (1, 2)]
    assert len(ham10000.read(folder)) == len(ham10000.read(phantom_folder))


def test_a_folder_of_another_origin_is_left_alone(archive, phantom_folder):
    shutil.copytree(phantom_folder, data_root() / "ham10000")
    assert "rename this folder first" in refused(lesion_fetch(archive, "ham10000")) and archive.asked == []
    assert data_folder(load_study("ham10000")) == data_root() / "ham10000"


def test_two_calls_do_not_write_to_one_folder(archive):
    source = module.sources()["ham10000"]
    source.downloads.mkdir(parents=True)
    with module._only_one(source.downloads):
        assert "another `lesion fetch`" in refused(lesion_fetch(archive, "ham10000"))


def test_a_full_disk_is_said_before_anything_is_loaded(archive, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1e9))
    message = refused(lesion_fetch(archive, "ham10000"))
    assert "1,000 MB are free" in message and "5,542 MB" in message and archive.asked == []
    part = data_root() / "downloads" / "ham10000" / f"{INPUT}.part"
    with part.open("wb") as file:  # what is loaded needs no space again
        file.truncate(1_000_000_000)
    assert "4,542 MB" in refused(lesion_fetch(archive, "ham10000"))


# --- what a person sees


def test_size_and_licence_are_shown_and_must_be_accepted(archive):
    done = CliRunner().invoke(app, ["fetch", "ham10000", "--source", archive.url])
    message = refused(done)
    for fact in (
        "about 2.8 GB",
        "CC BY-NC 4.0",
        "doi:10.1038/sdata.2018.161",
        f"Fix: lesion fetch ham10000 --source {archive.url} --accept-licence",
        "without a terminal",
    ):
        assert fact in message
    assert "was not accepted" not in message
    assert archive.asked == [] and not data_root().exists()
    piped = CliRunner().invoke(app, ["fetch", "ham10000"], input="y\n")
    assert "without a terminal" in refused(piped) and "Fix: lesion fetch ham10000 --accept-licence" in piped.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "code"), [("n", 2), ("y", 1)])  # 1: these are not 10,015 images
def test_a_terminal_is_asked(archive, answer, code, tmp_path):
    without(archive, DATAVERSE)  # their digests are those of the real files
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "lesion_utils", "fetch", "ham10000", "--source", archive.url]
    process = subprocess.Popen(words, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=PROJECT)
    os.write(ours, f"{answer}\n".encode())
    output, _ = process.communicate(timeout=120)
    for terminal in (ours, theirs):
        os.close(terminal)
    assert process.returncode == code and b"Do you accept this licence?" in output, output
    assert bool(archive.asked) == (answer == "y")


@pytest.mark.slow
def test_progress_is_lines_in_a_log_and_nothing_if_quiet(archive, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 10_000)
    monkeypatch.setattr(module, "EVERY", 0.5)
    archive.faults[f"{S3}/{INPUT}"] = [("trickle", 0.06)]
    said = lesion_fetch(archive, "ham10000")
    lines = [line for line in said.stderr.splitlines() if line.startswith(INPUT)]
    assert len(lines) > 1 and lines[-1].startswith(f"{INPUT}: 100% of ") and "\r" not in said.stderr
    assert f"loaded {INPUT} (" in said.stderr
    shutil.rmtree(data_root())
    archive.faults[f"{S3}/{INPUT}"] = [("trickle", 0.06)]
    assert lesion_fetch(archive, "ham10000", "--quiet").stderr == ""


@pytest.mark.slow
def test_ctrl_c_ends_with_one_line_and_the_next_call_goes_on(archive):
    without(archive, DATAVERSE)
    address = f"{S3}/{INPUT}"
    archive.faults[address] = [("trickle", 0.3)]
    words = [sys.executable, "-m", "lesion_utils", "fetch", "ham10000", "--source", archive.url, "--accept-licence"]
    start = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT, **start)
    part = data_root() / "downloads" / "ham10000" / f"{INPUT}.part"
    last = time.monotonic() + 60
    while time.monotonic() < last and not (part.is_file() and part.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130 and error.splitlines()[-1] == "stopped. To go on, run the same command again."
    assert "Traceback" not in error and 0 < (size := part.stat().st_size) < len(archive.files[address])
    archive.asked.clear()
    loaded(lesion_fetch(archive, "ham10000"))
    assert archive.asked[0] == (address, f"bytes={size}-", 206)


def test_an_unknown_name_and_a_mirror_that_is_none_are_refused(archive):
    message = refused(CliRunner().invoke(app, ["fetch", "ham1000"]))
    assert "Did you mean `ham10000`?" in message and "isic2019" in message
    assert "http://" in refused(CliRunner().invoke(app, ["fetch", "ham10000", "--source", "folder"]))


@pytest.mark.parametrize("dataset", FETCHED)
def test_a_study_without_data_names_the_command_that_loads_them(dataset):
    assert dataset in module.sources()
    with pytest.raises(InputError, match=f"Fix: lesion fetch {dataset}, or make study STUDY={dataset} DATA="):
        data_folder(load_study(dataset))
    with pytest.raises(InputError, match=f"Fix: lesion fetch {dataset}, or make study STUDY={dataset} DATA="):
        read_cases(load_study(dataset, data="nowhere"))


def test_the_page_and_the_help_name_every_source():
    page = (PROJECT / "docs" / "data.md").read_text(encoding="utf-8")
    usage = (PROJECT / "lesion_utils" / "cli" / "help" / "fetch.txt").read_text(encoding="utf-8")
    for name, source in module.sources().items():
        assert f"lesion fetch {name}" in page and f"  {name} " in usage
        files = [file for choices in source.parts.values() for files in choices for file in files]
        assert all(file.url.startswith("https://") != bool(file.kagglehub) for file in files)
        for host in {file.url.split("/")[2] for file in files if file.url}:
            assert host in page
