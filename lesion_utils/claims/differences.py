"""The effect of one change: runs with the change are compared, run by run, with as many runs without it.

A remedy for class imbalance may improve the ranking, or only move the threshold, which costs nothing. The two are
judged apart, each arm after its own temperature scaling and prior correction.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lesion_utils import predictions
from lesion_utils.errors import InputError
from lesion_utils.evaluation.judge import COMPARED, compare
from lesion_utils.evaluation.metric_list import PRIOR_CORRECTED
from lesion_utils.evaluation.prediction_table import PredictionTable
from lesion_utils.evaluation.sentences import NO_DIFFERENCE, cell, holm, verdict
from lesion_utils.study import ARMS, Judging, StudyParams, arm_name

LOG_LOSS = "log loss"  # the smaller, the better
PARTS = {  # what a measure of a remedy is about
    "macro AUC": "Ranking",
    "macro average precision": "Ranking",
    LOG_LOSS: "Probabilities",
    PRIOR_CORRECTED: "Threshold",
}


def leak_differences(params: StudyParams, leak: str) -> pd.DataFrame:
    """``run_differences``, leaky arm minus clean arm, of one leak of the study, by test set (``test, test_can_leak``;
    the column ``images`` describes it) and metric. Raises InputError for an unknown leak, and as ``predictions.read``.
    """
    if leak not in params.leaks:
        raise InputError(f"study {params.study!r} has no leak {leak!r}; it has {', '.join(params.leaks) or 'none'}.")
    runs, rows = range(params.leaks[leak].runs), {}
    for split, images in predictions.LEAK_SPLITS.items():
        frames = [[predictions.read(params, arm_name(leak, arm), split, run) for run in runs] for arm in ARMS]
        leaky, clean = (PredictionTable(of_arm, params.resamples) for of_arm in frames)
        rows[split] = run_differences(leaky, clean).assign(images=images)
    return pd.concat(rows, names=["split", "name"])


def run_differences(
    table: PredictionTable,
    reference: PredictionTable,
    wanted: Sequence[str] = COMPARED,
    options: Judging | None = None,
) -> pd.DataFrame:
    """The rows of ``compare`` for two recipes whose runs are paired in order, with ``runs`` per arm, and the ``least``
    and ``most`` of the differences of single runs (NaN where not estimable).
    """
    rows = compare(table, reference, wanted, options)
    least, most = ([end(of, default=np.nan) for of in rows["single"]] for end in (min, max))
    return rows.assign(least=least, most=most, runs=len(table.runs))


def ablation_differences(
    arms: Mapping[str, PredictionTable],
    references: Mapping[str, str],
    options: Judging | None = None,
    wanted: Sequence[str] = COMPARED,
    barred: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """What each arm of an ablation changes: the metrics ``wanted`` of each arm in ``references`` minus its reference.

    ``arms`` has the table of each name; runs are paired by seed. Rows as of ``run_differences``, indexed by arm and
    metric, with ``p_holm, family`` of ``holm`` and ``verdict`` of ``sentences``. ``barred`` says why arms carry no
    verdict (``claims.rules.bars``); neither do those that are compared with them.
    Raises InputError for an arm without a table, or arms that differ in their cases or number of runs.
    """
    if unknown := sorted({*references, *references.values()} - set(arms)):
        raise InputError(f"no arm {unknown[0]!r} in the ablation. Expected one of {', '.join(arms)}.")
    rows = {}
    for name, base in references.items():
        if (runs := len(arms[name].runs)) != (others := len(arms[base].runs)):
            raise InputError(f"{name} has {runs} runs, {base} has {others}. Fix: train every arm with the same seeds.")
        reasons = [f"{arm} {why}" for arm in (name, base) if (why := (barred or {}).get(arm))]
        rows[name] = run_differences(arms[name], arms[base], wanted, options).assign(barred="; ".join(reasons))
    if not rows:
        return pd.DataFrame()
    adjusted = holm(pd.concat(rows, names=["arm", "name"]))
    return adjusted.assign(verdict=[verdict(row) for _, row in adjusted.iterrows()])


def measures(options: Judging) -> list[str]:
    """The measures of a remedy: those of ``PARTS``, and melanoma sensitivity at the specificity of ``options``."""
    return [*PARTS, f"melanoma sensitivity at specificity {options.specificity:g}"]


def remedy_differences(
    corrected: Mapping[str, PredictionTable],
    scaled: Mapping[str, PredictionTable],
    references: Mapping[str, str],
    options: Judging,
    barred: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """``ablation_differences`` of the ``measures``, from the tables of each arm after prior correction and, for log
    loss, after temperature scaling.
    """
    wanted = [(corrected, [name for name in measures(options) if name != LOG_LOSS]), (scaled, [LOG_LOSS])]
    if not references:
        return pd.DataFrame()
    together = pd.concat([ablation_differences(of, references, options, names, barred) for of, names in wanted])
    order = [(name, measure) for name in references for measure in measures(options)]
    return together.reindex([key for key in order if key in together.index])


def remedy_table(differences: pd.DataFrame) -> pd.DataFrame:
    """``remedy_differences`` for readers: a line per recipe, a column per measure: the difference, and its effect where
    they are not all the same.
    """
    effects = [effect_of(name[-1], row["verdict"]).partition(":")[0] for name, row in differences.iterrows()]
    cells = [cell(row, edges=[0.0], sign="+") for _, row in differences.iterrows()]
    differ = len(set(effects)) > 1
    texts = [f"{text}: {effect}" if differ else text for text, effect in zip(cells, effects, strict=True)]
    columns = differences.index.get_level_values(-1).unique()
    return pd.Series(texts, differences.index, dtype=object).unstack(sort=False)[columns].rename_axis("recipe")


def remedy_sentences(differences: pd.DataFrame) -> str:
    """What each recipe changes in ``remedy_differences``, a line each, and then what helps in all."""
    if differences.empty:
        return "No recipe is compared with another one."
    effects = [effect_of(metric, verdict) for (_, metric), verdict in differences["verdict"].items()]
    rows = differences.assign(effect=effects)
    lines = [_remedy_sentence(name, of.droplevel(0)) for name, of in rows.groupby(level=0, sort=False)]
    return "\n".join([*lines, "", f"**What helps?** {_answer(rows)}."])


def effect_of(metric: str, verdict: str) -> str:
    """``verdict`` as *better* or *worse* where there is a difference."""
    if verdict not in ("higher", "lower"):
        return verdict
    return "better" if (verdict == "lower") == (metric == LOG_LOSS) else "worse"


def _remedy_sentence(name: str, rows: pd.DataFrame) -> str:
    named: dict[str, list[str]] = {}
    for metric, row in rows.iterrows():
        text = f"{metric} {cell(row, edges=[0.0], sign='+')}"
        named.setdefault(PARTS.get(metric, "Melanoma"), []).append(text)
    parts = [f"{part}: {', '.join(texts)}" for part, texts in named.items()]
    groups = rows.groupby("effect", sort=False).groups.items()
    said = "; ".join(f"{effect} ({', '.join(of)})" if len(groups) > 1 else effect for effect, of in groups)
    return f"- **{name}**. {'. '.join(parts)}. {said[0].upper()}{said[1:]}."


def _answer(rows: pd.DataFrame) -> str:
    """What the verdicts say in all, without its full stop."""
    known = rows[rows["effect"].isin(["better", "worse"])]
    if known.empty and not rows["effect"].str.startswith(NO_DIFFERENCE).any():
        reasons = [text.partition(":")[0] if "not measurable" in text else text for text in rows["effect"]]
        return f"It cannot be told from these runs: {'; '.join(dict.fromkeys(reasons))}"
    said = [
        f"{effect.capitalize()} {metric}: {', '.join(of.index.get_level_values(0))}"
        for (metric, effect), of in known.groupby([known.index.get_level_values(1), "effect"], sort=False)
    ]
    return ". ".join([*said, "Every other comparison shows no difference or has no verdict"])
