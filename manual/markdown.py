"""Words of docstrings and messages -> Markdown."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence

from attnlab.rendering.catalog import paragraphs

Target = Callable[[str], str]
"""From the name of something in a docstring, such as ``attnlab.train``, to the address of its page; empty if none."""

SPECIAL = re.compile(r"([\\`*_\[\]<>{}])")
LINE_START = re.compile(r"^(\d*)([.)+#-])(?=\s|#)", re.MULTILINE)
INLINE = re.compile(
    r"``(?P<code>.+?)``|:(?P<role>\w+):`~?(?P<name>[^`]+)`|`(?P<single>[^`]+)`|(?P<arxiv>arXiv:\d{4}\.\d{4,5})",
    re.DOTALL,
)


def no_target(_name: str) -> str:
    """Link nothing.

    Args:
        _name: A name in a docstring.

    Returns:
        No address.
    """
    return ""


def escape(text: str) -> str:
    r"""Write text so that Markdown shows it as it is.

    >>> escape("a_ij <= 2 * b")
    'a\\_ij \\<= 2 \\* b'

    Args:
        text: Plain text.

    Returns:
        Markdown.
    """
    return LINE_START.sub(r"\1\\\2", SPECIAL.sub(r"\\\1", text.replace("&", "&amp;")))


def code(text: str) -> str:
    """Write text as inline code.

    Args:
        text: Plain text without line breaks.

    Returns:
        Markdown.
    """
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}" if text else ""


def inline(text: str, target: Target = no_target) -> str:
    r"""Write one paragraph of a docstring: code between backticks, roles as links, arXiv numbers as links.

    >>> inline("``x`` of arXiv:2407.18601 is a_b.")
    '`x` of [arXiv:2407.18601](https://arxiv.org/abs/2407.18601) is a\\_b.'

    Args:
        text: Words of a docstring.
        target: The addresses of names.

    Returns:
        Markdown.
    """
    written, end = [], 0
    for found in INLINE.finditer(text):
        written.append(escape(text[end : found.start()]))
        end = found.end()
        if arxiv := found["arxiv"]:
            written.append(f"[{arxiv}](https://arxiv.org/abs/{arxiv.removeprefix('arXiv:')})")
        elif name := found["name"]:
            address, words = target(name), code(name.rpartition(".")[-1] if found["role"] != "mod" else name)
            written.append(f"[{words}]({address})" if address else words)
        else:
            written.append(code(found["code"] or found["single"]))
    return "".join([*written, escape(text[end:])])


def block(text: str, language: str = "text") -> str:
    """Write text between fences.

    Args:
        text: Plain text.
        language: The language of its colors.

    Returns:
        Markdown.
    """
    fence = "````" if "```" in text else "```"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def documentation(text: str, target: Target = no_target) -> str:
    """Write the documentation of a part: prose, formulas as they are, labeled paragraphs as tables.

    Args:
        text: A docstring.
        target: The addresses of names.

    Returns:
        Markdown.
    """
    written = []
    for kind, inner in itertools.groupby(paragraphs(text), lambda paragraph: paragraph.kind):
        if kind == "labels":  # in one table
            rows = [(name, inline(rest, target)) for one in inner for name, rest in one.labels]
            written.append(facts(rows))
        elif kind == "formula":
            written += [block(_dedented(one.text).replace("``", "")) for one in inner]
        else:
            written += [inline(one.text, target) for one in inner]
    return "\n\n".join(filter(None, written))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table.

    Args:
        heads: The headings.
        rows: Cells of Markdown without line breaks.

    Returns:
        Markdown.
    """
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Write names with what stands beside them, as a table without a heading.

    Args:
        rows: Names in plain text, and Markdown.

    Returns:
        Markdown; the style sheet hides headings that are empty.
    """
    cells = [(f"**{escape(name)}**", value) for name, value in rows if value]
    return table(("", ""), cells) if cells else ""


def _cell(text: str) -> str:
    """A cell: a bar within it does not end it; within code it never does."""
    spans = re.split(r"(`+[^`]+`+)", text.replace("\n", " "))
    return "".join(span if span.startswith("`") else re.sub(r"(?<!\\)\|", r"\\|", span) for span in spans)


def _dedented(text: str) -> str:
    """Lines without the indent that they share."""
    lines = text.split("\n")
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[indent:] for line in lines)
