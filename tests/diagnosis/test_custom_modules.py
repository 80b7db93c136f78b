"""Any model is measured without a trace: streams, weights and gradients are those computed by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import attnlab
from attnlab.diagnosis.result import Diagnosis, Panel
from attnlab.errors import AttnlabError, InvalidValueError, PluginError
from attnlab.metrics import METRICS
from attnlab.metrics.row_norms import as_weights
from attnlab.tensors import ActivationTrace
from tests.builders import model_of, noise, seeded
from tests.diagnosis import foreign_models as foreign
from tests.diagnosis.foreign_models import BATCH, LAYERS, TOKENS, VOCABULARY, WIDTH, unwrapped
from tests.metrics.test_row_norms import explicit_norms

MODELS: dict[str, Callable[[], foreign.Model]] = {
    "gpt": foreign.Gpt,
    "tuple": lambda: foreign.Gpt(lambda x_BTD: (x_BTD, None)),
    "dict": lambda: foreign.Gpt(lambda x_BTD: {"mask": torch.ones(2), "hidden_states": x_BTD}),
    "object": lambda: foreign.Gpt(lambda x_BTD: SimpleNamespace(hidden=x_BTD, state=None)),
    "shared": foreign.Shared,
    "tokens first": foreign.TokensFirst,
    "flattened": foreign.Flattened,
    "list of lists": foreign.ListOfLists,
    "parallel lists": foreign.ParallelLists,
    "attributes": foreign.Attributes,
    "experts": foreign.Experts,
    "lstm": foreign.Lstm,
}


def built(build: Callable[[], Any]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().double()


def token_ids(batch: int = BATCH, tokens: int = TOKENS, vocabulary: int = VOCABULARY) -> Tensor:
    return torch.randint(0, vocabulary, (batch, tokens), generator=seeded(1))


def mean(panel: Panel) -> tuple[float, ...]:
    (row,) = panel.rows
    return row.mean


def notes(diagnosis: Diagnosis) -> str:
    return "\n".join(diagnosis.notes)


# -- streams --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_stream_is_that_of_the_model_and_the_metrics_are_those_of_any_trace(name: str) -> None:
    model, tokens_BT = built(MODELS[name]), token_ids()
    diagnosis = attnlab.diagnose(model, tokens_BT)
    with torch.no_grad():
        streams = list(model.eval().stream(tokens_BT))
    for metric in ("residual", "cosine", "effective-rank"):
        expected = [float(METRICS[metric].average(METRICS[metric].measure(one))) for one in streams]
        assert mean(diagnosis.panel(metric)) == pytest.approx(expected, rel=1e-9)


def test_a_sequential_model_is_cut_to_its_blocks() -> None:
    model, tokens_BT = built(foreign.sequential), token_ids()
    diagnosis = attnlab.diagnose(model, tokens_BT)
    with torch.no_grad():
        streams = [model[: count + 1](tokens_BT) for count in range(LAYERS + 1)]
    expected = [float(METRICS["cosine"].average(METRICS["cosine"].measure(one))) for one in streams]
    assert mean(diagnosis.panel("cosine")) == pytest.approx(expected, rel=1e-9)
    assert "Blocks: 1 to 3 (3); the stream is their outputs." in diagnosis.notes


@pytest.mark.parametrize("shape", [(4, 4), (2, WIDTH), (1, 5), (2, 1)])
@pytest.mark.parametrize("name", ["gpt", "list of lists"])
def test_axes_are_told_apart_whatever_the_sizes(name: str, shape: tuple[int, int]) -> None:
    tokens = min(shape[1], TOKENS)
    model, tokens_BT = built(MODELS[name]), token_ids(shape[0], tokens)
    diagnosis = attnlab.diagnose(model, tokens_BT, only=["participation"])
    with torch.no_grad():
        streams = list(model.eval().stream(tokens_BT))
    metric = METRICS["participation"]
    expected = [float(metric.average(metric.measure(one))) for one in streams]
    assert mean(diagnosis.panel("participation")) == pytest.approx(expected, rel=1e-9)


def test_tokens_first_with_as_many_sequences_as_tokens() -> None:
    model, tokens_BT = built(foreign.TokensFirst), token_ids(4, 4)
    with torch.no_grad():
        streams = list(model.eval().stream(tokens_BT))
    expected = [float(METRICS["residual"].average(METRICS["residual"].measure(one))) for one in streams]
    assert mean(attnlab.diagnose(model, tokens_BT).panel("residual")) == pytest.approx(expected, rel=1e-9)


class Wrapped(nn.Module):
    """A model of attnlab as a model of other people."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = model_of(seed=4)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        logits_NV: Tensor = self.inner(tokens_BT, torch.arange(tokens_BT.numel())).logits_NV
        return logits_NV.unflatten(0, tokens_BT.shape)


