"""Whole models of the user's own: trained, stored, resumed, evaluated, swept beside attentions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import attnlab
from attnlab.config.experiment import read_experiment
from attnlab.diagnosis.subjects import validation_batches
from attnlab.errors import (
    IncompatiblePartsError,
    InterruptedTraining,
    InvalidValueError,
    PartWarning,
    PluginError,
    UnknownNameError,
)
from attnlab.experiments._budget import flops
from attnlab.experiments.expand import expand
from attnlab.experiments.plan import plan
from attnlab.experiments.request import parse_request
from attnlab.model.module import MODULES, ModuleModel
from attnlab.model.transformer import build_model
from attnlab.run_fields import run_fields
from attnlab.specs import ModelSpec, RunSpec
from attnlab.storage import Store
from attnlab.tasks.io.streams import Source
from attnlab.training.run import train_runs
from attnlab.training.stepper import SingleStepper
from tests.own_models import FAST, FILE, Logits, Tuple
from tests.training.runs import interrupt_at

SMALL = {"width": 8, "layers": 1}


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    entries = dict(MODULES._entries)
    yield
    MODULES._entries.clear()
    MODULES._entries.update(entries)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own.py"
    path.write_text(FILE)
    return path


def specs_of(model: str, **settings: Any) -> list[RunSpec]:
    """The runs of a whole model on the easiest copy."""
    return plan(parse_request("copy", modules=model, complexity=4, settings={"model": SMALL, **settings}))


def test_an_lstm_trains_on_a_task(file: Path) -> None:
    train = {"max_steps": 150, "batch_size": 32, "lr": 0.02, "validation_examples": 64, "test_examples": 64}
    options: dict[str, Any] = {
        "model": {"module": "own.py:Lstm", "width": 32, "layers": 1},
        "train": train,
        "device": "cpu",
        "store": None,
    }
    (record,) = attnlab.train("parity", complexity=2, **options)
    assert record.spec.variant == "own.py:Lstm"
    assert record.accuracy.mean > 0.9
    # Embedding, gates with two biases, head with a bias.
    width, vocabulary = 32, attnlab.make_task("parity", complexity=2).vocabulary
    assert record.parameters == 2 * vocabulary * width + vocabulary + 4 * width * (2 * width + 2)


def test_the_record_has_the_model_and_the_sizes_it_was_given_alone(file: Path) -> None:
    (record,) = attnlab.train("copy", model={"module": "own.py:Lstm:dropout=0.5", **SMALL}, store=None, **FAST)
    data = record.spec.model.model_dump(mode="json")
    module = data.pop("module")
    assert module.pop("code_digest")
    assert module == {
        "name": "own.py:Lstm",
        "options": {"dropout": 0.5},
        "version": 1,
        "sizes": ["layers", "width"],
    }
    assert data == {"layers": 1, "width": 8, "matched": ""}
    assert record.environment["code"][0]["path"] == str(file)
    again = RunSpec.model_validate_json(record.spec.model_dump_json())
    assert (again, again.id) == (record.spec, record.id)
    fields = run_fields(record.spec)
    assert (fields["attention"], fields["width"]) == ("own.py:Lstm:dropout=0.5", 8)
    assert not {"position", "heads", "norm", "mlp_ratio", "module"} & fields.keys()


def test_what_a_model_is_not_given_is_no_part_of_its_id(file: Path) -> None:
    with pytest.warns(PartWarning, match=r"own.py:Lstm has no argument for model.heads, model.norm: not used"):
        (one,) = plan(parse_request("copy", modules="own.py:Lstm", settings={"model": {"heads": 4, "norm": "post"}}))
    (other,) = plan(parse_request("copy", modules="own.py:Lstm"))
    (wider,) = plan(parse_request("copy", modules="own.py:Lstm", settings={"model": {"width": 32}}))
    assert one == other
    assert wider.id != other.id


def test_a_recipe_sets_what_a_model_has_and_tells_the_rest(file: Path) -> None:
    with pytest.warns(PartWarning, match=r"own.py:Lstm has no argument for model.modifiers: not used"):
        (one,) = plan(parse_request("copy", modules="own.py:Lstm", recipe="muon-qk-norm"))
    train = {"train": {"optimizer": "muon", "lr": 0.01}}
    (other,) = plan(parse_request("copy", modules="own.py:Lstm", settings=train))
    assert one == other


def test_other_code_is_another_run(file: Path) -> None:
    (before,) = specs_of("own.py:Lstm")
    file.write_text(FILE.replace("self.drop(self.lstm", "2 * self.drop(self.lstm"))
    (after,) = specs_of("own.py:Lstm")
    assert before.id != after.id
    assert before.unversioned_id == after.unversioned_id


def test_initial_weights_follow_the_seed_alone(file: Path) -> None:
    losses = []
    for state, seed in ((0, 0), (1, 0), (0, 1)):
        torch.manual_seed(state)
        (record,) = attnlab.train("copy", model="own.py:gpt", seed=seed, store=None, **FAST)
        losses.append(record.history[-1].loss)
    assert losses[0] == losses[1] != losses[2]


def test_tied_weights_are_stored_and_loaded_as_one(file: Path, tmp_path: Path) -> None:
    (record,) = attnlab.train("copy", model={"module": "own.py:gpt", **SMALL}, complexity=4, store=tmp_path, **FAST)
    model = attnlab.load_model(record, tmp_path)
    assert isinstance(model, ModuleModel)
    module: Any = model.module
    assert module.lm_head.weight is module.wte.weight
    assert sum(weight.numel() for weight in model.parameters()) == record.parameters
    assert bool((module.wte.weight != 0).any())
    length, vocabulary = record.length, module.wte.weight.shape[0]
    assert module(torch.zeros(1, length, dtype=torch.int64))["logits"].shape == (1, length, vocabulary)
    (score,) = attnlab.evaluate(record, complexity=[4], store=tmp_path)
    assert score.accuracy == record.accuracy
    with pytest.raises(InvalidValueError, match=r"does not read 16 tokens: IndexError(.|\n)*reads up to 8 tokens"):
        attnlab.evaluate(record, complexity=[8], store=tmp_path)


def test_a_run_goes_on_from_its_checkpoint_as_if_it_had_not_stopped(file: Path, tmp_path: Path) -> None:
    for name in ("own.py:Lstm:dropout=0.2", "own.py:gpt"):
        (spec,) = specs_of(name, train={**FAST["train"], "max_steps": 8, "eval_every": 4})
        (whole,) = train_runs([spec])
        store = Store(tmp_path / spec.id)
        store.open()
        with pytest.raises(InterruptedTraining):
            train_runs([spec], interrupt_at(4), checkpointer=store)
        assert spec.id in store.checkpoints()
        (resumed,) = train_runs([spec], checkpointer=store, resume=True)
        assert resumed.accuracy == whole.accuracy
        assert resumed.history[-1] == whole.history[-1]


@pytest.mark.filterwarnings("ignore:This processor has no instructions for bf16")
@pytest.mark.parametrize("train", [{"precision": "bf16"}, {"optimizer": "muon"}])
def test_precision_and_optimizer_are_those_of_any_run(file: Path, train: dict[str, str]) -> None:
    fast = {**FAST, "train": {**FAST["train"], **train}}
    models = ["own.py:Lstm", "own.py:gpt"]
    if "precision" in train and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        del models[0]  # torch 2.13 has no LSTM in bf16 on a processor without its instructions
    records = attnlab.train("copy", model=models, store=None, **fast)
    assert [record.status for record in records] == ["done"] * len(models)


def test_muon_trains_the_matrices_of_the_blocks_alone(file: Path) -> None:
    (spec,) = specs_of("own.py:gpt")
    roles = build_model(spec.model, vocabulary=5, length=8, seed=0).parameter_roles()
    assert roles["module.wte.weight"].layer is None
    assert roles["module.wpe.weight"].layer is None
    assert roles["module.h.0.c_attn.weight"] == (1, "extra")
    assert roles["module.h.0.ln_1.weight"].role == "norm"


def test_models_are_vmapped_where_their_modules_can_be(file: Path) -> None:
    alone = attnlab.train("copy", model={"module": "own.py:gpt", **SMALL}, seeds=2, vmap=1, store=None, **FAST)
    both = attnlab.train("copy", model={"module": "own.py:gpt", **SMALL}, seeds=2, vmap=2, store=None, **FAST)
    assert [record.environment["vmap"] for record in both] == [2, 2]
    for one, other in zip(alone, both, strict=True):
        assert other.history[-1].loss == pytest.approx(one.history[-1].loss, rel=1e-4)
    with pytest.raises(InvalidValueError, match=r"'own.py:Lstm' cannot be vmapped: RuntimeError: Batching rule"):
        attnlab.train("copy", model="own.py:Lstm", seeds=2, vmap=2, store=None, **FAST)


def test_models_and_attentions_stand_in_one_table(file: Path, tmp_path: Path) -> None:
    options = {**FAST, "executor": "processes:1", "store": tmp_path / "store", "seeds": 1, "complexity": [2, 4]}
    train = {**options["train"], "log_diagnostics": ["rank"]}
    with pytest.warns(PartWarning, match="diagnostics are not applicable to a whole model"):
        records = attnlab.sweep("copy", "softmax", model=["own.py:Lstm", "own.py:gpt"], **{**options, "train": train})
    variants = ["softmax", "own.py:Lstm", "own.py:gpt"]
    assert {record.spec.variant for record in records} == set(variants)
    assert {record.status for record in records} == {"done"}
    for record in records:
        assert bool(record.diagnostics_history) == (record.spec.variant == "softmax")
    report = attnlab.report(tmp_path / "store")
    (grid,) = report.panels
    assert (grid.row_fields, grid.rows) == (("attention",), tuple((name,) for name in variants))


def test_classes_and_functions_are_models_in_python() -> None:
    records = attnlab.train("copy", "softmax", model=[Logits, Tuple], store=None, **FAST)
    names = ["softmax", "tests.own_models:Logits", "tests.own_models:Tuple"]
    assert [record.spec.variant for record in records] == names
    assert records[1].history == records[2].history
    with pytest.raises(PluginError, match="A Logits is no class of modules"):
        attnlab.train("copy", model=Logits(9, 8), store=None, **FAST)
    with pytest.raises(PluginError, match="A function without a name of its own"):
        attnlab.train("copy", model=lambda vocab_size: nn.Embedding(vocab_size, vocab_size), store=None, **FAST)


REFUSED = {
    "own.py:Nothing": (InvalidValueError, "Nothing is a class, but no nn.Module"),
    "own.py:gtp": (UnknownNameError, r"no class 'gtp'; did you mean 'gpt'\?"),
    "own.py:Gpt": (InvalidValueError, r"the argument 'config'(.|\n)*def build\(vocab_size, max_len, d_model"),
    "own.py:Lstm:dropuot=0.1": (UnknownNameError, "no option 'dropuot'; did you mean 'dropout'"),
    "own.py:Lstm:num_layers=two": (PluginError, r"num_layers='two'(.|\n)*TypeError"),
    "own.py:Lstm+softmax": (InvalidValueError, "Whole models do not alternate over layers"),
    "softmax": (InvalidValueError, r"'softmax' names no class of modules(.|\n)*FILE.py:Class"),
    "tests.own_models:Last": (InvalidValueError, r"2 x 1 x 17, where 2 x 32 x 17(.|\n)*last token's logits alone"),
    "tests.own_models:Loss": (InvalidValueError, r"one number, where(.|\n)*may return a loss"),
    "tests.own_models:Turned": (InvalidValueError, r"2 x 17 x 32, where 2 x 32 x 17(.|\n)*Transpose"),
    "tests.own_models:Fixed": (InvalidValueError, r"2 x 32 x 50, where 2 x 32 x 17(.|\n)*vocab_size"),
    "tests.own_models:Words": (InvalidValueError, r"returns a str without logits(.|\n)*dict with logits"),
    "tests.own_models:Broken": (PluginError, r"KeyError: 'missing'(.|\n)*own_models.py:\d+"),
}


@pytest.mark.parametrize("word", REFUSED)
def test_what_cannot_be_a_model_is_refused_in_one_block(file: Path, word: str) -> None:
    error, message = REFUSED[word]
    with pytest.raises(error, match=message) as caught:
        attnlab.train("copy", model=word, store="results", **FAST)
    assert str(caught.value).splitlines()[0].removeprefix("model.module: ").startswith(word.partition("+")[0][:6])
    assert not Path("results").exists()


def test_a_model_has_neither_a_position_nor_an_attention_of_ours(file: Path) -> None:
    with pytest.raises(IncompatiblePartsError, match="A whole model has no position of ours"):
        attnlab.train("copy", model="own.py:Lstm", position="rotary", store=None, **FAST)
    request = parse_request("copy", "softmax", settings={"model": {"module": "own.py:Lstm"}})
    with pytest.raises(IncompatiblePartsError, match="'softmax' is an attention of ours"):
        plan(request)
    with pytest.raises(InvalidValueError, match="sizes of a whole model cannot be chosen by a budget"):
        attnlab.train("copy", "softmax", model="own.py:Lstm", match="parameters", store=None, **FAST)


@pytest.mark.parametrize("name", ["own.py:Lstm", "own.py:gpt"])
def test_steps_equal_those_of_a_loop_of_plain_torch(file: Path, name: str) -> None:
    (spec,) = specs_of(name)
    source, device = Source(spec.task, spec.seed), torch.device("cpu")
    stepper, plain = (SingleStepper(spec, source, device, "never") for _ in range(2))
    # In float32 the gradient of a bias of keys is rounding, of which AdamW makes steps of full size.
    stepper.model.double()
    own: Any = plain.model.double()
    module, weights, decay = own.module, list(own.parameters()), spec.train.weight_decay
    groups = [
        {"params": [weight for weight in weights if weight.ndim >= 2], "weight_decay": decay},
        {"params": [weight for weight in weights if weight.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.01, betas=spec.train.betas)
    for step in range(5):
        batch = source.training(step, 8)
        stepper.step({0: batch}, {0: 0.01})
        output = module(torch.from_numpy(batch.inputs_BT.copy()))
        logits_BTV = output["logits"] if isinstance(output, dict) else output
        positions_N = torch.from_numpy(batch.query_positions())
        targets_N = torch.from_numpy(batch.query_targets())
        optimizer.zero_grad()
        functional.cross_entropy(logits_BTV.flatten(0, 1)[positions_N], targets_N).backward()
        nn.utils.clip_grad_norm_(weights, spec.train.grad_clip or 0.0)
        optimizer.step()
    expected = own.state_dict()
    for key, tensor in stepper.model.state_dict().items():
        torch.testing.assert_close(tensor, expected[key], rtol=1e-9, atol=1e-9)


def test_operations_of_a_recurrence_are_counted(file: Path) -> None:
    (spec,) = specs_of("own.py:Lstm")
    source = Source(spec.task, spec.seed)
    model = build_model(spec.model, vocabulary=source.vocabulary, length=source.length, seed=0)
    width, tokens = spec.model.width, source.length
    assert flops(model, source) == 2 * tokens * (8 * width**2 + width * source.vocabulary)


def test_a_run_is_diagnosed_with_its_trained_weights(file: Path, tmp_path: Path) -> None:
    (record,) = attnlab.train("copy", model="own.py:gpt", store=tmp_path, **FAST)
    run = attnlab.load_model(record, store=tmp_path)
    assert isinstance(run, ModuleModel)
    source = Source(record.spec.task, record.spec.seed)
    probe = validation_batches(source, 4)(0)
    assert probe.inputs_BT is not None
    logits_NV = run(probe.inputs_BT, probe.query_positions_N).logits_NV
    functional.cross_entropy(logits_NV, probe.targets_N).backward()
    weight = run.get_parameter("module.h.1.c_proj.weight")
    assert weight.grad is not None
    expected = float(weight.grad.norm() / weight.detach().norm())
    found = attnlab.diagnose(record, "gradients", store=tmp_path, batch=4, only=["output-gradient"])
    (row,) = found.panel("output-gradient").rows
    assert row.variant == f"own.py:gpt · {record.id[:6]}"
    assert row.mean[1] == pytest.approx(expected, rel=1e-4)


def test_fresh_ones_are_diagnosed_beside_attentions(file: Path) -> None:
    small = {"layers": 2, "width": 8, "module": "own.py:gpt"}
    alone: dict[str, Any] = {"task": "copy", "complexity": 4, "seeds": 2, "batch": 3, "model": small}
    beside = attnlab.diagnose(attention="softmax", **alone).panel("residual")
    assert [row.variant for row in beside.rows] == ["softmax", "own.py:gpt"]
    (row,) = attnlab.diagnose(**alone).panel("residual").rows
    assert row == beside.rows[1]
    assert len(row.seeds) == 2
    assert row.seeds[0] != row.seeds[1]
    with pytest.raises(InvalidValueError, match=r"'own.py:gpt' takes tokens, and noise has none"):
        attnlab.diagnose(**{**alone, "task": None})


def test_the_noise_of_gradients_is_between_batches_of_the_task(file: Path) -> None:
    small = {"layers": 2, "width": 8, "module": "own.py:gpt"}
    found = attnlab.diagnose(kind="gradients", task="copy", complexity=4, seeds=1, batch=3, model=small)
    assert all(value > 0 for value in found.panel("query-noise").rows[0].mean)
    refused = r"'query-noise' does not apply to 'own.py:Lstm': there is no parameter of the role"
    with pytest.raises(InvalidValueError, match=refused):
        attnlab.diagnose(kind="gradients", task="copy", seeds=1, model={"module": "own.py:Lstm"}, only=["query-noise"])


def test_an_experiment_names_models(file: Path, tmp_path: Path) -> None:
    head = "name: own\nquestion: does it?\nladders: [{ladder: copy, levels: [4]}]\nseeds: 1\n"
    path = tmp_path / "own.yaml"
    path.write_text(f"{head}model: own.py:Lstm\n")
    assert [spec.variant for spec in expand(read_experiment(path))] == ["own.py:Lstm"]
    grid = "grid: {attention: [softmax, {model: 'own.py:gpt'}], position: [learned, rotary]}\n"
    sides = "of: {attention: {model: 'own.py:gpt'}}, than: {attention: softmax, position: learned}"
    claim = f"claims: [{{says: x, {sides}, expect: greater}}]"
    path.write_text(f"{head}{grid}{claim}\n")
    texts = [(spec.variant, str(spec.model.position)) for spec in expand(read_experiment(path))]
    assert texts == [("softmax", "learned"), ("softmax", "rotary"), ("own.py:gpt", "none")]
    path.write_text(head + "grid: {module: ['own.py:Lstm', 'own.py:gpt'], width: [8, 16]}\n")
    specs = expand(read_experiment(path))
    assert [(spec.variant, spec.model.width) for spec in specs] == [
        ("own.py:Lstm", 8),
        ("own.py:Lstm", 16),
        ("own.py:gpt", 8),
        ("own.py:gpt", 16),
    ]


def test_a_transformers_spec_has_no_trace_of_models() -> None:
    assert "module" not in ModelSpec().model_dump(mode="json")
