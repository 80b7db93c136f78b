"""The declared state of every attention agrees with what its later outputs depend on; a wrong declaration is found."""

from __future__ import annotations

import pytest

from attnlab.attention import ATTENTIONS, Attention
from attnlab.config.inline_parts import parse_part
from attnlab.specs import Modifiers, Part
from attnlab.tensors import LayerContext
from attnlab.testing.check_attention import check_attention
from tests.builders import attention_of, seeded

WITH_OPTIONS = [
    "combiner:block=3",
    "combiner:partition=axial,block=3",
    "sparse:pattern=fixed,window=3",
    "sparse:pattern=star,window=3",
    "sparse:pattern=window,window=3",
    "sparse:pattern=fixed,window=3,mode=heads",
    "sparse:pattern=strided,window=3,mode=alternate",
    "window:window=3,sinks=1",
    "native-sparse:block=2,keep=2,window=2",
    "native-sparse:block=2,keep=3,window=2",
    "moba:block=3,keep=1",
    "mgk:keys=shifted",
    "latent:rank=2,turned=2",
    "latent:rank=6,turned=0",
    "lipschitz:values=plain",
    "rwkv7:shift=false,rank=2",
    "delta:expand=2",
    "mamba2:state=4,expand=1",
    "based:features=2",
    "abc:slots=2",
    "path:taps=5,rank=2",
    "multi-token:queries=1,keys=3",
]


@pytest.mark.parametrize("word", WITH_OPTIONS)
def test_the_state_is_the_declared_one_with_options_too(word: str) -> None:
    (finding,) = check_attention(parse_part(word), ["decode state"]).findings
    assert finding.outcome == "pass", finding.evidence


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("softmax", 10 * 2 * 64),
        ("grouped", 10 * 2 * 32),
        ("latent", 10 * (32 + 16)),
        ("window", 10 * 2 * 64),
        ("linear", 2 * (32 * 32 + 32)),
        ("delta", 2 * 32 * 32),
        ("rwkv7", 2 * 32 * 32 + 64),
        ("mamba2", 2 * 64 * 64),
        ("log-linear", 2 * 2 * 32 * 32),
        ("easy", 10 * 64),
    ],
)
def test_the_numbers_after_ten_tokens_of_the_default_sizes(name: str, expected: int) -> None:
    assert attention_of(name, width=64, heads=2, length=64).state_size(10) == expected


def test_a_window_stops_growing() -> None:
    attention = attention_of("window", {"window": 5, "sinks": 2}, width=8, heads=2)
    assert [attention.state_size(tokens) // 16 for tokens in (0, 3, 6, 7, 100)] == [0, 3, 6, 6, 6]


def test_a_bias_turns_the_sums_of_linear_scores_into_a_cache() -> None:
    for name in ("nap", "non"):
        free, biased = (attention_of(name, width=8, heads=2, biased=biased) for biased in (False, True))
        assert free.state_size(100) == free.state_size(10)
        assert biased.state_size(100) == 100 * 2 * 8


@pytest.mark.parametrize("name", ["latent", "grouped", "nap", "delta", "window:window=3,sinks=0", "easy"])
def test_the_state_of_softmax_is_too_large_for_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    part = parse_part(name)
    cls = ATTENTIONS.entry(part.name).cls
    monkeypatch.setattr(cls, "state_size", lambda self, tokens: 2 * tokens * self.out_proj.out_features)
    (finding,) = check_attention(part, ["decode state"]).findings
    assert finding.outcome == "fail"
    assert finding.evidence.endswith("declared is more than they can depend on; see state_size")


@pytest.mark.parametrize("name", ["softmax", "linear", "latent", "rwkv7"])
def test_half_of_the_state_is_too_small(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = ATTENTIONS.entry(name).cls
    whole = cls.state_size
    divisor = 4 if name == "softmax" else 2
    monkeypatch.setattr(cls, "state_size", lambda self, tokens: whole(self, tokens) // divisor)
    (finding,) = check_attention(Part(name=name), ["decode state"]).findings
    assert finding.outcome == "fail"
    assert finding.evidence.endswith("declared is less than they need; see state_size")


@pytest.mark.parametrize(("taps", "kept"), [(0, 0), (1, 0), (4, 3 * 8)])
def test_a_short_convolution_keeps_the_inputs_that_it_reads_again(taps: int, kept: int) -> None:
    context = LayerContext(width=8, heads=2, modifiers=Modifiers(short_conv=taps), generator=seeded())
    attention: Attention = ATTENTIONS.entry("softmax").cls(context)
    assert attention.modifiers.state_size(100) == kept
    assert attention.modifiers.state_size(2) == min(kept, 2 * 8)