@pytest.mark.parametrize("kind", ["rank-collapse", "gradients"])
def test_a_model_of_ours_gives_the_same_numbers_by_hooks_and_by_its_trace(kind: Any) -> None:
    wrapped, tokens_BT = built(Wrapped), token_ids(vocabulary=11)
    by_hooks = attnlab.diagnose(wrapped, tokens_BT, kind)
    by_trace = attnlab.diagnose(wrapped.inner, tokens_BT, kind)
    shared = {panel.name for panel in by_hooks.panels}
    wanted = {"residual", "cosine"} if kind == "rank-collapse" else {"query-gradient", "value-gradient", "mlp-gradient"}
    assert wanted <= shared
    for name in shared:
        assert mean(by_hooks.panel(name)) == pytest.approx(mean(by_trace.panel(name)), rel=1e-9)


def test_a_trace_that_a_forward_returns_is_taken_wherever_it_is_made() -> None:
    def made(x_BTD: Tensor) -> tuple[str, ActivationTrace]:
        return "state", ActivationTrace((x_BTD, 2 * x_BTD, x_BTD), (), ())

    class Traced(foreign.Block):
        def forward(self, x_BTD: Tensor) -> Any:
            return made(x_BTD)

    assert len(mean(attnlab.diagnose(built(Traced), noise(2, 5, WIDTH)).panel("residual"))) == 3


def test_modes_weights_and_hooks_are_left_as_they_are() -> None:
    model = built(foreign.Gpt).train()
    attnlab.diagnose(model, token_ids(), "gradients")
    attnlab.diagnose(model, token_ids(), "attention")
    assert all(module.training for module in model.modules())
    assert all(weight.grad is None for weight in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_layers_that_are_computed_in_one_call_are_named() -> None:
    assert "lstm computes its 2 layers in one call" in notes(attnlab.diagnose(built(foreign.Lstm), token_ids()))
    assert "h.0 is called 3 times" in notes(attnlab.diagnose(built(foreign.Shared), token_ids()))


@pytest.mark.parametrize(
    ("build", "labels"),
    [
        (lambda: nn.GRU(WIDTH, WIDTH, batch_first=True), {"Jacobian row norms"}),
        (foreign.Attention, {"Jacobian row norms"}),
        (foreign.Block, {"Jacobian row norms"}),
        (foreign.Mlp, set()),
    ],
)
def test_a_single_layer_is_one_block(build: Callable[[], nn.Module], labels: set[str]) -> None:
    module, x_BTD = built(build), noise(2, 5, WIDTH)
    with torch.no_grad():
        output = module.eval()(x_BTD)
    streams = [x_BTD, output[0] if isinstance(output, tuple) else output]
    expected = [float(METRICS["cosine"].average(METRICS["cosine"].measure(one))) for one in streams]
    found = attnlab.diagnose(module, x_BTD)
    assert mean(found.panel("cosine")) == pytest.approx(expected, rel=1e-9)
    assert found.notes[0] == "Blocks: the module itself; the stream is their outputs."
    assert {panel.matrix for panel in attnlab.diagnose(module, x_BTD, "attention").panels} == labels
    gradients = attnlab.diagnose(module, x_BTD, "gradients", loss=lambda out: unwrapped(out).square().mean())
    assert gradients.panels


def test_embeddings_are_inputs_too_and_arguments_may_have_names() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([foreign.Block() for _ in range(2)])

        def forward(self, embeddings: Tensor, scale: float = 1.0) -> Tensor:
            for layer in self.layers:
                embeddings = layer(embeddings * scale)
            return embeddings

    model, x_BTD = built(Encoder), noise(2, 5, WIDTH)
    by_place = attnlab.diagnose(model, x_BTD)
    assert mean(by_place.panel("residual"))[0] == pytest.approx(
        float(METRICS["residual"].average(METRICS["residual"].measure(x_BTD)))
    )
    assert by_place == attnlab.diagnose(model, {"embeddings": x_BTD, "scale": 1.0})
    assert by_place == attnlab.diagnose(model, (x_BTD, 1.0))
    assert by_place == attnlab.diagnose(model, kind="rank-collapse", inputs=x_BTD)


# -- gradients ------------------------------------------------------------------------------------------------------


def hand_gradients(model: nn.Module, tokens_BT: Tensor) -> dict[str, Tensor]:
    logits_BTV = model.eval()(tokens_BT)
    loss = functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), tokens_BT[:, 1:].flatten())
    named = dict(model.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True))


