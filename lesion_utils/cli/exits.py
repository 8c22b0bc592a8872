"""How a command ends when its input cannot be used, and how it shows what stands in a file of somebody's."""

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
        typer.echo(f"error: {harmless(error)}", err=True)
        raise typer.Exit(2) from None


def harmless(text: object) -> str:
    """``text`` without what a terminal would obey: control, direction and other invisible characters become \ufffd."""
    return "".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in str(text))
