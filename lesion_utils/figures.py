"""Every plot of the study, one function each; each returns a Figure and names its data set in the title."""

import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lesion_utils.audit.images import open_image
from lesion_utils.evaluation import PredictionTable, roc_curves
from lesion_utils.predictions import labelled

COLOUR = "#3b6ea5"
DPI = 80


def _axes(rows: int = 1, columns: int = 1, width: float = 7.0, height: float = 3.6):
    sns.set_theme(style="whitegrid", context="notebook", palette="colorblind")
    return plt.subplots(rows, columns, figsize=(width, height), dpi=DPI, layout="constrained", squeeze=False)


def class_counts(cases: pd.DataFrame, source: str) -> Figure:
    """Images and lesions of each class, largest first."""
    counts = cases.groupby("label").agg(images=("image_id", "size"), lesions=("lesion_id", "nunique"))
    counts = counts.sort_values("images", ascending=False)
    fig, axes = _axes()
    counts.plot.barh(ax=axes[0, 0], color=[COLOUR, "#b8c9dd"])
    axes[0, 0].invert_yaxis()
    axes[0, 0].set(xlabel="count", ylabel="diagnosis", title=f"{source}: images and lesions of each class")
    return fig


def shares_by_class(cases: pd.DataFrame, column: str, source: str) -> Figure:
    """Share of each value of ``column`` (diagnosis type, site, sex) within each class; missing is a value."""
    shares = pd.crosstab(cases["label"], cases[column].fillna("missing"), normalize="index")
    fig, axes = _axes(height=4.2 if shares.shape[1] > 6 else 3.6, width=9 if shares.shape[1] > 6 else 7)
    sns.heatmap(shares, cmap="Blues", vmin=0, vmax=1, annot=True, fmt=".2f", annot_kws={"size": 9}, ax=axes[0, 0])
    axes[0, 0].tick_params(axis="y", rotation=0)
    axes[0, 0].set(xlabel=column, ylabel="diagnosis", title=f"{source}: share of {column} within each class")
    return fig


def ages(cases: pd.DataFrame, source: str) -> Figure:
    """Age at the examination, years: by class, and the histogram of all in 40 bins.

    Cases without an age are left out and counted in the title.
    """
    fig, axes = _axes(1, 2, width=12)
    order = cases["label"].value_counts().index
    sns.boxplot(cases, x="age", y="label", order=order, color="#b8c9dd", fliersize=2, ax=axes[0, 0])
    missing = int(cases["age"].isna().sum())
    axes[0, 0].set(xlabel="age, years", ylabel="diagnosis", title="by class")
    axes[0, 1].hist(cases["age"].dropna(), bins=40, color=COLOUR)
    axes[0, 1].set(xlabel="age, years", ylabel="images", title="all classes")
    fig.suptitle(f"{source}: age (missing: {missing})")
    return fig


def images_per_lesion(cases: pd.DataFrame, source: str) -> Figure:
    """How many images a lesion has."""
    views = cases.groupby("lesion_id").size().value_counts().sort_index()
    fig, axes = _axes(height=3)
    axes[0, 0].bar(views.index.astype(str), views, color=COLOUR)
    axes[0, 0].bar_label(axes[0, 0].containers[0], fmt="{:,.0f}")
    axes[0, 0].set(xlabel="images of a lesion", ylabel="lesions", title=f"{source}: images per lesion")
    return fig


def samples(cases: pd.DataFrame, source: str, each: int = 5, seed: int = 0) -> Figure:
    """``each`` pictures of every class, drawn at random from different lesions."""
    classes = sorted(cases["label"].unique())
    fig, axes = _axes(len(classes), each, width=1.7 * each, height=1.35 * len(classes))
    for row, label in zip(axes, classes, strict=True):
        group = cases[cases["label"] == label].drop_duplicates("lesion_id")
        for ax, path in zip(row, group.sample(min(each, len(group)), random_state=seed)["path"], strict=False):
            ax.imshow(np.asarray(open_image(path)))
        for ax in row:
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
        row[0].set_ylabel(label)
    fig.suptitle(f"{source}: samples of each class")
    return fig