def test_fused_weights_are_measured_in_thirds_and_the_loss_is_that_of_the_next_token() -> None:
    model, tokens_BT = built(foreign.Gpt), token_ids()
    diagnosis = attnlab.diagnose(model, tokens_BT, "gradients")
    grads = hand_gradients(model, tokens_BT)
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    for layer in range(LAYERS):
        fused = f"h.{layer}.attn.c_attn.weight"
        for third, kind in enumerate(("query", "key", "value")):
            rows = slice(third * WIDTH, (third + 1) * WIDTH)
            expected = float(grads[fused][rows].norm() / weights[fused][rows].norm())
            assert mean(diagnosis.panel(f"{kind}-gradient"))[layer] == pytest.approx(expected, rel=1e-9)
        mlp = [f"h.{layer}.mlp.c_fc.weight", f"h.{layer}.mlp.c_proj.weight"]
        norms = [torch.cat([one[name].flatten() for name in mlp]).norm() for one in (grads, weights)]
        assert mean(diagnosis.panel("mlp-gradient"))[layer] == pytest.approx(float(norms[0] / norms[1]), rel=1e-9)
    query, value = mean(diagnosis.panel("query-gradient")), mean(diagnosis.panel("value-gradient"))
    assert mean(diagnosis.panel("query-to-value")) == pytest.approx([q / v for q, v in zip(query, value, strict=True)])
    assert "Gradients of next-token cross-entropy." in diagnosis.notes


def test_every_parameter_is_measured_or_named_as_skipped() -> None:
    for build in (foreign.Gpt, foreign.TokensFirst, foreign.Lstm, foreign.ListOfLists):
        model = built(build)
        said = notes(attnlab.diagnose(model, token_ids(), "gradients"))
        skipped = re.findall(r"[\w*.]+\.\w+", "\n".join(line for line in said.splitlines() if "Skipped" in line))
        patterns = [re.compile(one.rstrip(".").replace(".", r"\.").replace("*", r"\d+")) for one in skipped]
        left = [name for name, _ in model.named_parameters() if not any(one.fullmatch(name) for one in patterns)]
        assert left
        assert all(re.search("weight", name) and "norm" not in name and "wte" not in name for name in left)


def test_a_loss_or_targets_may_be_given() -> None:
    model, tokens_BT = built(foreign.Gpt), token_ids()
    shifted = functional.pad(tokens_BT[:, 1:], (0, 1), value=-100)
    default = attnlab.diagnose(model, tokens_BT, "gradients").panel("query-gradient")
    by_targets = attnlab.diagnose(model, tokens_BT, "gradients", targets=shifted).panel("query-gradient")
    assert mean(by_targets) == pytest.approx(mean(default), rel=1e-12)

    def of_output(logits_BTV: Tensor) -> Tensor:
        return functional.cross_entropy(logits_BTV.flatten(0, 1), shifted.flatten())

    for loss in (of_output, lambda: of_output(model(tokens_BT))):
        found = attnlab.diagnose(model, tokens_BT, "gradients", loss=loss).panel("query-gradient")
        assert mean(found) == pytest.approx(mean(default), rel=1e-12)


