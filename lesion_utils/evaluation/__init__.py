"""Where prediction tables are judged: metrics, intervals over lesions, paired comparisons."""

from lesion_utils.evaluation.judge import classification_report, compare, confusion, judge, roc_curves
from lesion_utils.evaluation.prediction_table import PredictionTable
from lesion_utils.evaluation.sentences import estimate, holm, overview, sentence, verdict

__all__ = ["PredictionTable", "classification_report", "compare", "confusion", "estimate", "holm", "judge", "overview"]
__all__ += ["roc_curves", "sentence", "verdict"]
