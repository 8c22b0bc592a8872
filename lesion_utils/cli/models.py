"""Trained models on images: those of a study on another set, and exported models on the images of their results."""

from pathlib import Path
from typing import Annotated

import typer

from lesion_utils.cli.common import Data, Ham10000, Isic2018, Study, Threads, harmless, unusable_input_exits_2
from lesion_utils.paths import atomic_write
from lesion_utils.rounding import number
from lesion_utils.study import load_study

PRINTED = ("accuracy", "majority baseline accuracy", "balanced accuracy", "melanoma sensitivity")


def predict(
    study: Study,
    recipe: Annotated[str, typer.Argument(help="a recipe of the study that has been trained")],
    folder: Annotated[Path, typer.Argument(help="images with a label table, or folders of classes; layouts below")],
    output: Annotated[Path, typer.Option(help="the prediction table to write, a .csv")] = Path("predictions.csv"),
    data: Data = None,
    ham10000: Ham10000 = None,
    isic2018: Isic2018 = None,
    threads: Threads = None,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="predict seen images, too, and mark them leaky")
    ] = False,
) -> None:
    with unusable_input_exits_2():
        params = load_study(study, data=data, ham10000=ham10000, isic2018=isic2018, threads=threads)
        from lesion_utils.checks.other_images import predict_folder  # imports TensorFlow

        table, seen = predict_folder(params, recipe, folder, output, allow_leak)
    has_lesions = not table["lesion_id"].equals(table["image_id"])
    lesions = f" of {table['lesion_id'].nunique():,} lesions" if has_lesions else ""
    typer.echo(f"{output}: {recipe} of {study} predicted {len(table):,} images{lesions} in {folder}")
    if not has_lesions:
        typer.echo("No lesions are given: each image counts as its own lesion, so intervals may be too narrow.")
    if len(seen):
        typer.echo(f"Leaky: the model has seen {len(seen):,} of these images or their lesions; the table is marked.")


def evaluate(
    model: Annotated[Path, typer.Argument(help="folder of an exported model, or one of the models in it")],
    data: Annotated[list[Path], typer.Option(help="folder of images, as for `lesion predict`; repeatable")],
    output: Annotated[Path | None, typer.Option(help="default: the folder `evaluated` next to the model")] = None,
    threads: Annotated[int, typer.Option(min=1, help="the last digits of the probabilities depend on it")] = 2,
    trust_pickle: Annotated[bool, typer.Option("--trust-pickle", help="load a .pkl: this runs any code in it")] = False,
) -> None:
    with unusable_input_exits_2():
        import matplotlib.pyplot as plt  # these imports are slow

        from lesion_utils import evaluation, figures
        from lesion_utils.checks.other_images import predict_reported
        from lesion_utils.predictions import labelled
        from lesion_utils.published import handover

        model = handover.model_in(model)
        folder = model.absolute().parent
        about, history = handover.read_about(folder), handover.read_history(folder)
        table = evaluation.PredictionTable(predict_reported(model, about, data, threads, trust_pickle))
    source, output = about.source or data[0].name, output or folder / "evaluated"
    counts, title = evaluation.confusion(table), labelled(f"{source}: {about.part}, n = {len(table):,}", about.leaky)
    for name, figure in {
        "confusion_matrix.png": figures.confusion_matrix(counts, title),
        "confusion_matrix_normalised.png": figures.confusion_shares(counts, title),
        "class_errors.png": figures.class_errors(counts, title),
        "curves.png": figures.learning_curves({"model": history}, labelled(source, about.leaky), metric="accuracy"),
    }.items():
        with atomic_write(output / name) as new:
            figure.savefig(new)
        plt.close(figure)
    with atomic_write(output / "predictions.csv") as new:
        table.frame.to_csv(new, index=False)
    report = evaluation.classification_report(table).to_string(float_format=number, na_rep="")
    with atomic_write(output / "classification_report.txt") as new:  # last: it says that the others are complete
        new.write_text(f"{title}\n\n{report}\n", encoding="utf-8")
    lines = [f"{model}: {len(table):,} images of {about.part} in {source}"]
    lines += [evaluation.sentence(row) for _, row in evaluation.judge(table, wanted=PRINTED).iterrows()]
    lines.append(f"accuracy on the same images when it was trained: {number(about.accuracy)}")
    typer.echo(harmless("\n".join([*lines, f"written to {output}"])))
