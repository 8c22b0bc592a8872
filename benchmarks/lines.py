"""The lines of the table of speeds: what each compares, its target, and how it is written; imports nothing heavy."""

import operator
import statistics
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.page import renewed as between

KEYS = ["row", "unit", "ours", "theirs", "limit", "ratio", "low", "high", "target", "met"]
_COMPARED = {">=": operator.ge, "<=": operator.le, "<": operator.lt}


class Line(NamedTuple):
    """One line of the table; ``target`` is a comparison and a number, which the ratio must hold.

    ``ratio`` says of what: of two of the three numbers, or of what the note of the row says.
    """

    title: str
    unit: str
    target: str
    ratio: str


_DECODED = {"made up": "600x450 px (made up, about 220 KB)", "real": "200x150 px (HAM10000)"}
_READERS = {
    "keras": ("`image_dataset_from_directory`", ">= 1.15", "ours / theirs"),
    "pil": ("a loop over Pillow", ">= 2", "ours / theirs"),
    "limit": ("the limit", ">= 0.8", "ours / limit"),
}
_EPOCH = "epoch of the small CNN at 180 px with augmentation, against"

# row of the command line -> key -> line
LINES = {
    "decode": {
        f"{files} {reader}": Line(f"JPEG of {size} to uint8 of 180x180 px, against {told}", "images/s", target, ratio)
        for files, size in _DECODED.items()
        for reader, (told, target, ratio) in _READERS.items()
    },
    "epoch": {
        "epoch keras": Line(f"{_EPOCH} the published pipeline", "s", ">= 2", "theirs / ours"),
        "epoch kept": Line(f"{_EPOCH} it with its pictures kept in memory", "s", ">= 2", "theirs / ours"),
        "epoch limit": Line(f"{_EPOCH} the bare step", "s", "<= 1.1", "ours / limit"),
    },
    "head": {
        "head": Line(
            "30 epochs of a head on a frozen MobileNet, 10,000 images, against the base in every epoch",
            *("s", ">= 20", "theirs / ours"),
        )
    },
    "finetune": {
        "finetune": Line(
            "10 epochs of MobileNet's last two blocks, 2,000 images, against the whole network in every step",
            *("s", ">= 3", "theirs / ours"),
        )
    },
    "metrics": {
        "metrics": Line(
            "metric table of 10,000 cases with 2,000 resamples, against a loop over scikit-learn",
            *("s", ">= 50", "theirs / ours"),
        )
    },
    "memory": {"memory": Line("preparing HAM10000 at 224 px, memory at its peak", "GB", "< 1", "ours, GB")},
    "scaling": {
        "scaling": Line("an image's cost among 20,000, against among 2,000", "ms", "<= 1.1", "ours / theirs"),
    },
    "quick": {
        "quick": Line(
            "quick study: what is neither training, decoding nor the start of Python and TensorFlow",
            *("s", "< 0.2", "share of the wall time"),
        )
    },
}

