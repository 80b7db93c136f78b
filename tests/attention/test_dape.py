"""DAPE: a loop over entries, with the convolution of V2 written out, and the parameter counts of the papers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from attnlab.attention import Attention
from attnlab.attention.dape import Dape
from attnlab.errors import InvalidValueError, UnknownNameError
from attnlab.position import POSITIONS, Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of

Array = NDArray[np.float64]


def numbers(tensor: torch.Tensor) -> Array:
    return tensor.detach().double().numpy()


def leaky(x: Array) -> Array:
    return np.where(x > 0, x, 0.01 * x)


def layer(maps: Array, weight: Array, bias: Array, symmetric: bool) -> Array:
    """Entry by entry: key ``tap - kernel + 1`` positions before (or around) each key; zero beyond the edges."""
    inputs, queries, keys = maps.shape
    kernel = weight.shape[-1]
    written = np.zeros((weight.shape[0], queries, keys))
    for i in range(queries):
        for j in range(i + 1):
            cell = bias.copy()
            for tap in range(kernel):
                key = j + tap - (kernel // 2 if symmetric else kernel - 1)
                if key < 0 or key > i:
                    continue
                for out in range(weight.shape[0]):
                    for channel in range(inputs):
                        cell[out] += weight[out, channel, 0, tap] * maps[channel, i, key]
            written[:, i, j] = cell
    return written


def looped(attention: Dape, qkv: QKV, bias_HTT: Array | None) -> Array:
    """The weights of one sequence, from the paper's formula."""
    queries, keys = numbers(qkv.queries_BHTC[0]), numbers(qkv.keys_BHSC[0])
    scores = queries @ keys.swapaxes(-1, -2) / np.sqrt(queries.shape[-1])
    bias = np.zeros_like(scores) if bias_HTT is None else bias_HTT
    stacked = scores if bias_HTT is None else np.concatenate([scores, bias])
    read = scores + bias if attention.form == "add" else stacked
    symmetric = attention.padding == "symmetric"
    first = layer(read, numbers(attention.reader.weight), numbers(attention.reader.bias), symmetric)
    f = layer(leaky(first), numbers(attention.writer.weight), numbers(attention.writer.bias), symmetric)
    corrected = scores + f if attention.form == "concat" else scores + bias + f
    exponentials = np.tril(np.exp(corrected))
    return exponentials / exponentials.sum(-1, keepdims=True)


def built(options: dict[str, Any], position: str, heads: int = 2) -> tuple[Dape, Position, QKV]:
    attention, built_position = pair_of(
        Part(name="dape", options=options), Part(name=position), width=4 * heads, heads=heads
    )
    assert isinstance(attention, Dape)
    return attention, built_position, attention.prepare(noise(1, 6, 4 * heads), built_position, LayerInputs())


def alibi(heads: int) -> Array:
    grads = {2: [2.0**-4, 2.0**-8], 3: [2.0**-4, 2.0**-8, 2.0**-2]}[heads]
    return -np.array(grads)[:, None, None] * (np.arange(6)[:, None] - np.arange(6))


OPTIONS: list[dict[str, Any]] = [
    {"width": 5},
    {"width": 5, "form": "concat"},
    {"width": 5, "form": "add"},
    {"width": 3, "kernel": 3},
    {"width": 3, "kernel": 3, "padding": "symmetric"},
    {"width": 3, "kernel": 3, "form": "concat"},
    {"width": 3, "kernel": 3, "form": "add", "padding": "symmetric"},
    {"width": 2, "kernel": 5},
    {"width": 2, "kernel": 5, "padding": "symmetric"},
]
over_options = pytest.mark.parametrize("options", OPTIONS, ids=lambda options: str(Part(name="dape", options=options)))


@over_options
@pytest.mark.parametrize("heads", [2, 3])
def test_weights_are_those_of_a_loop_over_entries(options: dict[str, Any], heads: int) -> None:
    attention, position, projected = built(options, "alibi", heads)
    matrix = numbers(attention.effective_matrix(projected, position)[0])
    assert np.abs(matrix - looped(attention, projected, alibi(heads))).max() <= 1e-12


@over_options
@pytest.mark.parametrize("position", ["none", "rotary"])
def test_without_a_bias_only_the_scores_are_read(options: dict[str, Any], position: str) -> None:
    attention, built_position, projected = built(options, position)
    matrix = numbers(attention.effective_matrix(projected, built_position)[0])
    assert np.abs(matrix - looped(attention, projected, None)).max() <= 1e-12
    assert attention.reader.weight.shape[1] == 2


def test_the_three_forms_differ() -> None:
    matrices = []
    for form in ("residual", "concat", "add"):
        attention, position, projected = built({"form": form}, "alibi")
        matrices.append(attention.effective_matrix(projected, position))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (matrices[one] - matrices[other]).abs().max() > 1e-4


@pytest.mark.parametrize("position", ["none", "alibi", "rotary"])
@pytest.mark.parametrize("padding", ["causal", "symmetric"])
def test_v2_with_a_kernel_of_one_is_v1_with_the_same_weights(position: str, padding: str) -> None:
    one, built_position, projected = built({"kernel": 1}, position)
    two, *_ = built({"kernel": 1, "padding": padding}, position)
    two.load_state_dict(one.state_dict())
    assert torch.equal(two.effective_matrix(projected, built_position), one.effective_matrix(projected, built_position))


