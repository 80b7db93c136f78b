"""A user's file with an attention; the registration is undone after the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

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
