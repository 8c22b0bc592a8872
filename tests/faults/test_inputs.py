"""Generated input: a command reads a file as it means, or refuses it by name; it never ends in a traceback or hangs.

CI tries about 1,000 files. `make faults` tries 10,000 (``LESION_INPUTS``) and writes the counts for the docs.
"""

import io
import json
import os
import resource
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import classification_report
from typer.testing import CliRunner

from lesion_utils.cli import app
from lesion_utils.cli.common import harmless
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT
from lesion_utils.study import load_study

pytestmark = pytest.mark.slow

TRIED = int(os.environ.get("LESION_INPUTS", 1000))  # files of all kinds
SECONDS = 10  # for a small file
MEGABYTES = 1500  # that the whole test may need more than before
CODES = {0, 1, 2, 3}  # of a command that ended as it should
COUNTS: dict[str, Counter] = {}

CLASSES = ["akiec", "bkl", "mel", "nv"]
MATRIX = np.array([[20, 4, 3, 3], [2, 60, 10, 8], [1, 9, 50, 20], [2, 10, 25, 300]])
TRUE, PREDICTED = (np.repeat(of, MATRIX.ravel()) for of in np.nonzero(np.ones_like(MATRIX)))


@contextmanager
def at_most(seconds: int):
    def stop(*_):
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module", autouse=True)
def counted(results):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    needed = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert needed < MEGABYTES
    totals = sum(COUNTS.values(), Counter())
    rows = [{"file": kind, **counts} for kind, counts in sorted(COUNTS.items())]
    handled = totals["read"] + totals["refused"]
    counts = {"tried": totals["tried"], "handled": handled, "hangs": totals["hangs"]}
    results["inputs"] = {"rows": rows, **counts, "tracebacks": totals["tracebacks"]}


# ---------------------------------------------------------------------------------------------------------- the files


