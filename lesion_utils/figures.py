"""Every plot of the study, one function each: it takes the numbers and a title, and returns a Figure. ``show`` displays
figures, tables and sentences in a notebook.

Error bars are 95% CIs from a bootstrap over lesions. Results that are leaky, few or not estimable are marked.
"""

import base64
import io
import textwrap
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image

from lesion_utils.audit.images import open_image
from lesion_utils.evaluation import PredictionTable, roc_curves
from lesion_utils.predictions import labelled
from lesion_utils.probes import GRID, SEEN
from lesion_utils.rounding import CELL, number
from lesion_utils.views import Views

BLUE, ORANGE = "#3b6ea5", "#c05a28"
DPI = 110

# One colour per class in every figure, whatever the dataset calls the class: the palette "muted" of Paul Tol, which
# stays distinct for colour-blind readers (https://personal.sron.nl/~pault/).
_CLASS_COLOURS = {
    "#882255": ("mel", "melanoma"),
    "#ddcc77": ("nv", "nevus", "benign"),
    "#88ccee": ("bkl", "pigmented benign keratosis"),
    "#999933": ("seborrheic keratosis",),
    "#332288": ("bcc", "basal cell carcinoma"),
    "#cc6677": ("akiec", "actinic keratosis"),
    "#aa4499": ("squamous cell carcinoma",),
    "#44aa99": ("vasc", "vascular lesion"),
    "#117733": ("df", "dermatofibroma"),
}
CLASS_COLOURS = {label: colour for colour, labels in _CLASS_COLOURS.items() for label in labels}


def class_colour(label: str, labels: Iterable[str] = ()) -> str:
    """The colour of a class, one of ``labels``; classes that we do not know have the colours that are left, or grey."""
    unknown = sorted({*labels} - CLASS_COLOURS.keys())
    left = [colour for colour in _CLASS_COLOURS if colour not in map(CLASS_COLOURS.get, labels)]
    return (CLASS_COLOURS | dict(zip(unknown, left, strict=False))).get(label, "#777777")


def show(shown: Figure | pd.DataFrame | str, caption: str = "", alt: str = "") -> None:
    """Displays a figure as a small picture with a caption below it, a table with the caption above, or a sentence.

    The caption is also the figure's alternative text, unless ``alt`` says more. A table's numbers are rounded as
    everywhere (``rounding.number``), and its index is hidden if it only counts the rows.
    """
    from IPython.display import display  # the only place that needs a notebook

    below = {"text/markdown": f"*{caption}*", "text/plain": caption}
    if isinstance(shown, str):
        display({"text/markdown": shown, "text/plain": shown}, raw=True)
    elif isinstance(shown, Figure):
        picture = {"image/png": base64.b64encode(small_png(shown)).decode(), "text/plain": alt or caption}
        display(picture, metadata={"image/png": {"caption": caption, "alt": alt or caption}}, raw=True)
        display(below, metadata={"caption_of": "picture"}, raw=True)  # in reports, the picture's own is shown
    else:
        if caption:
            display(below, metadata={"caption_of": "table"}, raw=True)
        index = list(shown.index) != list(range(len(shown)))
        corner = " / ".join(filter(None, shown.index.names)) or None  # one line of names above the table, not two
        cells = shown.map(_cell).rename_axis(index=[None] * shown.index.nlevels, columns=corner)
        with pd.option_context("display.max_colwidth", None):
            html, text = cells.to_html(index=index, border=0, justify="left"), cells.to_string(index=index)
        display({"text/html": html, "text/plain": text}, raw=True)


def _cell(value: Any) -> str:
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        return "" if pd.isna(value) else number(float(value))
    return "" if value is None else str(value)


def small_png(figure: Figure) -> bytes:
    """``figure`` as a PNG with a palette, a third of the bytes without a visible difference; closes it."""
    drawn, kept = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    plt.close(figure)
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(method=Image.Quantize.FASTOCTREE).save(kept, "PNG", optimize=True)
    return kept.getvalue()


def _panels(rows: int = 1, columns: int = 1, width: float = 7.0, height: float = 3.6) -> tuple[Figure, np.ndarray]:
    """A figure and its axes, (rows, columns); ``width`` and ``height`` in inches."""
    sns.set_theme(style="whitegrid", context="notebook", palette="colorblind")
    return plt.subplots(rows, columns, figsize=(width, height), dpi=DPI, layout="constrained", squeeze=False)