def learning_curves(histories: dict[str, pd.DataFrame], source: str) -> Figure:
    """Loss and balanced accuracy by epoch for each recipe: training dashed, validation solid."""
    fig, axes = _axes(1, 2, width=10.5)
    for colour, (name, history) in zip(sns.color_palette(n_colors=len(histories)), histories.items(), strict=True):
        for ax, key in zip(axes[0], ("loss", "balanced_accuracy"), strict=True):
            epochs = np.arange(1, len(history) + 1)
            ax.plot(epochs, history[f"val_{key}"], color=colour, label=name)
            ax.plot(epochs, history[key], color=colour, linestyle="--", linewidth=1)
            ax.set(xlabel="epoch", ylabel=key.replace("_", " "))
    axes[0, 1].set_ylim(0, 1)
    axes[0, 0].legend(fontsize=8)
    fig.suptitle(f"{source}: learning curves (validation solid, training dashed)")
    return fig


def confusion_matrix(counts: pd.DataFrame, title: str) -> Figure:
    """Counts of images, rows true and columns predicted; shaded by the share of each row."""
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    return _confusion(shares, title, annot=counts, fmt="d")


def confusion_shares(counts: pd.DataFrame, title: str) -> Figure:
    """Shares of the images of each class, rows true and columns predicted: a row sums to 1, or is empty (n = 0)."""
    shares = counts.div(counts.sum(axis=1).replace(0, np.nan), axis=0)
    named = [f"{name} (n = {n:,})" for name, n in counts.sum(axis=1).items()]
    return _confusion(shares, title, annot=True, fmt=".2f", yticklabels=named)


def _confusion(shares: pd.DataFrame, title: str, **options: Any) -> Figure:
    fig, axes = _axes(height=4.6)
    sns.heatmap(shares, cmap="Blues", vmin=0, vmax=1, annot_kws={"size": 10}, ax=axes[0, 0], **options)
    axes[0, 0].tick_params(axis="y", rotation=0)
    axes[0, 0].set(xlabel="predicted", ylabel="true", title=title)
    return fig


def roc(table: PredictionTable, title: str) -> Figure:
    """One-vs-rest ROC curve of each class."""
    fig, axes = _axes(height=4.8)
    for name, (false_positive, true_positive) in roc_curves(table).items():
        axes[0, 0].plot(false_positive, true_positive, label=f"{name} (n = {table.is_labelled([name]).sum():,})")
    axes[0, 0].plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes[0, 0].set(xlabel="1 - specificity", ylabel="sensitivity", title=title)
    axes[0, 0].legend(fontsize=8)
    return fig


def intervals(rows: pd.DataFrame, label: str, xlabel: str, title: str, zero: bool = False) -> Figure:
    """Point and 95 % interval a row, named by column ``label``; rows that are not estimable, or leaky, say so."""
    fig, axes = _axes(height=1.2 + 0.35 * len(rows), width=8)
    ax = axes[0, 0]
    leaky = rows.get("leaky", pd.Series(False, index=rows.index))
    for place, row in enumerate(rows.to_dict("records")):
        if np.isnan(row["value"]):
            ax.text(0, place, "not estimable", va="center", fontsize=8, color="grey")
            continue
        ax.plot([row["low"], row["high"]], [place, place], color=COLOUR)
        ax.plot(row["value"], place, "o", color=COLOUR)
    ax.set_yticks(range(len(rows)), [labelled(name, marked) for name, marked in zip(rows[label], leaky, strict=True)])
    ax.invert_yaxis()
    if zero:
        ax.axvline(0, color="grey", linestyle=":")
    else:
        ax.set_xlim(0, 1)
    ax.set(xlabel=f"{xlabel} (95 % interval by lesion)", title=title)
    return fig


