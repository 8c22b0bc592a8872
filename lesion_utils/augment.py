"""Augmentation: random layers on the way into the network, and Augmentor's copies written before training."""

import contextlib
import hashlib
import io
import shutil
import tempfile
from pathlib import Path
from urllib.parse import quote, unquote

import pandas as pd

from lesion_utils.artefacts import cache_folder, digest, file_digest
from lesion_utils.params import Augmentation, OfflineCopies
from lesion_utils.runtime import keras


def layers(augmentation: Augmentation, seed: int) -> list[keras.layers.Layer]:
    """The random layers of a recipe for pictures with values 0 to 255; active in training only."""
    made: list[keras.layers.Layer] = []
    # Two layers for `both`: Keras' own mode for it draws once, and so flips both ways or not at all.
    if augmentation.flip in ("horizontal", "both"):
        made.append(keras.layers.RandomFlip("horizontal", seed=seed))
    if augmentation.flip in ("vertical", "both"):
        made.append(keras.layers.RandomFlip("vertical", seed=seed + 6))
    if augmentation.rotation:
        made.append(keras.layers.RandomRotation(augmentation.rotation, seed=seed + 1))
    if augmentation.zoom:
        made.append(keras.layers.RandomZoom(augmentation.zoom, seed=seed + 2))
    if augmentation.shift:
        made.append(keras.layers.RandomTranslation(augmentation.shift, augmentation.shift, seed=seed + 3))
    if augmentation.brightness:
        made.append(keras.layers.RandomBrightness(augmentation.brightness, value_range=(0, 255), seed=seed + 4))
    if augmentation.contrast:
        made.append(keras.layers.RandomContrast(augmentation.contrast, value_range=(0, 255), seed=seed + 5))
    return made


def offline_copies(cases: pd.DataFrame, options: OfflineCopies, seed: int) -> pd.DataFrame:
    """``options.per_class`` rotated copies of each class of ``cases``, written by Augmentor, as further cases;
    where it is 0, one copy of each image.

    Pass training cases only: a copy belongs where its source is, and keeps the source's ``lesion_id``. The copies
    lie in the shared cache, never in the data folder; the same cases, options and seed give the same files.
    """
    made_from = [[*row] for row in cases[["image_id", "label"]].to_numpy()] + [
        file_digest(path) for path in cases["path"]
    ]
    folder = cache_folder("augmentor") / digest([made_from, options.model_dump(), seed])
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as beside:
            for number, (label, group) in enumerate(cases.groupby("label")):
                _write_copies(group, Path(beside) / "copies" / str(label), options, seed + number)
            (Path(beside) / "copies").rename(folder)
    sources = cases.set_index("image_id")
    rows = [
        sources.loc[unquote(path.stem).rsplit("-copy", 1)[0]].to_dict()
        | {"image_id": unquote(path.stem), "path": str(path)}
        for path in sorted(folder.glob("*/*.jpg"))
    ]
    return pd.DataFrame(rows, columns=cases.columns)


def _write_copies(cases: pd.DataFrame, target: Path, options: OfflineCopies, seed: int) -> None:
    import Augmentor  # slow to import, needed by few recipes

    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=target) as scratch, contextlib.redirect_stdout(io.StringIO()):
        source = Path(scratch) / "source"
        source.mkdir()
        for image_id, path in zip(cases["image_id"], cases["path"], strict=True):
            shutil.copyfile(path, source / f"{quote(image_id, safe='')}.jpg")  # an id may hold slashes
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            pipeline = Augmentor.Pipeline(str(source), str(Path(scratch) / "output"))
            pipeline.augmentor_images.sort(key=lambda image: image.image_path)
            pipeline.set_seed(seed)
            pipeline.rotate(options.probability, options.rotation, options.rotation)
            pipeline.sample(options.per_class, multi_threaded=False)
        # Augmentor names its files at random: name them by source and content instead.
        copies = sorted(
            (path.name.split("_original_")[1].split(".jpg")[0], hashlib.sha256(path.read_bytes()).hexdigest(), path)
            for path in (Path(scratch) / "output").iterdir()
        )
        for number, (image_id, _, path) in enumerate(copies):
            path.rename(target / f"{image_id}-copy{number:05d}.jpg")
