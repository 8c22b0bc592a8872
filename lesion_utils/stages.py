"""What notebooks 02 to 04 share: recipes, networks and trainings of a stage as tables, and its validation numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lesion_utils import predictions
from lesion_utils.augment import make_augmenter, visible_area_and_fill
from lesion_utils.cases import data_title, layout, read_cases
from lesion_utils.claims.differences import LOG_LOSS, measures, remedy_differences
from lesion_utils.claims.rules import best_and_late, not_learnt
from lesion_utils.evaluation import PredictionTable, confusion, judge
from lesion_utils.evaluation.calibration import apply_temperature, fit_temperature
from lesion_utils.evaluation.sentences import cell
from lesion_utils.models import Network, build, set_trainable
from lesion_utils.offline_copies import make_offline_copies
from lesion_utils.pictures import load_pictures
from lesion_utils.prior import correct_prior
from lesion_utils.rebalance import class_weights, epoch_rows, epoch_sizes
from lesion_utils.recipes import BackboneOptions, Recipe
from lesion_utils.rounding import number, percent
from lesion_utils.splits import use_share
from lesion_utils.study import StudyParams
from lesion_utils.training import Trained, train

TOLD = ("loss", "optimizer", "phases", "monitor", "keep", "case_table", "allow_leak")  # by columns of their own
FEW_LAYERS = 12  # of a backbone; more are one row of the table of layers
PLAIN = "balanced accuracy"


def train_stage(params: StudyParams, stage: str, case_tables: Mapping[str, pd.DataFrame]) -> dict[str, Trained]:
    """All recipes of ``stage`` as trained in this run; what is trained already is read."""
    options: dict[str, Any] = {"seed": params.training_seed, "threads": params.threads, "weights": params.weights}
    options["title"] = data_title(params)
    return {
        name: train(recipe, case_tables[recipe.case_table], folder=params.model_folder(name), **options)
        for name, recipe in getattr(params, stage).items()
    }


def judge_stage(params: StudyParams, stage: str) -> tuple[dict[str, PredictionTable], pd.DataFrame]:
    """The validation tables of the recipes of ``stage`` in this run; their rows of ``judge`` by recipe and metric."""
    frames = {name: predictions.read(params, name, "validation") for name in getattr(params, stage)}
    tables = {name: PredictionTable(frame, params.resamples, name=name) for name, frame in frames.items()}
    return tables, pd.concat({name: judge(table) for name, table in tables.items()}, names=["recipe", "name"])


def case_counts(params: StudyParams, stage: str, case_tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The splits of the case tables that ``stage`` uses: images, lesions, and the largest and the smallest class."""
    rows = {}
    for table in _case_tables_of(params, stage):
        for split in ("train", *params.held_out_splits):
            cases = case_tables[table][case_tables[table]["split"] == split]
            shares = cases["label"].value_counts(normalize=True)
            rows[table, split] = {"images": len(cases), "lesions": cases["lesion_id"].nunique()} | {
                name: f"{shares.index[end]}, {percent(shares.iloc[end])} of images"
                for name, end in (("largest class", 0), ("smallest class", -1))
            }
    return _table(rows, "case table", "split")


def sizes(counts: pd.DataFrame) -> str:
    """The n of captions: training and validation images of each case table in ``case_counts``."""
    images, lesions = counts["images"].unstack(), counts["lesions"].unstack()
    return "; ".join(
        f"{table} case table: n = {row['train']:,} training images, {row['validation']:,} validation images of "
        f"{lesions.loc[table, 'validation']:,} lesions"
        for table, row in images.iterrows()
    )


def recipe_table(params: StudyParams, stage: str) -> pd.DataFrame:
    """The recipes of ``stage``: network, pictures, training and other settings; of ``rebalancing`` instead what differs
    from the recipe's reference.
    """
    rows = {}
    for name, recipe in getattr(params, stage).items():
        options, reference = recipe.backbone, params.reference_of(name)
        kept = "last" if recipe.keep == "last" else f"best by {recipe.monitor.replace('_', ' ')}"
        common = {
            "epochs": f"{sum(phase.epochs for phase in recipe.phases)}, the {kept} is kept",
            "case table": recipe.case_table + (", leak allowed" if recipe.allow_leak else ""),
        }
        if stage == "rebalancing":
            changes = _changes(recipe, params.recipes[reference])
            rows[name] = {"reference": reference, "differs from it in": changes} | common
            continue
        told = {"backbone": BackboneOptions(**options.model_dump(include={"name", "weights", "image_size"}))}
        told |= {key: getattr(recipe, key) for key in TOLD}
        rows[name] = {
            "network": f"{options.name}, {_start(options.weights)}",
            "pictures": "{} x {} px".format(*options.image_size),
            "loss": recipe.loss.replace("_", " "),
            "optimizer": f"{recipe.optimizer}, rate "
            + " then ".join(dict.fromkeys(number(phase.learning_rate) for phase in recipe.phases)),
            **common,
            "other settings": _changes(recipe, Recipe().model_copy(update=told)) or "defaults",
        }
    return _table(rows, "recipe")


