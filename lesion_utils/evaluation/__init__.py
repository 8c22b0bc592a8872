"""Where prediction tables are judged: metrics, intervals by lesion, paired comparisons."""

from lesion_utils.evaluation.judge import (
    classification_report,
    compare,
    confusion,
    estimate,
    judge,
    roc_curves,
    sentence,
    verdict,
)

__all__ = ["classification_report", "compare", "confusion", "estimate", "judge", "roc_curves", "sentence", "verdict"]
