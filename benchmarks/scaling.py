"""What 100 runs on larger datasets would take, computed from what this project measured on HAM10000.

    .venv/bin/python -m benchmarks.scaling     # seconds; renews the table in docs/scaling.md

For the recipe of `recommended`. Its epochs stay the same, so time and storage grow with the number of images.
"""

from statistics import mean

import numpy as np
import pandas as pd

from benchmarks.page import markdown, renew
from lesion_utils.paths import PROJECT
from lesion_utils.pipeline import wants_weights
from lesion_utils.rounding import number
from lesion_utils.study import STAGES, load_study

PAGE = PROJECT / "docs" / "scaling.md"
RUNS, CORES, MEASURED = 100, 2, 10_015  # two cores measured `measured_minutes`, on the images of HAM10000
IMAGES = {"HAM10000": MEASURED, "ISIC 2019": 25_331, "400,000 images": 400_000}


def table() -> str:
    params = load_study("recommended")
    ((name, recipe),) = params.recipes.items()
    stages = [stage for stage in STAGES if getattr(params, stage)]
    checks = 1 + sum(wants_weights(params, stage) for stage in stages)
    jobs = RUNS * len(stages) + checks + 2  # notebooks 01 and 05 run once
    tracked = sorted((PROJECT / "reports" / "recommended_full" / "predictions" / name).glob("r*"))
    gpu_seconds = mean(pd.read_csv(run / "history.csv.gz")["seconds"].sum() for run in tracked)
    table_bytes = mean(sum(file.stat().st_size for file in run.glob("*.csv.gz")) for run in tracked)
    sizes = {recipe.backbone.image_size, *(phase.image_size for phase in recipe.phases if phase.image_size)}
    picture_bytes = sum(3 * int(np.prod(size)) for size in sizes)
    factors = [images / MEASURED for images in IMAGES.values()]
    core_hours = CORES * params.measured_minutes / 60
    rows = []
    for what, cells in {
        "Slurm jobs": [jobs for _ in factors],
        "hours of one run on two cores": [core_hours / CORES * factor for factor in factors],
        "core-hours of all runs": [RUNS * core_hours * factor for factor in factors],
        "hours of one run on one H100, at most": [gpu_seconds / 3600 * factor for factor in factors],
        "GPU-hours of all runs, at most": [RUNS * gpu_seconds / 3600 * factor for factor in factors],
        "GB of cached pictures, for all runs together": [picture_bytes * images / 1e9 for images in IMAGES.values()],
        "GB of tracked prediction tables": [RUNS * table_bytes * factor / 1e9 for factor in factors],
    }.items():
        shown = [number(cell if isinstance(cell, int) else float(f"{cell:.2g}")) for cell in cells]
        rows.append([what, *shown])
    return markdown(["", *IMAGES], rows)


if __name__ == "__main__":
    renew("scaling", table(), PAGE)
