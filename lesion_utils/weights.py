"""Which file a recipe's weights come from; needs no TensorFlow, so a study can be checked before anything starts."""

from pathlib import Path

from lesion_utils.digests import file_digest
from lesion_utils.errors import InputError, first_ten
from lesion_utils.paths import resolve
from lesion_utils.recipes import Recipe

FILES = {  # names in a folder of weights; a file may reach only to a layer: …upto_<layer>.weights.h5
    "mobilenet_v1": "mobilenet_v1_{alpha}_*.h5",
    "mobilenet_v2": "mobilenet_v2_{alpha}_*.h5",
    "inception_v3": "inception_v3_*.h5",
    "inception_resnet_v2": "inception_resnet_v2_*.h5",
}


def weights_file(recipe: Recipe, folder: str | None) -> Path | None:
    """The local file with the weights of a recipe; None if it wants none or Keras is to download them.

    ``folder`` is the study's ``weights``. Raises InputError if there is not exactly one fitting file.
    """
    if recipe.weights == "none":
        return None
    if recipe.weights != "imagenet":
        path = resolve(recipe.weights)
        if not path.is_file():
            raise InputError(f"weights file {path} does not exist. Expected `none`, `imagenet` or a file's path.")
        return path
    if folder is None:
        return None
    pattern = FILES.get(recipe.backbone)
    if pattern is None:
        raise InputError(f"there are no ImageNet weights for {recipe.backbone}. Fix: `weights: none` in the recipe.")
    pattern = pattern.format(alpha=recipe.alpha)
    found = sorted(resolve(folder).glob(pattern))
    if len(found) != 1:
        raise InputError(
            f"weights folder {resolve(folder)}: expected one file {pattern} for {recipe.backbone}, found "
            f"{first_ten(path.name for path in found) or 'none'}. Fix: WEIGHTS=<folder that has it>, or leave "
            f"WEIGHTS out to let Keras download."
        )
    return found[0]


def weights_digest(recipe: Recipe, folder: str | None) -> str:
    """Changes with the content of the weights that a recipe starts from."""
    path = weights_file(recipe, folder)
    return file_digest(str(path)) if path else recipe.weights
