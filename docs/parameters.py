"""Writes docs/parameters.md, the keys of a study's file, from the classes that read them.

Run `.venv/bin/python docs/parameters.py`.
"""

import ast
import inspect
import io
import tokenize
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from lesion_utils.datasets.phantom import Phantom
from lesion_utils.paths import PROJECT
from lesion_utils.recipes import (
    Augmentation,
    BackboneOptions,
    OfflineCopies,
    Phase,
    Plateau,
    Recipe,
    nested_types,
    section_of,
)
from lesion_utils.study import Judging, PairedLeak, StudyParams

PAGE = PROJECT / "docs" / "parameters.md"
HEAD = """# Keys of a study's file

A study is a file in `params/`; [quick.yml](../params/quick.yml) is a short one. Its recipes are in three sections,
one for each training notebook: `baseline`, `rebalancing`, `transfer`. A recipe has a name of your choice and the keys
below:

```yaml
baseline:
  my_cnn:
    dropout: 0.3
    phases: [{epochs: 12, learning_rate: 0.0005}]
```

What you leave out has its default. A wrong key or value stops the study before anything runs.

**A recipe like another one.** `like` takes all keys of a recipe of a study in `params/`, `<study>/<recipe>`; the keys
beside it replace those. The recommended recipe, for smaller pictures:

```yaml
transfer:
  my_network:
    like: recommended/efficientnet_lite0
    backbone: {image_size: [150, 200]}
```

The other keys of `backbone` stay as they are there; a list, such as `phases`, is replaced whole. `null` takes a key
back to its default, as in `augmentation: null`. `<study>_full/<recipe>` is that of the section `full`.
Keys of the study itself, such as `folds`, are not taken.

**In JupyterLab**, change the same keys in the first code cell of notebook 02, 03 or 04, and run all cells.
`lesion open quick 02` opens a copy of what the study `quick` ran, so that no tracked notebook changes. What such a
notebook computes goes to `runs/by_hand/`.

*`docs/parameters.py` writes this page.*
"""
SECTIONS: dict[str, type[BaseModel]] = {
    "A recipe": Recipe,
    "`backbone` of a recipe": BackboneOptions,
    "`phases` of a recipe, a list": Phase,
    "`augmentation` of a recipe": Augmentation,
    "`offline_copies` of a recipe": OfflineCopies,
    "`reduce_lr` of a recipe": Plateau,
    "The study": StudyParams,
    "`judging` of the study": Judging,
    "`leaks` of the study, each": PairedLeak,
    "`phantom` of the study": Phantom,
}
KINDS = {bool: "yes or no", int: "whole number", float: "number", str: "text", tuple: "list", dict: "section"}


def comments_of(section: type[BaseModel]) -> dict[str, str]:
    """What the comments above and beside each field say."""
    source = inspect.getsource(section)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    at = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    fields = [node for node in ast.parse(source).body[0].body if isinstance(node, ast.AnnAssign)]  # type: ignore[attr-defined]
    texts = {}
    for field in fields:
        first = field.lineno
        while first - 1 in at and source.splitlines()[first - 2].lstrip().startswith("#"):
            first -= 1
        said = [at[line] for line in range(first, (field.end_lineno or first) + 1) if line in at]
        texts[field.target.id] = " ".join(text for text in said if not text.startswith("type: ignore"))  # type: ignore[union-attr]
    return texts


def values_of(annotation: Any) -> str:
    """Which values a field takes, in words."""
    types = nested_types(annotation)
    if choices := [value for of in types if get_origin(of) is Literal for value in get_args(of)]:
        named = ", ".join(f"`{value}`" for value in choices)
        return (
            f"section of {named}" if get_origin(annotation) is dict and get_origin(get_args(annotation)[0]) else named
        )
    if section_of(annotation):
        return "section" if tuple not in map(get_origin, types) else "list of sections"
    outer = next(of for of in types if get_origin(of) in (tuple, dict) or of in KINDS)
    return KINDS[get_origin(outer) or outer] + (" or null" if NoneType in types else "")


def default_of(value: Any) -> str:
    if value is PydanticUndefined:
        return "needed"
    if isinstance(value, BaseModel | dict) or (isinstance(value, tuple) and value and isinstance(value[0], BaseModel)):
        return ""
    text = yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True, width=1000)
    return f"`{text.removesuffix('...' + chr(10)).strip()}`"


def page() -> str:
    parts = [HEAD]
    for title, section in SECTIONS.items():
        rows = ["| key | default | values | meaning |", "|---|---|---|---|"]
        texts = comments_of(section)
        for name, field in section.model_fields.items():
            meaning = texts.get(name) or field.description or ""
            cells = [f"`{name}`", default_of(field.default), values_of(field.annotation), meaning]
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append(f"## {title}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
