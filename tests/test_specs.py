from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from attnlab.records import Score
from attnlab.specs import ModelSpec, Modifiers, ModulePart, Part, RunSpec, TaskSpec, TrainSpec

SPEC = RunSpec(task=TaskSpec(name="recall", options={"pairs": 4}, complexity="pairs", version=1))

CHANGED: dict[str, Any] = {
    "task.name": "copy",
    "task.options": {"pairs": 5},
    "task.train": {"pairs": "1..4"},
    "task.complexity": "length",
    "task.evaluate": (3,),
    "task.version": 2,
    "task.code_digest": "0a",
    "model.layers": 3,
    "model.width": 128,
    "model.heads": 4,
    "model.mlp_ratio": 2.0,
    "model.norm": "post",
    "model.norm_layer": Part(name="rmsnorm"),
    "model.mlp": (Part(name="swiglu"),),
    "model.block": Part(name="parallel"),
    "model.residual_stream": Part(name="wide"),
    "model.residual": False,
    "model.tie_embeddings": True,
    "model.init_scale": 2.0,
    "model.attention": (Part(name="softmax", version=2),),
    "model.position": Part(name="alibi"),
    "model.modifiers": Modifiers(qk_norm=True),
    "model.matched": "parameters of softmax: 1, here 1",
    "model.allow_leak": True,
    "model.module": ModulePart(name="own.py:Lstm"),
    "train.max_steps": 7,
    "train.batch_size": 7,
    "train.optimizer": "muon",
    "train.precision": "bf16",
    "train.lr": 0.5,
    "train.schedule": "constant",
    "train.warmup_ratio": 0.5,
    "train.min_lr_ratio": 0.5,
    "train.weight_decay": 0.5,
    "train.grad_clip": None,
    "train.betas": (0.5, 0.5),
    "train.early_stop_accuracy": None,
    "train.eval_every": 7,
    "train.validation_examples": 7,
    "train.test_examples": 7,
    "train.train_examples": 7,
    "train.rollout": True,
    "train.log_diagnostics": ("rank",),
    "seed": 1,
    "continue_from": "0123456789ab",
}


def changed(field: str) -> RunSpec:
    """The spec with one field changed."""
    section, _, name = field.rpartition(".")
    if not section:
        return SPEC.model_copy(update={name: CHANGED[field]})
    part = getattr(SPEC, section)
    return SPEC.model_copy(update={section: part.model_copy(update={name: CHANGED[field]})})


def test_the_table_of_changes_names_every_field() -> None:
    sections: dict[str, type[TaskSpec | ModelSpec | TrainSpec]] = {
        "task": TaskSpec,
        "model": ModelSpec,
        "train": TrainSpec,
    }
    fields = {f"{name}.{field}" for name, kind in sections.items() for field in kind.model_fields}
    assert set(CHANGED) == fields | {"seed", "continue_from"}
    assert set(RunSpec.model_fields) == {*sections, "seed", "continue_from"}


@pytest.mark.parametrize("field", CHANGED)
def test_every_field_changes_the_id(field: str) -> None:
    assert changed(field) != SPEC
    assert changed(field).id != SPEC.id


@pytest.mark.parametrize("field", CHANGED)
def test_vmapped_runs_differ_only_in_seed_origin_init_scale_rate_decay_and_clip(field: str) -> None:
    free = {"seed", "continue_from", "model.init_scale", "train.lr", "train.weight_decay", "train.grad_clip"}
    assert (changed(field).shape == SPEC.shape) == (field in free)


def test_plain_data_have_every_field_whatever_the_json_leaves_out() -> None:
    for section in (SPEC.task, SPEC.model, SPEC.train):
        assert section.all_fields.keys() == type(section).model_fields.keys()
        assert section.all_fields.items() >= section.model_dump().items()
    assert "init_scale" not in SPEC.model.model_dump()
    assert (SPEC.model.all_fields["init_scale"], SPEC.train.all_fields["optimizer"]) == (1.0, "adamw")


def test_ids_of_all_changes_differ() -> None:
    assert len({changed(field).id for field in CHANGED}) == len(CHANGED)


def test_versions_and_code_of_parts_are_no_part_of_the_unversioned_id() -> None:
    coded = Part(name="softmax", version=3, code_digest="0a1b")
    other = SPEC.model_copy(
        update={
            "model": SPEC.model.model_copy(update={"attention": (coded,), "position": coded}),
            "task": SPEC.task.model_copy(update={"version": 3, "code_digest": "0a"}),
        }
    )
    plain = Part(name="softmax")
    same = other.model_copy(
        update={
            "model": SPEC.model.model_copy(update={"attention": (plain,), "position": plain}),
            "task": SPEC.task,
        }
    )
    assert (other.unversioned_id, other.id != same.id) == (same.unversioned_id, True)