def test_frozen_weights_are_named() -> None:
    model = built(foreign.Gpt)
    model.h[1].mlp.c_fc.weight.requires_grad_(requires_grad=False)
    assert "Skipped, no gradient is asked for: h.1.mlp.c_fc.weight." in notes(
        attnlab.diagnose(model, token_ids(), "gradients")
    )


# -- matrices -------------------------------------------------------------------------------------------------------


def test_returned_weights_are_those_of_the_attention_and_are_labeled() -> None:
    model, tokens_BT = built(foreign.TokensFirst), token_ids()
    diagnosis = attnlab.diagnose(model, tokens_BT, "attention", attention_map="2.1")
    assert {panel.matrix for panel in diagnosis.panels} == {"returned weights"}
    mask_TT = nn.Transformer.generate_square_subsequent_mask(TOKENS, dtype=torch.float64)
    with torch.no_grad():
        streams = [stream.transpose(0, 1) for stream in model.eval().stream(tokens_BT)]
        weights = [
            layer.self_attn(x_TBD, x_TBD, x_TBD, attn_mask=mask_TT, average_attn_weights=False)[1]
            for layer, x_TBD in zip(model.encoder.layers, streams, strict=False)
        ]
    expected = [float(METRICS["entropy"].measure(one).mean()) for one in weights]
    assert mean(diagnosis.panel("entropy")) == pytest.approx(expected, rel=1e-9)
    (one,) = diagnosis.maps
    assert one.matrix == "returned weights"
    torch.testing.assert_close(torch.tensor(one.weights, dtype=torch.float64), weights[1][0, 0])


def test_an_attention_without_weights_has_the_row_norms_of_its_jacobian() -> None:
    model, tokens_BT = built(foreign.Gpt), token_ids()
    diagnosis = attnlab.diagnose(model, tokens_BT, "attention")
    assert {panel.matrix for panel in diagnosis.panels} == {"Jacobian row norms"}
    with torch.no_grad():
        streams = list(model.eval().stream(tokens_BT[:2]))
    expected = []
    for block, x_BTD in zip(model.h, streams, strict=False):
        norms_BTS = explicit_norms(block.attn, block.ln_1(x_BTD).detach())
        expected.append(float(METRICS["entropy"].measure(as_weights(norms_BTS)).mean()))
    assert mean(diagnosis.panel("entropy")) == pytest.approx(expected, rel=1e-9)
    assert "Jacobian row norms: ||d y_t / d x_s||_F of the module, exact, on the first 2 sequences" in notes(diagnosis)
    assert "negative-mass (norms have no sign); row-gain, row-sum (rows are normalized)" in notes(diagnosis)
    assert not diagnosis.panel("entropy").rows[0].heads


