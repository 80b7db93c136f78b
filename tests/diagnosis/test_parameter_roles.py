"""Roles of parameters by the names in use, and the parts of fused weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attnlab.diagnosis._parameter_roles import name_parameter, name_parameters, skipped_notes


@pytest.mark.parametrize(
    ("name", "classes", "role"),
    [
        # torch, GPT-2, GPT-J, Llama, BERT, T5, TransformerLens, x-transformers, timm
        ("self_attn.out_proj.weight", ["MultiheadAttention"], "output"),
        ("self_attn.q_proj_weight", ["MultiheadAttention"], "query"),
        ("linear1.weight", ["Linear"], "mlp_up"),
        ("linear2.weight", ["Linear"], "mlp_down"),
        ("attn.c_proj.weight", ["GPT2Attention", "Conv1D"], "output"),
        ("mlp.c_proj.weight", ["GPT2MLP", "Conv1D"], "mlp_up"),
        ("mlp.c_fc.weight", ["GPT2MLP", "Conv1D"], "mlp_up"),
        ("attn.q_proj.weight", ["GPTJAttention"], "query"),
        ("mlp.fc_in.weight", ["GPTJMLP"], "mlp_up"),
        ("mlp.fc_out.weight", ["GPTJMLP"], "mlp_down"),
        ("self_attn.k_proj.weight", ["LlamaAttention"], "key"),
        ("self_attn.v_proj.weight", ["LlamaAttention"], "value"),
        ("self_attn.o_proj.weight", ["LlamaAttention"], "output"),
        ("mlp.gate_proj.weight", ["LlamaMLP"], "mlp_up"),
        ("mlp.up_proj.weight", ["LlamaMLP"], "mlp_up"),
        ("mlp.down_proj.weight", ["LlamaMLP"], "mlp_down"),
        ("attention.self.query.weight", ["BertAttention", "BertSelfAttention"], "query"),
        ("attention.self.key.weight", ["BertAttention", "BertSelfAttention"], "key"),
        ("attention.output.dense.weight", ["BertAttention", "BertSelfOutput"], "output"),
        ("intermediate.dense.weight", ["BertIntermediate"], "mlp_up"),
        ("SelfAttention.q.weight", ["T5Attention"], "query"),
        ("SelfAttention.o.weight", ["T5Attention"], "output"),
        ("DenseReluDense.wi_0.weight", ["T5DenseGatedActDense"], "mlp_up"),
        ("DenseReluDense.wo.weight", ["T5DenseGatedActDense"], "mlp_down"),
        ("attn.W_Q", ["Attention"], "query"),
        ("attn.W_O", ["Attention"], "output"),
        ("mlp.W_in", ["MLP"], "mlp_up"),
        ("mlp.W_out", ["MLP"], "mlp_down"),
        ("attention.wq.weight", ["Attention"], "query"),
        ("feed_forward.w1.weight", ["FeedForward"], "mlp_up"),
        ("feed_forward.w2.weight", ["FeedForward"], "mlp_down"),
        ("1.to_q.weight", ["Attention"], "query"),
        ("1.to_out.0.weight", ["Attention", "Sequential"], "output"),
        ("1.ff.0.0.weight", ["FeedForward", "Sequential", "Linear"], "mlp_up"),
        ("attn.proj.weight", ["Attention"], "output"),
        ("mlp.fc1.weight", ["Mlp"], "mlp_up"),
        ("attn.decay.weight", ["GatedAttention"], "extra"),
        ("attn.gate_proj.weight", ["GatedAttention"], "extra"),
        ("weight_ih_l0", ["LSTM"], "extra"),
        ("mixer.in_proj.weight", ["Mamba"], "extra"),
    ],
)
def test_names_in_use_have_their_role(name: str, classes: list[str], role: str) -> None:
    assert name_parameter(name, classes, torch.zeros(8, 8)).role == role


@pytest.mark.parametrize(
    ("name", "classes", "shape", "reason"),
    [
        ("attn.c_attn.bias", ["Attention", "Linear"], (24,), "biases"),
        ("attn.b_Q", ["Attention"], (2, 4), "biases"),
        ("norm1.weight", ["LayerNorm"], (8,), "norms"),
        ("0.0.gamma", ["ModuleList", "RMSNorm"], (8,), "norms"),
        ("ln_1.weight", ["LayerNorm"], (8,), "norms"),
        ("input_layernorm.weight", ["LlamaRMSNorm"], (8,), "norms"),
        (
            "attn.query_key_value.weight",
            ["Attention"],
            (24, 8),
            "fused by head, in an order that its name does not tell",
        ),
        ("something.weight", ["Linear"], (8, 8), "no role is known for the name"),
    ],
)
def test_what_has_no_place_in_a_table_has_a_reason(
    name: str, classes: list[str], shape: tuple[int, ...], reason: str
) -> None:
    named = name_parameter(name, classes, torch.zeros(shape))
    assert named.reason == reason
    assert not named.parts


class Attention(nn.Module):
    def __init__(self, **weights: tuple[int, ...]) -> None:
        super().__init__()
        for name, shape in weights.items():
            child = nn.Module()
            child.register_parameter("weight", nn.Parameter(torch.zeros(shape)))
            self.add_module(name, child)


def parts_of(**weights: tuple[int, ...]) -> dict[str, list[tuple[str, int, int, int]]]:
    model = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"attn": Attention(**weights)})])})
    named = name_parameters(model, [["layers.0"]])
    return {
        name.split(".")[-2]: [(part.group[1], part.axis, part.start, part.size) for part in parts]
        for name, parts in named.fused.items()
    }


@pytest.mark.parametrize("name", ["c_attn", "qkv", "to_qkv", "Wqkv", "in_proj", "qkv_proj"])
def test_fused_weights_are_split_along_the_axis_that_is_three_times_the_width(name: str) -> None:
    thirds = [("query", 0, 0, 8), ("key", 0, 8, 8), ("value", 0, 16, 8)]
    assert parts_of(**{name: (24, 8)}) == {name: thirds}
    assert parts_of(**{name: (8, 24)}) == {name: [(kind, 1, start, size) for kind, _, start, size in thirds]}


def test_keys_and_values_are_halves_and_heads_may_be_narrower_than_the_stream() -> None:
    assert parts_of(to_q=(4, 8), to_kv=(8, 8), to_out=(8, 4)) == {"to_kv": [("key", 0, 0, 4), ("value", 0, 4, 4)]}
    assert parts_of(to_qkv=(12, 8), to_out=(8, 4))["to_qkv"][2] == ("value", 0, 8, 4)


def test_a_weight_of_fewer_keys_than_queries_is_not_split() -> None:
    """With grouped queries the parts differ: 8 rows of queries, 2 of keys, 2 of values."""
    model = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"attn": Attention(qkv=(12, 8), o_proj=(8, 8))})])})
    named = name_parameters(model, [["layers.0"]])
    assert not named.fused
    assert named.skipped == {"layers.0.attn.qkv.weight": "no axis of 12 x 8 is 3 times the width or the heads"}


def test_layers_are_those_of_the_blocks_or_else_the_first_number() -> None:
    model = nn.ModuleDict({"a": nn.ModuleList([nn.Identity(), Attention(to_q=(8, 8))]), "wte": nn.Embedding(3, 8)})
    named = name_parameters(model, [["a.1"]])
    assert named.roles["a.1.to_q.weight"] == (1, "query")
    assert named.roles["wte.weight"] == (None, "embedding")
    assert name_parameters(model).roles["a.1.to_q.weight"] == (2, "query")


def test_a_name_that_is_skipped_in_some_layers_alone_is_written_out() -> None:
    names = ["h.0.b", "h.1.b", "h.0.n", "h.1.n"]
    assert skipped_notes({"h.0.b": "frozen", "h.0.n": "norms", "h.1.n": "norms"}, names) == [
        "Skipped, frozen: h.0.b.",
        "Skipped, norms: h.*.n.",
    ]


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        ({"c_attn": (24, 8), "c_proj": (8, 8)}, "output"),
        ({"q_proj": (8, 8), "c_proj": (8, 8)}, "output"),
        ({"c_fc": (32, 8), "c_proj": (8, 32)}, "mlp_down"),
        ({"c_attn": (24, 8), "c_fc": (32, 8), "c_proj": (8, 32)}, "mlp_down"),
        ({"c_attn": (24, 8), "c_fc": (32, 8), "c_proj": (8, 8)}, "output"),
        ({"anything": (8, 8), "c_proj": (8, 8)}, None),
    ],
)
def test_the_role_of_c_proj_is_told_by_the_weights_beside_it(
    maps: dict[str, tuple[int, int]], expected: str | None
) -> None:
    block = nn.ModuleDict({name: nn.Linear(inputs, outputs) for name, (outputs, inputs) in maps.items()})
    found = name_parameters(nn.ModuleList([block]), [["0"]])
    role = found.roles.get("0.c_proj.weight")
    assert (role and role.role) == expected
    assert ("0.c_proj.weight" in found.skipped) == (expected is None)
