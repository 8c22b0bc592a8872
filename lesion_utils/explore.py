"""What ``notebooks/explore.ipynb`` shows of a study's tracked prediction tables: cases, operating points, two recipes.

Plain functions come first; the widgets at the end only choose what these get. Pictures are drawn into widgets, which a
saved notebook does not hold, so no patient's picture is stored.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd

from lesion_utils import figures, predictions, tracked, verify
from lesion_utils.audit.images import open_image
from lesion_utils.cases import data_title, layout, read_cases
from lesion_utils.datasets import phantom_pictures
from lesion_utils.digests import bytes_digest
from lesion_utils.errors import InputError
from lesion_utils.evaluation import PredictionTable, compare, operating, sentence
from lesion_utils.evaluation.sentences import listed
from lesion_utils.figures import show
from lesion_utils.paths import BY_HAND, data_root
from lesion_utils.rounding import CELL, number, of_people, percent
from lesion_utils.study import StudyParams, load_study
from lesion_utils.views import code_of, views_of

ANY, PER_PAGE, MOST_ROWS = "any", 8, 20
MADE_UP = "made-up pictures of the phantom, one for each case"
OUTCOMES = {  # whether the first and the second recipe are right
    (True, True): "both right",
    (True, False): "only the first right",
    (False, True): "only the second right",
    (False, False): "both wrong",
}


def studies() -> list[str]:
    """The studies whose prediction tables are tracked."""
    return [name for name, has_tables in verify.studies().items() if has_tables]


def open_study(study: str, data: str | None = None) -> StudyParams:
    """The study, with the folder of its pictures: ``data``, or the folder DATA of `make lab`, or ``data/<dataset>``."""
    os.environ[BY_HAND] = "1"
    params = load_study(study)
    if not recipes(params):
        problem = f"study {params.study!r} has no prediction tables in {tracked.tracked_folder(params.study)}"
        raise InputError(
            f"{problem}. Expected one of: {', '.join(studies())}. Fix: take one of them, or {params.command}"
        )
    usual = data_root() / params.dataset
    folder = data or os.environ.get("DATA") or (str(usual) if usual.is_dir() else None)
    return params.model_copy(update={"data": None if layout(params).made_up else folder})


def read_pictured(params: StudyParams) -> tuple[pd.DataFrame | None, str]:
    """The cases with sites and paths of pictures, or None without the dataset's folder; and a text that says which."""
    title = data_title(params)
    if params.data is None and not layout(params).made_up:
        return None, f"{MADE_UP}: no folder of {title} was found, and no site"
    try:
        cases = read_cases(params)
    except InputError as error:
        return None, f"{MADE_UP}, and no site ({error})"
    return cases, f"pictures of {title}"


def say_source(paths: pd.Series, source: str) -> str:
    """The ``source`` of the pictures in ``paths`` and, where some have none, how many the phantom has drawn."""
    made, count = int(paths.isna().sum()), len(paths)
    if not made or source.startswith(MADE_UP):
        return source
    drawn = f"{MADE_UP} that the folder does not have ({made} of {count})"
    return drawn if made == count else f"{source} ({count - made} of {count}); {drawn}"


def recipes(params: StudyParams) -> list[str]:
    """The recipes of the study that have tables."""
    return [name for name in params.recipes if (tracked.tracked_folder(params.study) / name).is_dir()]


@functools.lru_cache(8)
def read_table(study: str, recipe: str, split: str) -> PredictionTable:
    """The first run of ``recipe``; in cross-validation the first pass through the folds."""
    params = load_study(study)
    frame, *_ = tracked.read_runs(params, recipe, split)
    return PredictionTable(frame, params.resamples, name=f"{recipe} on {split}")


