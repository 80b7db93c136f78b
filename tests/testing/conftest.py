"""A user's file for the kit, forgotten after the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import command as command

Write = Callable[[str], Path]

HEAD = '''"""A user's idea."""

import torch

from attnlab.attention import Attention, Rows, register


@register("mine", source="ours")
class Mine(Attention):
    """Softmax attention, or what a user makes of it."""

'''


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write ``mine.py`` with that body for its class."""

    def written(body: str) -> Path:
        path = tmp_path / "mine.py"
        path.write_text(HEAD + "".join(f"    {line}\n" if line else "\n" for line in body.strip().splitlines()))
        return path

    return written
