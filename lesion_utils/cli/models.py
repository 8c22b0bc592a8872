"""Trained models on images: a packed model on any pictures, and models on the images of a set or of their results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from lesion_utils.cli.common import Data, Ham10000, Isic2018, Study, Threads, harmless, unusable_input_exits_2
from lesion_utils.datasets.usual_names import pictures_in
from lesion_utils.digests import file_digest
from lesion_utils.errors import InputError
from lesion_utils.paths import atomic_write, read_json, report_folder, require_suffix, write_json
from lesion_utils.progress import steps
from lesion_utils.rounding import number
from lesion_utils.study import load_study
from lesion_utils.tables import as_named, spreadsheet_safe

SAVED_EVERY = 64  # images
PRINTED = ("accuracy", "majority baseline accuracy", "balanced accuracy", "melanoma sensitivity")


def pack(
    study: Study,
    recipe: Annotated[str, typer.Argument(help="a recipe of the study that has been trained")],
    output: Annotated[Path | None, typer.Option(help="the file to write; by default RECIPE.lesion")] = None,
    data: Data = None,
    ham10000: Ham10000 = None,
    isic2018: Isic2018 = None,
    threads: Threads = None,
) -> None:
    with unusable_input_exits_2():
        params = load_study(study, data=data, ham10000=ham10000, isic2018=isic2018, threads=threads)
        from lesion_utils import model_file  # imports TensorFlow
        from lesion_utils.cases import layout
        from lesion_utils.pipeline import CARD

        target, made_up = output or Path(f"{recipe}{model_file.SUFFIX}"), layout(params).made_up
        about = model_file.pack(params, recipe, report_folder(params.study) / CARD, made_up, target)
    typer.echo(f"{target}: {about.name}, {number(target.stat().st_size / 1e6)} MB, classes {', '.join(about.classes)}")
    chosen = about.point
    point = f"{chosen.view} from {number(chosen.threshold)} on ({chosen.rule})" if chosen else "none"
    typer.echo(
        harmless("\n".join([f"temperature {number(about.temperature)}; operating point: {point}", *about.notes]))
    )


def predict(
    images: Annotated[list[Path], typer.Argument(help="images, or folders that are searched for images")],
    model: Annotated[Path, typer.Option(help="a .lesion file, which `lesion pack` writes")],
    output: Annotated[Path, typer.Option("--out", "--output", help="the table to write, a .csv")] = Path(
        "predictions.csv"
    ),
    threads: Annotated[int, typer.Option(min=1, help="the last digits of the probabilities depend on it")] = 2,
) -> None:
    with unusable_input_exits_2():
        paths = images_in(images)
        require_suffix(output, ".csv", "the table")
        from lesion_utils import model_file  # imports TensorFlow

        network = model_file.read(model, threads)
        rows = _kept(output, network.digest)  # also of other images: nothing that was computed is lost
        left = [path for path in paths if not _is_done(path, rows)]
        new = model_file.predict_files(network, left)
        for done, row in enumerate(steps(new, "predicting", len(left)), 1):
            rows[row["image"]] = row
            if done % SAVED_EVERY == 0 or done == len(left):
                _save(output, [rows[image] for image in sorted(rows)], network.about.classes)
                about = {"model": network.digest, "name": network.about.name, "table": file_digest(output)}
                write_json(output.with_suffix(".json"), about)
    asked = [rows[str(path)] for path in paths]
    problems = [row for row in asked if row["problem"]]
    again = f", {len(paths) - len(left):,} of them before" if len(left) < len(paths) else ""
    done = len(paths) - len(problems)
    typer.echo(f"{output}: {done:,} image{'s' * (done != 1)} predicted by {network.about.name}{again}")
    if network.about.made_up:
        typer.echo("The model was trained on made-up pictures: its answers say nothing about patients.")
    for note in network.about.notes:
        typer.echo(harmless(note))
    unlike = sum(row.get("unlike_training") == "yes" for row in asked)
    if unlike:
        typer.echo(f"{unlike:,} are unlike the pictures of training: do not use their predictions.")
    for row in problems:
        typer.echo(harmless(row["problem"]))
    raise typer.Exit(1 if problems else 0)


def images_in(given: Sequence[Path]) -> list[Path]:
    """The images that ``given`` names, and those in its folders, each once; raises InputError for anything else."""
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            found += pictures_in(path)
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"{path} is neither a file nor a folder. Fix: correct the path.")
    return [*dict.fromkeys(found)]


def _kept(output: Path, digest: str) -> dict[str, dict[str, Any]]:
    """The rows of an earlier call with the same model, by image; InputError for another table in their place."""
    if not output.is_file():
        return {}
    about = read_json(output.with_suffix(".json"), missing={})
    if about.get("model") != digest:
        made = "by another model, or not by `lesion predict`"
        raise InputError(f"{output} exists and was made {made}. Fix: --out with another name, or remove it.")
    if about.get("table") != file_digest(output):
        typer.echo(f"{output} is not as it was written: its images are predicted again", err=True)
        return {}
    rows = pd.read_csv(output, dtype=str, keep_default_na=False).to_dict("records")
    return {row["image"]: row for row in ({name: as_named(cell) for name, cell in of.items()} for of in rows)}


def _is_done(path: Path, kept: dict[str, dict[str, Any]]) -> bool:
    row = kept.get(str(path), {"problem": "new"})
    return not row["problem"] and row["content"] == file_digest(path)


def _save(output: Path, rows: list[dict[str, Any]], classes: Sequence[str]) -> None:
    columns = [f"p_{name}" for name in classes]
    ordered = ["image", "predicted", *columns, "melanoma", "possible", "unlike_training", "problem", "content"]
    with atomic_write(output) as new:
        spreadsheet_safe(pd.DataFrame(rows, columns=ordered)).to_csv(new, index=False)


def predict_set(
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
    data: Annotated[list[Path], typer.Option(help="folder of images, as for `lesion predict-set`; repeatable")],
    output: Annotated[Path | None, typer.Option(help="default: the folder `evaluated` next to the model")] = None,
    threads: Annotated[int, typer.Option(min=1, help="the last digits of the probabilities depend on it")] = 2,
    trust: Annotated[
        bool, typer.Option("--trust", help="load another form than .keras: it may run any program")
    ] = False,
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
        table = evaluation.PredictionTable(predict_reported(model, about, data, threads, trust))
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
        spreadsheet_safe(table.frame).to_csv(new, index=False)
    report = evaluation.classification_report(table).to_string(float_format=number, na_rep="")
    with atomic_write(output / "classification_report.txt") as new:  # last: it says that the others are complete
        new.write_text(f"{title}\n\n{report}\n", encoding="utf-8")
    lines = [f"{model}: {len(table):,} images of {about.part} in {source}"]
    lines += [evaluation.sentence(row) for _, row in evaluation.judge(table, wanted=PRINTED).iterrows()]
    lines.append(f"accuracy on the same images when it was trained: {number(about.accuracy)}")
    typer.echo(harmless("\n".join([*lines, f"written to {output}"])))
