"""Copies of training images written to disk before training: by Augmentor (systems 003, 004) or by Keras (001)."""

import contextlib
import io
import math
import shutil
import tempfile
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd

from lesion_utils.audit.images import open_image
from lesion_utils.augment import make_augmenter
from lesion_utils.digests import digest, file_digest
from lesion_utils.paths import cache_folder, is_usable, remove, seal
from lesion_utils.recipes import OfflineCopies


def make_offline_copies(cases: pd.DataFrame, options: OfflineCopies, seed: int) -> pd.DataFrame:
    """Copies of ``cases``, as a case table; the files are written into the shared cache.

    A copy keeps the ``lesion_id`` and the split of its source. The same cases, options and seed give the same files.
    """
    sources = [*map(list, cases[["image_id", "label"]].to_numpy()), *map(file_digest, cases["path"])]
    key = digest([sources, options.model_dump(exclude={"before_split"}), seed])
    folder = cache_folder("copies") / key
    if not is_usable(folder):
        remove(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        write = _write_with_keras if options.change else _write_with_augmentor
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as temporary:
            for number, (label, count) in enumerate(_copies_per_class(cases["label"], options).items()):
                (target := Path(temporary) / "copies" / str(label)).mkdir(parents=True)
                write(cases[cases["label"] == label], target, count, options, seed + number)
            try:
                target.parent.rename(folder)
                seal(folder)
            except OSError:
                if not folder.is_dir():  # else another training has made the same copies in the meantime
                    raise
    paths = sorted(folder.glob("*/*.jpg"))
    names = [unquote(path.stem) for path in paths]
    copies = cases.set_index("image_id").loc[[name.rsplit("-copy", 1)[0] for name in names]]
    return copies.assign(image_id=names, path=list(map(str, paths)))[cases.columns].reset_index(drop=True)


def _copies_per_class(labels: pd.Series, options: OfflineCopies) -> dict[str, int]:
    counts = labels.value_counts().sort_index()
    if options.target_class_size:
        missing = (options.target_class_size - counts).clip(lower=0)
        missing[counts.idxmax()] = 0
        return missing.to_dict()
    return (counts if options.one_of_each else counts * 0 + options.per_class * options.rounds).to_dict()


def _write_with_keras(cases: pd.DataFrame, target: Path, count: int, options: OfflineCopies, seed: int) -> None:
    """``count`` copies, each changed at random; every case is copied equally often, up to the last round."""
    from lesion_utils.runtime import keras  # slow to import

    assert options.change
    change = make_augmenter(options.change, seed)
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(len(cases)) for _ in range(math.ceil(count / len(cases)))]
    rows = np.concatenate([np.arange(0), *rounds])
    for number, case in enumerate(cases.iloc[rows[:count]].itertuples()):
        changed = change(np.asarray(open_image(case.path))[None], number)[0]
        # Like ImageDataGenerator's `save_to_dir`, this stretches the values of each picture to 0-255.
        keras.utils.array_to_img(changed).save(target / f"{quote(case.image_id, safe='')}-copy{number:05d}.jpg")


def _write_with_augmentor(cases: pd.DataFrame, target: Path, count: int, options: OfflineCopies, seed: int) -> None:
    import Augmentor  # slow to import

    with tempfile.TemporaryDirectory(dir=target) as scratch:
        source, output = Path(scratch) / "source", Path(scratch) / "output"
        source.mkdir()
        for case in cases.itertuples():
            shutil.copyfile(case.path, source / f"{quote(case.image_id, safe='')}.jpg")  # an id may hold slashes
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            pipeline = Augmentor.Pipeline(str(source), str(output))
            pipeline.augmentor_images.sort(key=lambda image: image.image_path)
            pipeline.set_seed(seed)
            pipeline.rotate(options.probability, options.rotation, options.rotation)
            pipeline.sample(0 if options.one_of_each else count, multi_threaded=False)  # 0: one of each
        # Augmentor names its files at random: name them by source and content instead.
        copies = sorted(
            (path.name.split("_original_")[1].split(".jpg")[0], file_digest(path), path) for path in output.iterdir()
        )
        for number, (image_id, _, path) in enumerate(copies):
            path.rename(target / f"{image_id}-copy{number:05d}.jpg")
