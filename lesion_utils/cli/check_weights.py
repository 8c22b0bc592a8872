"""Loading weights before a study needs them. Exit codes: 0 done, 2 unusable input."""

from typing import Annotated, Literal

import typer

from lesion_utils import pipeline
from lesion_utils.cli.options import takes_study
from lesion_utils.models import load_backbone
from lesion_utils.paths import run_folder, write_json
from lesion_utils.study import StudyParams


@takes_study
def check_weights(
    params: StudyParams, stage: Annotated[Literal["baseline", "rebalancing", "transfer"], typer.Argument()]
) -> None:
    """Load every weights file that the recipes of one stage need."""
    recipes = getattr(params, stage)
    loaded = {name: load_backbone(recipe.backbone, params.weights) for name, recipe in recipes.items()}
    last_layers = {name: model.layers[-1].name for name, model in loaded.items()}
    write_json(run_folder(params.study) / pipeline.checked(stage), last_layers)
    typer.echo(f"checked the weights of {len(loaded)} recipe(s) in {stage}")
