"""How figures, tables and sentences are displayed, and the colours of the classes."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lesion_utils.datasets import LAYOUTS
from lesion_utils.figures import class_colour, class_counts, show


@pytest.fixture
def displayed(monkeypatch):
    """Calls ``show`` and returns what it displays: pairs of data and metadata."""

    def call(*arguments):
        outputs = []
        keep = lambda data, metadata=None, raw=False: outputs.append((data, metadata))  # noqa: E731
        monkeypatch.setattr("IPython.display.display", keep)
        show(*arguments)
        return outputs

    return call


@pytest.mark.parametrize(("alt", "alternative"), [("", "A caption, n = 3"), ("What it shows", "What it shows")])
def test_a_figure_is_a_small_picture_with_its_caption(displayed, alt, alternative):
    figure, ax = plt.subplots()
    ax.imshow(np.random.default_rng(0).random((50, 50, 3)))
    (picture, about), (caption, marked) = displayed(figure, "A caption, n = 3", alt)
    assert about == {"image/png": {"caption": "A caption, n = 3", "alt": alternative}}
    image = Image.open(io.BytesIO(base64.b64decode(picture["image/png"])))
    assert picture["text/plain"] == alternative and image.mode == "P" and len(image.getcolors()) <= 256
    assert caption["text/markdown"] == "*A caption, n = 3*" and marked == {"caption_of": "picture"}
    assert not plt.fignum_exists(figure.number)


def test_the_same_figure_gives_the_same_bytes(displayed):
    cases = pd.DataFrame({"label": list("aab"), "image_id": range(3), "lesion_id": [1, 1, 2]})
    first, second = (displayed(class_counts(cases, "Made up"), "c")[0] for _ in range(2))
    assert first == second


def test_a_table_is_rounded_as_everywhere_and_cuts_no_text(displayed):
    long = "a sentence that is not cut, " * 9
    table = pd.DataFrame({"n": [10015, 2], "share": [0.123456, np.nan], "text": [long, None], "ok": [True, False]})
    (caption, marked), (shown, _) = displayed(table, "All rows")
    assert caption["text/markdown"] == "*All rows*" and marked == {"caption_of": "table"}
    for form in ("text/html", "text/plain"):
        text = shown[form]
        assert "10,015" in text and "0.123" in text and "0.1234" not in text and long.strip() in text
        assert "True" in text and "NaN" not in text and "None" not in text
    assert "<th></th>" not in shown["text/html"]  # no index
    ((named, _),) = displayed(table.set_index(["n", "share"]))
    head = named["text/html"].split("</thead>")[0]
    assert "<th>2</th>" in named["text/html"] and head.count("<tr") == 1 and "n / share" in head


def test_a_sentence_is_a_paragraph(displayed):
    assert displayed("Three of four.") == [({"text/markdown": "Three of four.", "text/plain": "Three of four."}, None)]


def test_every_class_of_a_dataset_has_a_colour_of_its_own():
    for layout in LAYOUTS.values():
        colours = [class_colour(label) for label in layout.classes]
        assert len(set(colours)) == len(layout.classes) and "#777777" not in colours
    assert class_colour("melanoma") == class_colour("mel") and class_colour("another") == "#777777"
