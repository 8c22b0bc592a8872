"""Predicting another set of images with a model of a study."""

from pathlib import Path
from typing import Annotated

import typer

from lesion_utils.cli.exits import unusable_input_exits_2
from lesion_utils.cli.options import Data, Ham10000, Isic2018, Study, Threads
from lesion_utils.study import load_study


def predict(
    study: Study,
    recipe: Annotated[str, typer.Argument(help="a recipe of the study that has been trained")],
    folder: Annotated[Path, typer.Argument(help="images with a label table, or folders of classes; layouts below")],
    output: Annotated[Path, typer.Option(help="the prediction table to write, a .csv")] = Path("predictions.csv"),
    data: Data = None,
    ham10000: Ham10000 = None,
    isic2018: Isic2018 = None,
    threads: Threads = None,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="predict seen images, too, and mark them leaky")
    ] = False,
) -> None:
    """Predict a folder of images with a trained model of a study. `lesion score` reads the table."""
    with unusable_input_exits_2():
        params = load_study(study, data=data, ham10000=ham10000, isic2018=isic2018, threads=threads)
        from lesion_utils.checks.other_images import predict_folder  # imports TensorFlow

        table, seen = predict_folder(params, recipe, folder, output, allow_leak)
    has_lesions = not table["lesion_id"].equals(table["image_id"])
    lesions = f" of {table['lesion_id'].nunique():,} lesions" if has_lesions else ""
    typer.echo(f"{output}: {recipe} of {study} predicted {len(table):,} images{lesions} in {folder}")
    if not has_lesions:
        typer.echo("No lesions are given: each image counts as its own lesion, so intervals may be too narrow.")
    if len(seen):
        typer.echo(f"Leaky: the model has seen {len(seen):,} of these images or their lesions; the table is marked.")