def _panel(
    title: str, xlabel: str, ylabel: str, width: float = 7, height: float = 3.6, diagonal: bool = False
) -> tuple[Figure, Axes]:
    figure, axes = _panels(width=width, height=height)
    axes[0, 0].set(title=title, xlabel=xlabel, ylabel=ylabel)
    if diagonal:
        axes[0, 0].plot([0, 1], [0, 1], color="grey", linestyle=":")
    return figure, axes[0, 0]


def _heatmap(shares: pd.DataFrame, *panel: Any, **cells: Any) -> Figure:
    figure, ax = _panel(*panel)
    cells = {"annot": True, "fmt": CELL, "annot_kws": {"size": 9}} | cells
    sns.heatmap(shares, cmap="Blues", vmin=0, vmax=1, ax=ax, **cells)
    ax.set(xlabel=panel[1], ylabel=panel[2])  # seaborn has put the names of the table
    ax.tick_params(axis="y", rotation=0)
    ax.grid(False)
    return figure


def _with_images(sizes: pd.Series) -> list[str]:
    return [f"{name} (n = {n:,})" for name, n in sizes.items()]


def _interval(ax: Axes, line: int, row: dict | pd.Series, marker: str = "o") -> None:
    if np.isnan(row["value"]):
        ax.text(0, line, "not estimable", va="center", fontsize=8, color="grey")
        return
    ax.plot([row["low"], row["high"]], [line, line], color=BLUE)
    ax.plot(row["value"], line, marker, color=BLUE)


def class_counts(cases: pd.DataFrame, title: str) -> Figure:
    """Images and lesions of each class, largest first."""
    counts = cases.groupby("label").agg(images=("image_id", "size"), lesions=("lesion_id", "nunique"))
    counts = counts.sort_values("images", ascending=False)
    figure, ax = _panel(f"{title}: images and lesions of each class", "number (lesions hatched)", "diagnosis")
    colours = [class_colour(label, counts.index) for label in counts.index]
    for place, column, hatch in ((-0.2, "images", ""), (0.2, "lesions", "///")):
        lines = np.arange(len(counts)) + place
        bars = ax.barh(lines, counts[column], 0.4, color=colours, hatch=hatch, edgecolor="white", linewidth=0)
        ax.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    ax.set_yticks(range(len(counts)), counts.index)
    ax.grid(axis="y", visible=False)
    ax.invert_yaxis()
    return figure


def shares_by_class(cases: pd.DataFrame, column: str, title: str) -> Figure:
    """Share of each value of ``column`` (diagnosis type, site, sex) within each class; missing is a value."""
    shares = pd.crosstab(cases["label"], cases[column].fillna("missing"), normalize="index")
    size = (9, 4.2) if shares.shape[1] > 6 else (7, 3.6)
    return _heatmap(shares, f"{title}: share of {column} within each class", column, "diagnosis", *size)


def ages(cases: pd.DataFrame, title: str) -> Figure:
    """Age in years: by class, and a histogram of all in 40 bins. The title counts the cases without an age."""
    figure, axes = _panels(columns=2, width=12)
    order = cases["label"].value_counts().index
    colours = {"hue": "label", "palette": {label: class_colour(label, order) for label in order}, "legend": False}
    if cases["age"].notna().any():  # seaborn fails without a number
        sns.boxplot(cases, x="age", y="label", order=order, fliersize=2, ax=axes[0, 0], **colours)
    axes[0, 0].set(title="by class", xlabel="age, years", ylabel="diagnosis")
    axes[0, 1].hist(cases["age"].dropna(), bins=40, color=BLUE)
    axes[0, 1].set(title="all classes", xlabel="age, years", ylabel="images")
    figure.suptitle(f"{title}: age (missing: {cases['age'].isna().sum():,})")
    return figure


