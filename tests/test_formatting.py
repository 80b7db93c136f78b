from __future__ import annotations

import math

import pytest

from attnlab.formatting import duration, interval, percent, scaled, thousands


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.0 %"), (0.5, "50.0 %"), (0.1234, "12.3 %"), (0.99999, "99.9 %"), (1.0, "100.0 %"), (math.nan, "nan %")],
)
def test_only_a_full_share_is_100_percent(share: float, text: str) -> None:
    assert percent(share) == text


def test_interval() -> None:
    assert interval((0.0, 1.0)) == "0.0-100.0"
    assert interval((0.5, 0.99999)) == "50.0-99.9"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.9, "59.9 s"),
        (60, "1:00 min"),
        (61.6, "1:02 min"),
        (3599.6, "1:00:00 h"),
        (86_400, "24:00:00 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (999, "999"), (1000, "1,000"), (1234567.8, "1,234,568")])
def test_thousands(number: float, text: str) -> None:
    assert thousands(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (119424, "119 k"), (2.5e9, "2.5 G"), (1e15, "1e+03 T")]
)
def test_scaled(number: float, text: str) -> None:
    assert scaled(number) == text
