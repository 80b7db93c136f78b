"""The campaigns see what they look for: each fault, planted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attnlab.storage.weights import encode
from tests.fuzzing import running
from tests.fuzzing.golden import golden
from tests.fuzzing.running import Answer, Case, Runner, fault, limits

GOOD = {"results/records.jsonl": b'{"id":"a"}\n', "results/weights/a.safetensors": b"x"}
BLOCK = "attnlab: x\n  It cannot be.\n"
PLANTED = [
    (Answer(-1, "", "", 0.0, raised="Traceback", files=GOOD), "traceback"),
    (Answer(-1, "", "", 9.0, hung=True, files=GOOD), "hang"),
    (Answer(3, "", BLOCK, 0.0, files=GOOD), "status"),
    (Answer(2, "", "", 0.0, files=GOOD), "message"),
    (Answer(2, "", "oh\n", 0.0, files=GOOD), "message"),
    (Answer(2, "", f"{BLOCK}and more\n", 0.0, files=GOOD), "message"),
    (Answer(0, "", "", 0.0, files={**GOOD, ".x.1234.attnlab": b""}), "leftover"),
    (Answer(0, "", "", 0.0, files={**GOOD, "x.json": b"{"}), "half_written"),
    (Answer(0, "", "", 0.0, files={**GOOD, "results/checkpoints/b.safetensors": b"torn"}), "half_written"),
    (Answer(0, "", "", 0.0, files={**GOOD, "results/records.jsonl": b'{"id":"a"}\n{'}), "half_written"),
    (Answer(0, "", "", 0.0, files={**GOOD, "results/records.jsonl": b""}), "lost"),
    (Answer(0, "", "", 0.0, files={**GOOD, "results/weights/a.safetensors": b""}), "half_written"),
    (Answer(0, "", "", 0.0, files={"results/records.jsonl": GOOD["results/records.jsonl"]}), "lost"),
    (Answer(2, "", BLOCK, 0.0, files={**GOOD, "results/records.jsonl": b'{"id":"a"}\n{}\n'}), "changed"),
]


@pytest.mark.parametrize(("answer", "name"), PLANTED)
def test_a_planted_fault_is_found(answer: Answer, name: str) -> None:
    assert fault(Case(("ls",), GOOD), answer).split("\n")[0] == name
    assert not fault(Case(("ls",), GOOD), Answer(0, "", "", 0.0, files=GOOD))
    assert not fault(Case(("ls",), GOOD), Answer(2, "", BLOCK, 0.0, files=GOOD))


def test_weights_are_lost_where_others_replace_whole_ones() -> None:
    one, other = (encode({"x": np.full(2, value, np.float32)}, {}) for value in (0, 1))
    name = "results/weights/a.safetensors"
    replaced = Answer(0, "", "", 0.0, files={**GOOD, name: other})
    assert fault(Case(("ls",), {**GOOD, name: one}), replaced).split("\n")[0] == "lost"
    assert not fault(Case(("ls",), {**GOOD, name: one[:-1]}), replaced)  # damaged ones, by training again


def loop() -> None:
    while True:
        pass


def raises() -> None:
    raise KeyError("x")


@pytest.mark.skipif(sys.platform == "win32", reason="the processor time of a command cannot be limited")
@pytest.mark.parametrize(("command", "name"), [(loop, "hang"), (raises, "traceback")])
def test_a_command_that_hangs_or_raises_is_caught(
    command: Callable[[], None], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "main", command)
    monkeypatch.setattr(running, "CPU_SECONDS", 0.2)
    with limits():
        answer = Runner(tmp_path).run(("ls",), {})
    assert fault(Case(("ls",)), answer).split("\n")[0] == name
    assert list(tmp_path.iterdir()) == []


def test_what_is_damaged_is_whole_before(tmp_path: Path) -> None:
    with limits():
        made = golden(Runner(tmp_path))
    assert len(made.runs) == 4
    assert {name.split("/")[1] for name in made.store} >= {"records.jsonl", "weights", "store.json", "tags.json"}
    assert not fault(Case((), made.store), Answer(0, "", "", 0.0, files=made.store))
