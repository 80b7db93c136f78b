"""Other people's modules as attentions: built with what matches, called so that they are causal, or refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from attnlab.attention.adapter import Adapted, adapt
from attnlab.attention.ops.calling import causal
from attnlab.attention.ops.constructor import constructor_parameters, matched_arguments, missing_arguments
from attnlab.errors import InvalidValueError, PluginError
from attnlab.position import POSITIONS
from attnlab.tensors import LayerInputs
from tests.builders import layer_context, noise

WIDTH, HEADS = 8, 2


def output(attention: Adapted, x_BTD: Tensor) -> Tensor:
    context = layer_context(WIDTH, HEADS)
    position = POSITIONS.entry("none").cls(context)
    result: Tensor = attention(x_BTD, position, LayerInputs()).output_BTD
    return result


def built(build: Any, adapted: dict[str, Any] | None = None, **options: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return adapt(build, **adapted or {})(layer_context(WIDTH, HEADS), **options).eval()


class Convolution(nn.Module):
    """A causal convolution."""

    def __init__(self, dim: int, taps: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, taps, padding=taps - 1)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.conv(x_BTD.mT)[..., : x_BTD.shape[1]].mT


class TokensFirst(nn.Module):
    """A causal mean over tokens x batch x width, in a tuple."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.linear = nn.Linear(d_model, d_model)

    def forward(self, x_TBD: Tensor) -> tuple[Tensor, str]:
        return self.linear(x_TBD).cumsum(0), "state"


class Masked(nn.Module):
    """An attention that needs a mask, True where a key is allowed."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.key = nn.Linear(embed_dim, embed_dim)

    def forward(self, x_BTD: Tensor, mask: Tensor | None = None) -> dict[str, Tensor] | Tensor:
        scores = x_BTD @ self.key(x_BTD).mT
        return (scores if mask is None else scores.masked_fill(~mask, -1e9)).softmax(-1) @ x_BTD


class Blocks(nn.Module):
    """A module that refuses lengths that are no multiples of four."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        if x_BTD.shape[1] % 4:
            raise ValueError("whole blocks only")
        return self.linear(x_BTD).cumsum(1)


class Leaky(nn.Module):
    """A module that averages over all tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.linear(x_BTD) + x_BTD.mean(1, keepdim=True)


def test_a_recurrent_network_is_what_torch_computes() -> None:
    attention, x_BTD = built(nn.GRU), noise(2, 5, WIDTH).float()
    torch.testing.assert_close(output(attention, x_BTD), attention.module(x_BTD)[0])
    assert (attention.module.input_size, attention.module.hidden_size, attention.module.batch_first) == (8, 8, True)


@pytest.mark.parametrize(
    ("build", "options", "mask"),
    [
        (nn.GRU, {}, "none"),
        (nn.LSTM, {}, "none"),
        (nn.MultiheadAttention, {}, "additive"),
        (nn.TransformerEncoderLayer, {"dim_feedforward": 16}, "additive"),
        (Convolution, {"taps": 4}, "none"),
        (TokensFirst, {}, "none"),
        (Masked, {}, "allowed"),
    ],
)
def test_the_way_of_calling_is_found_and_no_output_depends_on_later_tokens_or_other_rows(
    build: Any, options: dict[str, Any], mask: str
) -> None:
    attention, x_BTD = built(build, **options), noise(3, 9, WIDTH).float()
    assert attention.call.mask == mask
    whole = output(attention, x_BTD)
    assert whole.shape == x_BTD.shape
    changed = x_BTD.clone()
    changed[1, 4:] = 0.0
    other = output(attention, changed)
    torch.testing.assert_close(other[1, :4], whole[1, :4])
    torch.testing.assert_close(other[[0, 2]], whole[[0, 2]])
    assert not torch.allclose(other[1, 4:], whole[1, 4:])


def test_multi_head_attention_is_torch_s_with_its_causal_mask() -> None:
    attention, x_BTD = built(nn.MultiheadAttention), noise(2, 6, WIDTH).float()
    expected, _ = attention.module(x_BTD, x_BTD, x_BTD, attn_mask=causal("hidden", 6, x_BTD), is_causal=True)
    torch.testing.assert_close(output(attention, x_BTD), expected)
    assert (attention.module.embed_dim, attention.module.num_heads) == (WIDTH, HEADS)


def test_tokens_first_and_a_tuple_are_recognized() -> None:
    attention, x_BTD = built(TokensFirst), noise(2, 5, WIDTH).float()
    assert not attention.call.batch_first
    torch.testing.assert_close(output(attention, x_BTD), attention.module.linear(x_BTD).cumsum(1))


def test_lengths_are_padded_to_whole_blocks() -> None:
    attention, x_BTD = built(Blocks, {"block": 4}), noise(2, 7, WIDTH).float()
    torch.testing.assert_close(output(attention, x_BTD), attention.module.linear(x_BTD).cumsum(1))
    with pytest.raises(InvalidValueError, match="whole blocks only"):
        built(Blocks, {"block": 1})


def test_blocks_are_found_where_a_short_sequence_is_refused() -> None:
    attention, x_BTD = built(Blocks), noise(2, 7, WIDTH).float()
    assert attention.block == 16
    torch.testing.assert_close(output(attention, x_BTD), attention.module.linear(x_BTD).cumsum(1))
    assert built(nn.GRU).block == 1


class ShortPath(Blocks):
    """A module that takes any short sequence, and whole blocks of a longer one."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        return super().forward(x_BTD) if x_BTD.shape[1] > 8 else self.linear(x_BTD).cumsum(1)


