"""A training that was ended goes on from its checkpoint with the results of an undisturbed one, or says why not."""

import shutil

import pandas as pd
import pytest

from lesion_utils import checkpoint
from lesion_utils.paths import run_folder, written_in
from lesion_utils.recipes import Recipe
from lesion_utils.training import Trained, train

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")]

SMALL = {"backbone": {"image_size": (24, 32)}, "hidden": 8, "batch_size": 8}
MOBILENET = {"backbone": {"name": "mobilenet_v1", "alpha": 0.25, "image_size": (32, 32)}, "batch_size": 8}
LITE = {"backbone": {"name": "efficientnet_lite0", "image_size": (32, 32), "drop_path": 0.3}, "batch_size": 8}
RECIPES = {
    "changed_pictures": SMALL
    | {"dropout": 0.5, "sampler": "equal", "resample_each_epoch": True, "mixup": 0.3}
    | {"augmentation": {"flip": "both", "rotation": 0.1}, "phases": [{"epochs": 5}]},
    "averaged_weights": SMALL
    | {"weight_average": 0.9, "phases": [{"epochs": 5, "learning_rate": 0.01, "schedule": "cosine", "warm_up": 2}]},
    "early_stopping": SMALL
    | {"early_stopping": 2, "reduce_lr": {"factor": 0.3, "patience": 1}, "monitor": "val_loss"}
    | {"phases": [{"epochs": 12, "learning_rate": 0.05}]},
    "phases": MOBILENET
    | {"feature_dropout": 0.2, "keep": "last"}
    | {"phases": [{"train": "head", "epochs": 3}, {"train": "conv_pw_13", "epochs": 3}]},
    "views": MOBILENET
    | {"feature_views": 2, "augmentation": {"flip": "both"}, "phases": [{"train": "head", "epochs": 4}]},
    "left_out_blocks": LITE | {"phases": [{"epochs": 3}]},
}


class Ended(Exception):
    pass


def trained(output, recipe: dict, cases: pd.DataFrame, threads: int, seed: int = 1) -> Trained:
    folder = output / "runs/study/models/net/r0"
    return train(Recipe(**recipe), cases, seed=seed, threads=threads, weights=None, folder=folder)


def results(of: Trained) -> dict[str, object]:
    tables = {path.name: path.read_bytes() for path in sorted(of.folder.glob("predictions/*.csv"))}
    return tables | {"history": of.history.drop(columns="seconds").to_csv()}


@pytest.fixture
def ended_after(monkeypatch):
    """Has a training end by an exception just after the checkpoint of that number, counted from 1."""
    write, after = checkpoint.Checkpoint._write, []

    def write_and_end(self, *state, **variables):
        write(self, *state, **variables)
        after[0] -= 1
        if after[0] == 0:
            raise Ended

    monkeypatch.setattr(checkpoint, "SECONDS", 0)
    monkeypatch.setattr(checkpoint.Checkpoint, "_write", write_and_end)
    return lambda number: after.__setitem__(slice(None), [number])


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_that_was_ended_twice_gives_what_an_undisturbed_one_gives(
    name, few, threads, output, monkeypatch, ended_after, capsys
):
    ended_after(10**6)
    undisturbed = trained(output, RECIPES[name], few, threads)
    expected, epochs = results(undisturbed), len(undisturbed.history)
    shutil.rmtree(undisturbed.folder)
    for number in (2, 1):
        ended_after(number)
        with pytest.raises(Ended):
            trained(output, RECIPES[name], few, threads)
    capsys.readouterr()
    ended_after(10**6)
    again = trained(output, RECIPES[name], few, threads)
    told = capsys.readouterr().out
    assert "goes on after" in told and told.count(" epoch ") < epochs
    assert results(again) == expected
    assert not (again.folder / "checkpoint.npz").exists()


def left_behind(output, few, threads, ended_after):
    ended_after(3)
    with pytest.raises(Ended):
        trained(output, RECIPES["averaged_weights"], few, threads)
    ended_after(10**6)
    (file,) = output.rglob("checkpoint.npz")
    return file


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[: len(data) // 3] + bytes([data[len(data) // 3] ^ 255]) + data[len(data) // 3 + 1 :]


@pytest.mark.parametrize("damage", [cut, flipped, lambda data: b"", lambda data: b"{}"])
def test_a_damaged_checkpoint_is_named_in_one_line_and_not_used(damage, few, threads, output, ended_after, capsys):
    file = left_behind(output, few, threads, ended_after)
    file.write_bytes(damage(file.read_bytes()))
    capsys.readouterr()
    again = trained(output, RECIPES["averaged_weights"], few, threads)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if " epoch " not in line] == [lines[0]] and "checkpoint.npz" in lines[0]
    assert len(lines) == 1 + len(again.history)


def test_a_checkpoint_of_another_training_is_not_used(few, threads, output, ended_after, capsys):
    file = left_behind(output, few, threads, ended_after)
    kept = file.read_bytes()
    relabelled = few.assign(lesion_id=few["lesion_id"] + "x")
    other_recipe = RECIPES["averaged_weights"] | {"hidden": 9}
    for recipe, cases, seed in (
        (RECIPES["averaged_weights"], few, 2),
        (other_recipe, few, 1),
        (RECIPES["averaged_weights"], relabelled, 1),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(kept)
        capsys.readouterr()
        again = trained(output, recipe, cases, threads, seed)
        assert capsys.readouterr().out.count(" epoch ") == len(again.history)
        shutil.rmtree(again.folder)


def test_a_short_training_writes_no_checkpoint(few, threads, output, monkeypatch):
    monkeypatch.setattr(checkpoint, "atomic_write", lambda path: pytest.fail(f"{path} was written"))
    trained(output, SMALL | {"phases": [{"epochs": 2}]}, few, threads)


def test_a_training_that_wrote_checkpoints_leaves_no_file_that_a_study_would_miss(few, threads, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS", 0)
    folder = run_folder("tiny") / "models/net/r0"
    recipe = Recipe(backbone={"image_size": (24, 32)}, hidden=8, phases=[{"epochs": 2}])
    train(recipe, few, seed=0, threads=threads, weights=None, folder=folder)
    assert written_in(folder) and all(path.exists() for path in written_in(folder))