@pytest.mark.parametrize("position", ["none", "alibi"])
@pytest.mark.parametrize("padding", ["causal", "symmetric"])
def test_v2_with_weight_on_the_key_itself_alone_is_v1(position: str, padding: str) -> None:
    one, built_position, projected = built({"kernel": 1}, position)
    two, *_ = built({"kernel": 3, "padding": padding}, position)
    two.load_state_dict({**two.state_dict(), **{k: v for k, v in one.state_dict().items() if ".weight" not in k}})
    itself = 1 if padding == "symmetric" else 2
    with torch.no_grad():
        for wide, narrow in ((two.reader, one.reader), (two.writer, one.writer)):
            wide.weight.zero_()
            wide.weight[..., itself] = narrow.weight[..., 0]
            wide.bias.copy_(narrow.bias)
    for mine, theirs in ((two.query, one.query), (two.key, one.key)):
        mine.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(
        two.effective_matrix(projected, built_position),
        one.effective_matrix(projected, built_position),
        rtol=1e-12,
        atol=1e-12,
    )


def test_a_correction_of_zero_is_softmax() -> None:
    attention, position, projected = built({"kernel": 3}, "alibi")
    softmax = attention_of("softmax", biased=True)
    softmax.fast = False
    with torch.no_grad():
        attention.writer.weight.zero_()
        attention.writer.bias.zero_()
    assert torch.equal(attention.effective_matrix(projected, position), softmax.effective_matrix(projected, position))


@over_options
@pytest.mark.parametrize("position", ["none", "alibi", "rotary"])
def test_keys_after_a_query_never_change_its_row(options: dict[str, Any], position: str) -> None:
    attention, built_position, projected = built(options, position)
    before = attention.effective_matrix(projected, built_position)
    for first in range(1, 6):
        keys = projected.keys_BHSC.clone()
        keys[..., first:, :] = 1e3 * noise(*keys[..., first:, :].shape, seed=7)
        after = attention.effective_matrix(projected._replace(keys_BHSC=keys), built_position)
        assert torch.equal(after[..., :first, :], before[..., :first, :])


def test_the_kernel_reads_the_keys_before() -> None:
    attention, position, projected = built({"kernel": 3, "width": 4}, "none")
    before = attention.scores(projected, position)
    keys = projected.keys_BHSC.clone()
    keys[..., 0, :] += 1
    changed = (attention.scores(projected._replace(keys_BHSC=keys), position) - before).abs().amax((0, 1))[5]
    assert (changed[:5] > 1e-6).all()
    assert changed[5] == 0


def extra(attention: Attention) -> int:
    assert isinstance(attention, Dape)
    correction = [*attention.reader.parameters(), *attention.writer.parameters()]
    assert sum(w.numel() for w in attention.parameters()) == 4 * attention.query.weight.numel() + sum(
        w.numel() for w in correction
    )
    return sum(weight.numel() for weight in correction)


@pytest.mark.parametrize(
    ("heads", "kernel", "biased", "count"),
    [
        (8, 1, True, 808),
        (12, 1, True, 1196),
        (8, 3, True, 2344),
        (12, 3, True, 3500),
        (4, 3, True, 1188),
        (8, 3, False, 1576),
        (12, 3, False, 2348),
        (4, 3, False, 804),
    ],
)
def test_it_has_the_parameter_count_of_the_papers(heads: int, kernel: int, biased: bool, count: int) -> None:
    attention = attention_of("dape", {"kernel": kernel}, width=2 * heads, heads=heads, biased=biased)
    assert extra(attention) == count
    d = 32
    inputs = 2 * heads if biased else heads
    assert count == kernel * (inputs * d + d * heads) + d + heads


def test_the_add_form_reads_one_map_per_head() -> None:
    biased = POSITIONS.entry("alibi").cls.biases
    attention = attention_of("dape", {"form": "add", "width": 5}, biased=biased)
    assert extra(attention) == 2 * 5 + 5 * 2 + 5 + 2


def test_it_starts_like_a_torch_convolution() -> None:
    attention = attention_of("dape", {"kernel": 3, "width": 400}, width=8, heads=4, biased=True)
    assert isinstance(attention, Dape)
    for correction, bound in ((attention.reader, (8 * 3) ** -0.5), (attention.writer, (400 * 3) ** -0.5)):
        weight = correction.weight
        assert weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert 0 < correction.bias.abs().max() <= bound


def test_unknown_and_invalid_options_are_refused() -> None:
    with pytest.raises(UnknownNameError) as caught:
        attention_of("dape", {"kernal": 3})
    assert str(caught.value) == (
        "  'dape' has no option 'kernal'; did you mean 'kernel'?\n  Known: form, kernel, padding, width."
    )
    with pytest.raises(InvalidValueError, match=r"Option 'kernel' cannot be 0\."):
        attention_of("dape", {"kernel": 0})
    with pytest.raises(InvalidValueError, match=r"Input should be 'causal' or 'symmetric'\. Default: 'causal'\."):
        attention_of("dape", {"padding": "none"})
