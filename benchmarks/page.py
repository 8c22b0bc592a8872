"""The tables of docs/performance.md, each between its marks."""

import re

from lesion_utils.paths import PROJECT

PAGE = PROJECT / "docs" / "performance.md"


def renewed(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` between the marks of the table ``name``."""
    marks = re.compile(rf"(<!-- {name}: [^\n]* -->).*?(<!-- end of {name} -->)", re.DOTALL)
    return marks.sub(lambda found: f"{found[1]}\n\n{text}\n\n{found[2]}", page)


def renew(name: str, text: str) -> None:
    """The same with the page as it lies there."""
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), name, text), encoding="utf-8")
