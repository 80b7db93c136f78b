"""The transformer: wiring, logits at supervised positions only, traces, initial weights, parameter roles."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention import ATTENTIONS, Attention
from attnlab.attention.dape import Dape
from attnlab.attention.softmax import Softmax
from attnlab.diagnosis._gain_control import ScaledAttention
from attnlab.errors import InvalidValueError, UnknownNameError
from attnlab.model.transformer import Block, Transformer, build
from attnlab.norm.layer_norm import LayerNorm
from attnlab.position import POSITIONS
from attnlab.specs import ModelSpec, Modifiers, Part
from attnlab.tensors import QKV, LayerContext, LayerInputs, ParameterRole, Role
from tests.builders import VOCABULARY, all_positions, model_of, noise, tokens

Norm = Literal["pre", "post", "none"]
NORMS: tuple[Norm, ...] = ("pre", "post", "none")


def blocks(model: Transformer) -> list[Block]:
    return [block for block in model.blocks if isinstance(block, Block)]


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("norm", NORMS)
def test_logits_are_those_of_the_full_projection_at_the_supervised_positions(norm: Norm, tie: bool) -> None:
    model, inputs_BT = model_of(norm=norm, tie_embeddings=tie), tokens(3, 7)
    full = model(inputs_BT, all_positions(inputs_BT)).logits_NV
    assert full.shape == (21, VOCABULARY)
    for positions in ([0], [20], [3, 11, 19], [19, 3, 3]):
        logits = model(inputs_BT, torch.tensor(positions)).logits_NV
        torch.testing.assert_close(logits, full[positions], rtol=1e-12, atol=1e-12)
    assert model(inputs_BT, torch.tensor([], dtype=torch.int64)).logits_NV.shape == (0, VOCABULARY)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("mlp", [0.0, 1.0, 4.0])
def test_a_block_is_wired_as_the_spec_says(norm: Norm, residual: bool, mlp: float) -> None:
    model = model_of(norm=norm, residual=residual, mlp_ratio=mlp, layers=1)
    (block,) = blocks(model)
    norms = [layer for layer in block.norms if isinstance(layer, LayerNorm)]
    scale = iter(norms)
    with torch.no_grad():
        for layer in norms:
            layer.weight.copy_(noise(8, seed=5))
            assert layer.bias is not None
            layer.bias.copy_(noise(8, seed=6))
    x_BTD = noise(2, 5, 8)

    def normed(y_BTD: Tensor) -> Tensor:
        layer = next(scale)
        return functional.layer_norm(y_BTD, (8,), layer.weight, layer.bias)

    expected = x_BTD
    for branch in ["attention", "mlp"][: 2 if mlp else 1]:
        read = normed(expected) if norm == "pre" else expected
        if branch == "attention":
            update = block.attention(read, model.position, LayerInputs()).output_BTD
        else:
            assert block.mlp is not None
            up, down = block.mlp.up_proj.weight, block.mlp.down_proj.weight
            assert up.shape == (int(8 * mlp), 8)
            update = functional.gelu(read @ up.mT) @ down.mT
        total = expected + update if residual else update
        expected = normed(total) if norm == "post" else total
    out, _ = block(x_BTD, model.position, LayerInputs(), False)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    few, _ = block(x_BTD, model.position, LayerInputs(query_positions=torch.tensor([3, 8, 3])), False)
    torch.testing.assert_close(few, expected.flatten(0, 1)[[3, 8, 3]], rtol=1e-12, atol=1e-12)
    assert next(scale, None) is None
    assert (block.mlp is None) == (mlp == 0)


def test_init_scale_scales_linear_maps_and_nothing_else() -> None:
    one, other = (dict(model_of(mlp_ratio=1.0, init_scale=scale).named_parameters()) for scale in (1.0, 3.0))
    linear = ("query", "key", "value", "out_proj", "up_proj", "down_proj", "head")
    scaled = {name for name in one if any(f"{map}.weight" in name for map in linear)}
    assert len(scaled) == 2 * 6 + 1
    for name, weight in one.items():
        torch.testing.assert_close(other[name], weight * 3.0 if name in scaled else weight)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("tie", [True, False])
def test_the_head_reads_the_last_residual_stream(norm: Norm, tie: bool) -> None:
    model, inputs_BT = model_of(norm=norm, tie_embeddings=tie), tokens(2, 5)
    output = model(inputs_BT, all_positions(inputs_BT), trace=True)
    last = output.trace[0].residual_BTD[-1].flatten(0, 1)
    if norm == "pre":
        last = functional.layer_norm(last, (8,))
    if tie:
        assert model.head is None
        expected = last @ model.embedding_VD.mT / 8**0.5
    else:
        assert model.head is not None
        expected = last @ model.head.weight.mT
    torch.testing.assert_close(output.logits_NV, expected, rtol=1e-12, atol=1e-12)


def test_after_the_last_attention_only_supervised_positions_are_computed() -> None:
    model, inputs_BT, positions_N = model_of(mlp_ratio=1.0), tokens(3, 7), torch.tensor([2, 20])
    rows: list[int] = []
    for block in blocks(model):
        assert block.mlp is not None
        block.mlp.register_forward_pre_hook(lambda _, args: rows.append(args[0].numel() // 8))
    grads = []
    for trace in (False, True):  # with a trace, all positions are computed; the gradients must agree
        nats = functional.cross_entropy(model(inputs_BT, positions_N, trace).logits_NV, torch.tensor([4, 5]))
        grads.append(torch.autograd.grad(nats, list(model.parameters())))
    assert rows == [21, 2, 21, 21]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "position"),
    [
        (name, position)
        for name in ("softmax", "expressive", "grouped", "latent", "window", "dape", "gpam", "delta")
        for position in ("none", "rotary", "alibi")
        if (name, position) != ("delta", "alibi")  # delta has no scores to bias
    ],
)
def test_query_positions_by_row_give_the_logits_of_the_flat_ones(name: str, position: str) -> None:
    model, inputs_BT = model_of(Part(name=name), Part(name=position)), tokens(2, 13)
    positions_BP, targets_N = torch.tensor([[0, 12], [13 + 5, 13 + 3]]), torch.tensor([1, 2, 3, 4])
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    result = []
    for positions in (positions_BP, positions_BP.flatten()):
        logits_NV = model(inputs_BT, positions).logits_NV
        nats = functional.cross_entropy(logits_NV, targets_N)
        result.append([logits_NV, *torch.autograd.grad(nats, learned, allow_unused=True, materialize_grads=True)])
        with torch.no_grad():
            torch.testing.assert_close(model(inputs_BT, positions).logits_NV, logits_NV, rtol=1e-11, atol=1e-11)
    for one, other in zip(*result, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("gate", ["head", "element"])
def test_a_gate_reads_the_tokens_at_the_query_positions(gate: Literal["head", "element"]) -> None:
    model, inputs_BT = model_of(modifiers=Modifiers(gate=gate)), tokens(2, 13)
    positions_BP = torch.tensor([[0, 12], [13 + 5, 13 + 3]])
    result = [model(inputs_BT, positions).logits_NV for positions in (positions_BP, positions_BP.flatten())]
    torch.testing.assert_close(result[0], result[1], rtol=1e-11, atol=1e-11)


def test_as_many_query_positions_as_tokens_keep_their_order() -> None:
    model, inputs_BT = model_of(), tokens(2, 3)
    positions_BP = torch.tensor([[2, 0, 1], [3, 5, 4]])
    for trace in (False, True):
        value = model(inputs_BT, positions_BP, trace).logits_NV
        torch.testing.assert_close(value, model(inputs_BT, positions_BP.flatten()).logits_NV, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["softmax", "expressive", "dape", "gpam"])
@pytest.mark.parametrize("position", ["none", "learned", "alibi", "rotary"])
def test_a_trace_has_every_layer_and_changes_nothing(name: str, position: str) -> None:
    model, inputs_BT = model_of(Part(name=name), Part(name=position)), tokens(2, 5)
    plain, traced = (model(inputs_BT, all_positions(inputs_BT), trace=trace) for trace in (False, True))
    assert plain.trace == ()
    assert torch.equal(plain.logits_NV, traced.logits_NV)
    (trace,) = traced.trace
    assert [tuple(residual.shape) for residual in trace.residual_BTD] == [(2, 5, 8)] * 3
    embedded = functional.embedding(inputs_BT, model.embedding_VD)
    assert torch.equal(trace.residual_BTD[0], model.position.embed(embedded))
    assert len(trace.weights_BHTS) == len(trace.scores_BHTS) == 2
    for layer, block in enumerate(blocks(model)):
        ((weights,), (scores,)) = trace.weights_BHTS[layer], trace.scores_BHTS[layer]
        assert tuple(weights.shape) == (2, 2, 5, 5)
        assert tuple(scores.shape[-2:]) == (5, 5)
        read = block.branch_input(trace.residual_BTD[layer], 0)
        qkv = block.attention.prepare(read, model.position, LayerInputs())
        torch.testing.assert_close(weights, block.attention.weights(qkv, model.position), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(scores, block.attention.scores(qkv, model.position), rtol=1e-12, atol=1e-12)


def test_softmax_of_the_traced_scores_is_the_traced_matrix() -> None:
    model, inputs_BT = model_of(position=Part(name="alibi")), tokens(1, 5)
    (trace,) = model(inputs_BT, all_positions(inputs_BT), trace=True).trace
    for (scores,), (weights,) in zip(trace.scores_BHTS, trace.weights_BHTS, strict=True):
        hidden = scores.masked_fill(torch.ones(5, 5).triu(1) > 0, -torch.inf)
        torch.testing.assert_close(hidden.softmax(-1), weights, rtol=1e-12, atol=1e-12)


def test_layers_cycle_through_the_attentions_of_a_stack() -> None:
    stack = (Part(name="softmax"), Part(name="dape", options={"kernel": 3}))
    built = [block.attention for block in blocks(model_of(stack, layers=5))]
    assert [type(one) for one in built] == [Softmax, Dape, Softmax, Dape, Softmax]
    assert [one.layer for one in built] == [0, 1, 2, 3, 4]
    assert [one.kernel for one in built if isinstance(one, Dape)] == [3, 3]
    assert len({one.query.weight.data_ptr() for one in built}) == 5


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ({}, 11 * 8 + 2 * (4 * 64 + 2 * 64 + 4 * 8) + 16 + 88),
        ({"tie_embeddings": True}, 11 * 8 + 2 * (4 * 64 + 2 * 64 + 4 * 8) + 16),
        ({"norm": "post"}, 11 * 8 + 2 * (4 * 64 + 2 * 64 + 4 * 8) + 88),
        ({"norm": "none", "mlp_ratio": 0.0}, 11 * 8 + 2 * 4 * 64 + 88),
        ({"mlp_ratio": 0.0}, 11 * 8 + 2 * (4 * 64 + 2 * 8) + 16 + 88),
        ({"mlp_ratio": 4.0, "layers": 1}, 11 * 8 + 4 * 64 + 8 * 64 + 4 * 8 + 16 + 88),
    ],
)
def test_parameter_count_is_the_closed_form(sizes: dict[str, Any], count: int) -> None:
    assert model_of(**sizes).parameter_count == count


@pytest.mark.parametrize(
    ("name", "more"), [("learned", 16 * 8), ("sinusoidal", 0), ("fourier", 0), ("rotary", 0), ("alibi", 0)]
)
def test_a_position_adds_its_parameters(name: str, more: int) -> None:
    assert model_of(position=Part(name=name)).parameter_count == model_of().parameter_count + more


def test_fixed_parameters_do_not_count() -> None:
    counts = [
        model_of(Part(name="gpam", options={"lambdas": mode})).parameter_count
        for mode in ("untied", "tied", "trainable", "trainable-untied")
    ]
    assert [count - counts[0] for count in counts] == [0, 0, 2 * 2, 2 * 4]


def test_a_width_that_does_not_divide_into_the_heads_is_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        model_of(width=10, heads=4)
    assert str(caught.value) == (
        "model.heads\n  A width of 10 does not divide into 4 heads.\n  Numbers of heads that divide it: 1, 2, 5, 10."
    )


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="There is no attention 'sofmax'; did you mean 'softmax'"):
        model_of(Part(name="sofmax"))
    with pytest.raises(UnknownNameError, match="There is no position 'alibbi'; did you mean 'alibi'"):
        model_of(position=Part(name="alibbi"))


def test_initial_weights_are_a_function_of_the_seed_alone() -> None:
    spec = ModelSpec(layers=1, width=8, heads=2)
    one, same, other = (build(spec, vocabulary=5, length=4, seed=seed).state_dict() for seed in (7, 7, 8))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["embedding_VD"], other["embedding_VD"])
    largest = build(spec, vocabulary=5, length=4, seed=2**63 - 1)
    assert largest.embedding_VD.isfinite().all()


def test_logits_start_at_unit_scale() -> None:
    inputs_BT = tokens(8, 16)
    for norm in ("pre", "post"):
        value = model_of(width=64, norm=norm)(inputs_BT, all_positions(inputs_BT)).logits_NV
        assert 0.8 < value.std().item() < 1.2


@pytest.fixture
def torch_gate() -> str:
    """A user's attention made of torch's own layers, which draw from the global generator."""

    @ATTENTIONS.register("torch-gate", source="a user's file")
    class TorchGate(Attention):
        """Softmax with a gate."""

        def __init__(self, context: LayerContext) -> None:
            super().__init__(context)
            self.gate = nn.Linear(context.width, context.width)

        def output(self, mixed_BHTC: Tensor, x_BTD: Tensor) -> Tensor:
            return super().output(mixed_BHTC, x_BTD) * self.gate(x_BTD).sigmoid()

    return "torch-gate"


def test_torch_layers_of_a_users_part_are_seeded_and_the_global_generator_is_restored(torch_gate: str) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = model_of(Part(name=torch_gate), seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    same, other = model_of(Part(name=torch_gate), seed=3), model_of(Part(name=torch_gate), seed=4)
    gates = [blocks(model)[0].attention.get_submodule("gate").get_parameter("weight") for model in (one, same, other)]
    assert torch.equal(gates[0], gates[1])
    assert not torch.equal(gates[0], gates[2])


def test_the_global_generator_is_restored_where_building_fails() -> None:
    before = torch.random.get_rng_state()
    with pytest.raises(InvalidValueError):
        model_of(width=10, heads=4)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.fixture
def first_values() -> str:
    """An attention that adds the first layer's values and has an auxiliary loss."""

    @ATTENTIONS.register("first-values", source="a test")
    class FirstValues(Attention):
        """Softmax attention over the sum of the own and the first layer's values."""

        def project(self, x_BTD: Tensor, layer_inputs: LayerInputs) -> QKV:
            qkv = super().project(x_BTD, layer_inputs)
            if not layer_inputs.first_layer:
                return qkv
            return qkv._replace(values_BHSC=qkv.values_BHSC + layer_inputs.first_layer[0].values_BHSC)

        def auxiliary(self, qkv: QKV, position: Any) -> Tensor:
            return qkv.values_BHSC.square().mean() + self.layer

    return "first-values"