def test_blocks_are_found_where_only_a_longer_sequence_must_have_them() -> None:
    with torch.random.fork_rng():
        lengths = {length: adapt(ShortPath)(layer_context(WIDTH, HEADS, length=length)).block for length in (8, 30)}
    assert lengths == {8: 1, 30: 16}


@dataclass
class LayerConfig:
    """The arguments of a layer."""

    d_model: int
    n_layers: int
    taps: int = 3
    max_len: int = 0
    names: list[str] = field(default_factory=list)


class Configured(Convolution):
    """A module whose constructor takes an object with its arguments."""

    def __init__(self, config: LayerConfig, extra: bool = False) -> None:
        super().__init__(config.d_model, config.taps)
        self.config, self.extra = config, extra


def test_the_arguments_of_an_object_are_those_of_the_module() -> None:
    attention = built(Configured, taps=2, extra=True)
    assert attention.module.config == LayerConfig(WIDTH, 1, taps=2, max_len=16)
    assert attention.module.extra
    with pytest.raises(PluginError, match="TypeError"):
        built(Configured, taps="two")
    assert missing_arguments(constructor_parameters(Configured)) == []


class Flagged(nn.Module):
    """A module whose forward is causal if it is told so."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor, causal: bool = False) -> Tensor:
        keys = self.linear(x_BTD)
        return nn.functional.scaled_dot_product_attention(keys, keys, x_BTD, is_causal=causal)


def test_a_forward_that_has_a_flag_and_no_mask_is_told_to_be_causal() -> None:
    attention, x_BTD = built(Flagged), noise(2, 6, WIDTH).float()
    assert (attention.call.mask, attention.call.keywords) == ("none", {"causal": True})
    torch.testing.assert_close(output(attention, x_BTD), attention.module(x_BTD, causal=True))


class Checkpointed(Convolution):
    """A module that recomputes its activations in the backward pass."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        return checkpoint(super().forward, x_BTD, use_reentrant=True)


def test_a_module_with_reentrant_checkpoints_is_called_and_its_parameters_keep_their_gradients() -> None:
    attention = built(Checkpointed)
    assert attention.call.mask == "none"
    assert all(one.grad is None for one in attention.parameters())


class Told(Convolution):
    """A module that may be told that it is causal."""

    def __init__(self, dim: int, causal: bool = False) -> None:
        super().__init__(dim)


class ToldNot(Told):
    """A module that is causal by itself, and refuses to be told so."""

    def __init__(self, **kwargs: Any) -> None:
        assert "causal" not in kwargs, "it is causal"
        super().__init__(**kwargs)


def test_a_module_that_refuses_to_be_told_that_it_is_causal_is_not_told() -> None:
    assert "causal" in constructor_parameters(ToldNot)
    assert built(ToldNot).call.mask == "none"
    with pytest.raises(PluginError, match="AssertionError: it is causal"):
        built(ToldNot, causal=True)


