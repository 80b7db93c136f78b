"""A user's file with an attention; the registration is undone after the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from attnlab.position import Position
from attnlab.testing import _causality, _prefix
from attnlab.testing._paths import Sizes, paired_positions
from attnlab.testing._subject import Subject
from tests.cli.conftest import command as command

Write = Callable[[str], Path]

HEAD = '''"""A user's attention."""

import torch

from attnlab.attention import Attention, RowConstraint, register


@register("mine", source="ours")
class Mine(Attention):
    """Softmax attention with changes."""

'''


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write ``mine.py`` with this body of its class."""

    def written(body: str) -> Path:
        path = tmp_path / "mine.py"
        path.write_text(HEAD + "".join(f"    {line}\n" if line else "\n" for line in body.strip().splitlines()))
        return path

    return written


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Causality and prefixes at few lengths, more than one block among them, and with few positions.

    Every pair of attention and position is tested in ``tests/contract``, and at all lengths by the slow tests.
    """

    def few_positions(subject: Subject, sizes: Sizes) -> list[tuple[Position, str]]:
        return [one for one in paired_positions(subject, sizes) if one[1] in ("none", "rotary", "alibi")]

    for module in (_causality, _prefix):
        monkeypatch.setattr(module, "LENGTHS", (1, 2, 31, 65))
        monkeypatch.setattr(module, "paired_positions", few_positions)
    monkeypatch.setattr(_causality, "LONG", (300,))
    monkeypatch.setattr(_causality, "REPEATED", (9,))
    monkeypatch.setattr(_prefix, "REPEATED", (1, 2, 3, 8, 17, 32, 33, 70))
