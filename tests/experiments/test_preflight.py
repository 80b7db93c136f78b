"""A user's part that raises an exception is reported with the user's file and line, before anything is written."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import TINY, Command
from tests.cli.conftest import command as command

RAISING = """\
from attnlab.attention import Attention, register

@register("raising", source="me")
class Raising(Attention):
    'Raises.'

    def score(self, qkv):
        return qkv.queries_BHTC @ qkv.keys_BHSC  # forgot to transpose
"""


def test_a_part_that_raises_is_reported_with_its_own_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "raising.py").write_text(RAISING)
    result = command("train", *TINY, "--complexity", "3", "--plugin", "raising.py", "--attn", "raising")
    assert result.status == 2
    head, error, location, *more = result.error.splitlines()
    assert head == "attnlab: model.attention: raising"
    assert error.startswith("  RuntimeError: ")
    assert location.endswith("raising.py:8: return qkv.queries_BHTC @ qkv.keys_BHSC  # forgot to transpose")
    assert more == []
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["raising.py"]
