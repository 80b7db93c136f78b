"""Norms, MLPs and blocks against formulas written out, and against torch where torch has them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attnlab.block import Block
from attnlab.mlp import MLPS, Mlp
from attnlab.mlp.base import output_map
from attnlab.model.transformer import Transformer
from attnlab.norm import NORMS, Norm
from attnlab.specs import Part
from attnlab.tensors import LayerContext, LayerInputs
from tests.builders import all_positions, layer_context, model_of, noise, tokens

NAMES = [entry.name for entry in NORMS]
MLP_NAMES = [entry.name for entry in MLPS]
BLOCKS = [Part(name="sequential"), Part(name="parallel"), Part(name="parallel", options={"shared_norm": False})]


def norm_of(name: str, **options: Any) -> Norm:
    """A norm in float64 with weights that are not those it starts with."""
    entry = NORMS.entry(name)
    return with_noise(entry.cls(layer_context(), **entry.complete(options)))


def mlp_of(name: str, **options: Any) -> Mlp:
    entry = MLPS.entry(name)
    return entry.cls(layer_context(), **entry.complete(options)).double()


def with_noise(norm: Norm) -> Norm:
    with torch.no_grad():
        for seed, weight in enumerate(norm.double().parameters()):
            weight.copy_(1.5 + noise(*weight.shape, seed=seed))
    return norm


def weight_of(module: nn.Module, name: str) -> list[Any]:
    return module.get_parameter(name).detach().tolist()


def normed(norm: Norm, name: str, token: list[float], eps: float) -> list[float]:
    """The norm of one token, channel by channel."""
    size, gain = len(token), weight_of(norm, "weight")
    if name == "layernorm":
        mean = sum(token) / size
        deviation = math.sqrt(sum((one - mean) ** 2 for one in token) / size + eps)
        return [
            g * (one - mean) / deviation + b for one, g, b in zip(token, gain, weight_of(norm, "bias"), strict=True)
        ]
    if name == "rmsnorm":
        root = math.sqrt(sum(one * one for one in token) / size + eps)
        return [g * one / root for one, g in zip(token, gain, strict=True)]
    slope = norm.get_parameter("slope").item()
    return [g * math.tanh(slope * one) + b for one, g, b in zip(token, gain, weight_of(norm, "bias"), strict=True)]


@pytest.mark.parametrize(
    ("name", "eps"), [("layernorm", 1e-5), ("layernorm", 0.3), ("rmsnorm", 1e-6), ("rmsnorm", 0.3)]
)
def test_a_norm_is_its_formula(name: str, eps: float) -> None:
    norm, x_BTD = norm_of(name, eps=eps), 3 * noise(2, 5, 8)
    expected = [[normed(norm, name, token, eps) for token in row] for row in x_BTD.tolist()]
    torch.testing.assert_close(norm(x_BTD), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_dyt_is_its_formula_and_starts_at_its_slope() -> None:
    norm, x_BTD = norm_of("dyt"), 3 * noise(2, 5, 8)
    expected = [[normed(norm, "dyt", token, 0.0) for token in row] for row in x_BTD.tolist()]
    torch.testing.assert_close(norm(x_BTD), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    entry = NORMS.entry("dyt")
    fresh = entry.cls(layer_context(), **entry.complete({"slope": 0.25}))
    torch.testing.assert_close(fresh(x_BTD), torch.tanh(0.25 * x_BTD))


def test_norms_are_those_of_torch() -> None:
    x_BTD = noise(2, 5, 8)
    for name, theirs in (("layernorm", nn.LayerNorm(8)), ("rmsnorm", nn.RMSNorm(8, eps=1e-6))):
        ours = norm_of(name)
        theirs.double().load_state_dict(ours.state_dict())
        torch.testing.assert_close(ours(x_BTD), theirs(x_BTD), rtol=1e-12, atol=1e-12)
    assert norm_of("layernorm", bias=False).state_dict().keys() == {"weight"}
    assert torch.equal(norm_of("none")(x_BTD), x_BTD)


def test_rmsnorm_sums_squares_in_float32() -> None:
    x_D = torch.full((8,), 300.0, dtype=torch.float16)  # its square is beyond float16
    entry = NORMS.entry("rmsnorm")
    norm = entry.cls(layer_context(), **entry.complete({})).half()
    torch.testing.assert_close(norm(x_D), torch.ones(8, dtype=torch.float16))


def gelu(value: float) -> float:
    return value * 0.5 * (1 + math.erf(value / math.sqrt(2)))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "silu": lambda z: z * sigmoid(z),
    "gelu": gelu,
    "relu": lambda z: max(0.0, z),
    "sigmoid": sigmoid,
    "identity": lambda z: z,
}


def product(matrix: list[list[float]], vector: list[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def computed(mlp: Mlp, name: str, token: list[float], activation: str = "silu") -> list[float]:
    """An MLP of one token, hidden channel by hidden channel."""
    up = product(weight_of(mlp, "up_proj.weight"), token)
    if name == "swiglu":
        gate = product(weight_of(mlp, "gate_proj.weight"), token)
        hidden = [ACTIVATIONS[activation](g) * u for g, u in zip(gate, up, strict=True)]
    else:
        hidden = [gelu(u) if name == "gelu" else max(0.0, u) ** 2 for u in up]
    return product(weight_of(mlp, "down_proj.weight"), hidden)


@pytest.mark.parametrize(
    ("name", "options"),
    [("gelu", {}), ("squared-relu", {}), *(("swiglu", {"activation": one}) for one in ACTIVATIONS)],
)
def test_an_mlp_is_its_formula(name: str, options: dict[str, str]) -> None:
    mlp, x_BTD = mlp_of(name, **options), 2 * noise(2, 5, 8)
    expected = [[computed(mlp, name, token, **options) for token in row] for row in x_BTD.tolist()]
    torch.testing.assert_close(mlp(x_BTD), torch.tensor(expected, dtype=torch.float64), rtol=1e-11, atol=1e-12)
    flat_ND = mlp(x_BTD.flatten(0, 1))
    torch.testing.assert_close(flat_ND, mlp(x_BTD).flatten(0, 1), rtol=1e-12, atol=1e-12)


def test_gelu_has_the_approximation_of_gpt_2() -> None:
    mlp, x_D = mlp_of("gelu", approximate="tanh"), noise(8)
    up_M = mlp.up_proj(x_D)
    inner = math.sqrt(2 / math.pi) * (up_M + 0.044715 * up_M**3)
    torch.testing.assert_close(mlp(x_D), mlp.down_proj(0.5 * up_M * (1 + inner.tanh())), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("width", [8, 16, 48, 64, 96, 128, 256])
@pytest.mark.parametrize("ratio", [1.0, 2.0, 4.0, 8 / 3])
def test_swiglu_has_as_many_weights_as_gelu_but_for_the_rounding(width: int, ratio: float) -> None:
    plain, gated = (
        sum(
            weight.numel()
            for weight in MLPS.entry(name)
            .cls(LayerContext(width=width, heads=2, mlp_ratio=ratio, generator=torch.Generator()))
            .parameters()
        )
        for name in ("gelu", "swiglu")
    )
    assert abs(gated - plain) <= width
    assert gated == 3 * width * round(2 * round(ratio * width) / 3)


def test_at_default_sizes_swiglu_has_the_parameters_of_gelu_within_half_a_percent() -> None:
    counts = [model_of(mlp=(Part(name=name),), width=64, mlp_ratio=4.0).parameter_count for name in ("gelu", "swiglu")]
    assert counts[0] != counts[1]
    assert abs(counts[1] / counts[0] - 1) < 0.005


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_a_parallel_block_is_that_of_palm(norm: str, residual: bool, shared: bool) -> None:
    part = Part(name="parallel", options={"shared_norm": shared})
    model = model_of(block=part, norm=norm, residual=residual, layers=1)
    block, x_BTD = block_of(model, 0), noise(2, 5, 8)
    norms = [with_noise(one) for one in block.norms if isinstance(one, Norm)]
    assert len(norms) == (0 if norm == "none" else 2 if norm == "pre" and not shared else 1)
    read = [norms[0](x_BTD), norms[-1](x_BTD)] if norm == "pre" else [x_BTD, x_BTD]
    assert block.mlp is not None
    hand_BTD = block.attention(read[0], model.position, LayerInputs()).output_BTD
    up, down = block.mlp.up_proj.weight, block.mlp.down_proj.weight
    hand_BTD = hand_BTD + nn.functional.gelu(read[1] @ up.mT) @ down.mT
    hand_BTD = x_BTD + hand_BTD if residual else hand_BTD
    hand_BTD = norms[0](hand_BTD) if norm == "post" else hand_BTD
    out_BTD, _ = block(x_BTD, model.position, LayerInputs(), False)
    torch.testing.assert_close(out_BTD, hand_BTD, rtol=1e-12, atol=1e-12)
    for positions in (torch.tensor([3, 8, 3]), torch.tensor([[3, 1], [8, 5]])):
        few_ND, _ = block(x_BTD, model.position, LayerInputs(query_positions=positions), False)
        torch.testing.assert_close(few_ND, hand_BTD.flatten(0, 1)[positions.flatten()], rtol=1e-12, atol=1e-12)


def block_of(model: Transformer, layer: int) -> Block:
    block = model.blocks[layer]
    assert isinstance(block, Block)
    return block


@pytest.mark.parametrize("part", BLOCKS, ids=str)
@pytest.mark.parametrize("mlp", MLP_NAMES)
@pytest.mark.parametrize("norm", NAMES)
def test_every_combination_trains_traces_and_computes_supervised_positions_alone(
    part: Part, mlp: str, norm: str
) -> None:
    model = model_of(block=part, mlp=(Part(name=mlp),), norm_layer=Part(name=norm))
    inputs_BT, positions_N = tokens(3, 7), torch.tensor([2, 9, 20])
    full = model(inputs_BT, all_positions(inputs_BT)).logits_NV
    for positions in (positions_N, positions_N[:, None]):
        few = model(inputs_BT, positions).logits_NV
        torch.testing.assert_close(few, full[positions_N], rtol=1e-11, atol=1e-11)
    traced = model(inputs_BT, positions_N, trace=True)
    torch.testing.assert_close(traced.logits_NV, full[positions_N], rtol=1e-11, atol=1e-11)
    read = block_of(model, 1).branch_input(traced.trace[0].residual_BTD[1], 0)
    assert read.shape == (3, 7, 8)
    weights = list(model.parameters())
    gradients = torch.autograd.grad(full.square().mean(), weights)
    assert all(gradient.isfinite().all() and gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize("part", BLOCKS, ids=str)
def test_every_parameter_of_the_new_parts_has_its_role(part: Part) -> None:
    for norm in NAMES:
        model = model_of(block=part, norm_layer=Part(name=norm), mlp=tuple(Part(name=n) for n in MLP_NAMES), layers=4)
        for name, (layer, role) in model.parameter_roles().items():
            if ".mlp." in name:
                assert role == ("mlp_down" if "down_proj" in name else "mlp_up")
            if ".norms." in name or name.startswith("norm."):
                assert role == "norm"
            assert (layer is None) == (not name.startswith("blocks."))


def test_a_users_mlp_without_declared_roles_counts_as_mlp_up() -> None:
    @MLPS.register("bottleneck", source="a test")
    class Bottleneck(Mlp):
        """Half the width."""

        parameter_roles = {}

        def __init__(self, context: LayerContext) -> None:
            super().__init__(context)
            self.inner = context.linear(context.width, context.width // 2)
            self.outer = output_map(context, context.width // 2)

        def forward(self, x_BTD: Tensor) -> Tensor:
            return self.outer(self.inner(x_BTD).relu())

    model = model_of(mlp=(Part(name="bottleneck"),))
    roles = model.parameter_roles()
    assert {roles[name].role for name in roles if ".mlp." in name} == {"mlp_up"}
    assert model(tokens(2, 5), None).logits_NV.isfinite().all()


def test_mlps_alternate_over_the_layers_and_a_layer_may_have_none() -> None:
    model = model_of(mlp=tuple(Part(name=name) for name in ("gelu", "none", "swiglu")), layers=4)
    kinds = [type(block_of(model, layer).mlp).__name__ for layer in range(4)]
    assert kinds == ["Gelu", "NoneType", "SwiGlu", "Gelu"]
    assert [len(block_of(model, layer).norms) for layer in range(4)] == [2, 1, 2, 2]


def test_a_model_without_mlps_has_the_weights_of_one_with_ratio_0() -> None:
    one, other = model_of(mlp=(Part(name="none"),)), model_of(mlp_ratio=0.0)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    inputs_BT = tokens(2, 5)
    assert torch.equal(one(inputs_BT, None).logits_NV, other(inputs_BT, None).logits_NV)
