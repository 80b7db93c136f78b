"""Recipes: named settings below those of a ladder and of the user, which leave no trace but these settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import attnlab
from attnlab.config.experiment import Experiment, experiment_from_json, read_experiment, with_changes
from attnlab.config.inline_experiment import inline_experiment
from attnlab.config.recipes import RECIPES, find_recipe, with_recipe
from attnlab.config.schema import schema
from attnlab.diagnosis.subjects import diagnosis_request, diagnosis_subjects, requested_base
from attnlab.errors import AttnlabError, InvalidValueError, PartWarning, UnknownNameError
from attnlab.experiments.expand import expand
from attnlab.experiments.request import parse_request
from attnlab.experiments.resolve import Resolved, Resolver
from attnlab.specs import ModelSpec, RunSpec, TrainSpec
from tests.experiments.sweeps import TINY

MUON = {"optimizer": "muon", "lr": 0.01}
QK_NORM = {"modifiers": {"qk_norm": True}}
SPELLED: dict[str, dict[str, Any]] = {
    "default": {},
    "plain": {"model": {"position": "learned"}},
    "qk-norm": {"model": QK_NORM},
    "muon": {"train": MUON},
    "muon-qk-norm": {"model": QK_NORM, "train": MUON},
}
LADDER = """\
name: slow
summary: One that sets a learning rate of its own.
task: copy
complexity: symbols
levels: [4, 8]
default: 4
train: {lr: 0.002}
model: {modifiers: {gate: head}}
source: ours
"""
EXPERIMENT = """\
name: mine
question: Which one?
ladders: [{ladder: copy, levels: [2]}]
seeds: 1
model: {layers: 1, width: 8, heads: 1}
train: {max_steps: 2, batch_size: 4, validation_examples: 4, test_examples: 4}
"""


def resolved(task: str = "copy", **more: Any) -> Resolved:
    return Resolver().resolve(parse_request(task, **more))


def ids(experiment: Experiment) -> list[str]:
    return [spec.id for spec in expand(experiment)]


def written(folder: Path, *lines: str) -> Experiment:
    path = folder / "mine.yaml"
    path.write_text(EXPERIMENT + "\n".join(lines) + "\n")
    return read_experiment(path)


@pytest.fixture
def ladder(tmp_path: Path) -> str:
    path = tmp_path / "slow.yaml"
    path.write_text(LADDER)
    return str(path)


def test_the_recipes_are_those_that_are_documented() -> None:
    assert list(RECIPES) == list(SPELLED)
    assert all(recipe.summary and recipe.favors for recipe in RECIPES.values())


@pytest.mark.parametrize("name", SPELLED)
def test_a_recipe_is_its_settings_spelled_out(name: str) -> None:
    one, other = resolved(recipe=name), resolved(settings=SPELLED[name])
    (spec,), (spelled,) = (RunSpec.of_seeds(found.task, found.models[0], found.train, (0,)) for found in (one, other))
    assert (spec, spec.id) == (spelled, spelled.id)
    assert name in ("default", "plain") or name not in spec.model_dump_json().replace('"optimizer":"muon"', "")


def test_the_default_is_the_recipe_of_that_name() -> None:
    assert resolved(recipe="default") == resolved()


@pytest.mark.parametrize(("name", "position"), [("default", "fourier"), ("plain", "learned")])
def test_the_default_and_that_of_before_differ_in_the_position(name: str, position: str) -> None:
    found = resolved(recipe=name)
    assert (found.train.optimizer, found.train.lr, found.models[0].position.name) == ("adamw", 3e-3, position)


def test_what_a_ladder_sets_is_above_a_recipe_and_what_a_user_sets_is_above_both(ladder: str) -> None:
    found = resolved(ladder, recipe="muon-qk-norm")
    assert (found.train.optimizer, found.train.lr) == ("muon", 0.002)
    assert (found.models[0].modifiers.qk_norm, found.models[0].modifiers.gate) == (True, "head")
    over = {"train": {"lr": 0.5}, "model": {"modifiers": {"qk_norm": False}}}
    found = resolved(ladder, recipe="muon-qk-norm", settings=over)
    assert (found.train.optimizer, found.train.lr) == ("muon", 0.5)
    assert (found.models[0].modifiers.qk_norm, found.models[0].modifiers.gate) == (False, "head")


def test_a_shipped_ladder_keeps_its_steps() -> None:
    found = resolved("bucket-sort", recipe="muon")
    assert (found.train.max_steps, found.train.optimizer, found.train.lr) == (10000, "muon", 0.01)


def test_an_unknown_recipe_is_refused_with_a_near_one(tmp_path: Path) -> None:
    def raised(call: Any) -> str:
        with pytest.raises(UnknownNameError) as error:
            call()
        return str(error.value)

    told = "There is no recipe 'muno'; did you mean 'muon'?\n  Known: default, muon, muon-qk-norm, plain, qk-norm."
    option, changes = f"--recipe\n  {told}", {"recipe": "muno"}
    assert raised(lambda: find_recipe("muno")) == option
    assert raised(lambda: parse_request("copy", recipe="muno")) == option
    assert raised(lambda: inline_experiment("copy", recipe="muno")) == option
    assert raised(lambda: with_changes(inline_experiment("copy"), changes)) == option
    assert raised(lambda: inline_experiment("copy", grid={"recipe": ["muno"]})) == f"grid.recipe\n  {told}"
    assert raised(lambda: written(tmp_path, "recipe: muno")).endswith(f"mine.yaml:7: recipe\n  {told}")
    line = "grid: {recipe: [plain, muno]}"
    assert raised(lambda: written(tmp_path, line)).endswith(f"mine.yaml:7: grid.recipe\n  {told}")


def test_what_is_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"mine\.yaml:7: recipe\n  It cannot be 3\."):
        written(tmp_path, "recipe: 3")
    with pytest.raises(UnknownNameError, match=r"There is no recipe '\['muon'\]'"):
        parse_request("copy", recipe=["muon"])  # type: ignore[arg-type]


def test_an_experiment_with_a_recipe_has_the_runs_of_its_settings(tmp_path: Path) -> None:
    spelled = with_changes(written(tmp_path), {"train": {**written(tmp_path).train, **MUON}})
    assert ids(written(tmp_path, "recipe: muon")) == ids(spelled) != ids(written(tmp_path))
    assert ids(with_changes(written(tmp_path), {"recipe": "muon"})) == ids(spelled)
    assert ids(with_changes(written(tmp_path, "recipe: muon"), {"recipe": "default"})) == ids(written(tmp_path))
    rate = with_changes(spelled, {"train": {**spelled.train, "lr": 0.5}})
    assert ids(written(tmp_path, "recipe: muon", "grid: {lr: [0.5]}")) == ids(rate)


def test_a_grid_varies_the_recipe(tmp_path: Path) -> None:
    plain, muon = ids(written(tmp_path, "recipe: plain")), ids(written(tmp_path, "recipe: muon"))
    found = written(tmp_path, "grid: {recipe: [plain, muon]}")
    assert ids(found) == plain + muon
    assert found.tuned == ()
    assert ids(written(tmp_path, "zip: [{recipe: [plain, muon], layers: [1, 1]}]")) == plain + muon
    words: dict[str, Any] = {"complexity": [2], "seeds": 1, "settings": TINY}
    both = inline_experiment("copy", grid={"recipe": ["qk-norm", "plain"]}, **words)
    apart = [inline_experiment("copy", recipe=name, **words) for name in ("qk-norm", "plain")]
    assert ids(both) == [*ids(apart[0]), *ids(apart[1])]


def test_a_recipe_is_not_tuned(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"mine\.yaml:8: tune\n.*\n  Vary the settings and tune these: zip:"):
        written(tmp_path, "grid: {recipe: [plain, muon]}", "tune: [recipe]")
    hint = written(tmp_path, "zip: [{optimizer: [adamw, muon], lr: [3e-3, 1e-2]}]", "tune: [optimizer, lr]")
    assert hint.tuned == ("train.optimizer", "train.lr")


def test_a_store_names_a_recipe_only_where_there_is_one(tmp_path: Path) -> None:
    assert "recipe" not in written(tmp_path).model_dump_json()
    found = written(tmp_path, "recipe: muon")
    assert experiment_from_json(found.model_dump_json().encode()).recipe == "muon"
    newer = found.model_dump_json().replace('"muon"', '"of-later"')
    assert experiment_from_json(newer.encode()).recipe == "of-later"


def test_an_editor_is_told_the_names() -> None:
    field = schema(Experiment)["properties"]["recipe"]
    assert field["anyOf"][0] == {"enum": list(SPELLED), "type": "string"}
    assert field["description"] == "Named settings below those of the ladders; left out, the default."


def test_a_diagnosis_has_the_model_of_a_recipe(ladder: str) -> None:
    where: dict[str, Any] = {"complexity": None, "recipe": "muon-qk-norm"}
    assert requested_base(diagnosis_request(None, None, task="copy", **where))[1] == QK_NORM
    assert requested_base(diagnosis_request(None, None, task=None, **where))[1] == QK_NORM
    both = {"modifiers": {"qk_norm": True, "gate": "head"}}
    assert requested_base(diagnosis_request(None, None, task=ladder, **where))[1] == both


def test_python_takes_a_recipe(tmp_path: Path) -> None:
    how: dict[str, Any] = {"complexity": 2, "store": None, "device": "cpu", **{k: TINY[k] for k in ("model", "train")}}
    (one,) = attnlab.train("copy", recipe="muon", **how)
    (other,) = attnlab.train("copy", **how | {"train": {**TINY["train"], **MUON}})
    assert (one.id, one.spec) == (other.id, other.spec)
    assert [point.loss for point in one.history] == [point.loss for point in other.history]
    with pytest.raises(AttnlabError, match="did you mean 'muon'"):
        attnlab.sweep("copy", recipe="muno", store=tmp_path)
    where: dict[str, Any] = how | {"complexity": [2], "store": tmp_path, "executor": "inline", "seeds": 1}
    (swept,) = attnlab.sweep("copy", recipe="muon", **where)
    assert swept.id == one.id


def test_settings_of_a_recipe_are_fields() -> None:
    for name in RECIPES:
        ModelSpec.model_validate(with_recipe(name, "model"))
        TrainSpec.model_validate(with_recipe(name, "train"))


def test_what_an_attention_does_not_take_of_a_recipe_is_left_out_and_said() -> None:
    muon, both = (resolved(recipe=name, attention="softmax") for name in ("muon", "muon-qk-norm"))
    with pytest.warns(
        PartWarning, match="^qk_norm of the recipe is left out for delta: its queries and keys have unit length"
    ):
        delta = resolved(recipe="muon-qk-norm", attention="delta,softmax,gpam")
    assert [model.modifiers.qk_norm for model in delta.models] == [False, True, True]
    assert delta.models[0] == resolved(recipe="muon", attention="delta").models[0]
    assert (delta.models[1], delta.train) == (both.models[0], muon.train)


def test_a_stack_of_which_one_attention_takes_a_modifier_keeps_it() -> None:
    (model,) = resolved(recipe="qk-norm", settings={"model": {"attention": ["delta", "softmax"]}}).models
    assert model.modifiers.qk_norm


@pytest.mark.parametrize("recipe", ["plain", "qk-norm"])
def test_what_a_user_sets_and_an_attention_does_not_take_is_refused(recipe: str) -> None:
    asked: dict[str, Any] = {"model": {"modifiers": {"qk_norm": True}}, "recipe": recipe, "store": None}
    with pytest.raises(AttnlabError, match="'delta' does not support qk_norm"):
        attnlab.train("parity", "delta", device="cpu", **asked)


def test_a_diagnosis_leaves_out_what_an_attention_does_not_take() -> None:
    with pytest.warns(PartWarning, match="left out for delta"):
        subjects = list(
            diagnosis_subjects(diagnosis_request("delta", None, task=None, complexity=None, recipe="qk-norm"))
        )
    assert not subjects[0].model.spec.modifiers.qk_norm
