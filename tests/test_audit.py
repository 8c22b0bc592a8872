"""The audit finds what was planted in a phantom, all of it and nothing else, and every file that is no picture."""

import importlib.util
import io
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy.stats import chi2_contingency

from lesion_utils.audit import findings, links, open_image, pixel_digests
from lesion_utils.audit.findings import cramers_v
from lesion_utils.audit.links import connected_groups, link_groups
from lesion_utils.datasets import ham10000, phantom
from lesion_utils.datasets.phantom import Phantom
from lesion_utils.digests import file_digest
from lesion_utils.errors import InputError
from lesion_utils.paths import PROJECT

BENCHMARK = PROJECT / "benchmarks" / "audit.py"


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("planted") / "phantom"
    phantom.write(folder, Phantom(lesions=20, duplicates=4, conflicting_labels=3))
    return folder


def truth_of(folder: Path) -> tuple[set[frozenset[str]], set[frozenset[str]]]:
    """The pairs of images planted as duplicates, and those planted under another label."""
    truth = pd.read_csv(folder / "phantom_truth.csv", keep_default_na=False)
    return tuple(
        {frozenset(pair) for pair in truth.loc[truth[column] != "", ["image_id", column]].to_numpy()}
        for column in ("duplicate_of", "conflict_of")
    )


def same_pixels(cases: pd.DataFrame, threads: int) -> set[frozenset[str]]:
    """The groups of images with equal pixels."""
    groups = cases.groupby(link_groups(cases, threads)["same pixels"])["image_id"].agg(frozenset)
    return {group for group in groups if len(group) > 1}


def test_the_order_and_the_index_of_the_cases_do_not_matter(planted, threads):
    cases = ham10000.read(planted)
    duplicates, conflicts = truth_of(planted)
    assert (len(duplicates), len(conflicts)) == (4, 3)
    assert same_pixels(cases, threads) == duplicates | conflicts
    assert same_pixels(cases.sample(frac=1, random_state=0), threads) == duplicates | conflicts


def test_the_same_pixels_in_another_file_are_the_same_and_another_shape_is_not(tmp_path, threads):
    Image.new("RGB", (6, 4), "red").save(tmp_path / "a.png")
    Image.new("RGB", (6, 4), "red").save(tmp_path / "b.bmp")
    Image.new("RGB", (4, 6), "red").save(tmp_path / "c.png")
    names = ["a.png", "b.bmp", "c.png"]
    cases = pd.DataFrame({"image_id": names, "lesion_id": names, "path": [str(tmp_path / name) for name in names]})
    assert same_pixels(cases, threads) == {frozenset(["a.png", "b.bmp"])}


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.9])
def test_a_truncated_picture_is_named(ham_folder, threads, kept):
    cases = ham10000.read(ham_folder)
    path = Path(cases["path"][5])
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=rf"{path.name} cannot be decoded .*Fix: fetch this file again"):
        pixel_digests(cases, threads)


def test_files_that_are_no_pictures_are_named(tmp_path):
    png = io.BytesIO()
    Image.new("RGB", (64, 64)).save(png, "PNG")
    broken = bytearray(png.getvalue())
    broken[40] ^= 255  # inside the compressed pixels
    for name, content in [("text.jpg", b"hello"), ("broken.png", bytes(broken))]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} cannot be decoded"):
            open_image(str(tmp_path / name))
    with pytest.raises(InputError, match=r"gone\.jpg cannot be decoded"):
        open_image(str(tmp_path / "gone.jpg"))


def test_a_picture_that_would_hang_or_fill_the_memory_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.jpg")
    text = PngInfo()
    text.add_text("note", "x" * 10_000_000, zip=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "text.png", pnginfo=text)
    Image.new("1", (9000, 9000)).save(tmp_path / "large.png")
    for name, fact in [("pipe.jpg", "not a regular file"), ("text.png", "text.png"), ("large.png", "81 million")]:
        with pytest.raises(InputError, match=f"{name} cannot be decoded") as caught:
            open_image(str(tmp_path / name))
        assert fact in str(caught.value)
    with pytest.raises(InputError, match="named pipe"):
        file_digest(tmp_path / "pipe.jpg")


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA"])
def test_pictures_of_other_modes_come_as_rgb(tmp_path, mode):
    Image.new(mode, (6, 4)).save(tmp_path / "a.tif")
    assert open_image(str(tmp_path / "a.tif")).mode == "RGB"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_audit", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_the_audit_finds_all_that_was_planted_and_nothing_else(benchmark, threads, seed):
    plant = {"duplicates": 5, "conflicting_labels": 3, "source_shortcut": 0.9}
    must, found = benchmark.compared(Phantom(lesions=50, seed=seed, **plant), threads)
    assert found == must
    kinds = {"same id", "same lesion", "same pixels", "near-duplicate", "one image under two labels"}
    assert {what for what, _ in must} == kinds | {"source is confounded with the class"}
    assert any(where.startswith("between") for _, where in must)


