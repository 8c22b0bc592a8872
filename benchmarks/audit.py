"""Does the audit find everything that was planted in phantoms, and nothing else?

    .venv/bin/python benchmarks/audit.py        # minutes; writes audit.json beside itself

A phantom gets copies of images under other ids and lesions, copies under other labels, a source that goes with
melanoma, and leaks after a split by lesion: some images change their split, some copies take the id of their original,
and some are flipped and encoded again. The expected findings are counted from the plan, pair by pair, without the
audit's code. A finding is compared as it is shown: what, where, and how many images, lesions and groups. A finding
that differs in any of these counts both as missed and as a false alarm. Every phantom shares one property of
HAM10000: ``follow_up`` and ``confocal`` reveal the label. That finding is left out.
"""

import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from lesion_utils.audit import findings
from lesion_utils.datasets import ham10000, phantom
from lesion_utils.datasets.phantom import Phantom
from lesion_utils.paths import write_json
from lesion_utils.splits import split_by_lesion

PHANTOMS, LESIONS, THREADS = 20, 150, 2
PLANTED = {"duplicates": 8, "conflicting_labels": 5, "source_shortcut": 0.8}
MOVED, SAME_ID, FLIPPED = 0.05, 2, 2  # share of images that change their split; copies of one id; copies flipped
SPLITS = ("train", "validation", "test")
TRUE_OF_ALL = "dx_type reveals the label"


def planted_cases(folder: Path, options: Phantom) -> pd.DataFrame:
    """The split cases of a phantom with leaks, drawn in ``folder``.

    ``origin`` is the image whose pixels each has, ``near`` the one of which it is a changed copy; else itself.
    """
    phantom.write(folder, options)
    cases = ham10000.read(folder)
    truth = pd.read_csv(folder / "phantom_truth.csv", keep_default_na=False).set_index("image_id")
    copied = (truth["duplicate_of"] + truth["conflict_of"])[cases["image_id"]].to_numpy()
    cases["origin"] = np.where(copied == "", cases["image_id"], copied)
    cases["near"] = cases["image_id"]
    cases["split"] = split_by_lesion(cases, 0.2, 0.2, options.seed)
    if options.duplicates:
        rng = np.random.default_rng(options.seed)
        moved = rng.random(len(cases)) < MOVED
        cases.loc[moved, "split"] = rng.choice(SPLITS, moved.sum())
        duplicates = rng.permutation(np.flatnonzero(truth["duplicate_of"][cases["image_id"]] != ""))
        cases.loc[duplicates[:SAME_ID], "isic_id"] = cases.loc[duplicates[:SAME_ID], "origin"]
        for row in duplicates[-FLIPPED:]:
            path = cases.loc[row, "path"]
            ImageOps.mirror(Image.open(path)).save(path, quality=60)
            cases.loc[row, ["near", "origin"]] = cases.loc[row, ["origin", "image_id"]].to_numpy()
    return cases


def expected(cases: pd.DataFrame, shortcut: bool) -> dict[tuple[str, str], tuple[int, int, int]]:
    """What the audit must find in ``planted_cases``: (what, where) to the numbers of images, lesions and groups."""
    expectation = {}
    rows = cases.to_dict("records")
    for kind, key in (
        ("same id", "isic_id"),
        ("same lesion", "lesion_id"),
        ("same pixels", "origin"),
        ("near-duplicate", "near"),
    ):
        linked = [(first, second) for first, second in combinations(rows, 2) if first[key] == second[key]]
        for splits in [*((split, split) for split in SPLITS), *combinations(SPLITS, 2)]:
            here = [pair for pair in linked if sorted((pair[0]["split"], pair[1]["split"])) == sorted(splits)]
            where = f"within {splits[0]}" if splits[0] == splits[1] else f"between {splits[0]} and {splits[1]}"
            expectation[kind, where] = _counts([row for pair in here for row in pair], key)
    conflicting = [
        row
        for first, second in combinations(rows, 2)
        if first["origin"] == second["origin"] and first["label"] != second["label"]
        for row in (first, second)
    ]
    expectation["one image under two labels", "all cases"] = _counts(conflicting, "origin")
    if shortcut:
        expectation["source is confounded with the class", "all cases"] = (
            *(len(cases), cases["lesion_id"].nunique()),
            cases["source"].nunique(),
        )
    return {finding: counts for finding, counts in expectation.items() if counts[0]}


def _counts(rows: list[dict], key: str) -> tuple[int, int, int]:
    return tuple(len({row[name] for row in rows}) for name in ("image_id", "lesion_id", key))


def audited(cases: pd.DataFrame, threads: int) -> dict[tuple[str, str], tuple[int, int, int]]:
    """What the audit finds in ``cases``, in the form of ``expected``."""
    found = findings(cases, threads)
    found = found[found["what"] != TRUE_OF_ALL]
    return {(row.what, row.where): (row.images, row.lesions, row.groups) for row in found.itertuples()}


def compared(options: Phantom, threads: int) -> tuple[dict, dict]:
    """What must be found in the phantom of ``options``, and what is."""
    with tempfile.TemporaryDirectory() as folder:
        cases = planted_cases(Path(folder), options)
        return expected(cases, options.source_shortcut > 0), audited(cases, threads)


def main() -> None:
    out = {"lesions": LESIONS, "planted": PLANTED | {"share of images moved": MOVED, "copies of one id": SAME_ID}}
    for name, plant in (("planted", PLANTED), ("nothing planted", {})):
        pairs = [compared(Phantom(lesions=LESIONS, seed=1000 + k, **plant), THREADS) for k in range(PHANTOMS)]
        right = [set(must.items()) & set(found.items()) for must, found in pairs]
        must, found = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
        kinds = sorted({what for must_be, _ in pairs for what, _ in must_be})
        out[f"{PHANTOMS} phantoms, {name}"] = {
            "must be found": must,
            "found": sum(map(len, right)),
            "recall": sum(map(len, right)) / must,
            "false alarms": found - sum(map(len, right)),
            "must be found, by kind": {
                kind: sum(what == kind for must_be, _ in pairs for what, _ in must_be) for kind in kinds
            },
        }
    write_json(Path(__file__).with_suffix(".json"), out)


if __name__ == "__main__":
    main()
