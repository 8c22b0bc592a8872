"""An executed notebook as parts of a page: text, folded code, tables that scroll, and figures with alt text."""

import html
import io
import re
from posixpath import normpath
from typing import Any

import markupsafe
from matplotlib import rc_context
from matplotlib.mathtext import math_to_image
from nbconvert.filters.ansi import strip_ansi
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

_INK = "#123456"  # of a formula, until it takes the colour of the text around it
_EPOCH = re.compile(r" epoch \d+/\d+:")
_GAP = re.compile(r"\S {2,}\S.*\S {2,}\S")  # of a line of a table printed as text, which must not wrap
_LOG = 3  # so many lines of epochs are a training log, which is folded


class _Text(IPythonRenderer):
    """Renders Markdown; ``headings`` are (level, anchor, text) of all headings so far. ``folder``: the address,
    from the page, of the folder that relative links in the text start from.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(escape=False)
        self.folder = folder
        self.headings: list[tuple[int, str, str]] = []

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        plain = html.unescape(re.sub(r"<.*?>", "", text))
        anchor = re.sub(r"\W+", "-", plain).strip("-").lower()
        anchor += f"-{len(self.headings)}" if anchor in {known for _, known, _ in self.headings} else ""
        self.headings.append((level, anchor, plain))
        return f'<h{level} id="{anchor}">{text}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        is_relative = not re.match(r"\w+:|#", url)
        return super().link(text, normpath(f"{self.folder}/{url}") if is_relative else url, title)

    def block_math(self, body: str) -> str:
        return f'<div class="wide">{_formula(body)}</div>\n'

    def inline_math(self, body: str) -> str:
        return _formula(body)


def notebook_parts(book: NotebookNode, folder: str) -> tuple[list[dict[str, Any]], list[tuple[int, str, str]]]:
    """The cells of ``book`` in order, and its headings (level, anchor, text); ``folder`` as in ``_Text``.

    A cell is ``{"text": html}``, or ``{"code": html, "label": str, "outputs": [html, …]}``, without what it wrote to
    stderr; code that shows nothing is joined with the code below it. A picture's alt text is the ``alt`` or ``caption``
    in its metadata; without them, the heading above it. Captions displayed once more, for JupyterLab, are left out.
    """
    text, figures = _Text(folder), 0
    markdown, cells = MarkdownWithMath(renderer=text), list[dict[str, Any]]()
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cells.append({"text": _scrolling(markdown.render(cell.source))})
        if cell.cell_type != "code":
            continue
        shown = [output for output in cell.outputs if output.get("name") != "stderr"]
        cell.outputs = [output for output in shown if _caption_of(output) != "picture"]
        outputs = []
        for output in CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, 0)[0].outputs:
            figures += "image/png" in output.get("data", {})
            above = text.headings[-1][2] if text.headings else "Result"
            outputs.append(_output(output, f"Figure {figures}: {above}", markdown))
        code = highlight(cell.source, PythonLexer(), HtmlFormatter(nowrap=True))
        label = ": parameters" if "parameters" in cell.metadata.get("tags", []) else ""
        if cells and cells[-1].get("outputs") == []:  # nothing between it and the code above: folded as one
            code, label = f"{cells[-1]['code']}\n{code}", cells.pop()["label"] or label
        cells.append({"code": code, "label": label, "outputs": outputs})
    return cells, text.headings


def markdown(text: str, folder: str) -> markupsafe.Markup:
    """``text`` as HTML for a page; ``folder`` as in ``_Text``."""
    return markupsafe.Markup(_scrolling(MarkdownWithMath(renderer=_Text(folder)).render(text)))


def _caption_of(output: NotebookNode) -> str:
    return output.get("metadata", {}).get("caption_of", "")


def _output(output: NotebookNode, default_alt: str, markdown: MarkdownWithMath) -> str:
    if output.output_type == "stream":
        return _printed(output.text)
    if output.output_type == "error":
        return _printed("\n".join(output.traceback))
    data, about = output.data, output.metadata | output.metadata.get("image/png", {})
    if "image/png" in data:
        caption = about.get("caption", "")
        alt = html.escape(about.get("alt") or caption or default_alt)
        below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
        image = f'<img src="data:image/png;base64,{data["image/png"].strip()}" alt="{alt}">'
        return f"<figure>{image}{below}</figure>"
    if "text/html" in data:
        return _scrolling(re.sub(r"<style scoped>.*?</style>", "", data["text/html"], flags=re.DOTALL))
    if _caption_of(output) == "table":
        return f'<p class="note">{html.escape(data["text/plain"])}</p>'
    if "text/markdown" in data:
        return _scrolling(markdown.render(data["text/markdown"]))
    return _printed(data.get("text/plain", ""))


def _printed(text: str) -> str:
    shown, lines = html.escape(strip_ansi(text).strip("\n")), text.strip().count("\n") + 1
    if len(_EPOCH.findall(text)) >= _LOG:
        return f"<details><summary>training log: {lines} lines</summary><pre>{shown}</pre></details>"
    columns = sum(bool(_GAP.search(line.strip())) for line in text.splitlines()) > lines / 2
    return f'<pre class="columns" tabindex="0">{shown}</pre>' if columns else f"<pre>{shown}</pre>"


def _scrolling(page: str) -> str:
    page = page.replace("<table", '<div class="wide" tabindex="0"><table')
    return page.replace("</table>", "</table></div>")


def _formula(tex: str) -> str:
    """A formula as a picture in the colour of the text; as code where matplotlib cannot draw it."""
    file, name = io.StringIO(), html.escape(tex.strip(), quote=True)
    try:
        # transparent: no white box on a dark page
        options = rc_context({"mathtext.fontset": "dejavusans", "svg.hashsalt": "formula", "savefig.transparent": True})
        with options, rc_context({"font.size": 12}):
            depth = math_to_image(f"${tex.strip()}$", file, format="svg", color=_INK)
    except ValueError:
        return f"<code>{name}</code>"
    drawn = re.sub(r"<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL).replace(_INK, "currentColor")
    opening = f'<svg role="img" aria-label="{name}" style="vertical-align: {-depth:.1f}pt" '
    return re.sub(r"\s*\n\s*", " ", opening + drawn.split("<svg ", 1)[1])
