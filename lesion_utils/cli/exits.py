"""How a command ends when its input cannot be used."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from lesion_utils.errors import InputError


@contextmanager
def unusable_input_exits_2() -> Iterator[None]:
    """Prints an InputError as one message on stderr and exits with 2."""
    try:
        yield
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