def compare_cases(first: PredictionTable, second: PredictionTable, cases: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row per case: ``image_id, lesion_id, label``; ``first, second``, the classes that the tables predict, and their
    probabilities ``p_first, p_second``; ``outcome``, of ``OUTCOMES``; of ``cases``, if given, ``path, localization``.
    """
    both = first.with_runs_of(second)
    rows = both.frame[["image_id", "lesion_id", "label"]].copy()
    for name, end in (("first", 0), ("second", -1)):
        rows[name] = np.array(both.classes)[both.predicted_by_frame[end]]
        rows[f"p_{name}"] = predictions.probabilities(both.frames[end]).max(axis=1)
    is_right = (rows[name] == rows["label"] for name in ("first", "second"))
    rows["outcome"] = [OUTCOMES[pair] for pair in zip(*is_right, strict=True)]
    known = pd.DataFrame(columns=["image_id", "path", "localization"]) if cases is None else cases
    return rows.merge(known[["image_id", "path", "localization"]], on="image_id", how="left")


def choose_cases(
    rows: pd.DataFrame, label: str = ANY, site: str = ANY, agreement: str = ANY, outcome: str = ANY
) -> pd.DataFrame:
    """The rows of ``compare_cases`` of this class, site, agreement (``same class``, ``different classes``), outcome."""
    agree = np.where(rows["first"] == rows["second"], "same class", "different classes")
    asked = {"label": label, "localization": site, "outcome": outcome}
    chosen = (agree == agreement) | (agreement == ANY)
    for column, value in asked.items():
        chosen &= (rows[column] == value) | (value == ANY)
    return rows[chosen]


def count_outcomes(rows: pd.DataFrame) -> pd.DataFrame:
    """The images of each class and of all, by outcome."""
    counts = pd.crosstab(rows["label"], rows["outcome"]).reindex(columns=list(OUTCOMES.values()), fill_value=0)
    counts.loc["all"] = counts.sum()
    return counts.assign(images=counts.sum(axis=1)).rename_axis(index="class", columns=None)


def picture_of(image_id: str, label: str, path: str | None = None) -> np.ndarray | None:
    """The picture in ``path``, 200 px wide; without it one that the phantom draws of this class, always the same for
    an ``image_id``; None for a class that the phantom does not have.
    """
    if isinstance(path, str):
        picture = open_image(path)
        return np.asarray(picture.resize((200, round(200 * picture.height / picture.width))))
    if (look := code_of(label)) not in phantom_pictures.LOOKS["looks"]:
        return None
    random = np.random.default_rng(int(bytes_digest(image_id.encode()), 16))
    return np.asarray(phantom_pictures.view(phantom_pictures.draw(str(look), random), random, marked=False))


def judge_threshold(
    table: PredictionTable, split: str, view: str, threshold: float, prevalence: float
) -> tuple[pd.DataFrame, list[str]]:
    """``operating.judge_at`` of a threshold that is chosen on ``table``, with a row ``missed``; and what it means."""
    point = operating.OperatingPoint(view, table.view(view), threshold, "chosen by hand", split, validation=table)
    rows = operating.judge_at(point, table, prevalence)
    missed = table.share(~point.called(table), point.is_positive(table), view)
    missed |= {"metric": f"{view} missed", "leaky": table.leaky}
    rows = pd.concat([rows, pd.DataFrame([missed], ["missed"])])
    caution = {
        "validation": "This is the validation split: choose here, then judge on test.",
        "test": "This is the test split. To choose a threshold here is optimistic: choose it on validation.",
    }
    sentences = [f"**{caution[split]}** The numbers below are {point.caution(table)}."]
    sentences.append(f"{operating.missed_sentence(point, table)}.")
    if not missed["note"]:
        share = [missed[end] for end in ("value", "low", "high")]
        sentences.append(f"Missed images, with 95% CI: {of_people(share, point.is_positive(table).sum())}.")
    return rows, [*sentences, operating.people_sentence(rows, view, prevalence)]


def about(params: StudyParams) -> None:
    """Shows what is explored, and the studies that could be."""
    _, source = read_pictured(params)
    show(f"**{params.study}**: {params.question} Recipes: {', '.join(recipes(params))}. Pictures: {source}.")
    show(f"Studies with tables: {', '.join(studies())}.")


def _linked(render: Callable[..., None], **controls: widgets.Widget) -> widgets.VBox:
    """The ``controls``, named by their keys, above what ``render`` shows of their values."""

    def shown(**values: Any) -> None:
        try:
            render(**values)
        except InputError as error:
            show(f"**{error}**")

    for name, control in controls.items():
        control.description, control.style = name.replace("_", " "), {"description_width": "7em"}
    row = widgets.HBox([*controls.values()], layout={"flex_flow": "row wrap"})
    return widgets.VBox([row, widgets.interactive_output(shown, controls)])


def _which(params: StudyParams, second: bool = True) -> dict[str, widgets.Widget]:
    """Controls that choose one or two recipes and a split; the last split, test where there is one, comes first."""
    names = recipes(params)
    first = {"first_recipe" if second else "recipe": widgets.Dropdown(options=names)}
    alike = [name for name in names if params.recipes[name].case_table == params.recipes[names[0]].case_table]
    other = {"second_recipe": widgets.Dropdown(options=names, value=alike[-1])} if second else {}
    return first | other | {"split": widgets.Dropdown(options=params.held_out_splits[::-1])}


def _tables(params: StudyParams, first: str, second: str, split: str) -> tuple[PredictionTable, PredictionTable]:
    return read_table(params.study, first, split), read_table(params.study, second, split)


def browse(params: StudyParams) -> widgets.VBox:
    """Cases, a page at a time, by class, site, agreement of two recipes, and error."""
    cases, source = read_pictured(params)
    sites = [] if cases is None else sorted(cases["localization"].dropna().unique())
    classes = read_table(params.study, recipes(params)[0], params.held_out_splits[-1]).classes

    def render(first_recipe: str, second_recipe: str, split: str, page: int, **asked: str) -> None:
        rows = compare_cases(*_tables(params, first_recipe, second_recipe, split), cases=cases)
        chosen, called = choose_cases(rows, **asked), {"first": first_recipe, "second": second_recipe}
        pages = max(1, -(-len(chosen) // PER_PAGE))
        part = chosen.iloc[(min(page, pages) - 1) * PER_PAGE :][:PER_PAGE]
        show(f"**{len(chosen):,} of {len(rows):,} images of {split}**; page {min(page, pages)} of {pages}.")
        kinds = np.where(part["path"].isna(), " (made up)", "")
        titles = part["image_id"] + kinds + "\n" + part["label"] + ": " + part["first"] + " | " + part["second"]
        made = [*map(picture_of, part["image_id"], part["label"], part["path"])]
        drawn = [(picture, title) for picture, title in zip(made, titles, strict=True) if picture is not None]
        if drawn:
            lines = {" " * start: drawn[start : start + 4] for start in range(0, len(drawn), 4)}
            title = "image, true class: first recipe | second recipe"
            paths = part["path"][[picture is not None for picture in made]]
            show(figures.pictures(lines, title, 2.3, 2.1), say_source(paths, source))
        show(part.drop(columns="path").rename(columns=called).set_index("image_id"), f"{data_title(params)}, {split}")

    asked = {"label": classes, "site": sites, "agreement": ["same class", "different classes"]}
    asked |= {"outcome": [*OUTCOMES.values()]}
    filters = {name: widgets.Dropdown(options=[ANY, *values]) for name, values in asked.items()}
    return _linked(render, **_which(params), **filters, page=widgets.BoundedIntText(1, 1, 10_000))


def slide(params: StudyParams) -> widgets.VBox:
    """A threshold to move, from the one that validation chooses for the study's sensitivity."""
    first = read_table(params.study, recipes(params)[0], "validation")
    start = operating.choose(first, "melanoma", sensitivity=params.judging.sensitivity)
    by_fold = start.threshold if isinstance(start.threshold, dict) else {0: start.threshold}
    middle = float(np.median([*by_fold.values()]))

    def render(recipe: str, split: str, view: str, threshold: float, prevalence: float) -> None:
        table = read_table(params.study, recipe, split)
        rows, sentences = judge_threshold(table, split, view, threshold, prevalence)
        title = f"{data_title(params)}, {split}: {recipe} at {number(threshold)}; 95% CIs over lesions, one run"
        size = f"n = {len(table):,} images, {table.lesions:,} lesions"
        show(listed(rows.set_index("metric")), f"{title}; {size}")
        show("\n\n".join(sentences))

    options = {"min": 0.0, "max": 1.0, "step": 0.005, "readout_format": ".3f", "continuous_update": False}
    return _linked(
        render,
        **_which(params, second=False),
        view=widgets.Dropdown(options=[*views_of(first.classes)]),
        threshold=widgets.FloatSlider(0.5 if start.note else middle, **options),
        prevalence=widgets.FloatSlider(params.judging.prevalence, **(options | {"min": 0.005, "max": 0.5})),
    )


def compare_recipes(params: StudyParams) -> widgets.VBox:
    """Which cases one recipe gets right and the other wrong, by class."""

    def render(first_recipe: str, second_recipe: str, split: str, outcome: str) -> None:
        first, second = _tables(params, first_recipe, second_recipe, split)
        rows = compare_cases(first, second)
        title = f"{data_title(params)}, {split}: first {first_recipe}, second {second_recipe}"
        show(count_outcomes(rows), f"{title}; images by class and outcome, one run")
        differences = compare(first, second, wanted=("accuracy", "balanced accuracy"))
        show("First minus second: " + "; ".join(sentence(row) for _, row in differences.iterrows()) + ".")
        chosen = choose_cases(rows, outcome=outcome).sort_values(["label", "image_id"])
        listed_rows = chosen.drop(columns=["path", "localization", "outcome"]).head(MOST_ROWS)
        show(listed_rows.set_index("image_id"), f"{outcome}: the first {len(listed_rows)} of {len(chosen):,} images")

    outcomes = [OUTCOMES[True, False], OUTCOMES[False, True], *OUTCOMES.values()]
    return _linked(render, **_which(params), outcome=widgets.Dropdown(options=[*dict.fromkeys(outcomes)]))


def explain(params: StudyParams) -> widgets.VBox:
    """Grad-CAM of a chosen model, beside that of the same network with random weights."""
    from lesion_utils import grad_cam  # imports TensorFlow

    found = grad_cam.find_models()
    fitting = [name for name, path in found.items() if grad_cam.study_of(path) == params.study]
    models = {name: found[name] for name in [*fitting, *found]} if fitting else grad_cam.train_small() | found
    cases, source = (None, "") if layout(params).made_up else read_pictured(params)
    labels = [*phantom_pictures.LOOKS["looks"]] if cases is None else sorted(cases["label"].unique())

    def render(model: str, label: str, picture: int) -> None:
        shown, image, path = grad_cam.read(models[model]), f"{label} {picture}", None
        is_alike = params.dataset == shown.dataset or params.study == grad_cam.study_of(models[model])
        if cases is not None and is_alike:  # never asked about pictures of another kind
            of_label = cases[cases["label"] == label]
            image, path = of_label[["image_id", "path"]].iloc[(picture - 1) % len(of_label)]
        if (drawing := Path(path) if path else picture_of(image, label)) is None:
            raise InputError(f"The phantom has no picture of {label}. Fix: choose another label.")
        pixels = grad_cam.as_seen(drawing, shown.size)
        found = grad_cam.explain(shown.network, shown.random, pixels)
        drawn = [(pixels, "the picture"), (figures.heat_over(pixels, found.heat), "Grad-CAM")]
        for heat, correlation in zip(found.random, found.correlations, strict=True):
            drawn.append((figures.heat_over(pixels, heat), f"random weights\nrank correlation {correlation:{CELL}}"))
        answer = f"{shown.classes[found.target]} ({percent(found.probabilities[found.target])})"
        kind = f"{source}: {image}" if path else "made-up picture of the phantom"
        title = f"{model}: {kind}, {label}; answer {answer}"
        show(figures.pictures({"": drawn}, title, 2.4, 2.4), f"Grad-CAM of {title}")
        show(grad_cam.reading(found))

    return _linked(
        render,
        model=widgets.Dropdown(options=[*models]),
        label=widgets.Dropdown(options=labels, value=next((of for of in labels if code_of(of) == "mel"), labels[0])),
        picture=widgets.IntSlider(1, 1, 50, continuous_update=False),
    )