# How a row is measured, for the reader of the table.
NOTES = {
    "decode": "600 made-up files; 4,000 of HAM10000, which are smaller than the result. Ours reads, hashes, decodes, "
    "resizes and writes the cache. Theirs read, decode and resize: Keras by TensorFlow on all cores into float32, "
    "Pillow one after the other as in system 002. The limit reads and decodes on all cores, by libjpeg-turbo at the "
    "smallest size that it can make and that is large enough, and does not resize.",
    "epoch": "800 of the made-up 600x450 px files, batches of 32, flip, rotation and zoom; no first epoch. Ours is an "
    "epoch of `train` with its validation on 7 pictures. Theirs is Keras' reader and three random layers in the "
    "model, as system 003 describes it: its last model reads the files in every epoch, the earlier ones keep the "
    "decoded pictures in memory and fetch ahead. The limit steps over four batches that lie in memory as float32, "
    "without augmentation.",
    "head": "MobileNet V1 at 150x200 px with random weights, which cost what others do. Ours is `train` from its first "
    "line to its last, pictures being in the cache. Theirs is Keras' fit of the base, frozen, and the head on float32 "
    "in memory: an epoch of 960 images measured, times 30 and scaled up to 10,000. The limit is one forward pass of "
    "the base, 1,920 images measured and scaled up.",
    "finetune": "The same network; blocks 12 and 13 and the head learn, batch norm does not. Ours is `train` from its "
    "first line to its last, pictures being in the cache. Theirs is Keras' fit of the whole network with the same "
    "layers frozen: an epoch of 480 images measured, times 10 and scaled up. The limit is the bare step of the trained "
    "part on activations in memory: 20 steps measured and scaled up.",
    "metrics": "A made-up table of 7 classes and 7,500 lesions; every metric of `judge` with its interval by lesion. "
    "Theirs calls scikit-learn for the same metrics, one draw of lesions after the other: 20 draws measured and "
    "scaled up to 2,000.",
    "memory": "A process that prepares the 10,015 pictures for training; its resident memory at the peak, TensorFlow "
    "included (`VmHWM`). Theirs keeps all pictures, then both parts of the data as float64, as system 002 does: what "
    "1,000 pictures add to the process measured and scaled up. The limit is the size of the cache on disk.",
    "scaling": "Made-up 200x150 px files at that size, all different: `load` into an empty cache, `load` again, and an "
    "epoch of batches of 64. Theirs is ours at 2,000.",
    "quick": "`lesion study quick` into an empty folder under py-spy, see below; ours is what is left.",
}


def entry(
    key: str, ratios: Sequence[float], ours: float, theirs: float | None = None, limit: float | None = None
) -> dict[str, Any]:
    """An entry of ``results.json``: the line ``key`` with the median, the least and the most of the rounds' ratios."""
    line = next(lines[key] for lines in LINES.values() if key in lines)
    least, median, most = (_rounded(value) for value in (min(ratios), statistics.median(ratios), max(ratios)))
    values = {"ours": _rounded(ours), "theirs": _rounded(theirs), "limit": _rounded(limit)}
    values |= {"ratio": median, "low": least, "high": most, "target": line.target}
    return {"row": line.title, "unit": line.unit} | values | {"met": holds(median, line.target)}


def holds(ratio: float, target: str) -> bool:
    """Whether ``ratio`` is as ``target`` (">= 1.15") has it."""
    sign, number = target.split()
    return _COMPARED[sign](ratio, float(number))


def merged(results: Sequence[dict], new: Sequence[dict]) -> list[dict]:
    """``results`` with the entries of ``new`` in place of those of the same name, in the order of the lines.

    An entry that no line has any more is dropped.
    """
    found = {one["row"]: one for one in [*results, *new]}
    titles = [line.title for lines in LINES.values() for line in lines.values()]
    return [found[title] for title in titles if title in found]


def table(results: Sequence[dict], made_by: dict[str, dict]) -> str:
    """The table of ``results`` for docs/performance.md, what made it, and how each of its rows is measured."""
    names = ["", "unit", "ours", "theirs", "limit", "ratio of", "ratio (least to most)", "target", "met"]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    ratio_of = {line.title: line.ratio for row in LINES.values() for line in row.values()}
    for one in results:
        spread = f"{one['ratio']:.3g} ({one['low']:.3g} to {one['high']:.3g})"
        values = [_told(one[name]) for name in ("ours", "theirs", "limit")]
        met = "yes" if one["met"] else "**no**"
        cells = [one["row"], one["unit"], *values, ratio_of[one["row"]], spread, one["target"], met]
        lines.append("| " + " | ".join(cells) + " |")
    makers: dict[str, list[str]] = {}
    for row in LINES:
        if row in made_by:
            makers.setdefault(", ".join(f"{name} {value}" for name, value in made_by[row].items()), []).append(row)
    told = [f"* **{row}**: {note}" for row, note in NOTES.items() if row in made_by]
    told += [f"* Measured {maker}: {', '.join(rows)}." for maker, rows in makers.items()]
    return "\n".join([*lines, "", *(textwrap.fill(one, 120, subsequent_indent="  ") for one in told)])


def renewed(page: str, results: Sequence[dict], made_by: dict[str, dict]) -> str:
    """``page`` with what stands between the marks of the table anew."""
    return between(page, "bench", table(results, made_by))


def _rounded(value: float | None) -> Any:
    return None if value is None else float(f"{value:.4g}")


def _told(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