def ablation(effects: pd.DataFrame, title: str) -> Figure:
    """What each factor is worth: one line per factor with its 95% CI, one dot per seed.

    ``effects`` are rows of ``ablation_differences``.

    Two panels: balanced accuracy and melanoma sensitivity, factor minus reference, with the verdict of each.
    """
    metrics = ("balanced accuracy", "melanoma sensitivity")
    arms = list(dict.fromkeys(effects.index.get_level_values(0)))
    fig, axes = _axes(1, 2, width=13, height=1.6 + 0.45 * len(arms))
    for ax, metric in zip(axes[0], metrics, strict=True):
        verdicts = []
        for place, arm in enumerate(arms):
            if (arm, metric) not in effects.index:
                verdicts.append("not there")
                continue
            row = effects.loc[(arm, metric)]
            verdicts.append(row["verdict"])
            if np.isnan(row["value"]):
                ax.text(0, place, "not estimable", va="center", fontsize=8, color="grey")
                continue
            ax.plot([row["low"], row["high"]], [place, place], color=COLOUR)
            ax.plot(row["value"], place, "D", color=COLOUR)
            ax.scatter(row["single"], np.full(len(row["single"]), place + 0.2), s=12, color="#c05a28", zorder=3)
        ax.set_yticks(range(len(arms)), [f"{arm}: {said}" for arm, said in zip(arms, verdicts, strict=True)])
        ax.set_ylim(len(arms) - 0.5, -0.5)
        ax.axvline(0, color="grey", linestyle=":")
        ax.set_xlabel(f"{metric}, factor minus reference\n(95 % interval by lesion; dots: single seeds)")
    fig.suptitle(title)
    return fig


def report(table: pd.DataFrame, title: str) -> Figure:
    """scikit-learn's classification report as a shaded table: precision, recall, F1, and support (images)."""
    fig, axes = _axes(height=4.6)
    scores = table[["precision", "recall", "f1-score"]].astype(float)
    named = [f"{name} (n = {n:,})" for name, n in zip(table.index, table["support"].astype(int), strict=True)]
    sns.heatmap(scores, annot=True, fmt=".2f", cmap="Blues", vmin=0, vmax=1, yticklabels=named, ax=axes[0, 0])
    axes[0, 0].grid(False)
    axes[0, 0].set(title=title)
    return fig


def agreement(values: pd.DataFrame, title: str) -> Figure:
    """One point a recipe: its value on ``validation`` against its value on ``test``, with the line of agreement."""
    fig, axes = _axes(height=4.8)
    ax = axes[0, 0]
    known = values.dropna()
    ax.plot([0, 1], [0, 1], color="grey", linestyle=":")
    for name, row in known.iterrows():
        ax.plot(row["validation"], row["test"], "o", label=name)
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="validation", ylabel="test", title=title)
    if len(known):
        ax.legend(fontsize=8)
    return fig


def reliability_diagram(curves: dict[str, pd.DataFrame], title: str) -> Figure:
    """Observed share against stated probability, a point a bin; ``curves`` are of ``calibration.reliability``.

    On the diagonal the probabilities can be taken at their word. A bin that is not estimable is left out.
    """
    fig, axes = _axes(height=4.8)
    ax = axes[0, 0]
    ax.plot([0, 1], [0, 1], color="grey", linestyle=":")
    for name, curve in curves.items():
        known = curve.dropna(subset=["value"])
        line = ax.plot(known["stated"], known["value"], "o-", markersize=4, linewidth=1, label=name)[0]
        ax.vlines(known["stated"], known["low"], known["high"], color=line.get_color(), linewidth=1)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=title)
    ax.set(xlabel="stated probability", ylabel="share observed (95 % interval by lesion)")
    ax.legend(fontsize=8)
    return fig


