"""Where prediction tables are judged: metrics, intervals by lesion, paired comparisons."""

from lesion_utils.evaluation.judge import classification_report, compare, confusion, judge, roc_curves, sentence

__all__ = ["classification_report", "compare", "confusion", "judge", "roc_curves", "sentence"]