class Ending(nn.Module):
    """A module that ends the process, as some do where something optional is missing."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        raise SystemExit(f"{dim} is too much without the other package")


def test_a_module_that_would_end_the_process_is_an_error() -> None:
    with pytest.raises(PluginError, match=r"ends the process \(exit code 8 is too much"):
        built(Ending)


def test_a_block_with_a_short_default_is_not_the_longest_sequence() -> None:
    def build(dim: int, block_size: int = 16, max_seqlen: int = 2048) -> None: ...

    def longest(dim: int, block_size: int = 1024) -> None: ...

    context = layer_context(WIDTH, HEADS, length=32)
    assert matched_arguments(constructor_parameters(build), context, {}) == {"dim": 8, "max_seqlen": 32}
    assert matched_arguments(constructor_parameters(longest), context, {}) == {"dim": 8, "block_size": 32}


def test_a_module_may_compute_in_another_type_and_return_what_it_likes() -> None:
    seen = []

    class Odd(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(dim))

        def forward(self, x_BTD: Tensor) -> dict[str, Tensor]:
            seen.append(x_BTD.dtype)
            return {"hidden": x_BTD * self.scale}

    attention = built(Odd, {"needs": "float32", "returns": lambda returned: returned["hidden"]})
    x_BTD = noise(2, 5, WIDTH)
    torch.testing.assert_close(output(attention, x_BTD), x_BTD.float().double())
    assert set(seen) == {torch.float32}


def test_a_module_that_leaks_is_called_all_the_same_and_found_by_its_check() -> None:
    attention, x_BTD = built(Leaky), noise(2, 5, WIDTH).float()
    torch.testing.assert_close(output(attention, x_BTD), attention.module(x_BTD))


@pytest.mark.parametrize(
    ("build", "options", "error", "message"),
    [
        (nn.Conv1d, {"in_channels": 8, "out_channels": 8, "kernel_size": 1}, InvalidValueError, "cannot be used: Runt"),
        (nn.Embedding, {"num_embeddings": 4, "embedding_dim": 8}, InvalidValueError, "The module cannot be used"),
        (lambda dim: nn.Linear(dim, 3), {}, InvalidValueError, r"it maps \[3, 6, 8\] to \[3, 6, 3\]"),
        (lambda dim: dim, {}, PluginError, "It makes a int, not an nn.Module"),
        (nn.MultiheadAttention, {"num_heads": 3}, PluginError, "AssertionError: embed_dim must be divisible"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(
    build: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        built(build, **options)


def test_only_classes_of_modules_are_adapted() -> None:
    with pytest.raises(InvalidValueError, match="int is a class, but no"):
        adapt(int)
    with pytest.raises(InvalidValueError, match="cannot be called"):
        adapt(3)
    with pytest.raises(InvalidValueError, match="A block of 0 tokens"):
        adapt(nn.GRU, block=0)


def test_arguments_are_matched_by_the_names_in_use() -> None:
    def build(
        d_model: int,
        n_head: int,
        head_dim: int,
        layer_idx: int | None = None,
        block_size: int = 0,
        causal: bool = False,
    ) -> None: ...

    context = layer_context(WIDTH, HEADS, length=32)
    parameters = constructor_parameters(build)
    expected = {"d_model": 8, "n_head": 2, "head_dim": 4, "layer_idx": 0, "block_size": 32, "causal": True}
    assert matched_arguments(parameters, context, {}) == expected
    assert matched_arguments(parameters, context, {"n_head": 4}) == expected | {"n_head": 4, "head_dim": 2}
    assert missing_arguments(parameters) == []
    with pytest.raises(InvalidValueError, match="A width of 8 does not divide into 3 heads"):
        matched_arguments(parameters, context, {"n_head": 3})


def test_arguments_of_the_class_above_are_known_where_keywords_are_passed_on() -> None:
    class Below(Convolution):
        def __init__(self, extra: float, **kwargs: Any) -> None:
            super().__init__(**kwargs)

    assert list(constructor_parameters(Below)) == ["extra", "dim", "taps"]
    assert missing_arguments(constructor_parameters(Below)) == ["extra"]
    assert "mode" not in constructor_parameters(nn.GRU)
    assert {"input_size", "hidden_size", "batch_first", "num_layers"} <= constructor_parameters(nn.GRU).keys()


def test_parameters_are_counted_on_a_copy() -> None:
    attention = built(nn.GRU)
    counted = sum(one.numel() for one in attention.parameters())
    assert type(attention).num_parameters(WIDTH, HEADS, 16) == counted == 6 * WIDTH**2 + 6 * WIDTH


class Weighted(nn.Module):
    """A causal attention of one head that returns what it is asked for."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.key = nn.Linear(dim, dim)

    def weights(self, x_BTD: Tensor) -> Tensor:
        scores = x_BTD @ self.key(x_BTD).mT
        return scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), -torch.inf).softmax(-1)

    def forward(self, x_BTD: Tensor, return_attn: bool = False, verbose: bool = False) -> Any:
        weights = self.weights(x_BTD)
        if verbose:
            return {"output": weights @ x_BTD, "maps": weights[:, None]}
        return (weights @ x_BTD, weights) if return_attn else weights @ x_BTD


