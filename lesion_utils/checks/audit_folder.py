"""The whole audit of anybody's folder of pictures: copies, one lesion under two ids, labels, shortcuts."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from lesion_utils import efficientnet_lite
from lesion_utils.audit.findings import findings
from lesion_utils.audit.same_lesion import same_lesion
from lesion_utils.checks.any_folder import UNLABELLED, read_folder
from lesion_utils.digests import code_digest, file_digest
from lesion_utils.efficientnet_lite import imagenet_features, weights_file
from lesion_utils.errors import InputError, first_ten
from lesion_utils.evaluation.judge import judge
from lesion_utils.evaluation.prediction_table import PredictionTable
from lesion_utils.features import cached_features
from lesion_utils.paths import records
from lesion_utils.pictures import load_pictures
from lesion_utils.predictions import classes_of, probabilities
from lesion_utils.probes import METADATA, PROBES, probe, unavailable

NETWORK = "efficientnet_lite0"
SIZE = (112, 150)  # px of the pictures that the frozen network sees


@dataclass(frozen=True)
class FolderAudit:
    """What ``audit_folder`` found."""

    cases: pd.DataFrame
    found: pd.DataFrame  # of ``audit.findings``
    twins: pd.DataFrame  # of ``audit.same_lesion``, with the labels of both
    labels: pd.DataFrame  # image_id, label, suggested, own_probability: the most doubtful labels first
    shortcuts: pd.DataFrame  # probe, sees, macro AUC with its interval, note
    notes: list[str]

    @property
    def is_clean(self) -> bool:
        """Whether there is no leak, no conflicting label, and no lesion that seems to have two ids."""
        return not len(self.twins) and not self.found["severity"].isin(["leak", "label"]).any()

    def as_dict(self) -> dict[str, Any]:
        counts = {"images": len(self.cases), "lesions": int(self.cases["lesion_id"].nunique()) or None}
        tables = {name: records(getattr(self, name)) for name in ("found", "twins", "labels", "shortcuts")}
        return counts | {"classes": self.cases["label"].value_counts().to_dict()} | tables | {"notes": self.notes}


def audit_folder(
    folder: Path,
    metadata: Path | None = None,
    predictions: pd.DataFrame | None = None,
    threads: int = 2,
    seed: int = 0,
) -> FolderAudit:
    """Audits the pictures below ``folder`` (``any_folder.read_folder``).

    ``predictions``: a prediction table of the images by models that have not seen them (out-of-fold), by which labels
    are ranked. Raises InputError for a folder, table or picture that cannot be used.
    """
    cases, notes = read_folder(folder, metadata)
    found = findings(cases, threads)
    twins = same_lesion(cases, frozen_features(cases, threads), threads)
    label_of = cases.set_index("image_id")["label"]
    for side in ("first", "second"):
        twins[f"{side}_label"] = twins[side].map(label_of)
    labels = pd.DataFrame(columns=["image_id", "label", "suggested", "own_probability"])
    if predictions is not None:
        labels = doubtful_labels(cases, predictions)
    else:
        notes.append("labels were not ranked: that needs out-of-fold probabilities (--predictions)")
    return FolderAudit(cases, found, twins, labels, _shortcuts(cases, threads, seed), notes)


def doubtful_labels(cases: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Images whose label is probably wrong, the most doubtful first (confident learning: Northcutt, Jiang and Chuang,
    JAIR 70:1373, 2021; by cleanlab).

    ``predictions`` keeps the contract of prediction tables. Raises InputError for images without a case or another
    label there.
    """
    from cleanlab.filter import find_label_issues  # slow

    label_of = cases.set_index("image_id")["label"]
    if len(strange := predictions.loc[~predictions["image_id"].isin(label_of.index), "image_id"]):
        raise InputError(f"--predictions has images that the folder has not: {first_ten(strange)}.")
    labels = predictions["image_id"].map(label_of)
    if (differ := labels != predictions["label"]).any() and not (label_of == UNLABELLED).all():
        raise InputError(f"--predictions has other labels for {first_ten(predictions.loc[differ, 'image_id'])}.")
    classes, scores = classes_of(predictions), probabilities(predictions)
    truth = pd.Index(classes).get_indexer(predictions["label"])
    rows = find_label_issues(truth, scores, return_indices_ranked_by="self_confidence", n_jobs=1)
    doubtful = predictions.iloc[rows]
    return pd.DataFrame(
        {
            "image_id": doubtful["image_id"].to_numpy(),
            "label": doubtful["label"].to_numpy(),
            "suggested": np.asarray(classes, object)[scores[rows].argmax(1)],
            "own_probability": scores[rows, truth[rows]],
        }
    )


def frozen_features(cases: pd.DataFrame, threads: int) -> np.ndarray:
    """The outputs of NETWORK, whose ImageNet weights every installation has: (n, 1280)."""
    network = SimpleNamespace(predict_on_batch=imagenet_features(NETWORK, threads))
    key = [NETWORK, file_digest(weights_file(NETWORK)), code_digest(inspect.getsource(efficientnet_lite))]
    features = cached_features(network, load_pictures(cases["path"], SIZE, threads), key)
    return np.asarray(features[np.arange(len(cases))])


def _shortcuts(cases: pd.DataFrame, threads: int, seed: int) -> pd.DataFrame:
    """How well a small forest that does not see the lesion predicts the label: macro AUC, 0.5 is guessing."""
    described = cases.assign(**{name: None for name in METADATA if name not in cases})
    described["lesion_id"] = cases["lesion_id"].fillna(cases["image_id"])
    rows = []
    for kind, sees in PROBES.items():
        why = "one label only" if cases["label"].nunique() < 2 else unavailable(described, kind)
        row = {"value": np.nan, "low": np.nan, "high": np.nan, "note": why}
        if not why:
            table = PredictionTable(probe(described, kind, threads, seed))
            row = judge(table, wanted=["macro AUC"]).loc["macro AUC", [*row]].to_dict()
        rows.append({"probe": kind, "sees": sees} | row)
    return pd.DataFrame(rows)
