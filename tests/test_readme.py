"""What the README says works."""

from __future__ import annotations

import re
from pathlib import Path

from attnlab import resources
from attnlab.attention import ATTENTIONS
from attnlab.position import POSITIONS
from attnlab.records import Record
from tests.cli.conftest import TINY, Command
from tests.cli.conftest import command as command

ROOT = Path(__file__).resolve().parent.parent
MECHANISMS = (
    "from the seed papers",
    "softmax and relatives",
    "scores and heads",
    "linear and recurrent",
    "sparse and structured",
)
TASKS = (
    "copying",
    "recall and memory",
    "in context",
    "counting and sorting",
    "arithmetic",
    "structure and state",
    "dynamics",
    "several tasks, or your own",
)
README = (ROOT / "README.md").read_text()


def test_the_variant_of_the_readme_trains(command: Command, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    code = next(block for block in blocks if "@register_attention" in block)
    body = [line for line in code.splitlines() if line.strip()]
    assert len(body[body.index('@register_attention("cosine", source="ours")') :]) < 20
    (tmp_path / "cosine.py").write_text(code)
    result = command("train", *TINY, "--plugin", "cosine.py", "--attn", "softmax,cosine:sharpness=12", "--json")
    records = [Record.from_line(line) for line in result.out.splitlines()]
    assert [record.spec.variant for record in records] == ["softmax", "cosine:sharpness=12"]
    assert records[0].accuracy != records[1].accuracy or records[0].history != records[1].history


def test_the_module_of_the_readme_trains(command: Command, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    code = next(block for block in blocks if "class Mixer(nn.Module)" in block)
    assert len([line for line in code.splitlines() if line.strip()]) == 6
    (tmp_path / "my.py").write_text(f"from torch import nn\n{code}")
    result = command("train", *TINY, "--attn", "my.py:Mixer,torch.nn:GRU", "--json")
    records = [Record.from_line(line) for line in result.out.splitlines()]
    assert [record.spec.variant for record in records] == ["my.py:Mixer", "torch.nn:GRU"]


def test_the_whole_model_of_the_readme_trains(command: Command, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    code = next(block for block in blocks if "class Lstm(nn.Module)" in block)
    (tmp_path / "my.py").write_text(f"from torch import nn\n{code}")
    result = command("train", *TINY, "--attn", "softmax", "--model", "my.py:Lstm", "--json")
    records = [Record.from_line(line) for line in result.out.splitlines()]
    assert [record.spec.variant for record in records] == ["softmax", "my.py:Lstm"]


def test_every_command_of_the_readme_parses(command: Command) -> None:
    lines = re.findall(r"^attnlab ((?:ls|show|sample) (?!ID)\S+)", README, flags=re.MULTILINE)
    assert len(lines) >= 5
    assert {line: command(*line.split()).status for line in lines} == dict.fromkeys(lines, 0)


def test_the_readme_names_all_there_is() -> None:
    rows = {
        line.split("|")[1].strip(): re.findall(r"`([\w-]+)`", line) for line in README.splitlines() if "| `" in line
    }
    kinds = {"positions": "position", **dict.fromkeys(TASKS, "tasks"), **dict.fromkeys(MECHANISMS, "attention")}
    data: dict[str, set[str]] = {kind: set() for kind in kinds.values()}
    for row, kind in kinds.items():
        data[kind] |= set(rows[row]) - {"dagpam"}
    assert data["tasks"] == {*resources.names("tasks"), "file", "reasoning-gym"}
    assert data["attention"] == {e.name for e in ATTENTIONS if e.cls.__module__.startswith("attnlab.")}
    assert data["position"] == {e.name for e in POSITIONS if e.cls.__module__.startswith("attnlab.")}


def test_the_command_of_the_demo_is_the_one_of_the_readme() -> None:
    assert "attnlab train --task recall --attn expressive" in README
    assert "attnlab train --task recall --attn expressive" in (ROOT / "Makefile").read_text()
