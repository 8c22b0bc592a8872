"""Templates filled with values: terminal text and HTML pages."""

from pathlib import Path
from typing import Any

import jinja2
import yaml

from lesion_utils.errors import InputError
from lesion_utils.evaluation.sentences import cell
from lesion_utils.paths import atomic_write
from lesion_utils.rounding import bounds, number, percent, span, with_interval

TEMPLATES = Path(__file__).parent / "templates"


def as_yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=60) if value else ""


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    autoescape=lambda name: str(name).endswith(".html.j2"),
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters |= {"whole": "{:,}".format, "cell": lambda text: text.replace("|", "\\|"), "yaml": as_yaml}
ENVIRONMENT.globals |= dict(
    number=number, span=span, bounds=bounds, with_interval=with_interval, percent=percent, cell=cell
)


def render(template: str, **values: Any) -> str:
    """The text of ``template``, a file in ``templates/``, with ``values``; whatever they hold is text, not markup."""
    return ENVIRONMENT.get_template(template).render(**values)


def write_page(path: Path, template: str, **values: Any) -> None:
    """Writes ``render(template, **values)`` to ``path``; raises InputError if it cannot be written."""
    try:
        with atomic_write(path) as beside:
            beside.write_text(render(template, **values), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}). Fix: choose another path.") from error
