"""What is found of an attention before it is trained, and what a plan makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import attnlab
from attnlab.attention import ATTENTIONS
from attnlab.attention.named import named_attention
from attnlab.errors import PartWarning, PluginError
from attnlab.testing.check_attention import check_attention, subject_of
from attnlab.testing.quick_check import QuickCheck, quick_check

BEGIN = """
import torch
from torch import nn

class Mine(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.linear = nn.Linear(dim, dim)
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(dim)
        self.asleep, self.calls = nn.Parameter(torch.zeros(dim)), 0

    def forward(self, x):
        own = self.linear(x)
"""
CLEAN = "own.cumsum(1)"
PAST_100 = "own + 1e-3 * torch.where(torch.arange(x.shape[1])[:, None] > 100, x.roll(-1, 1), 0 * x)"
LONGER_THAN_256 = "own + 1e-3 * x.roll(-1, 1) * (x.shape[1] > 256)"
IN_TRAINING = "own + 1e-3 * x.roll(-1, 1) * self.training"
BATCH_STATISTICS = "self.norm(own.mT).mT"
OTHER_ROWS = "own + 1e-3 * x.mean(0, keepdim=True)"
EQUAL_TOKENS = "own + 1e-3 * ((x[:, :, None] == x[:, None]).all(-1).to(x.dtype) @ x)"
ASLEEP = "own + self.asleep * x.roll(-1, 1)"
LONGER_THAN_1000 = "own + 1e-3 * x.roll(-1, 1) * (x.shape[1] > 1000)"
DETACHED = "own + 1e-3 * x.detach().amax(1, keepdim=True)"
OWN_LENGTH = "own / x.shape[1]"
FAST: dict[str, Any] = {
    "model": {"layers": 1, "width": 8, "heads": 1},
    "train": {"max_steps": 2, "batch_size": 4, "validation_examples": 4, "test_examples": 4},
    "complexity": 4,
    "store": None,
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    entries = dict(ATTENTIONS._entries)
    yield
    ATTENTIONS._entries.clear()
    ATTENTIONS._entries.update(entries)


def written(folder: Path, body: str) -> str:
    (folder / "mine.py").write_text(f"{BEGIN}        return {body}\n")
    return f"{folder / 'mine.py'}:Mine"


def found(folder: Path, body: str, lengths: Sequence[int] = (32,)) -> QuickCheck:
    return quick_check(ATTENTIONS.entry(named_attention(written(folder, body))), {}, 8, 2, lengths)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (PAST_100, "of 300 tokens, evaluation mode"),
        (LONGER_THAN_256, "of 300 tokens, evaluation mode"),
        (IN_TRAINING, "training mode"),
        (BATCH_STATISTICS, "training mode"),
        (OTHER_ROWS, "evaluation mode"),
        (DETACHED, "largest change"),
        (EQUAL_TOKENS, "repeated tokens, evaluation mode"),
        (ASLEEP, "evaluation mode"),
    ],
    ids=["past 100", "longer than 256", "training", "batch", "rows", "detached", "equal tokens", "zero weight"],
)
def test_a_leak_of_a_thousandth_is_found(body: str, where: str, tmp_path: Path) -> None:
    assert where in found(tmp_path, body).leak


def test_a_leak_at_a_length_of_the_run_alone_is_found_there(tmp_path: Path) -> None:
    assert found(tmp_path, LONGER_THAN_1000).leak == ""
    assert "of 1024 tokens, evaluation mode" in found(tmp_path, LONGER_THAN_1000, [20, 1024]).leak
    training = "own + 1e-3 * x.roll(-1, 1) * (self.training and x.shape[1] > 1000)"
    assert "of 1024 tokens, training mode" in found(tmp_path, training, [1024]).leak


def test_sequences_too_long_to_try_are_told(tmp_path: Path) -> None:
    assert found(tmp_path, CLEAN, [2048]).untried == ""
    assert found(tmp_path, CLEAN, [64, 5000]).untried == "2,048 of 5,000 tokens"
    assert "of 2048" in found(tmp_path, LONGER_THAN_1000, [5000]).leak


def test_a_length_that_no_run_has_may_be_refused(tmp_path: Path) -> None:
    body = "own.cumsum(1) if x.shape[1] % 2 == 0 and x.shape[1] <= 64 else 1 / 0"
    assert found(tmp_path, body, [32, 64]) == QuickCheck()
    with pytest.raises(ZeroDivisionError):
        found(tmp_path, body, [32, 65])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("nn.functional.dropout(own, 0.1)", r"dropout is always on, at .*mine.py:\d+: write F.dropout\(x, p, self.tr"),
        ("own + torch.rand(1)", r"its outputs are random, at .*mine.py:\d+: draw in training mode only"),
        ("own * self.count()", r"'(.*\.)?module.calls', which every forward pass changes"),
    ],
    ids=["dropout", "random", "counter"],
)
def test_outputs_that_change_from_call_to_call_are_named(body: str, message: str, tmp_path: Path) -> None:
    word = written(tmp_path, body)
    path = tmp_path / "mine.py"
    path.write_text(f"{path.read_text()}\n    def count(self):\n        self.calls += 1\n        return self.calls\n")
    entry = ATTENTIONS.entry(named_attention(word))
    assert re.search(message, quick_check(entry, {}, 8, 2, [32]).changes)
    with pytest.raises(PluginError, match=message):
        attnlab.train("copy", word, **FAST)


def test_a_run_whose_sequences_are_too_long_to_try_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnlab.testing.quick_check.LONGEST", 4)
    monkeypatch.setattr("attnlab.testing.quick_check.LENGTHS", (3,))
    with pytest.warns(PartWarning, match=r"leaks were looked for in up to 4 of \d+ tokens"):
        attnlab.train("copy", written(tmp_path, CLEAN), **FAST)


def test_a_module_without_a_fault_has_none(tmp_path: Path) -> None:
    assert found(tmp_path, CLEAN) == QuickCheck()
    assert found(tmp_path, "self.drop(own.cumsum(1))") == QuickCheck(random=True)


@pytest.mark.parametrize("name", ["softmax", "dape", "gated-delta", "zeta", "mamba2", "path", "multi-token"])
def test_built_in_attentions_have_no_fault(name: str) -> None:
    assert quick_check(ATTENTIONS.entry(name), {}, 16, 2, [32]) == QuickCheck()


def test_a_leak_is_refused_before_the_first_run_unless_it_is_allowed(tmp_path: Path) -> None:
    word = written(tmp_path, DETACHED)
    with pytest.raises(PluginError, match=r"It sees later tokens, or other rows of the batch: largest change"):
        attnlab.train("copy", word, **FAST)
    (record,) = attnlab.train("copy", word, **{**FAST, "model": {**FAST["model"], "allow_leak": True}})
    assert (record.spec.variant, record.spec.model.allow_leak) == ("mine.py:Mine (leaks)", True)


IGNORES_THE_MASK = """\
from attnlab import Attention

class Mine(Attention):
    def normalize(self, scores, mask, qkv):
        return scores.softmax(-1)
"""


def test_an_allowed_leak_is_not_hidden_in_blocks_of_queries(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(IGNORES_THE_MASK)
    word, allowed = f"{tmp_path}/mine.py:Mine", {**FAST, "model": {**FAST["model"], "allow_leak": True}}
    with pytest.raises(
        PluginError, match=r"It sees later tokens, but not where (.|\n)*def blockable\(self, qkv, position\)"
    ):
        attnlab.train("copy", word, **allowed)
    (tmp_path / "mine.py").write_text(
        f"{IGNORES_THE_MASK}\n    def blockable(self, qkv, position):\n        return False\n"
    )
    (record,) = attnlab.train("copy", word, **allowed)
    assert record.spec.variant == "mine.py:Mine (leaks)"


@pytest.mark.parametrize(
    ("hook", "arguments"),
    [
        ("normalize(self, scores, mask)", "scores, mask, qkv"),
        ("score(self)", "qkv"),
        ("output(self, mixed)", "mixed_BHTC, x_BTD"),
    ],
)
def test_hooks_with_other_arguments_are_found_where_they_are_written(hook: str, arguments: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        f"from attnlab import Attention\n\nclass Mine(Attention):\n    def {hook}:\n        pass\n"
    )
    name = hook.partition("(")[0]
    with pytest.raises(PluginError) as caught:
        attnlab.train("copy", f"{tmp_path}/mine.py:Mine", **FAST)
    assert str(caught.value).splitlines()[1:] == [
        f"  Mine.{name} takes other arguments than it is called with: {arguments}.",
        f"  at {tmp_path}/mine.py:4: def {hook}:",
        f"  Write it as def {name}(self, {arguments}).",
    ]


def test_hooks_may_have_further_arguments_with_defaults_and_any_names(tmp_path: Path) -> None:
    score = "def score(self, own, *more, sharp=1.0):\n        return sharp * super().score(own)\n"
    (tmp_path / "mine.py").write_text(f"from attnlab import Attention\n\nclass Mine(Attention):\n    {score}")
    (record,) = attnlab.train("copy", f"{tmp_path}/mine.py:Mine", **FAST)
    assert record.status == "done"


def test_an_allowed_leak_that_is_none_is_not_recorded(tmp_path: Path) -> None:
    word = written(tmp_path, CLEAN)
    (record,) = attnlab.train("copy", word, **{**FAST, "model": {**FAST["model"], "allow_leak": True}})
    (same,) = attnlab.train("copy", word, **FAST)
    assert (record.spec.variant, record.id) == ("mine.py:Mine", same.id)


def test_a_module_that_reads_its_own_length_is_a_warning(tmp_path: Path) -> None:
    with pytest.warns(PartWarning, match=r"a prefix has other outputs than the whole \(.* at length 1\)"):
        attnlab.train("copy", written(tmp_path, OWN_LENGTH), **FAST)


def test_weights_that_do_not_follow_the_seed_are_refused(tmp_path: Path) -> None:
    word = written(tmp_path, CLEAN)
    path = tmp_path / "mine.py"
    drawn = "nn.Parameter(torch.rand(3, generator=torch.Generator().manual_seed(next(COUNT))))"
    text = path.read_text().replace("self.drop,", f"self.scale = {drawn}\n        self.drop,")
    path.write_text(f"import itertools\n\nCOUNT = itertools.count()\n{text}")
    with pytest.raises(PluginError, match=r"Its weight 'module.scale' is not the same in two models of one seed"):
        attnlab.train("copy", word, **FAST)


def test_an_exception_of_the_module_is_one_block(tmp_path: Path) -> None:
    word = written(tmp_path, "own if len(x) < 4 else 1 / 0")
    with pytest.raises(PluginError, match=r"ZeroDivisionError: division by zero\n  at .*mine.py:\d+: return own if"):
        attnlab.train("copy", word, **FAST)


def test_torch_s_generator_is_left_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    found(tmp_path, "self.drop(own.cumsum(1))")
    assert torch.equal(before, torch.random.get_rng_state())


WINDOWS = """
import torch
from attnlab import Attention, register_attention


class Window(Attention):
    "Softmax over the last 8 tokens."

    def mask(self, qkv):
        queries, keys = qkv.queries_BHTC.shape[-2], qkv.keys_BHSC.shape[-2]
        return {}


register_attention("near", source="ours")(Window)
"""


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        ("torch.arange(queries)[:, None] + keys - queries - torch.arange(keys) < 8", "a difference of"),
        ("torch.ones(queries, queries, dtype=torch.bool).triu(-7)", "RuntimeError: The size of tensor a"),
        ("torch.arange(keys)[:, None] - torch.arange(keys) < 8", "RuntimeError: The size of tensor a"),
        ("qkv.query_indices_T1 - qkv.key_indices_S < 8", ""),
        ("torch.arange(qkv.start, qkv.start + queries)[:, None] - torch.arange(keys) < 8", ""),
    ],
    ids=["end of the keys", "square of queries", "square of keys", "indices", "start"],
)
def test_a_mask_that_numbers_tokens_by_the_shape_is_refused_before_long_sequences_meet_it(
    mask: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "near.py").write_text(WINDOWS.format(mask))
    attnlab.load_plugin(tmp_path / "near.py")
    blocks = quick_check(ATTENTIONS.entry("near"), {}, 16, 2, [32]).blocks
    assert blocks.startswith(says)
    assert bool(blocks) == bool(says)
    (paths,) = check_attention(subject_of("near"), ["fast path equals plain"]).findings
    assert paths.outcome == ("fail" if says else "pass")
    if says:
        assert "qkv.query_indices_T1" in paths.evidence
        with pytest.raises(PluginError, match=r"Blocks of queries(.|\n)*check near --plugin .*near.py"):
            attnlab.train("copy", "near", **FAST)
    else:
        attnlab.train("copy", "near", **FAST)
