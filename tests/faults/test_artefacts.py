"""Whatever a run leaves and a command reads: damaged, it is made again or refused with a fix, never used.

One tiny study runs once. Each test damages a file of a copy in every way and calls what reads it, in this process where
that is the same code as the command.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from trained import train_in
from typer.testing import CliRunner

from faults.damage import HANDLED, damages, flipped, outcome_of, put
from lesion_utils import pictures, pipeline, predictions, reports, training
from lesion_utils.audit.links import link_groups
from lesion_utils.cases import data_digest, read_case_tables, read_cases, read_pictures
from lesion_utils.claims.verdicts import collect_claims
from lesion_utils.cli import app
from lesion_utils.cli.progress import Progress
from lesion_utils.datasets import phantom
from lesion_utils.datasets.phantom import Phantom
from lesion_utils.digests import bytes_digest
from lesion_utils.errors import InputError
from lesion_utils.features import cached_features
from lesion_utils.offline_copies import make_offline_copies
from lesion_utils.paths import PROJECT, cache_folder, content_digest, remove, report_folder, run_folder, write_json
from lesion_utils.published import handover
from lesion_utils.recipes import OfflineCopies
from lesion_utils.runtime import keras
from lesion_utils.study import StudyParams, load_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy"),  # Keras with NumPy 2
]

CNN = {"backbone": {"image_size": [24, 32]}, "hidden": 8, "phases": [{"epochs": 1}]}
RECIPES = {"cnn": CNN, "other": CNN | {"hidden": 4, "exports": ["h5"]}}
R0, OTHER, TABLES, PAGES = (
    "runs/tiny/models/cnn/r0",
    "runs/tiny/models/other/r0",
    "reports/tiny/predictions",
    "reports/tiny",
)


class Study(NamedTuple):
    """A study in ``folder``: its file, its data, and ``out`` with ``runs/`` and ``reports/``."""

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def file(self) -> str:
        return str(self.folder / "tiny.yml")

    @property
    def params(self) -> StudyParams:
        return load_study(self.file)

    def run(self) -> subprocess.CompletedProcess:
        words = [sys.executable, "-m", "lesion_utils", "study", self.file]
        environment = os.environ | {"LESION_OUTPUT": str(self.out)}
        return subprocess.run(words, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, threads) -> Study:
    """A study that has run, with its model packed and asked, the features of its pictures, and copies of them."""
    study = Study(tmp_path_factory.mktemp("finished"))
    phantom.write(study.folder / "data", Phantom(lesions=100))
    text = {"study": "tiny", "dataset": "ham10000", "data": str(study.folder / "data"), "threads": threads}
    (study.folder / "tiny.yml").write_text(json.dumps(text | {"resamples": 100, "baseline": RECIPES}))
    done = study.run()
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LESION_OUTPUT", str(study.out))
        for name in ("pixels", "phantom"):  # those of the study itself are of more pictures than are read here
            remove(cache_folder(name))
        measured = PROJECT / "reports/published/003_as_run/claims.json"
        write_json(report_folder("published/003_as_run") / "claims.json", json.loads(measured.read_text()))
        for recipe in RECIPES:
            call("pack", study.file, recipe, "--output", str(study.out / f"{recipe}.lesion"))
        for read in (features, copies, predicted, phantom_cases, claims):
            read(study, study.out)
    return study


class Copy:
    """A copy of a study that tests may damage: ``restore`` makes it as it was."""

    def __init__(self, study: Study, folder: Path):
        shutil.copytree(study.out, folder / "out", ignore=shutil.ignore_patterns(".snakemake", "logs"))
        shutil.copy(study.file, folder)
        self.study = Study(folder)
        self.contents = {path: path.read_bytes() for path in self.files()}
        self.times = {path: path.stat().st_ctime_ns for path in self.contents}

    def files(self) -> list[Path]:
        return [path for path in self.study.out.rglob("*") if path.is_file()]

    def restore(self) -> None:
        there = {path: path.stat().st_ctime_ns for path in self.files()}
        for path in {**there, **self.contents}:
            if there.get(path) != self.times.get(path):
                put(path, self.contents.get(path))
                self.times[path] = path.stat().st_ctime_ns if path in self.contents else 0


@pytest.fixture(scope="session")
def session_copy(finished, tmp_path_factory) -> Copy:
    return Copy(finished, tmp_path_factory.mktemp("copy"))


@pytest.fixture
def copy(session_copy, monkeypatch) -> Iterator[Copy]:
    monkeypatch.setenv("LESION_OUTPUT", str(session_copy.study.out))
    yield session_copy
    session_copy.restore()


@pytest.fixture(scope="session")
def right(session_copy) -> Callable[[Callable], object]:
    """What a reader gives where nothing is damaged."""
    known: dict[Callable, object] = {start: True}

    def of(reader: Callable) -> object:
        if reader not in known:
            known[reader] = reader(session_copy.study, session_copy.study.out)
            session_copy.restore()
        return known[reader]

    return of


@pytest.fixture(scope="session")
def rows(results) -> Iterator[list[dict[str, Any]]]:
    """The rows of docs/reliability.md: of an artefact and what reads it, the outcomes of each kind of damage."""
    rows: list[dict[str, Any]] = []
    yield rows
    total = sum((outcomes for row in rows for outcomes in row.values() if isinstance(outcomes, Counter)), Counter())
    counts = {"tried": total.total(), "handled": sum(total[what] for what in HANDLED), "lost": total["lost"]}
    counts |= {"tracebacks": total["traceback"], "silent": total["silent"]}
    results["artefacts"] = {**counts, "rows": rows}


@pytest.fixture(autouse=True)
def _fast_training(finished, monkeypatch):
    """A training that was done before gives at once what it gave; the last test trains."""
    folder = finished.out / R0

    class Training:
        network = SimpleNamespace(whole=None)

        def __init__(self, *_):
            print("trained again", file=sys.stderr)

        def fit(self, name, checkpoint):
            return pd.read_csv(folder / "history.csv")

        def predict(self):
            with np.load(folder / "probabilities.npz") as arrays:
                provenance = json.loads((folder / "provenance.json").read_text())
                return handover.keras_model(folder / "model.keras"), dict(arrays), provenance["training_correct"]

    monkeypatch.setattr(training, "_Training", Training)


def call(*words: str) -> str:
    """The output of a command; InputError for one that ends with a message, and whatever else it raises."""
    done = CliRunner().invoke(app, words)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    if done.exit_code == 2:
        raise InputError(done.output)
    print(done.stderr, file=sys.stderr)
    return done.output


# What reads an artefact: the command, and what it gives. The same value means the right result.


@functools.cache
def outputs(study: Study) -> set[str]:
    """The files of a study that Snakemake makes again where they are missing."""
    files = {file for job in pipeline.plan(study.params) for file in job.outputs}
    pages = [*report_folder("tiny").glob("*.html"), report_folder("tiny") / "pages.json"]
    return {os.path.normpath(run_folder("tiny") / file) for file in files} | {*map(str, pages)}


def start(study: Study, path: Path) -> bool:
    """`make study` before its jobs: is the damaged file made again, by a job that is forced or by Snakemake?"""
    start_durations(study, path)
    edited = pipeline.edited(study.params)
    for job, files in edited.items():
        print(f"{job} runs again: {files}", file=sys.stderr)
    named = {os.path.normpath(run_folder("tiny") / file) for files in edited.values() for file in files}
    return str(path) in named or (not path.exists() and str(path) in outputs(study))


def start_durations(study: Study, path: Path) -> None:
    """`make study`, which estimates the time left."""
    Progress([study.params], verbose=False, dry_run=True)


def train(study: Study, path: Path) -> object:
    """A notebook that trains: what is trained already is read, all else is trained again."""
    trained = train_in(study.params, "cnn", read_case_tables(study.params)["corrected"])
    tables = [predictions.read(study.params, "cnn", split).to_csv() for split in trained.probabilities]
    seconds = {"seconds", "commit"}
    provenance = {key: value for key, value in trained.provenance.items() if key not in seconds}
    return [trained.history.drop(columns="seconds").to_csv(), tables, provenance]


def evaluation(study: Study, path: Path) -> object:
    """Notebook 05: tables, histories and provenance of all recipes."""
    values = []
    for recipe in study.params.recipes:
        values += [predictions.read(study.params, recipe, split).to_csv() for split in ("validation", "test")]
        values.append(predictions.read_history(study.params, recipe, 0).to_csv())
        values.append({**predictions.read_provenance(study.params, recipe, "test"), "path": ""})
    return [values, read_case_tables(study.params)["corrected"].drop(columns="path").to_csv()]


def pages(study: Study, path: Path) -> object:
    call("pages", study.file)
    return [content_digest(page) for page in sorted(report_folder("tiny").glob("*.html"))]


def pack(study: Study, path: Path) -> object:
    call("pack", study.file, "cnn", "--output", str(target := study.folder / "cnn.lesion"))
    return content_digest(target)


def fresh_clone(study: Study, path: Path) -> object:
    """A study in a clone, which has the reports and nothing else: tracked tables are taken instead of training."""
    shutil.rmtree(study.out / "runs/tiny/models")
    shutil.rmtree(study.out / "runs/digests", ignore_errors=True)
    return train(study, path)


def verified(study: Study, path: Path) -> object:
    """`lesion verify`, whose result is the list of differences."""
    output = call("verify", study.file)
    if "difference" in output:
        raise InputError(f"{output} Fix: named by file")
    return output


def predict(study: Study, path: Path) -> object:
    images = sorted(map(str, Path(study.params.data).rglob("*.jpg")))[:3]
    target = study.folder / "fresh.csv"
    target.unlink(missing_ok=True)
    call("predict", *images, "--model", str(study.out / "cnn.lesion"), "--out", str(target))
    return target.read_text()


def predicted(study: Study, path: Path) -> object:
    """`lesion predict` for pictures that it has predicted before."""
    images = sorted(map(str, Path(study.params.data).rglob("*.jpg")))[:3]
    target = study.out / "predictions.csv"
    call("predict", *images, "--model", str(study.out / "cnn.lesion"), "--out", str(target))
    return target.read_text()


def evaluate(study: Study, path: Path) -> object:
    call("evaluate", str(study.out / OTHER), "--data", study.params.data, "--output", str(study.folder / "e"))
    return [content_digest(study.folder / "e" / name) for name in ("predictions.csv", "curves.png")]


def claims(study: Study, path: Path) -> object:
    write_json(report_folder("published") / "claims.json", rows := collect_claims())
    return rows


def studies(study: Study, path: Path) -> object:
    """The list of all studies, which `make study` and `lesion claims` write."""
    return content_digest(reports.write_studies_page())


def pixels(study: Study, path: Path) -> object:
    cases = read_cases(study.params)
    return bytes_digest(np.ascontiguousarray(pictures.load_pictures(cases["path"], (24, 32), 2)[:]).data)


def features(study: Study, path: Path) -> object:
    inputs = keras.Input((24, 32, 3))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    shown = pictures.load_pictures(read_cases(study.params)["path"], (24, 32), 2)
    return bytes_digest(np.ascontiguousarray(cached_features(model, shown, ["a key"])[:]).data)


def audit(study: Study, path: Path) -> object:
    return link_groups(read_pictures(study.params), 2).to_csv()


def copies(study: Study, path: Path) -> object:
    made = make_offline_copies(read_cases(study.params).head(20), OfflineCopies(per_class=2), 0)
    return [content_digest(Path(file)) for file in made["path"]]


def phantom_cases(study: Study, path: Path) -> object:
    """A study on the phantom that is drawn by the program."""
    params = StudyParams(phantom=Phantom(lesions=14))
    cases = read_cases(params)
    return [cases.drop(columns="path").to_csv(), [content_digest(Path(file)) for file in cases["path"]]]


def data(study: Study, path: Path) -> object:
    return data_digest(study.params)


class Artefact(NamedTuple):
    name: str
    place: str  # a pattern, from the folder with runs/ and reports/
    readers: list[Callable[[Study, Path], object]]
    other: str = ""  # the same artefact of another recipe or notebook


ARTEFACTS = [
    Artefact("case table", "runs/tiny/cases.csv", [start, evaluation, pack]),
    Artefact("case table, its JSON", "runs/tiny/cases.json", [start, evaluation]),
    Artefact(
        "prediction table",
        f"{R0}/predictions/validation.csv",
        [start, evaluation, pack],
        f"{OTHER}/predictions/validation.csv",
    ),
    Artefact(
        "prediction table, its JSON",
        f"{R0}/predictions/test.json",
        [start, evaluation],
        f"{OTHER}/predictions/test.json",
    ),
    Artefact("probabilities", f"{R0}/probabilities.npz", [start, train], f"{OTHER}/probabilities.npz"),
    Artefact("history", f"{R0}/history.csv", [start, train, evaluation], f"{OTHER}/history.csv"),
    Artefact("model", f"{R0}/model.keras", [start, train, pack], f"{OTHER}/model.keras"),
    Artefact("provenance", f"{R0}/provenance.json", [start, train, pack], f"{OTHER}/provenance.json"),
    Artefact(
        "executed notebook",
        "runs/tiny/executed/02_baseline_cnn.ipynb",
        [start, pages],
        "runs/tiny/executed/01_eda.ipynb",
    ),
    Artefact("stamp", "runs/tiny/stamps/02_baseline_cnn.json", [start, pages], "runs/tiny/stamps/01_eda.json"),
    Artefact("numbers", "runs/tiny/numbers/02_baseline_cnn.json", [start, pages], "runs/tiny/numbers/01_eda.json"),
    Artefact("durations", "runs/tiny/durations.json", [start_durations]),
    Artefact("checked pixels", "runs/tiny/checked/pixels.json", [audit]),
    Artefact("cache of pictures", "runs/cache/pixels/*/*.npy", [pixels]),
    Artefact("cache of pictures, keys", "runs/cache/pixels/*/*.json", [pixels]),
    Artefact("cache of features", "runs/cache/features/*/*.npy", [features]),
    Artefact("cache of features, keys", "runs/cache/features/*/*.json", [features]),
    Artefact("cache of near-duplicates", "runs/cache/near_pairs/*.npy", [audit]),
    Artefact("cache of copies", "runs/cache/copies/*/*/*.jpg", [copies]),
    Artefact("cache of digests of data", "runs/cache/contents/*.json", [data]),
    Artefact("phantom, a picture", "runs/cache/phantom/*/*/*.jpg", [phantom_cases]),
    Artefact("phantom, its table", "runs/cache/phantom/*/HAM10000_metadata.csv", [phantom_cases]),
    Artefact("phantom, its JSON", "runs/cache/phantom/*/phantom.json", [phantom_cases]),
    Artefact("results", f"{PAGES}/results.json", [start, pages, verified]),
    Artefact("log of test reads", f"{PAGES}/test_reads.csv", [start]),
    Artefact("page", f"{PAGES}/02_baseline_cnn.html", [start, verified], f"{PAGES}/01_eda.html"),
    Artefact("model card", f"{PAGES}/model_card.html", [start, pack, verified]),
    Artefact("list of pages", f"{PAGES}/pages.json", [start, verified]),
    Artefact(
        "tracked table",
        f"{TABLES}/cnn/r0/test.csv.gz",
        [start, fresh_clone, verified],
        f"{TABLES}/other/r0/test.csv.gz",
    ),
    Artefact(
        "tracked history",
        f"{TABLES}/cnn/r0/history.csv.gz",
        [start, fresh_clone, verified],
        f"{TABLES}/other/r0/history.csv.gz",
    ),
    Artefact(
        "tracked provenance",
        f"{TABLES}/cnn/r0/provenance.json",
        [start, fresh_clone, verified],
        f"{TABLES}/other/r0/provenance.json",
    ),
    Artefact("tracked cases", f"{TABLES}/cases.csv.gz", [start, verified]),
    Artefact("claims of a study", "reports/published/003_as_run/claims.json", [claims]),
    Artefact("ledger of claims", "reports/published/claims.json", [studies]),
    Artefact("packed model", "cnn.lesion", [predict], "other.lesion"),
    Artefact("table of predicted pictures", "predictions.csv", [predicted]),
    Artefact("table of predicted pictures, its JSON", "predictions.json", [predicted]),
    Artefact("exported model", f"{OTHER}/model.keras", [start, evaluate], f"{R0}/model.keras"),
    Artefact("exported model, about.json", f"{OTHER}/about.json", [start, evaluate]),
    Artefact("exported model, history.npy", f"{OTHER}/history.npy", [start, evaluate]),
]


SLOW = (train, fresh_clone, pages, pack, verified, evaluate, claims)  # one damage of each kind
PAIRS = [(artefact, reader) for artefact in ARTEFACTS for reader in artefact.readers]
COMMANDS = {
    start: "make study",
    start_durations: "make study",
    train: "notebook 02",
    evaluation: "notebook 05",
    pages: "lesion pages",
    pack: "lesion pack",
    fresh_clone: "make study in a clone",
    verified: "lesion verify",
    predict: "lesion predict",
    predicted: "lesion predict, again",
    evaluate: "lesion evaluate",
    claims: "lesion claims",
    studies: "lesion claims",
    pixels: "notebook 02",
    features: "notebook 04",
    audit: "notebook 01",
    copies: "notebook 03",
    phantom_cases: "make study",
    data: "make study",
}


def contents(study: Study) -> dict[str, bytes]:
    """The results of a study, without what differs from run to run: times, and models with their archive's dates."""
    changing = ("history.csv", "history.csv.gz", ".keras", ".h5", ".npy", ".npz", ".html", ".ipynb", "pages.json")
    changing += ("durations.json", "config.json", "test_reads.csv", ".png", "provenance.json")
    paths = [path for name in ("runs/tiny", "reports/tiny") for path in (study.out / name).rglob("*") if path.is_file()]
    own = [path for path in paths if not {".snakemake", "logs", "stamps", "failed"} & set(path.parts)]
    return {str(path.relative_to(study.out)): path.read_bytes() for path in own if not path.name.endswith(changing)}