def decision_curve(curve: pd.DataFrame, title: str) -> Figure:
    """Net benefit by threshold probability, a panel for each prevalence, beside treating everybody and nobody.

    ``curve`` is of ``operating.decision_curve``; its caution, or why there is no curve, stands under the panels.
    """
    panels = list(curve.groupby("at", sort=False))
    fig, axes = _axes(1, len(panels), width=5.25 * len(panels), height=4.2)
    for ax, (at, rows) in zip(axes[0], panels, strict=True):
        ax.plot(rows["threshold"], rows["value"], color=COLOUR, label="treat by the classifier")
        ax.fill_between(rows["threshold"], rows["low"], rows["high"], color=COLOUR, alpha=0.25, linewidth=0)
        ax.plot(rows["threshold"], rows["treat_all"], color="#c05a28", linestyle="--", label="treat everybody")
        ax.plot(rows["threshold"], rows["treat_none"], color="grey", linestyle=":", label="treat nobody")
        prevalence = rows["prevalence"].iloc[0]
        ax.set_ylim(-0.25 * max(prevalence, 0.01), 1.05 * max(prevalence, 0.01))
        ax.set_title(f"prevalence {prevalence:.3g} ({at})", fontsize=10)
    axes[0, 0].set_ylabel("net benefit a patient\n(95 % interval by lesion)")
    axes[0, 0].legend(fontsize=8)
    fig.suptitle(title)
    note = f"not estimable: {curve['note'].iloc[0]}" if curve["value"].isna().all() else curve["caution"].iloc[0]
    fig.supxlabel("\n".join(["threshold probability", *textwrap.wrap(note, 60 * len(panels))]), fontsize=10)
    return fig


def subgroup_intervals(rows: pd.DataFrame, metric: str, title: str) -> Figure:
    """One ``metric`` of every group, in the order of ``rows`` of ``subgroups.subgroups``; few are marked."""
    chosen = rows[rows["metric"] == metric]
    names = [
        f"{row['variable']} {row['group']} (n = {row['n']:,}{', few' if row['few'] else ''})"
        for _, row in chosen.iterrows()
    ]
    caution = chosen["caution"].iloc[0] if len(chosen) else ""
    return intervals(chosen.assign(name=names), "name", f"{metric}{caution and f', {caution}'}", title)


def class_errors(counts: pd.DataFrame, title: str) -> Figure:
    """Share of the images of each true class that were classified wrong; a class without an image has no bar."""
    fig, axes = _axes(height=1.2 + 0.4 * len(counts))
    sizes = counts.sum(axis=1)
    wrong = 1 - np.diag(counts) / sizes.replace(0, np.nan)
    axes[0, 0].barh([f"{name} (n = {n:,})" for name, n in sizes.items()], wrong.fillna(0), color=COLOUR)
    known = [f"{share:.2f}" if share == share else "no image" for share in wrong]
    axes[0, 0].bar_label(axes[0, 0].containers[0], known, padding=3, fontsize=9)
    axes[0, 0].invert_yaxis()
    axes[0, 0].set(xlim=(0, 1.1), xlabel="share classified wrong", ylabel="true class", title=title)
    return fig


def training_curves(history: pd.DataFrame, title: str) -> Figure:
    """Loss and accuracy by epoch of one training: training dashed, validation solid."""
    fig, axes = _axes(1, 2, width=10.5)
    epochs = np.arange(1, len(history) + 1)
    for ax, key in zip(axes[0], ("loss", "accuracy"), strict=True):
        ax.plot(epochs, history[f"val_{key}"], color=COLOUR, label="validation")
        ax.plot(epochs, history[key], color=COLOUR, linestyle="--", linewidth=1, label="training")
        ax.set(xlabel="epoch", ylabel=key)
    axes[0, 1].set_ylim(0, 1)
    axes[0, 0].legend(fontsize=8)
    fig.suptitle(title)
    return fig