def split_shares(cases: pd.DataFrame, splits: Sequence[str], title: str) -> Figure:
    """Share of the images of each class in each of ``splits``, in the colour of the class; the bars hold the counts."""
    counts = pd.crosstab(cases["label"], cases["split"]).reindex(columns=splits, fill_value=0)
    counts = counts.loc[cases["label"].value_counts().index]
    figure, ax = _panel(f"{title}: images of each class by split", "share of the class", "diagnosis", 8, 3.8)
    colours, left = [class_colour(label, counts.index) for label in counts.index], np.zeros(len(counts))
    for split, alpha in zip(splits, (1, 0.6, 0.3), strict=False):
        shares = (counts[split] / counts.sum(axis=1)).to_numpy()
        bars = ax.barh(counts.index, shares, left=left, color=colours, alpha=alpha)
        texts = [f"{split} {n:,}" for n in counts[split]]
        halo = [withStroke(linewidth=2.5, foreground="white")]  # readable on every colour
        ax.bar_label(bars, texts, label_type="center", fontsize=8, color="black", path_effects=halo)
        left += shares
    ax.set_xlim(0, 1)
    ax.grid(False)
    ax.invert_yaxis()
    return figure


def images_per_lesion(cases: pd.DataFrame, title: str) -> Figure:
    """How many images the lesions have."""
    lesions = cases.groupby("lesion_id").size().value_counts().sort_index()
    figure, ax = _panel(f"{title}: images per lesion", "images of a lesion", "lesions", 7, 3)
    ax.bar_label(ax.bar(lesions.index.astype(str), lesions, color=BLUE), fmt="{:,.0f}")
    return figure


def samples(cases: pd.DataFrame, title: str, each: int = 5, seed: int = 0) -> Figure:
    """``each`` pictures of every class, drawn at random from different lesions."""
    rows = {}
    for label, lesions in cases.drop_duplicates(["label", "lesion_id"]).groupby("label"):
        paths = lesions.sample(min(each, len(lesions)), random_state=seed)["path"]
        rows[str(label)] = [(np.asarray(open_image(path)), "") for path in paths]
    return pictures(rows, f"{title}: samples of each class", 1.7, 1.35)


def probe_views(path: str, title: str) -> Figure:
    """A picture, and the parts of it that the shortcut probes see, as coarse as they see them."""
    picture = open_image(path)
    cells, views = np.asarray(picture.resize((GRID, GRID), Image.Resampling.BOX)), {"the picture": picture}
    for name, mask in SEEN.items():
        seen = Image.fromarray(np.where(mask[..., None], cells, 255).astype(np.uint8))
        views[name] = seen.resize(picture.size, Image.Resampling.NEAREST)
    return pictures({"": [(np.asarray(view), name) for name, view in views.items()]}, title, 3, 2.3)


def pictures(
    rows: dict[str, list[tuple[np.ndarray, str]]], title: str, width: float = 1.35, height: float = 1.3
) -> Figure:
    """Pictures (height, width, 3) from 0 to 255 and what each is called, in named rows; the size of one in inches."""
    columns = max(map(len, rows.values()))
    figure, axes = _panels(len(rows), columns, width=width * columns, height=0.4 + height * len(rows))
    for line, (name, shown) in zip(axes, rows.items(), strict=True):
        for ax, (picture, called) in zip(line, shown, strict=False):
            ax.imshow(np.asarray(picture).clip(0, 255).astype(np.uint8))
            ax.set_title(called, fontsize=9)
        line[0].set_ylabel("\n".join(textwrap.wrap(name, 16)), fontsize=8)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    figure.suptitle(title)
    return figure


