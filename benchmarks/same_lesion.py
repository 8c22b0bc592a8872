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

from benchmarks.page import markdown, renew
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
from lesion_utils.paths import atomic_write, cache_folder, read_json, report_folder, write_json
from lesion_utils.rounding import number, percent
from lesion_utils.study import load_study
from lesion_utils.tracked import take_all

RESULTS = Path(__file__).with_suffix(".json")
MOST_FALSE = 5.0  # per 10,000 images
THRESHOLDS = range(4, 41)
SEED, THREADS = 0, 2
JUDGED = ("balanced accuracy", "macro AUC", "accuracy")
DESCRIBING = ("age", "sex", "localization")


def verified(cases: pd.DataFrame) -> pd.DataFrame:
    """The evidence of all candidates and all known siblings; kept, because it takes minutes. ``candidate`` and
    ``siblings`` say which pair is what.
    """
    groups = cases.groupby("lesion_id").indices.values()
    siblings = np.array([pair for group in groups for pair in combinations(sorted(group), 2)])
    key = digest([Path(same.__file__).read_text(encoding="utf-8"), cases["image_id"].tolist(), siblings.tolist()])
    if not (file := cache_folder("same_lesion") / f"{key}.csv").is_file():
        known = same.all_keypoints(cases, THREADS)
        near = same.candidates(known, frozen_features(cases, THREADS))
        print(f"{len(near):,} candidates", flush=True)
        pairs = np.unique(np.concatenate([near, siblings]), axis=0)
        found = same.verify(known, pairs, THREADS)
        for name, of in {"candidate": near, "siblings": siblings}.items():
            found[name] = pd.MultiIndex.from_arrays(pairs.T).isin(pd.MultiIndex.from_arrays(of.T))
        with atomic_write(file) as new:
            found.to_csv(new, index=False)
    return pd.read_csv(file)


def measure(cases: pd.DataFrame) -> dict:
    """Rates on both halves of the lesions, and the threshold."""
    lesions = cases["lesion_id"].to_numpy()
    names = sorted(set(lesions))
    half = pd.Series(np.random.default_rng(SEED).random(len(names)) < 0.5, names)[lesions].to_numpy()
    found = verified(cases)
    first, second = found["first"].to_numpy(), found["second"].to_numpy()
    age, site = cases["age"].to_numpy(), cases["localization"].to_numpy()
    known = ~(np.isnan(age[first]) | np.isnan(age[second]) | pd.isna(site[first]) | pd.isna(site[second]))
    found["strangers"] = ~found["siblings"] & known & (age[first] != age[second]) & (site[first] != site[second])
    found["held_out"] = half[first]
    rates = {
        at: {name: _rates(found[found["held_out"] == of], int((half == of).sum()), at) for name, of in HALVES.items()}
        for at in THRESHOLDS
    }
    chosen = next(at for at in THRESHOLDS if rates[at]["chosen on"]["false alarms per 10,000 images"] <= MOST_FALSE)
    about = {"images": len(cases), "sibling pairs": int(found["siblings"].sum())}
    about |= {"candidates": int(found["candidate"].sum())}
    share = {"siblings among the candidates": float(found.loc[found["siblings"], "candidate"].mean())}
    return about | share | {"threshold": chosen, "rates": rates}


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


def write_list(cases: pd.DataFrame, study: str) -> pd.DataFrame:
    """The pairs of different lesion ids, with what else the two images share; the most certain first."""
    found = verified(cases)
    pairs = same.listed(cases, found[found["candidate"] & ~found["siblings"]])
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
    results: dict = {"commit": commit(), "HAM10000": measure(cases)}
    pairs = write_list(cases, "ham10000")
    results["pairs"] = _about(pairs)
    if isic:
        nine = isic9.read(Path(isic), Path(ham))
        results["pairs of the 9-class set"] = _about(write_list(nine, "isic9"))
    results["effect"] = effect(pairs)
    write_json(RESULTS, results)
    write_page()


SHOWN = (6, 8, 10, 15, 20)  # thresholds on the page


def write_page() -> None:
    results = read_json(RESULTS)
    of, rates = results["HAM10000"], []
    for at in sorted({*SHOWN, of["threshold"]}):
        row = of["rates"][str(at)]["measured on"]
        found = percent(row["found"], row["low"], row["high"])
        counted = f"{row['false alarms']} of {row['stranger pairs']:,} pairs"
        false = f"{number(row['false alarms per 10,000 images'])} ({counted})"
        rates.append([f"{at}{' (used)' if at == of['threshold'] else ''}", found, false])
    row = of["rates"][str(of["threshold"])]["measured on"]
    pairs = {"HAM10000": results["pairs"], "the 9-class set": results.get("pairs of the 9-class set")}
    counts = [[name, *(f"{count:,}" for count in about.values())] for name, about in pairs.items() if about]
    first = next(iter(results["effect"].values()))
    effects = [
        [f"{name}, {which}", *(rows[which][metric] for metric in JUDGED)]
        for name, rows in results["effect"].items()
        for which in ("all images", "without them")
    ]
    lines = [
        markdown(["keypoints that agree", "siblings found (95% CI)", "false alarms per 10,000 images"], rates),
        "",
        f"n = {row['sibling pairs']:,} pairs of images with one lesion id, of lesions that chose no threshold.",
        f"{percent(of['siblings among the candidates'])} of such pairs are among the {of['candidates']:,} candidates;",
        f"of all such pairs, {percent(row['verified, of all sibling pairs'])} would be verified. 95% CIs are by pair.",
        "",
        markdown(["set", "pairs under two lesion ids", "images", "same pixels", "other label", "mirrored"], counts),
        "",
        markdown(["`recommended_full`", *JUDGED], effects),
        "",
        f"*Them*: {first['images whose lesion is in training']} test images with their lesion in training.",
    ]
    renew("same lesion", "\n".join(lines))


def _about(pairs: pd.DataFrame) -> dict[str, int]:
    other_label = pairs["first_label"] != pairs["second_label"]
    images = len(set(pairs["first"]) | set(pairs["second"]))
    counts = {"same pixels": pairs["same_pixels"].sum(), "other label": other_label.sum()}
    counts |= {"mirrored": pairs["mirrored"].sum()}
    return {"pairs": len(pairs), "images": images} | {name: int(count) for name, count in counts.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
