"""Findings that several checks share. Each is a list: empty where there is nothing to say."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lesion_utils.datasets import ham10000
from lesion_utils.rounding import number, with_interval

SENTENCES = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
TOO_GOOD = 0.90  # the best of the ISIC 2018 challenge had 0.885 on hidden images (Codella, arXiv 1902.03368, 2019)


def say(finding: str, **facts: Any) -> str:
    """The sentence of ``findings.yml`` with its facts."""
    return SENTENCES[finding].format(**facts)


def not_above(row: pd.Series, limit: float, meaning: str) -> list[str]:
    """A judged number whose interval reaches ``limit``, which is the number of a classifier without skill."""
    if not row["low"] <= limit:  # also NaN
        return []
    estimate = with_interval(row["value"], row["low"], row["high"], [limit], "95% CI ")
    return [say("not above", metric=row["metric"], estimate=estimate, limit=number(limit), meaning=meaning)]


def too_good(classes: Iterable[str], value: float) -> list[str]:
    """A balanced accuracy above ``TOO_GOOD`` on exactly HAM10000's classes, in upper or lower case."""
    suspicious = {name.lower() for name in classes} == set(ham10000.CLASSES) and value > TOO_GOOD
    return [say("too good", value=number(value, edges=[TOO_GOOD]), limit=TOO_GOOD)] if suspicious else []
