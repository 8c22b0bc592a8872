"""Judging an exported model again: from its folder and the images alone, without the study that made it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer

from lesion_utils.cli.exits import harmless, unusable_input_exits_2
from lesion_utils.errors import InputError, first_ten

if TYPE_CHECKING:
    from lesion_utils.published.handover import About

PRINTED = ("accuracy", "majority baseline accuracy", "balanced accuracy", "melanoma sensitivity")


def evaluate(
    model: Annotated[Path, typer.Argument(help="folder of an exported model, or one of the models in it")],
    data: Annotated[
        list[Path],
        typer.Option(help="folder of images, in any layout that `lesion predict` reads; may be repeated"),
    ],
    output: Annotated[Path | None, typer.Option(help="by default the folder `evaluated` beside the model")] = None,
    threads: Annotated[int, typer.Option(min=1, help="the last bits of the probabilities depend on it")] = 2,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="load a .pkl: this runs whatever code the file holds")
    ] = False,
) -> None:
    """Judge an exported model again on the images that it was reported on, and draw what a paper shows of it.

    The folder holds the model (saved_model/, model.keras, model.h5 or model.pkl), about.json and history.npy; nothing
    else of the study is needed. The images that about.json lists are read out of --data; one that is missing there, or
    has another label, is refused.

    Writes confusion_matrix.png, confusion_matrix_normalised.png (rows sum to one), class_errors.png, curves.png,
    classification_report.txt and predictions.csv, which `lesion score` reads.

    Exit codes: 0 done, 2 unusable input.

    \b
    Example:
      lesion evaluate exported --data ../ham10000
      lesion evaluate exported/model.h5 --data ../ham10000 --output judged_again
    """
    with unusable_input_exits_2():
        from lesion_utils import evaluation, pictures, predictions, runtime  # imports TensorFlow
        from lesion_utils.published import handover

        runtime.start(threads)
        chosen = handover.model_in(model)
        folder = chosen.absolute().parent
        about, history = handover.read_about(folder), handover.read_history(folder)
        predict = handover.load(chosen, trust_pickle)
        cases = _reported(about, data)
        scores = predict(pictures.load_pictures(cases["path"], about.image_size, threads))
        if scores.shape[1] != len(about.classes):
            raise InputError(
                f"{chosen} gives {scores.shape[1]} probabilities a picture; {handover.ABOUT} has the "
                f"{len(about.classes)} classes {', '.join(about.classes)}. Fix: copy the whole folder again."
            )
        table = predictions.build(cases, list(about.classes), scores, about.leaky)
        judged = evaluation.judge(table)
        output = output or folder / "evaluated"
        _write(output, about, history, table)
    typer.echo(harmless(f"{chosen}: {len(table):,} images of {about.part} in {about.source or data[0].name}"))
    for _, row in judged[judged.index.isin(PRINTED)].iterrows():
        typer.echo(harmless(evaluation.sentence(row)))
    typer.echo(f"accuracy on the same images when it was trained: {about.accuracy:.3f}")
    typer.echo(harmless(f"written to {output}"))


def _reported(about: "About", folders: list[Path]) -> pd.DataFrame:
    """The cases that the model was reported on, with the paths of their images in ``folders``."""
    from lesion_utils.datasets import read_any

    found = pd.concat([read_any(folder) for folder in folders], ignore_index=True)
    where = " and ".join(map(str, folders))
    if (twice := found["image_id"].duplicated()).any():
        raise InputError(f"{where}: image id(s) in more than one folder: {first_ten(found.loc[twice, 'image_id'])}.")
    found = found.set_index("image_id")[["path", "label"]]
    cases = pd.DataFrame([case.model_dump() for case in about.cases])
    if (missing := ~cases["image_id"].isin(found.index)).any():
        raise InputError(
            f"{where}: {missing.sum():,} of the {len(cases):,} images that the model was reported on are not there: "
            f"{first_ten(cases.loc[missing, 'image_id'])}. Expected the data set that it was trained on. Fix: name "
            f"that folder, and with another --data any further one."
        )
    theirs = found.loc[cases["image_id"]].reset_index(drop=True)
    if (other := theirs["label"] != cases["label"]).any():
        raise InputError(
            f"{where}: {other.sum():,} image(s) have another label than when the model was reported: "
            f"{first_ten(cases.loc[other, 'image_id'])}. Expected the data set that it was trained on."
        )
    return cases.assign(path=theirs["path"])


def _write(output: Path, about: "About", history: pd.DataFrame, table: pd.DataFrame) -> None:
    import matplotlib.pyplot as plt
    from sklearn.metrics import classification_report

    from lesion_utils import figures
    from lesion_utils.evaluation import confusion
    from lesion_utils.paths import atomic_write
    from lesion_utils.predictions import classes_of, labelled, probabilities

    classes, counts = classes_of(table), confusion(table)
    source = about.source or "images"
    title = labelled(f"{source}: {about.part}, n = {len(table):,}", about.leaky)
    drawn = {
        "confusion_matrix.png": figures.confusion_matrix(counts, title),
        "confusion_matrix_normalised.png": figures.confusion_shares(counts, title),
        "class_errors.png": figures.class_errors(counts, title),
        "curves.png": figures.training_curves(history, labelled(f"{source}: training and validation", about.leaky)),
    }
    for name, figure in drawn.items():
        with atomic_write(output / name) as beside:
            figure.savefig(beside)
        plt.close(figure)
    with atomic_write(output / "predictions.csv") as beside:
        table.to_csv(beside, index=False)
    truth = pd.Index(classes).get_indexer(table["label"])
    predicted = probabilities(table).argmax(1)
    options = {"labels": range(len(classes)), "target_names": classes, "digits": 3, "zero_division": 0}
    with atomic_write(output / "classification_report.txt") as beside:  # last: with it the others are whole
        text = classification_report(truth, predicted, **options)
        beside.write_text(f"{title}\n\n{text}", encoding="utf-8")