def heat_over(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """``picture`` (height, width, 3) under the positive parts of ``heat`` (rows, columns); yellow is highest."""
    height, width = picture.shape[:2]
    shown = Image.fromarray(heat.clip(0).astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    share = np.asarray(shown) / max(float(heat.max()), np.finfo(np.float32).tiny)
    return 0.5 * np.asarray(picture) + 0.5 * 255 * plt.get_cmap("inferno")(share)[..., :3]


def learning_curves(histories: dict[str, pd.DataFrame], title: str, metric: str = "balanced_accuracy") -> Figure:
    """Loss and ``metric`` by epoch for each recipe: training dashed, validation solid."""
    figure, axes = _panels(columns=2, width=10.5)
    for colour, (name, history) in zip(sns.color_palette(n_colors=len(histories)), histories.items(), strict=True):
        epochs = np.arange(1, len(history) + 1)
        for ax, key in zip(axes[0], ("loss", metric), strict=True):
            ax.plot(epochs, history[f"val_{key}"], color=colour, label=name)
            ax.plot(epochs, history[key], color=colour, linestyle="--", linewidth=1)
            ax.set(xlabel="epoch", ylabel=key.replace("_", " "))
    axes[0, 1].set_ylim(0, 1)
    axes[0, 0].legend(fontsize=8)
    figure.suptitle(f"{title}: learning curves (validation solid, training dashed)")
    return figure


def confusion_matrix(counts: pd.DataFrame, title: str) -> Figure:
    """Counts of images, rows true and columns predicted; shaded by the share of each row."""
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    return _heatmap(shares, title, "predicted", "true", 7, 4.6, annot=counts, fmt="d")


def confusion_shares(counts: pd.DataFrame, title: str) -> Figure:
    """Shares of the images of each class, rows true and columns predicted: a row sums to 1, or is empty (n = 0)."""
    sizes = counts.sum(axis=1)
    shares = counts.div(sizes.replace(0, np.nan), axis=0)
    return _heatmap(shares, title, "predicted", "true", 7, 4.6, yticklabels=_with_images(sizes))


def class_errors(counts: pd.DataFrame, title: str) -> Figure:
    """Share of the images of each true class that were misclassified; a class without an image has no bar."""
    figure, ax = _panel(title, "share misclassified", "true class", 7, 1.2 + 0.4 * len(counts))
    sizes = counts.sum(axis=1)
    wrong = 1 - np.diag(counts) / sizes.replace(0, np.nan)
    bars = ax.barh(_with_images(sizes), wrong.fillna(0), color=BLUE)
    ax.bar_label(bars, ["no image" if np.isnan(share) else f"{share:{CELL}}" for share in wrong], padding=3, fontsize=9)
    ax.set_xlim(0, 1.1)
    ax.invert_yaxis()
    return figure


def roc(table: PredictionTable, title: str, views: Views = None) -> Figure:
    """One-vs-rest ROC curve of each class, of the first run; in black those of several classes (``roc_curves``)."""
    figure, ax = _panel(title, "1 - specificity", "sensitivity", 7, 4.8, diagonal=True)
    dashes = cycle(["--", "-.", ":"])
    for name, (false_positive, true_positive, n) in roc_curves(table, views).items():
        single = name in table.classes
        colour, line = (class_colour(name, table.classes), "-") if single else ("black", next(dashes))
        ax.plot(false_positive, true_positive, color=colour, linestyle=line, label=f"{name} (n = {n:,})")
    ax.legend(fontsize=8)
    return figure


def intervals(
    rows: pd.DataFrame, label: str, xlabel: str, title: str, zero: bool = False, chance: float | None = None
) -> Figure:
    """Point and 95% CI of each row, named by the column ``label``; ``zero``: differences, with a line at 0; ``chance``:
    what guessing gets, another line.
    """
    figure, ax = _panel(title, f"{xlabel} (95% CI)", "", 8, 1.2 + 0.35 * len(rows))
    for line, row in enumerate(rows.to_dict("records")):
        _interval(ax, line, row)
    leaky = rows.get("leaky", pd.Series(False, index=rows.index))
    ax.set_yticks(range(len(rows)), [labelled(name, mark) for name, mark in zip(rows[label], leaky, strict=True)])
    ax.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    if (mark := 0 if zero else chance) is not None:
        ax.axvline(mark, color="grey", linestyle=":")
    if zero:
        ax.locator_params(axis="x", nbins=7)
    else:
        ax.set_xlim(0, 1)
    return figure


def subgroup_intervals(rows: pd.DataFrame, metric: str, title: str) -> Figure:
    """One ``metric`` of every group, in the order of the rows of ``subgroups``."""
    rows = rows[rows["metric"] == metric]
    few = np.where(rows["few"], ", few", "")
    names = rows["variable"] + " " + rows["group"] + " (n = " + rows["n"].map("{:,}".format) + few + ")"
    caution = "".join(f", {caution}" for caution in rows["caution"].head(1) if caution)
    return intervals(rows.assign(name=names), "name", f"{metric}{caution}", title)


def ablation(
    effects: pd.DataFrame,
    title: str,
    metrics: Sequence[str] = ("balanced accuracy", "melanoma sensitivity"),
    verdicts: bool = True,
) -> Figure:
    """``metrics`` of ``ablation_differences``, a panel each: a line per arm with its 95% CI, one dot per seed, and the
    verdict, if ``verdicts``.
    """
    arms = list(dict.fromkeys(effects.index.get_level_values(0)))
    lines = -(-len(metrics) // 2)
    figure, axes = _panels(lines, 2, width=13 if verdicts else 11, height=lines * (1.6 + 0.45 * len(arms)))
    for ax, metric in zip(axes.flat, metrics, strict=False):
        rows = effects[effects.index.get_level_values(1) == metric].droplevel(1).to_dict("index")
        for line, row in enumerate(rows.get(arm) for arm in arms):
            if row:
                _interval(ax, line, row, "D")
                ax.scatter(row["single"], np.full(len(row["single"]), line + 0.2), s=12, color=ORANGE, zorder=3)
        labels = [f": {rows[arm]['verdict']}" if arm in rows else ": no such metric" for arm in arms]
        shown = [f"{arm}{label if verdicts else ''}" for arm, label in zip(arms, labels, strict=True)]
        ax.set_yticks(range(len(arms)), shown)
        ax.set_ylim(len(arms) - 0.5, -0.5)
        ax.axvline(0, color="grey", linestyle=":")
        ax.locator_params(axis="x", nbins=6)
        if all(np.isnan(row["value"]) for row in rows.values()):  # without a point Matplotlib finds no sensible axis
            ax.set_xlim(-1, 1)
        ax.set_xlabel(f"{metric}\narm minus reference (95% CI; dots: single seeds)")
    figure.suptitle(title)
    return figure


def reliability_diagram(curves: dict[str, pd.DataFrame], title: str) -> Figure:
    """Observed share against stated probability, one point per estimable bin; ``curves`` are of
    ``calibration.reliability``. On the diagonal the probabilities are calibrated.
    """
    figure, ax = _panel(title, "stated probability", "observed share (95% CI)", 7, 4.8, diagonal=True)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    for name, curve in curves.items():
        shown = curve.dropna(subset=["value"])
        line = ax.plot(shown["stated"], shown["value"], "o-", markersize=4, linewidth=1, label=name)[0]
        ax.vlines(shown["stated"], shown["low"], shown["high"], color=line.get_color(), linewidth=1)
    ax.legend(fontsize=8)
    return figure


def decision_curve(curve: pd.DataFrame, title: str) -> Figure:
    """Net benefit by threshold probability, one panel per prevalence, with treating everybody and nobody; below, the
    caution of the ``curve`` (of ``operating.decision_curve``), or why there is none.
    """
    panels = list(curve.groupby("at", sort=False))
    figure, axes = _panels(columns=len(panels), width=5.25 * len(panels), height=4.2)
    for ax, (at, rows) in zip(axes[0], panels, strict=True):
        threshold, prevalence = rows["threshold"], rows["prevalence"].iloc[0]
        ax.plot(threshold, rows["value"], color=BLUE, label="treat by the classifier")
        ax.fill_between(threshold, rows["low"], rows["high"], color=BLUE, alpha=0.25, linewidth=0)
        ax.plot(threshold, rows["treat_all"], color=ORANGE, linestyle="--", label="treat everybody")
        ax.plot(threshold, rows["treat_none"], color="grey", linestyle=":", label="treat nobody")
        ax.set_ylim(-0.25 * max(prevalence, 0.01), 1.05 * max(prevalence, 0.01))
        ax.set_title(f"prevalence {number(prevalence)} ({at})", fontsize=10)
    axes[0, 0].set_ylabel("net benefit per patient\n(95% CI)")
    axes[0, 0].legend(fontsize=8)
    figure.suptitle(title)
    note = f"not estimable: {curve['note'].iloc[0]}" if curve["value"].isna().all() else curve["caution"].iloc[0]
    figure.supxlabel("\n".join(["threshold probability", *textwrap.wrap(note, 60 * len(panels))]), fontsize=10)
    return figure
