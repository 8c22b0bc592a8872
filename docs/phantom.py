"""Draws docs/phantom.svg from the study `quick`: run `make study`, then `.venv/bin/python docs/phantom.py`."""

import json

import matplotlib.pyplot as plt
import pandas as pd
from PIL import Image

from lesion_utils.cases import data_folder, read_case_tables
from lesion_utils.paths import PROJECT, report_folder
from lesion_utils.study import load_study

METRIC = "balanced accuracy"

params = load_study("quick")
cases = read_case_tables(params)["corrected"]
results = json.loads((report_folder("quick") / "results.json").read_text(encoding="utf-8"))
rows = [row for row in results["rows"] if (row["split"], row["metric"]) == ("test", METRIC)][::-1]
classes = sorted(cases["label"].unique())
truth = pd.read_csv(data_folder(params) / "phantom_truth.csv", index_col="image_id")
typical = cases[cases["image_id"].map(truth["typical"])]  # with the look of their class

plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "phantom", "font.family": "sans-serif", "font.size": 9}
figure = plt.figure(figsize=(8, 4.2), layout="constrained")
grid = figure.add_gridspec(2, len(classes), height_ratios=[1, 2.4])
for column, name in enumerate(classes):
    axes = figure.add_subplot(grid[0, column])
    with Image.open(typical.loc[typical["label"] == name, "path"].iloc[0]) as picture:
        axes.imshow(picture.resize((128, 96)))
    axes.set_title(name, fontsize=9)
    axes.set_axis_off()
axes = figure.add_subplot(grid[1, :])
for place, row in enumerate(rows):
    chosen = row["recipe"] == results["chosen on validation"]
    axes.plot([row["low"], row["high"]], [place, place], color="tab:blue", linewidth=3 if chosen else 1.5)
    axes.plot(row["value"], place, "o", color="tab:blue")
axes.axvline(1 / len(classes), color="grey", linestyle=":")
axes.annotate("always one class", (1 / len(classes), len(rows) - 0.6), xytext=(4, 0), textcoords="offset points")
axes.set_yticks(range(len(rows)), [row["recipe"] for row in rows])
axes.set_ylim(-0.6, len(rows) - 0.2)
axes.set_xlabel(f"{METRIC} on test, 95% CI over lesions (n = {rows[0]['n']} images, {rows[0]['lesions']} lesions)")
axes.set_title("Phantom (made-up pictures): the recipes of the study quick; thick: chosen on validation", fontsize=10)
axes.spines[["top", "right"]].set_visible(False)
figure.savefig(PROJECT / "docs" / "phantom.svg", metadata={"Date": None})
