"""How long the whole metric table takes: 10,000 cases, 7 classes, 2,000 draws of lesions.

.venv/bin/python benchmarks/judge.py        # under a minute; writes judge.json beside itself
"""

import resource
import statistics
import time
from pathlib import Path

import numpy as np
import pandas as pd

from lesion_utils.datasets.ham10000 import CLASSES, IMAGES
from lesion_utils.evaluation import judge
from lesion_utils.paths import write_json

CASES, LESIONS, RESAMPLES, RUNS = 10_000, 7_500, 2_000, 5
SHARES = np.array([IMAGES[name] for name in CLASSES]) / sum(IMAGES.values())


def made_up() -> pd.DataFrame:
    """A prediction table of HAM10000's size, of a model that is better than chance."""
    rng = np.random.default_rng(0)
    truth = rng.choice(len(CLASSES), CASES, p=SHARES)
    scores = (rng.dirichlet(np.ones(len(CLASSES)), CASES) + 0.5 * np.eye(len(CLASSES))[truth]) / 1.5
    ids = pd.DataFrame({"image_id": np.arange(CASES), "lesion_id": np.arange(CASES) * LESIONS // CASES}).astype(str)
    columns = pd.DataFrame(scores, columns=[f"p_{name}" for name in CLASSES])
    return pd.concat([ids.assign(label=np.array(list(CLASSES))[truth]), columns], axis=1)


def main() -> None:
    """Judges the table several times and writes the median, the spread and the peak memory."""
    table, seconds = made_up(), []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(RUNS):
        began = time.perf_counter()
        judged = judge(table, RESAMPLES)
        seconds.append(time.perf_counter() - began)
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    found = {"cases": CASES, "classes": len(CLASSES), "resamples": RESAMPLES, "rows": len(judged), "runs": RUNS}
    found |= {"median seconds": round(statistics.median(seconds), 1), "least": round(min(seconds), 1)}
    found |= {"most": round(max(seconds), 1), "peak memory added, MiB": round(added / 1024)}
    write_json(Path(__file__).with_suffix(".json"), found)
    print(found)


if __name__ == "__main__":
    main()
