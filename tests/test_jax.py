"""Trainings on Keras' JAX backend, which a GPU may run: they need no TensorFlow, learn, and repeat themselves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax", reason="JAX is not installed: pip install jax")

TRAINING = """
import importlib.abc, json, os, sys
from pathlib import Path

class NoTensorFlow(importlib.abc.MetaPathFinder):  # Keras would load it where it is installed, unasked
    def find_spec(self, name, path, target=None):
        if name == "tensorflow":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoTensorFlow())
import numpy as np
import pandas as pd
from lesion_utils.recipes import Recipe
from lesion_utils.training import train

recipe = Recipe(backbone={"image_size": (24, 32)}, hidden=16, sampler="equal", class_weights="balanced", batch_size=8,
                augmentation={"flip": "both", "rotation": 0.1, "zoom": 0.1}, phases=[{"epochs": 8}])
cases = pd.read_csv(sys.argv[1])
trained = train(recipe, cases, seed=1, threads=1, weights=None, folder=Path(os.environ["LESION_OUTPUT"]) / "runs/net")
print(json.dumps({
    "tensorflow": "tensorflow" in sys.modules,
    "backend": trained.provenance["backend"],
    "loss": trained.history["loss"].tolist(),
    "test": np.asarray(trained.probabilities["test"]).tolist(),
}))
"""


def train_on_jax(cases: Path, output: Path) -> dict:
    environment = os.environ | {"KERAS_BACKEND": "jax", "LESION_OUTPUT": str(output)}
    command = [sys.executable, "-c", TRAINING, str(cases)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_training_on_jax_learns_and_gives_the_same_again(few, tmp_path):
    few.to_csv(cases := tmp_path / "cases.csv", index=False)
    first, second = (train_on_jax(cases, tmp_path / name) for name in ("first", "second"))
    assert first["backend"].startswith("jax") and not first["tensorflow"]
    assert first["loss"][-1] < 0.9 * first["loss"][0]
    probabilities = np.array(first["test"])
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert probabilities.argmax(axis=1).tolist() == [0] * 4 + [1] * 4  # blue, then red
    assert first["test"] == second["test"] and first["loss"] == second["loss"]
