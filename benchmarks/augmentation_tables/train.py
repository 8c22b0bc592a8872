"""Trains both ways, seed by seed. Runs in a checkout of commit 6d13029, whose package still had both.

python <this project>/benchmarks/augmentation_tables/train.py SEED…

Call it in the root of that checkout, with HAM10000 in ../shared/data/ham10000; about 15 minutes per run.
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, ".")
from benchmarks.same_results import keras_layers
from lesion_utils.params import StudyParams, load_study

from lesion_utils import predictions, training
from lesion_utils.splits import split_cases

RECIPE = json.loads((Path(__file__).parents[1] / "augmentation.json").read_text(encoding="utf-8"))["recipe"]
FOLDER = Path("augmentation_tables")

cases = split_cases(load_study("ham10000", data="../shared/data/ham10000"))
FOLDER.mkdir(exist_ok=True)
for seed in map(int, sys.argv[1:]):
    for name, way in (("one_resampling", nullcontext), ("keras_layers", keras_layers)):
        with way():
            params = StudyParams(study=name, baseline={"net": RECIPE}, threads=1, repeat=seed)
            trained = training.train("net", cases, params)
        for split, scores in trained.scores.items():
            frame = predictions.build(cases[cases["split"] == split], trained.classes, scores)
            frame.to_csv(FOLDER / f"{name}_{seed}_{split}.csv.gz", index=False, float_format="%.5g")
        trained.history.to_csv(FOLDER / f"{name}_{seed}_history.csv.gz", index=False)
