"""Vega through vl-convert: its script for a page, compiled definitions, and images. The library is optional."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from attnlab.charts.look import CONFIG
from attnlab.errors import InvalidValueError

SCALE = 2
"""Pixels of a PNG per unit of the definition."""


def library(where: str = "--plot") -> Any:
    """Import vl-convert.

    Args:
        where: The option that needs it, for the message.

    Raises:
        InvalidValueError: It is not installed.
    """
    try:
        import vl_convert
    except ImportError:
        hint = "Install it with: pip install 'attnlab[plots]'."
        raise InvalidValueError("Charts need the library vl-convert.", hint, where=where) from None
    return vl_convert


@cache
def script() -> str:
    """The script that defines ``vegaEmbed``, with all that it needs; safe inside a script element.

    ``vega`` and ``vegaLite`` are defined by it as well, but are null in vl-convert 1.9.

    Raises:
        InvalidValueError: vl-convert is not installed.
    """
    text = str(library("--html").javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    return text.replace("</script", r"<\/script").replace("<!--", r"\x3C!--")


def compiled(definition: Mapping[str, Any], height: int) -> dict[str, Any]:
    """Compile a Vega-Lite definition for a page, which then need not do it.

    Args:
        definition: A chart.
        height: Its height in pixels.

    Returns:
        A Vega definition.

    Raises:
        InvalidValueError: vl-convert is not installed.
    """
    chart = {**definition, "height": height, "config": CONFIG, "autosize": {"type": "fit-x", "contains": "padding"}}
    result: dict[str, Any] = library("--html").vegalite_to_vega(json.dumps(chart))
    return result


def html(definition: Mapping[str, Any]) -> bytes:
    """A page that needs no network: it contains the plotting libraries.

    vl-convert 1.9 writes a definition into its script as it is: a name with ``</script>`` would end the script. It
    is given a definition of its own, whose place the escaped one takes.
    """
    place = '{"usermeta":"definition"}'
    head, tail = str(library().vegalite_to_html(place, bundle=True)).split(place)
    return f"{head}{inline_json(definition)}{tail}".encode()


def inline_json(data: Any) -> str:
    r"""JSON that may stand in a script of a page: no text in it can end the script or begin a comment.

    >>> inline_json("</script>")
    '"\\u003c/script>"'
    """
    return json.dumps(data).replace("<", r"\u003c")


def svg(definition: Mapping[str, Any]) -> bytes:
    """An SVG image."""
    return str(library().vegalite_to_svg(json.dumps(definition))).encode()


def png(definition: Mapping[str, Any]) -> bytes:
    """A PNG image."""
    return bytes(library().vegalite_to_png(json.dumps(definition), scale=SCALE))


def pdf(definition: Mapping[str, Any]) -> bytes:
    """A PDF page of the size of the chart, with text as text."""
    return bytes(library().vegalite_to_pdf(json.dumps(definition)))


WRITERS: dict[str, Callable[[Mapping[str, Any]], bytes]] = {".html": html, ".svg": svg, ".png": png, ".pdf": pdf}
"""Writers of a definition, by the ending of the file."""
