"""What do pictures from elsewhere cost a model? Validation pictures are changed one way at a time, and predicted anew.

    .venv/bin/python -m benchmarks.transforms MODEL.lesion STUDY DATA     # writes transforms.json and the page

MODEL.lesion was written by `lesion pack` on the machine that ran STUDY on the pictures in DATA. The changes imitate
other cameras, crops and sizes; real ones may differ more. The pictures are those of validation, on which temperature
and threshold were fitted, so shares as such are optimistic; differences are between answers on the same pictures.
"""

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmarks.page import YOUR_DATA, markdown, renew
from lesion_utils import model_file, predictions
from lesion_utils.audit.images import open_image
from lesion_utils.cases import read_case_tables
from lesion_utils.claims.differences import run_differences
from lesion_utils.evaluation import PredictionTable
from lesion_utils.evaluation.sentences import NOT_ESTIMABLE, cell
from lesion_utils.paths import read_json, write_json
from lesion_utils.pictures import decode
from lesion_utils.rounding import percent
from lesion_utils.study import load_study

RESULTS = Path(__file__).with_suffix(".json")
WANTED = ("balanced accuracy", "macro AUC", "log loss")
SHARES = ("melanoma called", "others called", "marked as unlike")
HAIR_KERNEL, HAIR_DARKER = 9, 10  # px, grey levels


def resized(share: float):
    return lambda picture: cv2.resize(picture, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)


def cropped(height: float, width: float):
    """The middle of a picture: these shares of its sides."""

    def crop(picture):
        rows, columns = picture.shape[:2]
        top, left = round(rows * (1 - height) / 2), round(columns * (1 - width) / 2)
        return picture[top : rows - top, left : columns - left]

    return crop


def coloured(red: float, green: float, blue: float):
    return lambda picture: (picture * np.array([red, green, blue])).clip(0, 255).round().astype(np.uint8)


def compressed(quality: int):
    def compress(picture):
        data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]

    return compress


def without_hair(picture):
    """Dark thin structures painted over (DullRazor; Lee et al., Comput Biol Med 27:533, 1997)."""
    grey, cross = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.ones((HAIR_KERNEL, HAIR_KERNEL), np.uint8)
    hair = (cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, cross) > HAIR_DARKER).astype(np.uint8)
    return cv2.inpaint(np.ascontiguousarray(picture), hair, 3, cv2.INPAINT_TELEA)


def round_frame(picture):
    """Black corners, as of a dermatoscope whose field of view is a circle."""
    (rows, columns), mask = picture.shape[:2], np.zeros(picture.shape[:2], np.uint8)
    cv2.circle(mask, (columns // 2, rows // 2), round(0.55 * columns), 1, -1)
    return picture * mask[..., None]


CHANGES = {
    "half the size": resized(0.5),
    "a quarter of the size": resized(0.25),
    "the middle 80% of each side": cropped(0.8, 0.8),
    "cut to a square": cropped(1.0, 0.75),
    "blurred (standard deviation 2 px)": lambda picture: cv2.GaussianBlur(picture, (0, 0), 2),
    "JPEG of quality 20": compressed(20),
    "a quarter darker": coloured(0.75, 0.75, 0.75),
    "a quarter brighter": coloured(1.25, 1.25, 1.25),
    "warmer light (red +10%, blue -10%)": coloured(1.1, 1.0, 0.9),
    "cooler light (red -10%, blue +10%)": coloured(0.9, 1.0, 1.1),
    "black corners": round_frame,
    "hair removed": without_hair,
}


def main(model: str, study: str, data: str) -> None:
    network = model_file.read(Path(model), threads=2)
    params = load_study(study, data=data)
    name = network.about.name.removeprefix(f"{params.study}/")
    cases = read_case_tables(params)[params.recipes[name].case_table].query("split == 'validation'")
    size = network.about.recipe.backbone.image_size
    originals = [np.asarray(open_image(path)) for path in cases["path"]]

    def asked(change) -> tuple[PredictionTable, dict[str, float]]:
        pictures = []
        with tempfile.TemporaryDirectory() as folder:  # through a file, so that sizes change as in `lesion predict`
            file = Path(folder) / "changed.png"
            for original in originals:
                Image.fromarray(np.ascontiguousarray(change(original))).save(file, compress_level=1)
                pictures.append(decode(file.read_bytes(), str(file), size))
        answer = network.ask(np.stack(pictures))
        table = predictions.build(cases, list(network.about.classes), answer.probabilities, False)
        melanoma = (cases["label"] == "mel").to_numpy()
        called = {
            "melanoma called": answer.called[melanoma].mean(),
            "others called": answer.called[~melanoma].mean(),
            "marked as unlike": answer.unlike.mean(),
        }
        return PredictionTable(table, params.resamples, name=study), {key: round(of, 4) for key, of in called.items()}

    plain, counts = asked(lambda picture: picture)
    rows: dict[str, dict[str, float | str]] = {"unchanged": {**counts}}
    for label, change in CHANGES.items():
        table, counts = asked(change)
        differences = run_differences(table, plain, WANTED)
        rows[label] = counts | {metric: cell(row, edges=[0.0], sign="+") for metric, row in differences.iterrows()}
        print(label, rows[label], flush=True)
    found = {"trained": network.about.trained["commit"], "n": len(plain), "lesions": plain.lesions}
    found |= {"melanomas": int((cases["label"] == "mel").sum()), "rows": rows}
    write_json(RESULTS, read_json(RESULTS, missing={}) | {network.about.name: found})
    renew("transforms", page(read_json(RESULTS)), YOUR_DATA)


def page(results: dict) -> str:
    """The results as Markdown: a table per model, with the metrics that are estimable for any change."""
    parts = []
    for model, of in results.items():
        metrics = [
            key for key in WANTED if {row.get(key, NOT_ESTIMABLE) for row in of["rows"].values()} != {NOT_ESTIMABLE}
        ]
        heads = ["change", *metrics, *SHARES]
        rows = [
            [label, *(row.get(key, "") for key in metrics), *(percent(row[key]) for key in SHARES)]
            for label, row in of["rows"].items()
        ]
        n = f"n = {of['n']:,} validation images of {of['lesions']:,} lesions, {of['melanomas']:,} images of melanoma"
        text = f"Changes of `{model}` (trained by commit {of['trained']}) with 95% CIs over lesions; {n}."
        if missing := [key for key in WANTED if key not in metrics]:
            text += f" Not estimable, as a class has too few lesions: {', '.join(missing)}."
        parts.append(f"{text}\n\n{markdown(heads, rows)}")
    return "\n\n".join(parts)


if __name__ == "__main__":
    main(*sys.argv[1:])