class Cache:
    """Keys and values of earlier calls, which a model makes anew for each of its own."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []

    def extend(self, keys_BTD: Tensor) -> Tensor:
        self.keys.append(keys_BTD)
        return torch.cat(self.keys, 1)


class CachedAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.key = nn.Linear(WIDTH, WIDTH)
        self.calls = 0

    def forward(self, x_BTD: Tensor, cache: Cache) -> Tensor:
        keys_BSD = cache.extend(self.key(x_BTD))
        scores = x_BTD @ keys_BSD.mT
        seen = torch.ones_like(scores, dtype=torch.bool).tril(keys_BSD.shape[1] - x_BTD.shape[1])
        return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ keys_BSD


class CountingAttention(CachedAttention):
    """A module that keeps a state of its own."""

    def forward(self, x_BTD: Tensor, cache: Cache) -> Tensor:
        self.calls += 1
        return super().forward(x_BTD, cache) * self.calls


class CachedBlock(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attn = attention

    def forward(self, x_BTD: Tensor, cache: Cache) -> Tensor:
        update_BTD: Tensor = self.attn(x_BTD, cache=cache)
        return x_BTD + update_BTD


class Cached(foreign.Model):
    attention: type[CachedAttention] = CachedAttention

    def __init__(self) -> None:
        super().__init__()
        self.h = nn.ModuleList([CachedBlock(self.attention()) for _ in range(2)])

    def stream(self, tokens_BT: Tensor) -> Iterator[Tensor]:
        x_BTD = self.wte(tokens_BT)
        yield x_BTD
        for block in self.h:
            x_BTD = block(x_BTD, cache=Cache())
            yield x_BTD


def test_a_cache_among_the_arguments_is_that_before_the_call() -> None:
    model, tokens_BT = built(Cached), token_ids()
    with torch.no_grad():
        streams = list(model.eval().stream(tokens_BT[:2]))
    expected = []
    for block, x_BTD in zip(model.h, streams, strict=False):
        norms_BTS = explicit_norms(lambda x, module=block.attn: module(x, Cache()), x_BTD)  # type: ignore[misc]
        expected.append(float(METRICS["entropy"].measure(as_weights(norms_BTS)).mean()))
    found = attnlab.diagnose(model, tokens_BT, "attention")
    assert mean(found.panel("entropy", "Jacobian row norms")) == pytest.approx(expected, rel=1e-9)


def test_a_cache_that_cannot_be_copied_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_cache: Cache, _memo: dict[int, Any]) -> Cache:
        raise TypeError("no copies")

    monkeypatch.setattr(Cache, "__deepcopy__", refuse, raising=False)
    diagnosis = attnlab.diagnose(built(Cached), token_ids(), "attention")
    assert not diagnosis.panels
    assert "its arguments cannot be copied, and may hold a state" in notes(diagnosis)


def test_a_module_that_gives_another_output_when_it_is_called_again_is_not_measured() -> None:
    class Counting(Cached):
        attention = CountingAttention

    diagnosis = attnlab.diagnose(built(Counting), token_ids(), "attention")
    assert not diagnosis.panels
    assert "called again with the same arguments, it gives another output" in notes(diagnosis)


def test_a_model_that_reads_later_tokens_has_no_causal_rows() -> None:
    class Encoder(foreign.TokensFirst):
        def forward(self, tokens_BT: Tensor) -> Tensor:
            x_TBD = self.encoder(self.wte(tokens_BT).transpose(0, 1))
            logits: Tensor = self.lm_head(x_TBD.transpose(0, 1))
            return logits

    diagnosis = attnlab.diagnose(built(Encoder), token_ids(), "attention")
    assert not diagnosis.panels
    assert "an output depends on a later token, and the metrics are of causal rows" in notes(diagnosis)


def test_blocks_without_an_attention_are_named() -> None:
    diagnosis = attnlab.diagnose(built(foreign.Experts), token_ids(), "attention")
    assert (
        "Measured as whole blocks, no module has the name, the class or the weights of an attention: h.0, h.1, h.2."
        in diagnosis.notes
    )


class Direct(nn.Module):
    """A block, or a part of one, that holds the maps of its attention itself."""

    def __init__(self, has_mlp: bool) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
        self.has_mlp = has_mlp

    def forward(self, x_BTD: Tensor) -> Tensor:
        query, key, value = (one[:, None] for one in self.c_attn(x_BTD).chunk(3, 2))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)[:, 0]
        x_BTD = x_BTD + self.c_proj(mixed)
        return x_BTD + self.up(x_BTD) if self.has_mlp else x_BTD


class Holder(nn.Module):
    """A block whose attention has a name and a class that tell nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Direct(has_mlp=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        result: Tensor = x_BTD + self.first(x_BTD)
        return result


class Stack(nn.Module):
    def __init__(self, block: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.wte, self.head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)
        self.h = nn.ModuleList(block() for _ in range(LAYERS))

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.wte(tokens_BT)
        for one in self.h:
            x_BTD = one(x_BTD)
        logits: Tensor = self.head(x_BTD)
        return logits


def test_a_block_that_holds_its_attention_itself_is_measured_whole() -> None:
    model, tokens_BT = built(lambda: Stack(lambda: Direct(has_mlp=True))), token_ids()
    diagnosis = attnlab.diagnose(model, tokens_BT, "attention")
    assert {panel.matrix for panel in diagnosis.panels} == {"Jacobian row norms of the block"}
    assert "Measured as whole blocks" in notes(diagnosis)
    x_BTD = model.wte(tokens_BT[:2]).detach()
    weights = as_weights(explicit_norms(model.h[0], x_BTD))
    expected = float(METRICS["sink"].average(METRICS["sink"].measure(weights)))
    assert mean(diagnosis.panel("sink"))[0] == pytest.approx(expected, rel=1e-6)


def test_an_attention_is_found_by_the_roles_of_its_weights() -> None:
    diagnosis = attnlab.diagnose(built(lambda: Stack(Holder)), token_ids(), "attention")
    assert "Attentions: h.0.first, h.1.first, h.2.first." in diagnosis.notes
    assert {panel.matrix for panel in diagnosis.panels} == {"Jacobian row norms"}


@pytest.mark.parametrize("build", [foreign.Lstm, lambda: Stack(lambda: Direct(has_mlp=True))])
def test_captions_of_row_norms_speak_of_no_heads_and_no_attention(build: Callable[[], Any]) -> None:
    for kind in ("attention", "tokens", "rank-collapse"):
        for panel in attnlab.diagnose(built(build), token_ids(), kind).panels:
            if panel.matrix:
                assert not re.search(r"head|attend|attention|weight of", panel.summary), panel.name


def test_every_kind_of_weights_that_a_model_lacks_is_named_with_the_reason() -> None:
    said = notes(attnlab.diagnose(built(foreign.Lstm), token_ids(), "gradients"))
    assert "Not measurable" not in said
    lacking = "query-gradient, key-gradient, value-gradient, output-gradient, mlp-gradient, query-to-value"
    assert f"{lacking} (there is no parameter of the roles query, key, value, output or mlp)" in said
    frozen = built(foreign.Gpt)
    for name, weight in frozen.named_parameters():
        weight.requires_grad_("c_attn" not in name)
    said = notes(attnlab.diagnose(frozen, token_ids(), "gradients"))
    assert "query-gradient, key-gradient, value-gradient, query-to-value, query-noise (no gradient is asked for" in said


# -- refusals -------------------------------------------------------------------------------------------------------


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.EmbeddingBag(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embedding(tokens_BT))
        return logits


@pytest.mark.parametrize(
    ("inputs", "more", "error", "where", "problem"),
    [
        (token_ids().float(), {}, InvalidValueError, "inputs", "Tokens of type float32 are no tokens: 3 x 6."),
        (token_ids().to(torch.uint8), {}, InvalidValueError, "inputs", "Inputs of type uint8 are neither int64 nor"),
        (token_ids()[0], {}, InvalidValueError, "inputs", "Inputs of type int64 have the shape 6."),
        (object(), {}, InvalidValueError, "inputs", "Inputs of type object are no tensor."),
        (token_ids()[:0], {}, InvalidValueError, "inputs", "Inputs of shape 0 x 6 are empty."),
        (("a",), {}, InvalidValueError, "inputs", "There is no tensor among the inputs."),
        (token_ids() + VOCABULARY, {}, PluginError, "Gpt.forward", "IndexError: index out of range in self"),
        (token_ids()[:, :1], {"kind": "gradients"}, InvalidValueError, "loss", "A sequence of one token has no next"),
        (token_ids(), {"loss": lambda _: "x", "kind": "gradients"}, InvalidValueError, "loss", "returns str, not a"),
        (token_ids(), {"loss": lambda x: x, "kind": "gradients"}, InvalidValueError, "loss", "returns 3 x 6 x 13"),
        (token_ids(), {"loss": lambda: 1 / 0, "kind": "gradients"}, PluginError, "loss", "ZeroDivisionError"),
        (token_ids(), {"targets": token_ids()[:, 1:], "kind": "gradients"}, InvalidValueError, "targets", "15 targets"),
        (token_ids(), {"targets": token_ids() + 9, "kind": "gradients"}, InvalidValueError, "loss", "has 13 classes"),
        (token_ids(), {"targets": noise(3, 6), "kind": "gradients"}, InvalidValueError, "targets", "are no classes"),
        (token_ids(), {"only": ["row-sum"], "kind": "attention"}, InvalidValueError, "only", "rows are normalized"),
        (None, {}, InvalidValueError, "diagnose", "A module is measured on inputs, and there are none."),
    ],
)
def test_bad_inputs_are_one_block(
    inputs: Any, more: dict[str, Any], error: type[AttnlabError], where: str, problem: str
) -> None:
    with pytest.raises(error) as refused:
        attnlab.diagnose(built(foreign.Gpt), inputs, **more)
    assert refused.value.where == where
    assert problem in refused.value.problem
    assert refused.value.hint


def test_a_model_without_blocks_is_one_block() -> None:
    with pytest.raises(InvalidValueError) as refused:
        attnlab.diagnose(built(Bag), token_ids())
    assert refused.value.problem == (
        "'Bag' has no blocks that are recognized: no modules in it map a stream to its own shape."
    )


def test_what_is_given_twice_or_belongs_to_a_module_is_refused() -> None:
    model, tokens_BT = built(foreign.Gpt), token_ids()
    calls: list[tuple[Callable[[], Diagnosis], str]] = [
        (lambda: attnlab.diagnose(model, tokens_BT, tokens_BT), "inputs"),
        (lambda: attnlab.diagnose(model, tokens_BT, "attention", kind="gradients"), "kind"),
        (lambda: attnlab.diagnose(None, tokens_BT), "inputs"),
        (lambda: attnlab.diagnose(foreign.Gpt, tokens_BT), "diagnose"),
        (lambda: attnlab.diagnose(model, tokens_BT, "gradients", loss=lambda: None, targets=tokens_BT), "targets"),
    ]
    for call, where in calls:
        with pytest.raises(InvalidValueError) as refused:
            call()
        assert refused.value.where == where


def test_a_module_with_an_id_is_no_run() -> None:
    model = built(foreign.Gpt)
    model.id = "gpt"
    assert attnlab.diagnose(model, token_ids()).subject.startswith("Gpt, 3 layers")


def test_a_wrapper_of_x_transformers_is_measured() -> None:
    x_transformers = pytest.importorskip("x_transformers")
    model = built(
        lambda: x_transformers.TransformerWrapper(
            num_tokens=VOCABULARY,
            max_seq_len=TOKENS,
            attn_layers=x_transformers.Decoder(dim=WIDTH, depth=2, heads=2, attn_dim_head=4),
        )
    )
    diagnosis = attnlab.diagnose(model, token_ids(), "attention")
    assert {panel.matrix for panel in diagnosis.panels} == {"returned weights"}
    assert len(mean(attnlab.diagnose(model, token_ids(), "gradients").panel("query-gradient"))) == 4
    with torch.no_grad():
        _, seen = model.eval()(token_ids(), return_intermediates=True)
    expected = [float(METRICS["cosine"].average(METRICS["cosine"].measure(one))) for one in seen.layer_hiddens]
    assert mean(attnlab.diagnose(model, token_ids()).panel("cosine")) == pytest.approx(expected, rel=1e-9)
    maps = [one.post_softmax_attn for one in seen.attn_intermediates]
    entropies = [value for value in mean(diagnosis.panel("entropy")) if not math.isnan(value)]
    assert entropies == pytest.approx([float(METRICS["entropy"].measure(one).mean()) for one in maps], rel=1e-9)
