"""A user's file with an attention; the registration is undone after the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from attnlab.testing import _causality, _prefix
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
    """Causality and prefixes at few lengths only: more than one block, and seconds for each attention less."""
    for module in (_causality, _prefix):
        monkeypatch.setattr(module, "LENGTHS", (1, 2, 31, 65))
    monkeypatch.setattr(_causality, "LONG", (300,))
    monkeypatch.setattr(_causality, "REPEATED", (9,))
    monkeypatch.setattr(_prefix, "REPEATED", (1, 2, 3, 8, 17, 32, 33, 70))