class Always(Weighted):
    """Weights beside every output, four axes."""

    def forward(self, x_BTD: Tensor) -> Any:  # type: ignore[override]
        weights = self.weights(x_BTD)
        return weights @ x_BTD, weights[:, None].expand(-1, 3, -1, -1)


class Scores(Weighted):
    """Scores before the mask, which are no weights."""

    def forward(self, x_BTD: Tensor) -> Any:  # type: ignore[override]
        return self.weights(x_BTD) @ x_BTD, x_BTD @ self.key(x_BTD).mT


@pytest.mark.parametrize(
    ("build", "adapted", "heads"),
    [
        (Weighted, {}, 1),
        (Weighted, {"returns": "return_attn"}, 1),
        (Weighted, {"returns": "return_attn", "block": 4}, 1),
        (Always, {}, 3),
        (Always, {"returns": lambda returned: (returned[0], returned[1][:, :2])}, 2),
    ],
)
def test_weights_that_a_module_returns_are_found_or_named(build: Any, adapted: dict[str, Any], heads: int) -> None:
    attention, x_BTD = built(build, adapted), noise(2, 6, WIDTH).float()
    weights_BHTT = attention.returned_weights(x_BTD)
    expected = attention.module.weights(x_BTD)[:, None].expand(-1, heads, -1, -1)
    torch.testing.assert_close(weights_BHTT, expected.detach())
    torch.testing.assert_close(output(attention, x_BTD), attention.module.weights(x_BTD) @ x_BTD)


@pytest.mark.parametrize("build", [nn.GRU, Convolution, Scores])
def test_what_is_no_matrix_of_causal_rows_is_no_weights(build: Any) -> None:
    for tokens in (1, 2, 3, WIDTH):
        weights = built(build).returned_weights(noise(tokens, tokens, WIDTH).float())
        assert weights is None or tokens == 1


def test_multi_head_attention_returns_one_matrix_for_each_head() -> None:
    attention, x_BTD = built(nn.MultiheadAttention), noise(2, 6, WIDTH).float()
    mask = causal("hidden", 6, x_BTD)
    expected = attention.module(x_BTD, x_BTD, x_BTD, attn_mask=mask, average_attn_weights=False)[1]
    assert expected.shape == (2, HEADS, 6, 6)
    torch.testing.assert_close(attention.returned_weights(x_BTD), expected.detach())


def test_an_argument_that_asks_for_weights_is_checked() -> None:
    with pytest.raises(InvalidValueError, match="The forward of the module has no argument 'need_weights'"):
        built(Weighted, {"returns": "need_weights"})
    with pytest.raises(InvalidValueError, match="With verbose=True the module returns no weights"):
        built(Silent, {"returns": "verbose"}).returned_weights(noise(2, 6, WIDTH).float())


class Silent(Weighted):
    """An argument that is not about weights."""

    def forward(self, x_BTD: Tensor, verbose: bool = False) -> Any:  # type: ignore[override]
        return self.weights(x_BTD) @ x_BTD
