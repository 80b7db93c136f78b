"""The look of charts: fonts, axes and legends, on a page and on paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CONFIG: Mapping[str, Any] = {
    "background": None,
    "font": "system-ui, 'Noto Sans', 'Liberation Sans', sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelPadding": 6,
        "titlePadding": 8,
    },
    "axisY": {"domain": False, "ticks": False, "grid": True},
    "axisX": {"grid": False, "tickSize": 4},
    "legend": {"labelFontSize": 12, "titleFontSize": 12},
}
"""The look of every chart of a page; the colors of axes and text are set by the style of the page."""
PAPER: Mapping[str, Any] = {
    **CONFIG,
    "background": "white",
    "font": "sans-serif",
    "axis": {**CONFIG["axis"], "gridColor": "#e4e4e4", "domainColor": "#888888", "tickColor": "#888888"},
}
"""The look of a chart on paper."""
