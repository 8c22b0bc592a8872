"""Each section "How to add …" of CONTRIBUTING.md, done: one registry entry and its own code are enough."""

from typing import get_args

import numpy as np
import pytest
from pydantic import Field, create_model

from lesion_utils import backbones
from lesion_utils.backbones import Backbone
from lesion_utils.recipes import BackboneOptions, Recipe

# a backbone


def one_convolution(options):
    """The builder of a new backbone: ``options`` are a recipe's fields of ``backbone``."""
    import keras

    inputs = keras.Input((*options.image_size, 3))
    return keras.Model(inputs, keras.layers.Conv2D(4, 3, name="convolution")(inputs), name="one_convolution")


def test_a_backbone_is_one_entry_and_its_builder(monkeypatch):
    from lesion_utils.models import build

    monkeypatch.setitem(backbones.BACKBONES, "one_convolution", Backbone(one_convolution, "minus_one_to_one", 8))
    options = BackboneOptions(image_size=(8, 10), pooling="average").model_copy(update={"name": "one_convolution"})
    recipe = Recipe(hidden=0).model_copy(update={"backbone": options})
    network = build(recipe, classes=3, weights=None, seed=0)
    assert network.backbone.layers[-1].name == "convolution"
    assert network.features.output_shape == (None, 4)
    assert network.whole.predict(np.zeros((2, 8, 10, 3), np.float32), verbose=0).shape == (2, 3)


def test_recipes_allow_the_backbones_of_the_registry():
    assert set(get_args(BackboneOptions.model_fields["name"].annotation)) == set(backbones.BACKBONES)


# a field of a recipe


def test_a_further_field_of_the_backbone_changes_the_cache_key_without_being_listed():
    from lesion_utils.features import feature_cache_key

    field = (int, Field(1, description="dilation of the first convolution"))
    extended = create_model("BackboneOptions", __base__=BackboneOptions, dilation=field)

    def key(**fields) -> list:
        return feature_cache_key(extended(**fields), "none", (127.5, 127.5), seed=0, threads=1)

    assert key() == key(dilation=1) != key(dilation=2)


def test_a_further_field_of_a_recipe_is_read_checked_and_part_of_the_provenance():
    extended = create_model("Recipe", __base__=Recipe, label_smoothing=(float, Field(0.0, ge=0, lt=1)))
    assert extended.model_validate({"label_smoothing": "1e-1"}).model_dump()["label_smoothing"] == 0.1
    with pytest.raises(ValueError, match="label_smoothing"):
        extended(label_smoothing=2)