def test_equal_specs_have_equal_ids_whatever_the_order_of_their_options() -> None:
    one, other = (
        RunSpec(task=TaskSpec(name="recall", options=options))
        for options in ({"pairs": 4, "length": 32}, {"length": 32, "pairs": 4})
    )
    assert one == other
    assert one.id == other.id


def test_an_id_is_twelve_hexadecimal_digits_and_never_changes() -> None:
    learned = SPEC.model.model_copy(update={"position": Part(name="learned")})
    assert SPEC.model_copy(update={"model": learned}).id == "ddc25d43a32d"  # since store format 2
    assert SPEC.id == "2edae1463418"  # of the default position


@pytest.mark.parametrize("value", ["rank", ["rank"], ("rank", "rank")])
def test_one_logged_diagnostic_needs_no_list(value: Any) -> None:
    assert TrainSpec.model_validate({"log_diagnostics": value}) == TrainSpec(log_diagnostics=("rank",))


def test_the_order_of_logged_diagnostics_does_not_matter() -> None:
    one, other = (
        TrainSpec.model_validate({"log_diagnostics": words}) for words in (["attention", "rank"], ["rank", "attention"])
    )
    assert one.canonical == other.canonical
    with pytest.raises(ValidationError, match=r"rank.*gradients.*attention"):
        TrainSpec.model_validate({"log_diagnostics": ["ranks"]})


def test_a_variant_names_its_attentions() -> None:
    parts = (Part(name="softmax"), Part(name="dape", options={"kernel": 3, "tied": True, "scale": 0.5}))
    spec = SPEC.model_copy(update={"model": ModelSpec(attention=parts)})
    assert spec.variant == "softmax+dape:kernel=3,tied=true,scale=0.5"


def test_the_level_is_the_value_of_the_complexity_option() -> None:
    assert SPEC.task.level == 4
    assert TaskSpec(name="copy").level is None


@pytest.mark.parametrize(
    "data",
    [
        {"name": "dape", "kernel": 3, "width": 16},
        {"name": "dape", "options": {"kernel": 3, "width": 16}},
        {"name": "dape", "options": {"kernel": 3}, "width": 16},
    ],
)
def test_a_part_takes_options_beside_its_name_or_below(data: dict[str, Any]) -> None:
    assert Part.model_validate(data) == Part(name="dape", options={"kernel": 3, "width": 16})


@pytest.mark.parametrize("one", ["softmax", {"name": "softmax"}, Part(name="softmax"), ["softmax"]])
def test_one_attention_needs_no_list(one: Any) -> None:
    assert ModelSpec.model_validate({"attention": one}).attention == (Part(name="softmax"),)


def test_several_attentions_alternate_over_the_layers() -> None:
    spec = ModelSpec.model_validate({"attention": ["softmax", {"name": "dape", "kernel": 3}]})
    assert [str(part) for part in spec.attention] == ["softmax", "dape:kernel=3"]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (TrainSpec, {"max_steps": 0}),
        (TrainSpec, {"max_steps": True}),
        (TrainSpec, {"lr": 0.0}),
        (TrainSpec, {"lr": "0.1"}),
        (TrainSpec, {"grad_clip": 0}),
        (TrainSpec, {"warmup_ratio": 1.5}),
        (TrainSpec, {"betas": (0.9,)}),
        (TrainSpec, {"stepz": 1}),
        (ModelSpec, {"attention": []}),
        (ModelSpec, {"mlp_ratio": -1}),
        (ModelSpec, {"init_scale": 0.0}),
        (ModelSpec, {"init_scale": float("inf")}),
        (ModelSpec, {"norm": "middle"}),
        (RunSpec, {"task": TaskSpec(name="copy"), "seed": -1}),
        (RunSpec, {}),
        (Part, {"name": "a", "options": 3}),
        (Part, {"kernel": 3}),
        (Score, {"correct": -1, "total": 1, "chance": 0.5}),
    ],
)
def test_nothing_is_coerced_or_overlooked(kind: type[Any], data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind.model_validate(data)


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SPEC.seed = 3  # type: ignore[misc]


def test_runs_of_several_seeds_are_those_that_are_made_one_by_one() -> None:
    task = TaskSpec(name="recall", options={"pairs": 2}, complexity="pairs", version=1)
    model, train = ModelSpec(width=16), TrainSpec(lr=0.01)
    made = RunSpec.of_seeds(task, model, train, [0, 7, 2**40])
    single = [RunSpec(task=task, model=model, train=train, seed=seed) for seed in (0, 7, 2**40)]
    assert made == single
    assert [one.id for one in made] == [one.id for one in single]
    assert [one.model_dump_json() for one in made] == [one.model_dump_json() for one in single]
    changed = made[1].model_copy(update={"seed": 8})
    assert changed.id == RunSpec(task=task, model=model, train=train, seed=8).id