@pytest.mark.parametrize(
    ("artefact", "reader"), PAIRS, ids=lambda value: getattr(value, "name", None) or value.__name__
)
def test_a_damaged_file_is_made_again_or_refused_and_never_used(
    artefact, reader, copy, right, capsys, monkeypatch, rows
):
    study = copy.study
    path = sorted(study.out.glob(artefact.place))[0]
    row: dict[str, Any] = {"damaged": artefact.name, "read by": COMMANDS[reader]}
    expected, bad = right(reader), []
    other = study.out / artefact.other if artefact.other else None
    for kind, changed in damages(path, other).items():
        found = []
        for content in changed[len(changed) // 2 :][:1] if reader in SLOW else changed:
            put(path, content)
            monkeypatch.setattr(pictures, "_checked", set())  # as in a new process
            capsys.readouterr()
            outcome = outcome_of(lambda: reader(study, path), expected, lambda: "".join(capsys.readouterr()))
            is_gap = content is None and reader in (pages, claims, studies) and outcome.what == "silent"
            found.append(outcome._replace(what="left out") if is_gap else outcome)  # pages show what has run so far
            copy.restore()
        row[kind] = Counter(outcome.what for outcome in found)
        bad += [f"{kind}: {outcome.what}: {outcome.detail:.600}" for outcome in found if outcome.what not in HANDLED]
    rows.append(row)
    assert not bad, "\n".join(bad)


@pytest.mark.slow  # it runs the study again
def test_make_study_makes_all_damaged_files_again_as_they_were(finished, tmp_path, rows):
    study = Study(Path(shutil.copytree(finished.folder, tmp_path / "study")))
    before, damaged = contents(study), []
    for artefact in ARTEFACTS:
        if start in artefact.readers and not artefact.place.startswith(f"{TABLES}/cnn/r0/"):
            path = sorted(study.out.glob(artefact.place))[0]
            put(path, flipped(path.read_bytes(), path.stat().st_size // 2))
            damaged.append(path.name)
    put(study.out / TABLES / "cnn/r0/provenance.json", b"[]")
    done = study.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [name for name in damaged if name not in done.stdout], done.stdout
    assert contents(study) == before
    row = {"damaged": "all files above that it reads, at once", "read by": "make study"}
    rows.append(row | {"byte changed": Counter({"made again": len(damaged)})})
    again = study.run()
    assert "nothing to do" in again.stdout, again.stdout + again.stderr
