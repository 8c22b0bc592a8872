"""How many images of one lesion are recognised without its id, and how often are other lesions taken for it?

    .venv/bin/python -m benchmarks.same_lesion HAM10000 [ISIC9]    # about 20 minutes; writes same_lesion.json

Known siblings, images to which HAM10000 gives one lesion id, are what has to be found. Candidates of different lesions,
whose patients differ in age and site, must not be found. Lesions are dealt into two halves: on the first the threshold
is chosen, the lowest with at most ``MOST_FALSE`` false alarms per 10,000 images; on the second all rates are measured.

It also writes the list of pairs with different lesion ids that seem to show one lesion: ``same_lesion_candidates.csv``
in ``reports/ham10000/`` and ``reports/isic9/``, ids and evidence, no picture. Studies with ``merge_same_lesion: true``
merge these lesions. At last: what these pairs change in the numbers of the tracked study ``recommended_full``.
"""

import os
import sys
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from lesion_utils import predictions
from lesion_utils.audit import same_lesion as same
from lesion_utils.audit.images import pixel_digests
from lesion_utils.checks.audit_folder import frozen_features
from lesion_utils.datasets import ham10000, isic9
from lesion_utils.digests import commit, digest
from lesion_utils.evaluation.bootstrap import wilson
from lesion_utils.evaluation.judge import judge
from lesion_utils.evaluation.prediction_table import PredictionTable
from lesion_utils.evaluation.sentences import cell
from lesion_utils.paths import atomic_write, cache_folder, report_folder, write_json
from lesion_utils.study import load_study
from lesion_utils.tracked import take_all

RESULTS = Path(__file__).with_suffix(".json")
MOST_FALSE = 1.0  # per 10,000 images
THRESHOLDS = range(4, 41)
NEIGHBOURS = (5, 10, 20)
SEED, THREADS = 0, 2
JUDGED = ("balanced accuracy", "macro AUC", "accuracy")
DESCRIBING = ("age", "sex", "localization")


def verified(cases: pd.DataFrame, features: np.ndarray) -> pd.DataFrame:
    """The evidence of all neighbours and all known siblings; kept, because it takes minutes."""
    siblings = [
        pair for group in cases.groupby("lesion_id").indices.values() for pair in combinations(sorted(group), 2)
    ]
    pairs = np.unique(np.concatenate([same.neighbours(features), np.array(siblings)]), axis=0)
    key = digest([Path(same.__file__).read_text(encoding="utf-8"), cases["image_id"].tolist(), pairs.tolist()])
    if not (file := cache_folder("same_lesion") / f"{key}.csv").is_file():
        with atomic_write(file) as new:
            same.verify(cases, pairs, THREADS).to_csv(new, index=False)
    return pd.read_csv(file)


def measure(cases: pd.DataFrame, features: np.ndarray) -> dict:
    """Rates on both halves of the lesions, and the threshold."""
    lesions = cases["lesion_id"].to_numpy()
    second_half = pd.Series(np.random.default_rng(SEED).random(len(set(lesions))) < 0.5, sorted(set(lesions)))
    half = second_half[lesions].to_numpy()
    siblings = [
        pair for group in cases.groupby("lesion_id").indices.values() for pair in combinations(sorted(group), 2)
    ]
    near, found = same.neighbours(features), verified(cases, features)
    first, second = found["first"].to_numpy(), found["second"].to_numpy()
    found["siblings"] = lesions[first] == lesions[second]
    found["candidate"] = pd.MultiIndex.from_arrays([first, second]).isin(pd.MultiIndex.from_arrays(near.T))
    age, site = cases["age"].to_numpy(), cases["localization"].to_numpy()
    known = ~(np.isnan(age[first]) | np.isnan(age[second]) | pd.isna(site[first]) | pd.isna(site[second]))
    found["strangers"] = ~found["siblings"] & known & (age[first] != age[second]) & (site[first] != site[second])
    found["held_out"] = half[first]
    rates = {
        at: {name: _rates(found[found["held_out"] == of], int((half == of).sum()), at) for name, of in HALVES.items()}
        for at in THRESHOLDS
    }
    chosen = next(at for at in THRESHOLDS if rates[at]["chosen on"]["false alarms per 10,000 images"] <= MOST_FALSE)
    reach = {}
    for nearest in NEIGHBOURS:
        pairs_near = pd.MultiIndex.from_arrays(same.neighbours(features, nearest).T)
        reach[nearest] = float(np.mean(pd.MultiIndex.from_tuples(siblings).isin(pairs_near)))
    about = {"images": len(cases), "sibling pairs": len(siblings)}
    return about | {"threshold": chosen, "siblings among so many neighbours": reach, "rates": rates}


HALVES = {"chosen on": False, "measured on": True}


