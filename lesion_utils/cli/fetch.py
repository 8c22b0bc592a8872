"""Loading of datasets and weights."""

import sys
from typing import Annotated

import typer

from lesion_utils.cli.common import harmless, unusable_input_exits_2
from lesion_utils.errors import InputError, did_you_mean
from lesion_utils.progress import is_quiet

ACCEPT = "--accept-licence"


def fetch(
    name: Annotated[str, typer.Argument(help="ham10000, isic2018, isic2019, isic9 or weights")],
    accept_licence: Annotated[
        bool, typer.Option(ACCEPT, help="accept the licence that is shown, without a question")
    ] = False,
    source: Annotated[
        str | None, typer.Option(metavar="URL", help="ask this mirror: https://host/path is asked as URL/host/path")
    ] = None,
) -> None:
    with unusable_input_exits_2():
        from lesion_utils.fetch import fetch, sources  # slow

        known = sources()
        if name not in known:
            problem = f"{name!r} cannot be loaded.{did_you_mean(name, known)}"
            raise InputError(f"{problem} Expected one of {', '.join(known)}. Fix: lesion fetch ham10000")
        if source and not source.startswith(("http://", "https://")):
            fix = f"Fix: put files that you have into {known[name].downloads}, and leave --source out."
            raise InputError(f"--source is {source!r}. Expected an address that starts with http:// or https://. {fix}")
        chosen = known[name]
        if chosen.missing() and not (is_quiet() and accept_licence):
            whole, begun = chosen.megabytes()
            size = max(0, whole - begun)
            words = f"{size / 1000:,.1f} GB" if size >= 1000 else f"{size:,.0f} MB"
            lines = [
                chosen.title,
                f"To load: about {words}, into {chosen.folder}",
                f"Licence: {chosen.licence}",
                "Cite:",
            ]
            typer.echo("\n".join([*lines, *(f"  {entry}" for entry in chosen.cite)]), err=True)
            if not accept_licence:
                fix = f"nothing was loaded. Fix: {chosen.command(source)}"
                if not sys.stdin.isatty():
                    raise InputError(
                        f"without a terminal, no question about the licence can be asked, so {fix} {ACCEPT}"
                    )
                if not typer.confirm("Do you accept this licence?", err=True):
                    raise InputError(f"the licence was not accepted, so {fix}")
        said, differs = fetch(chosen, source)
    if differs:
        fix = f"remove {chosen.folder}, then: {chosen.command(source)} {ACCEPT}"
        typer.echo(harmless(f"{chosen.folder}: {said}, kept"))
        typer.echo(harmless(f"error: {name} is not as announced: {differs}. Fix: {fix}"), err=True)
        raise typer.Exit(1)
    typer.echo(harmless(f"{chosen.folder}: {said}. Next: {chosen.next_command}"))