def test_every_layer_gets_the_first_layers_values_and_auxiliary_losses_add_up(first_values: str) -> None:
    model, inputs_BT = model_of(Part(name=first_values), layers=3), tokens(1, 4)
    output = model(inputs_BT, all_positions(inputs_BT), trace=True)
    residuals = output.trace[0].residual_BTD
    first: tuple[QKV, ...] = ()
    total = torch.zeros((), dtype=torch.float64)
    for layer, block in enumerate(blocks(model)):
        out, mixed = block(residuals[layer], model.position, LayerInputs(first), False)
        torch.testing.assert_close(out, residuals[layer + 1], rtol=1e-12, atol=1e-12)
        own = block.attention.split(block.attention.value(block.branch_input(residuals[layer], 0)))
        expected = own + first[0].values_BHSC if first else own
        torch.testing.assert_close(mixed.qkv.values_BHSC, expected, rtol=1e-12, atol=1e-12)
        first = first or (mixed.qkv,)
        total = total + expected.square().mean() + layer
    torch.testing.assert_close(output.auxiliary, total, rtol=1e-12, atol=1e-12)


def role_by_name(name: str) -> ParameterRole:
    """The role that the names of our modules suggest: the reference for the declared roles."""
    parts = name.split(".")
    if parts[0] != "blocks":
        outer: dict[str, Role] = {"embedding_VD": "embedding", "position": "position", "norm": "norm", "head": "head"}
        return ParameterRole(None, outer[parts[0]])
    layer, module = int(parts[1]) + 1, parts[2]
    if module == "attention":
        kinds: dict[str, Role] = {"query": "query", "key": "key", "value": "value", "out_proj": "output"}
        return ParameterRole(layer, kinds.get(parts[3], "extra"))
    mlp: dict[str, Role] = {"up_proj": "mlp_up", "down_proj": "mlp_down"}
    return ParameterRole(layer, "norm" if module == "norms" else mlp[parts[3]])


@pytest.mark.parametrize("name", [entry.name for entry in ATTENTIONS])
def test_every_parameter_of_every_attention_has_its_role(name: str) -> None:
    model = model_of(Part(name=name), modifiers=Modifiers(gate="head", qk_norm=True, short_conv=3))
    roles = model.parameter_roles()
    assert list(roles) == [name for name, _ in model.named_parameters()]
    assert roles == {name: role_by_name(name) for name in roles}


@pytest.mark.parametrize("name", [entry.name for entry in POSITIONS])
@pytest.mark.parametrize("norm", NORMS)
def test_every_parameter_outside_of_the_attentions_has_its_role(name: str, norm: Norm) -> None:
    roles = model_of(position=Part(name=name), norm=norm, tie_embeddings=norm == "post").parameter_roles()
    assert roles == {name: role_by_name(name) for name in roles}
    assert {role for layer, role in roles.values() if layer is None} <= {"embedding", "position", "norm", "head"}


def test_a_wrapped_attention_keeps_its_roles() -> None:
    model = model_of(Part(name="gpam"))
    before = list(model.parameter_roles().values())
    for block in blocks(model):
        block.add_module("attention", ScaledAttention(block.attention, 2.0))
    assert list(model.parameter_roles().values()) == before