def test_where_nothing_is_planted_only_what_is_true_of_ham_is_found(phantom_folder, threads):
    cases = ham10000.read(phantom_folder)
    found = findings(cases, threads)
    assert set(found["what"]) == {"same lesion", "dx_type reveals the label"}
    assert (
        found.loc[found["what"] == "dx_type reveals the label", "sentence"].str.contains("'follow_up'.* are nv").all()
    )
    views = cases["lesion_id"].duplicated(keep=False)
    same = found[found["what"] == "same lesion"].iloc[0]
    assert (same["where"], same["images"], same["severity"]) == ("within all cases", views.sum(), "information")
    assert (same["groups"], same["lesions"]) == (cases.loc[views, "lesion_id"].nunique(),) * 2
    assert set(same["examples"].split(", ")) <= set(cases.loc[views, "image_id"])


def test_the_tracked_benchmark_found_all_and_nothing_else():
    found = json.loads(BENCHMARK.with_suffix(".json").read_text())
    for name in ("planted", "nothing planted"):
        result = found[f"20 phantoms, {name}"]
        assert (result["recall"], result["false alarms"]) == (1, 0) and result["must be found"] >= 60


def test_another_set_is_compared_and_not_audited(planted, phantom_folder, threads):
    cases, other = ham10000.read(planted), ham10000.read(phantom_folder)
    shared = other[:2].assign(lesion_id=["a", cases["lesion_id"][0]], image_id=["b", cases["image_id"][1]])
    shared = shared.assign(isic_id=shared["image_id"])
    other = pd.concat([other[2:], shared, cases[5:6].assign(image_id="c", isic_id="c", lesion_id="d")])
    found = findings(cases, threads, {"theirs": other.assign(split="train")}).set_index("where")
    between = found.loc[["between theirs and all cases"]].set_index("what")
    assert set(between.index) == {"same id", "same lesion", "same pixels"}
    assert set(between["severity"]) == {"information"}
    ours, theirs = pixel_digests(cases, threads), pixel_digests(other, threads)
    counts = (
        f"{ours.isin(theirs).sum()} of {len(cases)} images in all cases share the pixels of {theirs.isin(ours).sum()}"
    )
    assert between.loc["same pixels", "sentence"] == f"{counts} of {len(other)} images in theirs."
    assert set(found.index) == {"all cases", "within all cases", "between theirs and all cases"}


def made_up(lesions: dict[tuple[str, str], int], column: str) -> pd.DataFrame:
    """Cases without pictures: so many lesions, of one image each, by class and value of ``column``."""
    rows = [(label, value) for (label, value), n in lesions.items() for _ in range(n)]
    cases = pd.DataFrame(rows, columns=["label", column])
    ids = [f"i{row}" for row in range(len(cases))]
    return cases.assign(image_id=ids, lesion_id=ids)


