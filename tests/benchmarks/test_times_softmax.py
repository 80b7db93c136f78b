"""The script that prints steps as multiples of softmax's, at a tiny size."""

from __future__ import annotations

import pytest
import torch

from attnlab.training.environment import torch_threads
from benchmarks import times_softmax
from benchmarks.timing import mixing


@pytest.mark.parametrize("name", ["expressive", "simplicial:near=2", "differential:version=2", "deltaformer"])
def test_the_mixing_of_attentions_with_options_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing, "TOKENS", 8)
    mixing.ours(name, 4, torch.device("cpu"))()


@pytest.mark.parametrize("flags", [[], ["--mixing"]])
def test_multiples_of_softmax_are_a_table(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["times_softmax", "deltaformer:erase=query", "--rounds", "1", "--tokens", "4", *flags]
    monkeypatch.setattr("sys.argv", words)
    with torch_threads(torch.get_num_threads()):  # the script sets one
        times_softmax.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| `softmax` | 1.00 | 1.00-1.00 |")
    assert lines[3].startswith("| `deltaformer:erase=query` |")
