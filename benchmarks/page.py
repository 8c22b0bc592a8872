"""The measured tables of the pages in docs/, each between its marks."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from lesion_utils.paths import PROJECT

PAGE = PROJECT / "docs" / "performance.md"
YOUR_DATA = PROJECT / "docs" / "your_own_data.md"


def markdown(heads: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in (heads, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(heads)}", *lines[1:]])


def renewed(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` between the marks of the table ``name``."""
    marks = re.compile(rf"(<!-- {name}: [^\n]* -->).*?(<!-- end of {name} -->)", re.DOTALL)
    return marks.sub(lambda found: f"{found[1]}\n\n{text}\n\n{found[2]}", page)


def renew(name: str, text: str, page: Path = PAGE) -> None:
    """Writes ``text`` between the marks of the table ``name`` in the file ``page``."""
    page.write_text(renewed(page.read_text(encoding="utf-8"), name, text), encoding="utf-8")