def table(rows: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    label = np.array(CLASSES)[np.arange(rows) % 4]
    scores = rng.dirichlet(np.ones(4), rows).round(4)
    scores[:, 0] += 1 - scores.sum(1)
    frame = pd.DataFrame({"image_id": [f"ISIC_{n:04d}" for n in range(rows)], "lesion_id": np.arange(rows) // 2})
    parts = np.array(["train", "train", "val", "test"])[np.arange(rows) // 2 % 4]
    frame = frame.assign(lesion_id="HAM_" + frame["lesion_id"].astype(str), label=label, split=parts)
    return frame.join(pd.DataFrame(scores.round(4), columns=[f"p_{name}" for name in CLASSES]))


FRAME = pd.DataFrame(MATRIX, CLASSES, CLASSES)
SPLIT, PREDICTIONS = table()[["image_id", "lesion_id", "label", "split"]], table().drop(columns="split")
REPORT = classification_report(np.array(CLASSES)[TRUE], np.array(CLASSES)[PREDICTED])
TEXTS: dict[str, list[str]] = {  # of each kind: the same in several forms
    "matrix": [FRAME.to_csv(), FRAME.to_string(), FRAME.to_html(), str(MATRIX), json.dumps(MATRIX.tolist())],
    "report": [REPORT, FRAME.assign(recall=0.5, precision=0.5)[["recall", "precision"]].to_csv(), "mel: recall 0.73"],
    "split": [SPLIT.to_csv(index=False)],
    "predictions": [PREDICTIONS.to_csv(index=False)],
    "study": [
        (PROJECT / "params" / f"{name}.yml").read_text(encoding="utf-8").replace(f"study: {name}", "study: file")
        for name in ("quick", "ham10000")
    ],
}
COMMANDS: dict[str, Callable[[Path], list]] = {
    "matrix": lambda path: ["matrix", path, "--json"],
    "report": lambda path: ["report", path, "--json"],
    "split": lambda path: ["leakcheck", path, "--json"],
    "predictions": lambda path: ["score", path, "--json", "--resamples", 100],
}


def outcome(kind: str, path: Path) -> tuple[int, str]:
    """The exit code and the output of the command that reads a file of this ``kind``."""
    with at_most(SECONDS):
        if kind == "study":
            try:
                return 0, ascii(load_study(str(path)).model_dump_json())
            except InputError as error:
                return 2, harmless(f"error: {error}")
        done = CliRunner().invoke(app, [str(word) for word in COMMANDS[kind](path)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def check(kind: str, path: Path) -> tuple[int, str]:
    counts = COUNTS.setdefault(kind, Counter(tried=0, read=0, refused=0, tracebacks=0, hangs=0))
    counts["tried"] += 1
    try:
        code, said = outcome(kind, path)
    except TimeoutError:
        counts["hangs"] += 1
        raise
    except BaseException:
        counts["tracebacks"] += 1
        raise
    counts["refused" if code == 2 else "read"] += 1
    assert code in CODES, said
    assert all(char.isprintable() or char == "\n" for char in said), repr(said)
    if code == 2:
        assert "error: " in said and ("Fix: " in said or "xpected" in said or "Usage" in said), said
    return code, said


# -------------------------------------------------------------------------------------------------------- what happens

ODD = ["nan", "-1", "1e999", "inf", "", "9" * 30, "٣", "1,2", "0x10", "TRUE", "NULL", '"', "'", "=1+1", "-0.0", "½"]
STRAY = [
    "\x00",
    "\x1b[2J",
    "\x07",
    '"',
    "[",
    "]",
    "[]",
    "{",
    "}",
    "|",
    "\t",
    ",",
    ";",
    "\\",
    "&",
    "<td>",
    "\u202e",
    "\n",
    "\r",
]
STRAY += ["\n\n\n", "," * 5000, "[" * 3000, "(" * 3000, "<" * 3000, " " * 5000, "0" * 5000, "&a ", "*a ", "- "]
SWAPS = [("e", "é"), (",", ";"), ("\n", "\r"), (".", ","), (" ", ""), ("0", ""), ("mel", "nv"), (":", "")]


def cut(text: str, start: int, end: int, _: str) -> str:
    return text[:start]


def without(text: str, start: int, end: int, _: str) -> str:
    return text[:start] + text[end:]


def twice(text: str, start: int, end: int, _: str) -> str:
    return text[:end] + text[start:]


def with_stray(text: str, start: int, end: int, stray: str) -> str:
    return text[:start] + stray + text[start:]


def with_number(text: str, start: int, end: int, odd: str) -> str:
    digits = next((n for n in range(start, len(text)) if text[n].isdigit()), len(text))
    end = next((n for n in range(digits, len(text)) if not (text[n].isdigit() or text[n] == ".")), len(text))
    return text[:digits] + odd + text[end:]


def swapped(text: str, start: int, end: int, swap: tuple[str, str]) -> str:
    return text.replace(*swap)


place = st.floats(0, 1)
DAMAGE = st.one_of(
    st.tuples(st.sampled_from([cut, without, twice]), place, place, st.just("")),
    st.tuples(st.just(with_stray), place, place, st.sampled_from(STRAY) | st.text(max_size=20)),
    st.tuples(st.just(with_number), place, place, st.sampled_from(ODD)),
    st.tuples(st.just(swapped), place, place, st.sampled_from(SWAPS)),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"]


def examples(share: float) -> settings:
    """Settings of a test that tries this share of the files. No time limit of its own: ``at_most`` has one."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    phases = [Phase.generate]  # a failure is shown as it is found: to make it smaller takes minutes
    return settings(max_examples=max(5, int(share * TRIED)), suppress_health_check=checks, phases=phases)


@pytest.mark.parametrize("kind", TEXTS)
@given(data=st.data())
@examples(0.16)
def test_a_damaged_text_is_read_or_refused(kind, data, tmp_path):
    text = data.draw(st.sampled_from(TEXTS[kind]))
    for damage, start, end, how in data.draw(st.lists(DAMAGE, min_size=1, max_size=3)):
        text = damage(text, int(start * len(text)), int(end * len(text)), how)
    path = tmp_path / ("file.yml" if kind == "study" else "file.csv")
    path.write_bytes(text.encode(data.draw(st.sampled_from(ENCODINGS)), errors="replace"))
    check(kind, path)


def same(kind: str, text: str, how: str) -> bytes:
    if how == "columns" and kind in ("split", "predictions"):
        frame = pd.read_csv(io.StringIO(text), dtype=str)
        text = frame[sorted(frame, key=lambda name: not name.startswith("p_"))].to_csv(index=False)
    elif how in (";", "\t") and kind in ("split", "predictions"):
        text = text.replace(",", how)
    elif how == "quotes" and kind in ("split", "predictions"):
        text = pd.read_csv(io.StringIO(text), dtype=str).to_csv(index=False, quoting=1)
    elif how == "\r\n":
        text = text.replace("\n", "\r\n")
    elif how == "blank lines":
        text = f"{text}\n\n"
    return text.encode(how if how.startswith("utf") else "utf-8")


@pytest.mark.parametrize("how", ["columns", ";", "\t", "quotes", "\r\n", "blank lines", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("kind", TEXTS)
def test_what_means_the_same_is_read_alike(kind, how, tmp_path):
    if kind == "study" and how == "utf-16":
        pytest.skip("YAML is read as UTF-8 only")
    for number, text in enumerate(TEXTS[kind]):
        path = tmp_path / ("file.yml" if kind == "study" else "file.csv")
        path.write_text(text, encoding="utf-8")
        expected = check(kind, path)
        assert expected[0] in (0, 1), (number, expected[1])
        path.write_bytes(same(kind, text, how))
        assert check(kind, path) == expected, number


@given(
    data=st.binary(max_size=2000),
    kind=st.sampled_from([*TEXTS]),
    name=st.sampled_from(["file.yml", "file.csv", "file.parquet"]),
)
@examples(0.08)
def test_any_bytes_are_read_or_refused(data, kind, name, tmp_path):
    path = tmp_path / ("file.yml" if kind == "study" else name)
    path.write_bytes(data)
    check(kind, path)


@given(
    where=place,
    stray=st.binary(min_size=1, max_size=4),
    is_cut=st.booleans(),
    kind=st.sampled_from(["split", "predictions"]),
)
@examples(0.04)
def test_a_damaged_parquet_file_is_read_or_refused(where, stray, is_cut, kind, tmp_path):
    buffer = io.BytesIO()
    {"split": SPLIT, "predictions": PREDICTIONS}[kind].to_parquet(buffer)
    whole = buffer.getvalue()
    start = int(where * len(whole))
    path = tmp_path / "file.parquet"
    path.write_bytes(whole[:start] if is_cut else whole[:start] + stray + whole[start + len(stray) :])
    check(kind, path)


@given(value=VALUES, data=st.data())
@examples(0.04)
def test_a_study_with_any_value_is_read_or_refused(value, data, tmp_path):
    study = yaml.safe_load(TEXTS["study"][0])
    inside = study
    while isinstance(inside, dict) and inside:
        key = data.draw(st.sampled_from([*inside]))
        if data.draw(st.booleans()) or not isinstance(inside[key], dict):
            break
        inside = inside[key]
    inside[key] = value
    (tmp_path / "file.yml").write_text(yaml.safe_dump(study, allow_unicode=True), encoding="utf-8")
    check("study", tmp_path / "file.yml")


# ------------------------------------------------------------------------------------------------------------ pictures

MODES = ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "F", "YCbCr"]
FORMATS = ["JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP"]


def encoded(mode: str, form: str, size: tuple[int, int], seed: int) -> bytes | None:
    """A picture of noise; None for a mode that the format does not know."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    if mode == "I;16":
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 256)
    elif mode != "RGB":
        picture = picture.convert(mode)
    buffer = io.BytesIO()
    try:
        picture.save(buffer, form, **({"save_all": True, "append_images": [picture]} if form == "GIF" else {}))
    except (OSError, KeyError, ValueError):
        return None
    return buffer.getvalue()


@pytest.fixture
def pictured(tmp_path) -> Path:
    """A split of four images with a picture for each."""
    SPLIT.iloc[[0, 1, 4, 6]].to_csv(tmp_path / "split.csv", index=False)
    (tmp_path / "pictures").mkdir()
    for seed, name in enumerate(SPLIT["image_id"].iloc[[0, 1, 4, 6]]):
        (tmp_path / "pictures" / f"{name}.png").write_bytes(encoded("RGB", "PNG", (40, 30), seed) or b"")
    return tmp_path


COMMANDS["picture"] = lambda folder: ["leakcheck", folder / "split.csv", "--images", folder / "pictures", "--json"]


@given(
    mode=st.sampled_from(MODES),
    form=st.sampled_from(FORMATS),
    size=st.sampled_from([(40, 30), (1, 1), (1, 700), (333, 2), (64, 64)]),
    seed=st.integers(0, 5),
    damage=st.sampled_from(["none", "none", "cut", "stray", "empty"]),
    where=place,
    stray=st.binary(min_size=1, max_size=8),
)
@examples(0.1)
def test_a_picture_of_any_kind_is_read_or_refused_by_name(mode, form, size, seed, damage, where, stray, pictured):
    data = encoded(mode, form, size, 10 + seed)
    if data is None:
        return
    start = int(where * len(data))
    changed = {
        "none": data,
        "cut": data[:start],
        "stray": data[:start] + stray + data[start + len(stray) :],
        "empty": b"",
    }
    path = pictured / "pictures" / f"{SPLIT['image_id'].iloc[0]}.png"  # the ending need not be right
    path.write_bytes(changed[damage])
    code, said = check("picture", pictured)
    if code == 2:
        assert path.name in said
    if damage == "none":
        assert code == (2 if (mode, form) == ("F", "TIFF") else 0), said  # other formats keep 8 bits
    if damage == "empty":
        assert code == 2


@pytest.mark.parametrize("what", ["folder", "pipe", "loop", "bomb", "wide", "text"])
def test_what_is_no_picture_is_refused_by_name(what, pictured):
    path = pictured / "pictures" / f"{SPLIT['image_id'].iloc[0]}.png"
    small = path.read_bytes()
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "loop":
        path.symlink_to(path.name)
    elif what == "bomb":  # says that it has 50,000 x 50,000 pixels
        path.write_bytes(small[:16] + (50_000).to_bytes(4, "big") * 2 + small[24:])
    elif what == "wide":
        Image.new("L", (65_500, 1_000)).save(path, "PNG")
    else:
        path.write_text("no picture")
    code, said = check("picture", pictured)
    assert code == 2 and (path.name in said or path.stem in said), said
