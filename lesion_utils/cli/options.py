"""Arguments and options that several commands take."""

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from lesion_utils.cli.exits import unusable_input_exits_2
from lesion_utils.study import load_study


def _from_here(path: str | None) -> str | None:
    """A folder as it was typed, seen from the working folder; paths in a study's file start at the project folder."""
    return path and os.path.abspath(os.path.expanduser(path))


def _study_from_here(study: str) -> str:
    return os.path.abspath(study) if study.endswith((".yml", ".yaml")) and Path(study).is_file() else study


def _folder(text: str) -> Any:
    return typer.Option(help=text, metavar="FOLDER", callback=_from_here)


Study = Annotated[
    str, typer.Argument(help="name of a file in params/, or the path of a .yml file", callback=_study_from_here)
]
Data = Annotated[str | None, _folder("the images and tables of the dataset")]
Ham10000 = Annotated[str | None, _folder("HAM10000, for isic9; by default the folder `ham10000` next to the data")]
Isic2018 = Annotated[str | None, _folder("the ISIC 2018 Task 3 test set, for the split system_000")]
Weights = Annotated[str | None, _folder("ImageNet weights; by default Keras downloads them")]
Threads = Annotated[int | None, typer.Option(help="threads of each job; results depend on it")]
Full = Annotated[bool, typer.Option("--full", help="run at the published size (section `full` of the file)")]

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
    study: Study,
    data: Data = None,
    ham10000: Ham10000 = None,
    isic2018: Isic2018 = None,
    weights: Weights = None,
    threads: Threads = None,
    full: Full = False,
) -> None: ...


def takes_study(command: Callable[..., None]) -> Callable[..., None]:
    """Gives ``command(params, …)`` the argument and options that choose a study; it receives the loaded study.

    Its own arguments come before the study. Unusable input ends it with exit code 2.
    """
    choice = inspect.signature(_choose).parameters
    own = list(inspect.signature(command).parameters.values())[1:]
    arguments = [parameter for parameter in own if parameter.default is parameter.empty]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        chosen = {name: values.pop(name) for name in choice}
        with unusable_input_exits_2():
            command(load_study(**chosen), **values)

    options = [parameter for parameter in own if parameter not in arguments]
    run.__signature__ = inspect.Signature([*arguments, *choice.values(), *options])  # type: ignore[attr-defined]
    return run