def confounding(cases: pd.DataFrame, tmp_path: Path, threads: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    paths = [str(tmp_path / f"{row}.png") for row in range(len(cases))]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(path)
    found = findings(cases.assign(path=paths), threads)
    assert set(found["severity"]) <= {"confounding", "information"}
    return found


@pytest.mark.parametrize(
    ("only", "is_found"),
    [(4, False), (30, True)],  # half the lesions are mel: 2 * 0.5**4 may well be chance, 2 * 0.5**30 is not
)
def test_a_value_of_one_class_is_a_leak_beyond_chance_only(tmp_path, threads, only, is_found):
    cases = made_up({("mel", "x"): 100, ("nv", "x"): 96, ("mel", "y"): only, ("nv", "z"): 1}, "dx_type")
    found = confounding(cases.assign(source=None), tmp_path, threads)
    assert ("dx_type reveals the label" in set(found["what"])) == is_found
    assert found["sentence"].str.contains("'z'").sum() == 0
    assert found["sentence"].str.contains(f"All {only} images with dx_type 'y'").sum() == is_found


@pytest.mark.parametrize(
    ("lesions", "what"),
    [
        ({("mel", "a"): 30, ("nv", "a"): 30, ("mel", "b"): 30, ("nv", "b"): 30}, None),
        ({("mel", "a"): 45, ("nv", "a"): 15, ("mel", "b"): 15, ("nv", "b"): 45}, "source is confounded with the class"),
        ({("mel", "a"): 60, ("nv", "a"): 60}, "source"),
        ({("mel", "a"): 60, ("mel", "b"): 60}, "source"),
    ],
)
def test_source_and_class(tmp_path, threads, lesions, what):
    found = confounding(made_up(lesions, "source"), tmp_path, threads)
    assert list(found["what"]) == ([what] if what else [])
    if what == "source":
        assert "cannot be tested" in found["sentence"][0]
    elif what:
        assert all(fact in found["sentence"][0] for fact in ("75% of the 60 lesions of mel", "'a'", "25%"))


def test_views_of_a_lesion_are_no_evidence_of_confounding(tmp_path, threads):
    cases = made_up({("mel", "a"): 40, ("nv", "b"): 40, ("mel", "b"): 3, ("nv", "a"): 3}, "source")
    lesions = {("mel", "a"): "1", ("nv", "b"): "2", ("mel", "b"): "3", ("nv", "a"): "4"}
    cases["lesion_id"] = [lesions[key] for key in zip(cases["label"], cases["source"], strict=True)]
    assert "source is confounded with the class" not in set(confounding(cases, tmp_path, threads)["what"])


@settings(max_examples=25)
@given(st.lists(st.integers(0, 40), min_size=4, max_size=12), st.integers(2, 3))
def test_cramers_v_is_the_corrected_one(counts, rows):
    table = np.array(counts[: len(counts) // rows * rows]).reshape(rows, -1)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    if min(table.shape) < 2:
        return
    v, p = cramers_v(table)
    n, (r, k) = table.sum(), table.shape
    plain = chi2_contingency(table, correction=False).statistic / n
    corrected = max(0, plain - (r - 1) * (k - 1) / (n - 1))
    smaller = min(r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)) - 1
    assert v == pytest.approx(np.sqrt(corrected / smaller) if smaller > 0 else 0)
    assert 0 <= v <= 1 + 1e-9 and 0 < p <= 1


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4), st.integers(-1, 4)), max_size=12))
def test_connected_groups_are_the_transitive_closure(rows):
    numbers = pd.DataFrame(rows, columns=["a", "b", "c"], dtype=int).clip(upper=max(len(rows) - 1, 0))
    group = list(range(len(rows)))
    values = numbers.to_numpy()
    for _ in rows:
        for i in range(len(rows)):
            for j in range(len(rows)):
                if ((values[i] == values[j]) & (values[i] >= 0)).any():
                    group[i] = group[j] = min(group[i], group[j])
    found = connected_groups(numbers)
    assert [[a == b for b in found] for a in found] == [[a == b for b in group] for a in group]


def test_near_duplicates_are_found_once_for_the_same_pictures(planted, threads, output, monkeypatch):
    cases = ham10000.read(planted)[:60]
    first = links.link_groups(cases, threads)
    monkeypatch.setattr(links, "picture_hashes", None)  # to hash again would fail
    assert links.link_groups(cases, threads).equals(first)
    with pytest.raises(TypeError):
        links.link_groups(cases[1:], threads)


def test_unknown_lesions_link_nothing_and_no_picture_is_opened_without_need(threads):
    cases = pd.DataFrame({"image_id": list("abc"), "lesion_id": [None, None, "x"], "path": "nowhere"})
    numbers = link_groups(cases, threads, pictures=False)
    assert list(numbers) == ["same id", "same lesion"]
    assert list(numbers["same lesion"]) == [-1, -1, 0]
    with pytest.raises(InputError, match="nowhere cannot be decoded"):
        link_groups(cases, threads)


def test_a_folder_whose_sources_are_not_known_is_audited(ham_folder, threads):
    cases = ham10000.read(ham_folder).drop(columns=["source"])
    assert "no source is known" in findings(cases, threads)["sentence"].str.cat()
