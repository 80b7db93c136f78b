"""Parts of blocks and patterns of layers in a plan: looked up, written in every form, refused where useless."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import attnlab
from attnlab.config.experiment import experiment
from attnlab.errors import AttnlabError, IncompatiblePartsError, InvalidValueError, PluginError
from attnlab.experiments import _budget as budget
from attnlab.experiments.expand import expand
from attnlab.model.transformer import build
from attnlab.plugins import load_plugin
from attnlab.records import Record
from attnlab.specs import Part, RunSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.run_parts import changed_parts, check_parts, run_parts
from tests.experiments.requests import COPY, one

SMALL: dict[str, Any] = {"width": 8, "layers": 2, "heads": 2}
PLUGIN = """
from attnlab import Mlp, register_mlp

@register_mlp("changing", source="tests")
class Changing(Mlp):
    def __init__(self, context):
        super().__init__(context)
        self.up_proj = context.linear(context.width, context.width)

    def forward(self, x_BTD):
        return {factor} * self.up_proj(x_BTD)
"""
YAML = """
name: mine
question: Which?
ladders: [{{ladder: copy, levels: [2]}}]
seeds: 1
grid: {{attention: [softmax]}}
model: {{width: 8, layers: 2, {model}}}
"""


def planned(**model: Any) -> RunSpec:
    """A run with settings of the model."""
    return one(settings={"model": {**SMALL, **model}})


def refusal(**model: Any) -> str:
    with pytest.raises(AttnlabError) as caught:
        planned(**model)
    return str(caught.value)


def test_parts_at_their_defaults_are_not_part_of_the_id() -> None:
    plain = planned()
    given = planned(norm_layer="layer-norm", mlp="gelu", block={"name": "sequential"}, residual_stream=["plain"])
    assert given == plain
    assert given.id == plain.id
    fields = {"norm_layer", "mlp", "block", "residual_stream", "then"}
    assert not fields & set(plain.model.model_dump())
    assert planned(mlp="gelu*3").id == planned(mlp="gelu:approximate=none").id == plain.id
    assert RunSpec.model_validate_json(given.model_dump_json()) == given


@pytest.mark.parametrize(
    "model",
    [
        {"norm_layer": "rmsnorm"},
        {"mlp": "swiglu"},
        {"mlp": "gelu+none"},
        {"block": "parallel:shared_norm=false"},
        {"position": "rotary+none"},
    ],
)
def test_a_spec_that_is_read_again_is_the_same_value(model: dict[str, Any]) -> None:
    spec = planned(**model)
    read = RunSpec.model_validate_json(spec.model_dump_json())
    assert read == spec
    assert read.id == spec.id != planned().id
    check_parts(read)


@pytest.mark.parametrize(
    ("field", "forms"),
    [
        ("mlp", ["swiglu:activation=relu", {"name": "glu", "activation": "relu"}, ["swiglu:activation=relu"]]),
        ("mlp", ["swiglu*1+none", ["swiglu", "none"], [{"name": "swiglu"}, "none"]]),
        ("block", ["parallel", {"name": "parallel"}, {"name": "parallel", "shared_norm": True}]),
        ("norm_layer", ["rmsnorm", "rms-norm:eps=1e-6", ["rmsnorm"]]),
        ("position", ["rotary+none", ["rope", "none"], [{"name": "rotary"}, "none"]]),
        ("attention", ["softmax+delta", ["softmax", "deltanet"]]),
    ],
)
def test_words_lists_and_mappings_are_the_same_run(field: str, forms: list[Any]) -> None:
    assert len({planned(**{field: form}).id for form in forms}) == 1


def test_yaml_python_and_the_command_line_plan_the_same_run(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(YAML.format(model="mlp: swiglu, block: parallel, position: [rotary, none]"))
    (from_yaml,) = expand(experiment(str(path)))
    settings = {"width": 8, "layers": 2, "mlp": "swiglu", "block": "parallel"}
    from_words = one(
        task=COPY, positions=[Part(name="rotary", then=(Part(name="none"),))], settings={"model": settings}
    )
    train = {"max_steps": 1, "validation_examples": 4, "test_examples": 4}
    record: Record
    (record,) = attnlab.train(
        "copy", position="rotary+none", complexity=2, model=settings, train=train, store=None, device="cpu"
    )
    assert from_yaml.model == from_words.model == record.spec.model
    assert from_yaml.model.canonical == from_words.model.canonical == record.spec.model.canonical


def test_a_grid_varies_parts_and_a_claim_names_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = YAML.format(model="heads: 2").replace(
        "{attention: [softmax]}", "{mlp: [gelu, swiglu+none], position: [rotary+none, none]}"
    )
    claim = "of: {mlp: swiglu+none, position: none}, than: {mlp: gelu}, metric: accuracy, expect: greater"
    path.write_text(f"{text}claims:\n  - {{says: It does., {claim}}}\n")
    specs = expand(experiment(str(path)))
    assert [(len(spec.model.mlp), str(spec.model.position)) for spec in specs] == [
        (1, "rotary+none"),
        (1, "none"),
        (2, "rotary+none"),
        (2, "none"),
    ]


def test_what_would_change_nothing_is_refused() -> None:
    hint = "\n  Leave out one of the two settings."
    assert refusal(norm="none", norm_layer="dyt") == (
        f"model.norm_layer\n  dyt would change nothing: norm: none leaves out all norms.{hint}"
    )
    assert refusal(mlp_ratio=0.0, mlp="swiglu") == (
        f"model.mlp\n  swiglu would change nothing: mlp_ratio: 0 leaves out all MLPs.{hint}"
    )
    for no_mlp in ({"mlp": "none"}, {"mlp_ratio": 0.0}):
        assert refusal(block="parallel", **no_mlp) == (
            f"model.block\n  parallel would change nothing: a block without an MLP has one branch.{hint}"
        )
    for fine in ({"norm": "none", "norm_layer": "none"}, {"mlp_ratio": 0.0, "mlp": "none"}):
        assert len(planned(**fine).model.mlp) == 1


@pytest.mark.parametrize("field", ["attention", "position", "mlp"])
def test_a_pattern_longer_than_the_model_is_refused(field: str) -> None:
    words = {"attention": "softmax*2+delta", "position": "rotary*2+none", "mlp": "gelu*2+none"}[field]
    assert refusal(**{field: words}) == (
        f"model.{field}\n  '{words}' is a pattern of 3 layers, and the model has 2.\n"
        "  Set model.layers to 3 or more, or shorten the pattern."
    )
    assert planned(**{field: words, "layers": 3}).model.layers == 3


def test_a_position_of_the_whole_model_cannot_alternate() -> None:
    for name in ("learned", "sinusoidal", "fourier", "randomized"):
        assert refusal(position=f"none+{name}").startswith(
            f"model.position\n  The position '{name}' acts on the whole model, and cannot be that of single layers.\n"
            "  Positions of single layers: alibi, cope, fire, "
        )


def test_a_biased_position_is_refused_in_the_layers_that_have_no_scores_and_accepted_in_others() -> None:
    assert "'delta' has no attention scores, and the position 'alibi'" in refusal(
        attention="softmax+delta", position="none+alibi"
    )
    assert planned(attention="softmax+delta", position="alibi+none").variant == "softmax+delta"


def test_a_model_has_one_block_and_one_norm() -> None:
    assert refusal(block="parallel+sequential").startswith("model.block\n  A model has one block, the same in all")
    assert refusal(norm_layer=["dyt", "none"]).startswith("model.norm_layer\n  A model has one norm_layer, the same")
    assert refusal(mlp="gelu,swiglu").startswith("model.mlp\n  'gelu,swiglu' is 2 parts.")
    assert refusal(mlp="swigl").startswith("model.mlp: swigl\n  There is no MLP 'swigl'; did you mean 'swiglu'?")
    assert "cannot be 'tanh'" in refusal(mlp="swiglu:activation=tanh")


@pytest.mark.parametrize("match", ["parameters", "flops"])
@pytest.mark.parametrize("mlp", ["swiglu", "squared-relu", "swiglu+none"])
def test_a_budget_is_met_with_every_mlp(match: Any, mlp: str) -> None:
    from attnlab.experiments.plan import plan
    from attnlab.experiments.request import Request

    settings = {"model": {"width": 16, "layers": 2, "mlp": mlp, "block": "parallel"}}
    variants = [(Part(name=name),) for name in ("softmax", "gpam")]
    first, second = plan(Request(task=COPY, attentions=variants, match=match, settings=settings))
    source = Source(first.task, 0)
    sizes = [
        budget.MEASURES[match](build(spec.model, vocabulary=source.vocabulary, length=source.length, seed=0), source)
        for spec in (first, second)
    ]
    assert abs(sizes[1] - sizes[0]) <= 0.02 * sizes[0]
    assert second.model.mlp == first.model.mlp
    no_mlp = {"model": {"width": 16, "layers": 1, "mlp": "none"}}
    with pytest.raises(InvalidValueError, match="The size of the MLP none cannot be chosen"):
        plan(Request(task=COPY, attentions=variants, match=match, settings=no_mlp))


def test_the_code_of_a_users_part_is_in_the_id_and_a_change_of_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    specs = []
    for factor in (1, 2):
        path.write_text(PLUGIN.format(factor=factor))
        load_plugin(path)
        specs.append(planned(mlp="gelu+changing"))
    assert specs[0].id != specs[1].id
    assert specs[0].unversioned_id == specs[1].unversioned_id
    assert [part.name for part in changed_parts(specs[0])] == ["changing"]
    assert changed_parts(specs[1]) == []
    with pytest.raises(InvalidValueError, match="other code of the MLP 'changing'"):
        check_parts(specs[0])
    assert {part.kind for part in run_parts(specs[0])} == {
        "attention",
        "position",
        "norm",
        "MLP",
        "block",
        "residual stream",
        "task",
    }


def test_an_exception_of_a_users_mlp_is_told_with_its_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.format(factor="self.gain"))
    load_plugin(path)
    with pytest.raises(PluginError) as caught:
        planned(mlp="gelu+changing")
    assert caught.value.where == "model.mlp: gelu+changing"
    assert "has no attribute 'gain'" in caught.value.problem
    assert f"{path}:11" in str(caught.value).replace(", line ", ":").replace('"', "")


def test_positions_of_single_layers_are_parts_of_the_run() -> None:
    spec = planned(position="rotary+none")
    assert [part.name for part in run_parts(spec) if part.kind == "position"] == ["rotary", "none"]
    assert [part.version for part in spec.model.position.alternating] == [1, 1]


def test_a_model_with_a_residual_stream_of_a_user_is_refused_without_residual_connections() -> None:
    from attnlab.residual_stream import RESIDUAL_STREAMS
    from attnlab.residual_stream.plain import PlainStream

    RESIDUAL_STREAMS.register("again", source="a test")(type("Again", (PlainStream,), {"__module__": __name__}))
    assert planned(residual_stream="again").id != planned().id
    with pytest.raises(IncompatiblePartsError, match="residual: false leaves out the sum"):
        planned(residual_stream="again", residual=False)