def _changes(recipe: Recipe, reference: Recipe) -> str:
    new, old, short = recipe.model_dump(), reference.model_dump(), recipe.model_dump(exclude_defaults=True)
    changed = {key: _difference(new[key], old[key], short.get(key)) for key in new if new[key] != old[key]}
    return "; ".join(f"{key}: {_words(value)}" for key, value in changed.items())


def _difference(new: Any, old: Any, short: Any) -> Any:
    """What of ``new`` is not in ``old``; where nothing corresponds, ``short``, which is ``new`` without defaults."""
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: value for key, value in new.items() if value != old.get(key)}
    if isinstance(new, list | tuple) and isinstance(old, list | tuple) and len(new) == len(old):
        return [_difference(*pair, pair[0]) for pair in zip(new, old, strict=True)]
    return new if short is None else short


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(inner)}" for key, inner in value.items())
    return " then ".join(map(_words, value)) if isinstance(value, list | tuple) else str(value)


def class_table(params: StudyParams, stage: str, case_tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How ``stage`` balances the classes: training images of each class, and for each recipe with a sampler the images
    that an epoch shows, for each with class weights the weight of the class in the loss.
    """
    tables = {}
    for table in _case_tables_of(params, stage):
        columns = dict[str, pd.Series]()
        for name, recipe in getattr(params, stage).items():
            cases = use_share(case_tables[table], recipe.training_share, params.training_seed)
            labels = cases.loc[cases["split"] == "train", "label"]
            classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
            columns.setdefault("training images", pd.Series(counts, classes))
            if recipe.case_table == table and recipe.sampler != "none":
                sizes = epoch_sizes(codes, recipe.sampler, recipe.class_size)
                columns[f"{name}: images"] = pd.Series([*sizes.values()], classes)
            kind, names = recipe.class_weights, classes.tolist()
            if recipe.case_table == table and (weights := class_weights(codes, kind, names, recipe.effective_beta)):
                columns[f"{name}: weight"] = pd.Series([*weights.values()], classes)
        tables[table] = pd.DataFrame(columns)
    return pd.concat(tables, names=["case table", "class"])


def build_networks(params: StudyParams, stage: str, case_tables: Mapping[str, pd.DataFrame]) -> dict[str, Network]:
    """The network of each recipe of ``stage`` before training."""
    classes = {table: case_tables[table]["label"].nunique() for table in _case_tables_of(params, stage)}
    return {
        name: build(recipe, classes[recipe.case_table], params.weights, params.training_seed)
        for name, recipe in getattr(params, stage).items()
    }


def layer_table(network: Network) -> pd.DataFrame:
    """The layers of a network in order: what each is, the shape of its output for one picture, its parameters and their
    share. More than ``FEW_LAYERS`` layers of a backbone are one row.
    """
    backbone = network.backbone.layers[1:]
    rows = [("scaling", network.scaling, network.scaling.count_params())]
    if len(backbone) > FEW_LAYERS:
        between = f"backbone: {len(backbone)} layers, {backbone[0].name} to {backbone[-1].name}"
        rows.append((between, backbone[-1], network.backbone.count_params()))
    else:
        rows += [(_layer_name(layer), layer, layer.count_params()) for layer in backbone]
    rows += [(_layer_name(layer), layer, layer.count_params()) for layer in (network.pooling, *network.head.layers)]
    total = network.whole.count_params()
    lines = [
        (name, " x ".join(map(str, layer.output.shape[1:])), count, percent(count / total))
        for name, layer, count in rows
    ]
    return pd.DataFrame(lines, columns=["layer", "output", "parameters", "share"]).set_index("layer")


def _layer_name(layer: Any) -> str:
    kind, options = type(layer).__name__, layer.get_config()
    if kind == "Conv2D":
        return f"{kind}: {layer.filters} filters of {' x '.join(map(str, layer.kernel_size))}, {options['activation']}"
    return f"{kind}: {layer.units} units, {options['activation']}" if kind == "Dense" else kind


def phase_table(params: StudyParams, stage: str, networks: Mapping[str, Network]) -> pd.DataFrame:
    """The phases of each recipe of ``stage``: which layers learn, how long and how fast, and how many parameters."""
    rows = {}
    for name, network in networks.items():
        recipe, total = getattr(params, stage)[name], network.whole.count_params()
        for position, phase in enumerate(recipe.phases, 1):
            set_trainable(network, phase.train, recipe.freeze_batch_norm)
            trained = sum(weight.shape.num_elements() for weight in network.whole.trainable_weights)
            layers = phase.train if phase.train in ("all", "head") else f"head, and backbone from {phase.train} on"
            rate = f"{number(phase.learning_rate)}, {phase.schedule.replace('_', ' ')}"
            rows[name, position] = {"trained layers": layers, "epochs at most": phase.epochs, "learning rate": rate}
            rows[name, position] |= {"parameters trained": trained, "share of all": percent(trained / total)}
    return _table(rows, "recipe", "phase")


def training_table(params: StudyParams, trained: Mapping[str, Trained]) -> pd.DataFrame:
    """How each training went: epochs, the epoch kept, losses, minutes, and whether it still improved at its end."""
    rows = {}
    for name, result in trained.items():
        recipe, history = params.recipes[name], result.history
        best, late = best_and_late(recipe, history)
        kept = len(history) - 1 if recipe.keep == "last" else best
        losses = [number(history["loss"].iloc[epoch]) for epoch in (0, -1)]
        rows[predictions.labelled(name, result.is_leaky)] = {
            "epochs": f"{len(history)} of {sum(phase.epochs for phase in recipe.phases)}",
            "epoch kept": kept + 1,
            "training loss": " to ".join(losses),
            "validation loss": history["val_loss"].iloc[kept],
            "minutes": history["seconds"].sum() / 60,
            "at the end": "still improving" if late else "no longer improving",
        }
    return _table(rows, "recipe")


def phase_results(params: StudyParams, trained: Mapping[str, Trained]) -> pd.DataFrame:
    """The best epoch of each phase of each training, by the monitor of its recipe on validation."""
    rows = {}
    for name, result in trained.items():
        recipe = params.recipes[name]
        for position, history in result.history.groupby("phase"):
            best, _ = best_and_late(recipe, history)
            rows[predictions.labelled(name, result.is_leaky), position + 1] = {
                "trained from": history["train"].iloc[0],
                "best epoch": f"{best + 1} of {len(history)}",
                "monitor": recipe.monitor.replace("val_", "").replace("_", " "),
                "its best value": history[recipe.monitor].iloc[best],
            }
    return _table(rows, "recipe", "phase")


def visible_table(params: StudyParams, stage: str) -> pd.DataFrame:
    """What the random changes of each recipe of ``stage`` leave of a picture: medians and means of many draws."""
    rows = {}
    for name, recipe in getattr(params, stage).items():
        if recipe.augmentation.changes:
            drawn = visible_area_and_fill(recipe.augmentation, recipe.backbone.image_size)
            area, fill = percent(drawn["area"].median()), percent(drawn["fill"].mean())
            rows[name] = {"visible part of the picture, median": area, "fill, mean": fill, "draws": len(drawn)}
    return _table(rows, "recipe")


def weights_sentences(params: StudyParams, stage: str) -> str:
    """Where the weights of each recipe of ``stage`` start, so whether anything is transferred."""
    weights = {name: recipe.backbone.weights for name, recipe in getattr(params, stage).items()}
    nothing = {"none": ", so nothing is transferred"}
    lines = (f"- **{name}** starts from {_start(of)}{nothing.get(of, '')}." for name, of in weights.items())
    return "\n".join(lines)


def _start(weights: str) -> str:
    return {"none": "random", "imagenet": "ImageNet"}.get(weights, weights) + " weights"


def validation_sentences(
    params: StudyParams, tables: Mapping[str, PredictionTable], judged: pd.DataFrame, trained: Mapping[str, Trained]
) -> str:
    """What each recipe reached on validation, against chance and the largest class; whether it learnt and converged."""
    lines = []
    for name, table in tables.items():
        why, late = not_learnt(table), best_and_late(params.recipes[name], trained[name].history)[1]
        balanced, accuracy, majority = (
            cell(judged.loc[(name, metric)]) for metric in (PLAIN, "accuracy", "majority baseline accuracy")
        )
        lines.append(
            f"- **{name}** on validation (n = {len(table):,} images, {table.lesions:,} lesions): balanced accuracy "
            f"{balanced}, by chance {number(1 / table.k)}; accuracy {accuracy}, always the largest class {majority}. "
            f"It {why or 'learnt more than chance'}{', and it still improved at the end of training' if late else ''}."
        )
    return "\n".join(lines)


def confusion_sentences(tables: Mapping[str, PredictionTable]) -> str:
    """The most frequent confusion of each recipe, and how many of the classes it predicts at all."""
    lines = []
    for name, table in tables.items():
        counts = confusion(table)
        wrong = counts.where(~np.eye(table.k, dtype=bool), 0).stack()
        true, predicted = wrong.idxmax()
        most = f"The most frequent confusion: {wrong.max():,} of {counts.loc[true].sum():,} images of {true} are called"
        named = f"It predicts {(counts.sum() > 0).sum()} of {table.k} classes."
        lines.append(f"- **{name}**: {f'{most} {predicted}' if wrong.max() else 'No image is misclassified'}. {named}")
    return "\n".join(lines)


def compare_stage(params: StudyParams, tables: Mapping[str, PredictionTable]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The validation ``tables`` of recipes with those of their references: the rows of ``judge`` for the measures of
    ``remedy_differences``, by recipe and metric, and its rows of each recipe that has another as its reference.
    """
    against = {name: params.reference_of(name) for name in tables}
    missing = [name for name in dict.fromkeys(against.values()) if name not in tables]
    frames = {name: predictions.read(params, name, "validation") for name in missing}
    arms = {name: PredictionTable(frame, params.resamples, name=name) for name, frame in frames.items()} | dict(tables)
    barred = {name: not_learnt(table) for name, table in arms.items()}
    pairs = {name: base for name, base in against.items() if base != name}
    corrected = {name: correct_prior(table) for name, table in arms.items()}
    scaled = {name: apply_temperature(table, fit_temperature(table)) for name, table in arms.items()}
    wanted = [PLAIN, *(name for name in measures(params.judging) if name != LOG_LOSS)]
    judged = {
        name: pd.concat([judge(corrected[name], params.judging, wanted=wanted), judge(scaled[name], wanted=[LOG_LOSS])])
        for name in arms
    }
    return pd.concat(judged), remedy_differences(corrected, scaled, pairs, params.judging, barred)


def batch_of_phantom(params: StudyParams, recipe: Recipe, count: int = 8) -> list[tuple[np.ndarray, str]]:
    """The first pictures of a batch as the network of ``recipe`` sees them, each with its label.

    They are of a phantom, also where the study has patients: no patient's picture is shown.
    """
    cases = _phantom_cases(params)
    codes = np.unique(cases["label"], return_inverse=True)[1]
    shown = cases.iloc[epoch_rows(codes, recipe.sampler, params.training_seed, recipe.class_size)[:count]]
    pictures = load_pictures(shown["path"], recipe.backbone.image_size, params.threads)[:]
    changed = make_augmenter(recipe.augmentation, params.training_seed)(pictures)
    return [*zip(changed if recipe.augmentation.changes else pictures, shown["label"], strict=True)]


def changed_phantom(params: StudyParams, stage: str, draws: int = 7) -> dict[str, list[tuple[np.ndarray, str]]]:
    """A picture of a phantom and ``draws`` random changes of it, for each recipe of ``stage`` that changes pictures in
    a way of its own, in training or in copies on disk.
    """
    case, rows, seen = _phantom_cases(params).query("label == 'mel'").head(1), {}, set[Any]()
    for name, recipe in getattr(params, stage).items():
        size, label = recipe.backbone.image_size, case["label"].iloc[0]
        original = load_pictures(case["path"], size, params.threads)[:]
        if recipe.augmentation.changes and recipe.augmentation not in seen:
            changed = make_augmenter(recipe.augmentation, params.training_seed)(np.repeat(original, draws, axis=0))
            rows[f"{name}: in training"] = [(picture, label) for picture in (*original, *changed)]
        if recipe.offline_copies and recipe.offline_copies not in seen:
            one = {"per_class": draws, "one_of_each": False, "target_class_size": None, "rounds": 1}
            copies = make_offline_copies(case, recipe.offline_copies.model_copy(update=one), params.training_seed)
            changed = load_pictures(copies["path"], size, params.threads)[:]
            rows[f"{name}: copies"] = [(picture, label) for picture in (*original, *changed)]
        seen |= {recipe.augmentation, recipe.offline_copies}
    return rows


def _phantom_cases(params: StudyParams) -> pd.DataFrame:
    return read_cases(params if layout(params).made_up else StudyParams())


def _case_tables_of(params: StudyParams, stage: str) -> list[str]:
    return [*dict.fromkeys(recipe.case_table for recipe in getattr(params, stage).values())]


def _table(rows: Mapping[Any, Mapping[str, Any]], *names: str) -> pd.DataFrame:
    """A line for each key of ``rows``, whose parts are called ``names``."""
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(list(names))
