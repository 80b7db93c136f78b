"""The script that prints steps as multiples of softmax's, at a tiny size."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attnlab.training.environment import torch_threads
from benchmarks import times_softmax
from benchmarks.timing import mixing
from benchmarks.timing.goals import MOST_TIMES_DELTA, MOST_TIMES_SOFTMAX
from benchmarks.timing.textbook import Shape, ours


@pytest.mark.parametrize("name", ["expressive", "simplicial:near=2", "differential:version=2", "deltaformer"])
def test_the_mixing_of_attentions_with_options_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing, "TOKENS", 8)
    mixing.ours(name, 4, torch.device("cpu"))()


def test_the_mixing_has_gradients_of_a_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing, "TOKENS", 8)
    sets: list[int] = []
    grad = torch.autograd.grad

    def counted(outputs: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        grads = grad(outputs, inputs, *args, **options)
        sets.append(sum(one is not None for one in grads))
        return grads

    monkeypatch.setattr(torch.autograd, "grad", counted)
    for position_name in ("none", "alibi", "kerple"):
        mixing.ours("softmax", 4, torch.device("cpu"), position_name)()
    assert sets == [3, 3, 5]  # those of queries, keys and values; kerple has two parameters


@pytest.mark.parametrize(
    ("flags", "base"),
    [
        ([], "softmax"),
        (["--mixing"], "torch's fused softmax"),
        (["--mixing", "--position", "fire"], "torch's fused softmax"),
    ],
)
def test_multiples_of_softmax_are_a_table(
    flags: list[str], base: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["times_softmax", "deltaformer:erase=query", "--rounds", "1", "--tokens", "4", *flags]
    monkeypatch.setattr("sys.argv", words)
    with torch_threads(torch.get_num_threads()):  # the script sets one
        times_softmax.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith(f"| `{base}` | 1.00 | 1.00-1.00 |")
    assert lines[3].startswith("| `deltaformer:erase=query` |")


def test_goals_are_told_with_their_baseline() -> None:
    seconds = {"softmax": [1.0], "delta": [2.0], "wall": [1.6], "parallax": [1.5], "mesa": [3.9], "gsa": [4.2]}
    told = {name: times_softmax.goal(name, seconds) for name in ("softmax", "wall", "parallax", "mesa", "gsa")}
    assert told == {
        "softmax": "",
        "wall": "1.5, **not reached**",
        "parallax": "1.5",
        "mesa": "2.0 times `delta`: 1.95",
        "gsa": "2.0 times `delta`: 2.10, **not reached**",
    }
    assert times_softmax.goal("mesa", {"softmax": [1.0], "mesa": [3.9]}) == ""


@pytest.mark.parametrize("name", [*MOST_TIMES_SOFTMAX, *MOST_TIMES_DELTA])
def test_every_attention_with_a_goal_can_be_stepped(name: str) -> None:
    ours(Shape(length=8, batch=2, width=8), torch.device("cpu"), "never", name)()
