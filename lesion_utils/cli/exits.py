"""How a command ends when its input is unusable, and how it shows text from other people's files."""

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
    """``text`` without control, direction and other invisible characters that terminals obey: they become \ufffd."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in str(text))