def _rates(found: pd.DataFrame, images: int, threshold: int) -> dict[str, float]:
    hit = found["keypoints"] >= threshold
    siblings, candidates = found["siblings"], found["candidate"]
    others = candidates & ~siblings
    strangers = others & found["strangers"]
    false_share = float((hit & strangers).sum() / strangers.sum())
    recall = int((hit & siblings & candidates).sum()), int(siblings.sum())
    image_pairs = found[siblings]
    linked = image_pairs.assign(hit=hit & candidates).groupby("first")["hit"].any()
    return {
        "sibling pairs": recall[1],
        "found": recall[0] / recall[1],
        "low": wilson(*recall)[0],
        "high": wilson(*recall)[1],
        "verified, of all sibling pairs": float((hit & siblings).sum() / recall[1]),
        "images with a sibling found": float(linked.mean()),
        "stranger pairs": int(strangers.sum()),
        "false alarms": int((hit & strangers).sum()),
        "false alarms per 10,000 images": false_share * int(others.sum()) / images * 10_000,
    }


def write_list(cases: pd.DataFrame, features: np.ndarray, study: str) -> pd.DataFrame:
    """The pairs of different lesion ids, with what else the two images share; the most certain first."""
    found, lesions = verified(cases, features), cases["lesion_id"].to_numpy()
    near = pd.MultiIndex.from_arrays(same.neighbours(features).T)
    is_candidate = pd.MultiIndex.from_frame(found[["first", "second"]]).isin(near)
    other_ids = lesions[found["first"]] != lesions[found["second"]]
    pairs = same.listed(cases, found[is_candidate & other_ids])
    pixels = pd.Series(pixel_digests(cases, THREADS).to_numpy(), cases["image_id"])
    of_image = cases.set_index("image_id")
    for side in ("first", "second"):
        pairs[f"{side}_label"] = pairs[side].map(of_image["label"])
    pairs["same_pixels"] = pixels[pairs["first"]].to_numpy() == pixels[pairs["second"]].to_numpy()
    for name in DESCRIBING:
        first, second = (of_image[name].reindex(pairs[side]).to_numpy() for side in ("first", "second"))
        pairs[f"same_{name}"] = np.where(pd.isna(first) | pd.isna(second), "", (first == second).astype(str))
    with atomic_write(report_folder(study) / same.LIST) as new:
        pairs.to_csv(new, index=False)
    return pairs


def effect(pairs: pd.DataFrame) -> dict:
    """Metrics of the tracked folds: of all images, and without those whose lesion is in training under another id."""
    params, rows = load_study("recommended_full"), {}
    partners = pd.concat([pairs.set_index("first")["second"], pairs.set_index("second")["first"]])
    with tempfile.TemporaryDirectory() as folder:
        take_all(params, Path(folder))
        os.environ["LESION_OUTPUT"] = folder
        for name in params.recipes:
            (frame,) = predictions.read_runs(params, name, "test")
            fold_of = frame.set_index("image_id")["fold"]
            leaking = {image for image, partner in partners.items() if fold_of[image] != fold_of[partner]}
            leaks = frame["image_id"].isin(leaking)
            tables = {"all images": frame, "without them": frame[~leaks]}
            judged = {
                of: judge(PredictionTable(table.reset_index(drop=True)), wanted=JUDGED) for of, table in tables.items()
            }
            right = frame[leaks]["label"] == _predicted(frame[leaks])
            rows[name] = {
                "images whose lesion is in training": len(right),
                "accuracy on them": float(right.mean()),
                **{of: {metric: cell(row) for metric, row in table.iterrows()} for of, table in judged.items()},
            }
    return rows


def _predicted(frame: pd.DataFrame) -> np.ndarray:
    return np.array(predictions.classes_of(frame))[predictions.probabilities(frame).argmax(1)]


def main(ham: str, isic: str | None = None) -> None:
    cases = ham10000.read(Path(ham), Path(ham))
    features = frozen_features(cases, THREADS)
    results: dict = {"commit": commit(), "HAM10000": measure(cases, features)}
    print(results["HAM10000"]["threshold"], flush=True)
    pairs = write_list(cases, features, "ham10000")
    results["pairs"] = _about(pairs)
    if isic:
        nine = isic9.read(Path(isic), Path(ham))
        results["pairs of the 9-class set"] = _about(write_list(nine, frozen_features(nine, THREADS), "isic9"))
    results["effect"] = effect(pairs)
    write_json(RESULTS, results)


def _about(pairs: pd.DataFrame) -> dict[str, int]:
    other_label = pairs["first_label"] != pairs["second_label"]
    images = len(set(pairs["first"]) | set(pairs["second"]))
    counts = {"same pixels": pairs["same_pixels"].sum(), "other label": other_label.sum()}
    counts |= {"mirrored": pairs["mirrored"].sum()}
    return {"pairs": len(pairs), "images": images} | {name: int(count) for name, count in counts.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
