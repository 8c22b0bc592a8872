"""Arguments and options that several commands take."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from lesion_utils.cli.exits import unusable_input_exits_2
from lesion_utils.study import load_study

Study = Annotated[str, typer.Argument(help="name of a file in params/, or the path of a .yml file")]
Data = Annotated[str | None, typer.Option(help="folder of the dataset")]
Ham10000 = Annotated[
    str | None, typer.Option(help="folder of HAM10000 for isic9; by default the folder `ham10000` beside the data")
]
Isic2018 = Annotated[str | None, typer.Option(help="folder of the ISIC 2018 Task 3 test set, for the split system_000")]
Weights = Annotated[str | None, typer.Option(help="folder of ImageNet weights; by default Keras downloads them")]
Threads = Annotated[int | None, typer.Option(help="replaces the study's `threads`; results depend on it")]

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
