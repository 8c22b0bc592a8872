"""Where prediction tables are judged: metrics, intervals by lesion, paired comparisons."""

from lesion_utils.evaluation.judge import classification_report, compare, confusion, judge, roc_curves
from lesion_utils.evaluation.sentences import estimate, holm, overview, sentence, verdict

__all__ = [
    "classification_report",
    "compare",
    "confusion",
    "estimate",
    "holm",
    "judge",
    "overview",
    "roc_curves",
    "sentence",
    "verdict",
]
