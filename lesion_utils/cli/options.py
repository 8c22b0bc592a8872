"""Arguments and options that several commands take."""

from typing import Annotated

import typer

Study = Annotated[str, typer.Argument(help="name of a file in params/, or the path of a .yml file")]
Data = Annotated[str | None, typer.Option(help="folder of the data set; relative to the project root")]
Ham10000 = Annotated[
    str | None, typer.Option(help="folder of HAM10000 for isic9; without it the folder `ham10000` beside the data")
]
Isic2018 = Annotated[str | None, typer.Option(help="folder of the ISIC 2018 Task 3 test set, for the split system_000")]
Weights = Annotated[str | None, typer.Option(help="folder of ImageNet weights; without it Keras downloads them")]
Threads = Annotated[int | None, typer.Option(help="replaces the study's `threads`; results depend on it")]

Melanoma = Annotated[
    str | None, typer.Option(metavar="NAME", help="class that is melanoma; by default told by its name")
]
Malignant = Annotated[
    str | None, typer.Option(metavar="A,B,…", help="classes that are malignant; by default told by their names")
]


def listed(option: str | None) -> list[str] | None:
    """An option of the form ``a,b,c``."""
    return None if option is None else [one.strip() for one in option.split(",")]
