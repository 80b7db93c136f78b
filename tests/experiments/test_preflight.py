"""A user's part that raises an exception is reported with the user's file and line, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import attnlab
from attnlab.config.inline_parts import parse_variants
from attnlab.errors import InvalidValueError
from attnlab.experiments import _preflight as preflight
from attnlab.experiments.plan import plan
from attnlab.experiments.request import Request
from attnlab.experiments.resolve import Resolver
from attnlab.specs import Part, TaskSpec
from attnlab.tasks.base import IGNORE
from attnlab.tasks.io.streams import Source
from tests.cli.conftest import TINY, Command
from tests.cli.conftest import command as command

RAISING = """\
from attnlab.attention import Attention, register

@register("raising", source="me")
class Raising(Attention):
    'Raises.'

    def score(self, qkv):
        return qkv.queries_BHTC @ qkv.keys_BHSC  # forgot to transpose
"""


def test_a_part_that_raises_is_reported_with_its_own_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "raising.py").write_text(RAISING)
    result = command("train", *TINY, "--complexity", "3", "--plugin", "raising.py", "--attn", "raising")
    assert result.status == 2
    head, error, location, *advice = result.error.splitlines()
    assert head == "attnlab: model.attention: raising"
    assert error.startswith("  RuntimeError: ")
    assert location.endswith("raising.py:8: return qkv.queries_BHTC @ qkv.keys_BHSC  # forgot to transpose")
    assert advice == ["  Correct this line, and run the command again."]
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["raising.py"]


HEAD = """\
import torch
from torch import nn
from attnlab.attention import Attention, register

@register("mine", source="me")
class Mine(Attention):
    'Softmax with one thing changed.'
"""

COMPLEX_WEIGHT = """
    def __init__(self, context):
        super().__init__(context)
        self.phase = nn.Parameter(torch.ones(3, dtype=torch.complex64))

    def score(self, qkv):
        return super().score(qkv) * self.phase.abs().sum()
"""

UNSTORABLE_BUFFER = """
    def __init__(self, context):
        super().__init__(context)
        self.register_buffer("wave", torch.ones(3, dtype=torch.complex128))
"""

UNUSED_LAZY_LAYER = """
    def __init__(self, context):
        super().__init__(context)
        self.late = nn.LazyLinear(4)
"""

INFINITE_LOSS = """
    def score(self, qkv):
        return super().score(qkv) * float("nan")
"""

INFINITE_GRADIENT = """
    def output(self, mixed_BHTC, x_BTD):
        return super().output(mixed_BHTC, x_BTD) + (self.out_proj.weight.sum() * 0).sqrt()
"""

HIDDEN_STATE = """
    def __init__(self, context):
        super().__init__(context)
        self.steps = 0

    def output(self, mixed_BHTC, x_BTD):
        self.steps += self.training
        return super().output(mixed_BHTC, x_BTD) * (1 + self.steps)
"""

NAN_WHEN_LOADED = """
    def __init__(self, context):
        super().__init__(context)
        self.steps = 0

    def output(self, mixed_BHTC, x_BTD):
        self.steps += self.training
        return super().output(mixed_BHTC, x_BTD) * (1.0 if self.steps else float("nan"))
"""

NAN_IN_EVALUATION = """
    def output(self, mixed_BHTC, x_BTD):
        return super().output(mixed_BHTC, x_BTD) * (1.0 if self.training else float("nan"))
"""

HALF_PRECISION_TYPO = """
    def output(self, mixed_BHTC, x_BTD):
        return super().output(mixed_BHTC.half(), x_BTD)
"""


DIVIDES_BY_ZERO = """from torch import nn

class Zero(nn.Linear):
    def forward(self, x):
        return super().forward(x) / (x - x)
"""


def refusal(command: Command, folder: Path, body: str, *words: str) -> tuple[str, ...]:
    """The lines of the error for an attention of that body, tried beside softmax; nothing is run or written."""
    (folder / "mine.py").write_text(HEAD + body)
    result = command("train", *TINY, "--plugin", "mine.py", "--attn", "softmax,mine", *words)
    assert result.status == 2
    assert result.out == ""
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {"mine.py"}
    head, *lines = result.error.splitlines()
    assert head == "attnlab: model.attention: mine"
    return tuple(line.strip() for line in lines)


def test_a_complex_weight_is_refused_by_its_name(command: Command, tmp_path: Path) -> None:
    problem, hint = refusal(command, tmp_path, COMPLEX_WEIGHT)
    assert problem == "The weight 'blocks.0.attention.phase' is complex64; the optimizers train real numbers."
    assert "torch.view_as_complex" in hint


def test_a_buffer_that_no_file_can_hold_is_refused_by_its_name(command: Command, tmp_path: Path) -> None:
    problem, _ = refusal(command, tmp_path, UNSTORABLE_BUFFER)
    assert problem == "'weight/blocks.0.attention.wave' has the type complex128, which safetensors cannot hold."


def test_a_lazy_layer_that_nothing_uses_is_refused_by_its_name(command: Command, tmp_path: Path) -> None:
    problem, hint = refusal(command, tmp_path, UNUSED_LAZY_LAYER)
    assert problem == "'blocks.0.attention.late.weight' has no size: it is lazy, and no forward pass uses it."
    assert hint == "Give its layer the size of its input, or remove the layer."


def test_a_loss_that_is_not_finite_is_refused(command: Command, tmp_path: Path) -> None:
    problem, line, advice = refusal(command, tmp_path, INFINITE_LOSS)
    culprit = "The first output that is not finite is that of 'blocks.0.attention' (Mine)."
    assert problem == f"The loss of the first training step is nan. {culprit}"
    assert line.startswith(f"at {tmp_path / 'mine.py'}:6: class Mine")
    assert "attnlab check mine --plugin mine.py tells" in advice


def test_a_module_that_divides_by_zero_is_told_with_its_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "zero.py").write_text(DIVIDES_BY_ZERO)
    result = command("train", "--attn", "zero.py:Zero:out_features=8", *TINY)
    assert result.status == 2
    text = " ".join(result.error.split())
    assert "The first output that is not finite is that of 'blocks.0.attention.module' (Zero)." in text
    assert f"{tmp_path / 'zero.py'}:4: def forward(self, x):" in text


def test_a_gradient_that_is_not_finite_is_refused_though_the_loss_is(command: Command, tmp_path: Path) -> None:
    problem, line, advice = refusal(command, tmp_path, INFINITE_GRADIENT, "--set", "train.grad_clip=null")
    weight = "'blocks.0.attention.out_proj.weight'"
    assert problem.endswith(f"but its gradient is not finite, and so {weight} is not after one step.")
    assert line.startswith(f"at {tmp_path / 'mine.py'}:6: class Mine")
    assert "attnlab check mine --plugin mine.py tells" in advice


def test_state_that_is_not_saved_is_refused(command: Command, tmp_path: Path) -> None:
    problem, hint = refusal(command, tmp_path, HIDDEN_STATE)
    assert problem.startswith("With its weights saved and loaded, the loss is ")
    assert "persistent buffers" in hint


def test_a_loss_that_is_nan_once_loaded_is_refused(command: Command, tmp_path: Path) -> None:
    problem, hint = refusal(command, tmp_path, NAN_WHEN_LOADED)
    assert problem.startswith("With its weights saved and loaded, the loss is nan instead of ")
    assert "persistent buffers" in hint


def test_a_loss_that_is_nan_in_evaluation_mode_alone_is_refused(command: Command, tmp_path: Path) -> None:
    problem, line, advice = refusal(command, tmp_path, NAN_IN_EVALUATION)
    culprit = "The first output that is not finite is that of 'blocks.0.attention' (Mine)."
    assert problem == f"In evaluation mode the loss is nan; in training it is not. {culprit}"
    assert line.startswith(f"at {tmp_path / 'mine.py'}:6: class Mine")
    assert "attnlab check mine --plugin mine.py tells" in advice


def test_an_exception_inside_torch_is_one_block(command: Command, tmp_path: Path) -> None:
    error, location, _ = refusal(command, tmp_path, HALF_PRECISION_TYPO)
    assert error.startswith("RuntimeError: ")
    assert location.endswith("mine.py:10: return super().output(mixed_BHTC.half(), x_BTD)")


LAZY = """
    def __init__(self, context):
        super().__init__(context)
        self.late = nn.LazyLinear(context.width, bias=False)

    def output(self, mixed_BHTC, x_BTD):
        return super().output(mixed_BHTC, x_BTD) + self.late(x_BTD)

    @classmethod
    def num_parameters(cls, width, heads, length, layer=0, biased=False, /, **options):
        return 5 * width**2
"""


def test_lazy_layers_get_their_size_when_the_model_is_built(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HEAD + LAZY)
    words = (*TINY, "--plugin", "mine.py", "--attn", "mine")
    for store in ("one", "two"):
        result = command("train", *words, "--store", store)
        assert (result.status, result.error.count("Traceback")) == (0, 0)
    (one,), (two,) = (attnlab.load_records(tmp_path / store) for store in ("one", "two"))
    assert one.loss == two.loss
    model = attnlab.load_model(one, tmp_path / "one")
    assert model.state_dict()["blocks.0.attention.late.weight"].shape == (8, 8)


@pytest.mark.parametrize("betas", [[0.9, 1], [1, 0.98], [1.0, 1.0]])
def test_betas_of_one_are_refused_with_the_range(command: Command, tmp_path: Path, betas: list[float]) -> None:
    result = command("train", *TINY, "--set", f"train.betas={betas}")
    assert result.status == 2
    where, problem, hint = result.error.splitlines()
    assert where == "attnlab: train.betas"
    assert problem.startswith(f"  It cannot be {[float(beta) for beta in betas]}")
    assert hint == "  Use two numbers from 0 to less than 1, such as [0.9, 0.98]."
    assert list(tmp_path.iterdir()) == []


def test_betas_just_below_one_are_accepted() -> None:
    request = Request(task=Part(name="copy"), settings={"train": {"betas": [0.999999, 0.0]}})
    assert plan(request)[0].train.betas == (0.999999, 0.0)


def test_a_faulty_variant_is_refused_before_any_other_runs(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HEAD + INFINITE_LOSS)
    result = command("sweep", *TINY, "--plugin", "mine.py", "--attn", "softmax,mine", "--seeds", "2")
    assert result.status == 2
    assert result.error.splitlines()[0] == "attnlab: model.attention: mine"
    assert not (tmp_path / "results").exists()


def test_planning_leaves_the_random_generators_as_they_were() -> None:
    state = torch.random.get_rng_state()
    plan(Request(task=Part(name="copy"), attentions=[(Part(name="softmax"),), (Part(name="performer"),)]))
    assert torch.random.get_rng_state().equal(state)


def test_runs_of_one_shape_are_tried_once_and_saved_once_for_all_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[object, bool]] = []
    monkeypatch.setattr(
        "attnlab.experiments.plan.preflight_run",
        lambda spec, source, save=True: tried.append((spec.task.options["symbols"], save)),
    )
    resolver = Resolver()
    for lr in (1e-3, 3e-3):
        for level in (2, 4):
            settings = {"train": {"lr": lr}}
            plan(Request(task=Part(name="copy"), complexity=level, seeds=(0, 1), settings=settings), resolver)
    assert tried == [(2, True), (4, False)]
    plan(Request(task=Part(name="copy"), complexity=2, settings={"train": {"optimizer": "muon"}}), resolver)
    assert tried[2:] == [(2, True)]


def test_levels_with_sequences_of_one_size_are_tried_once_unless_code_is_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried: list[tuple[object, bool]] = []
    monkeypatch.setattr(
        "attnlab.experiments.plan.preflight_run",
        lambda spec, source, save=True: tried.append((spec.task.options["pairs"], save)),
    )
    (tmp_path / "mine.py").write_text(HEAD.replace('@register("mine", source="me")\n', ""))
    for attention, expected in (("softmax", [(2, True)]), (f"{tmp_path}/mine.py:Mine", [(2, True), (4, False)])):
        resolver = Resolver()
        for level in (2, 4):
            variants = parse_variants(attention)
            plan(Request(task=Part(name="recall"), attentions=variants, complexity=level), resolver)
        assert tried == expected
        tried.clear()


def test_long_sequences_are_cut_and_keep_something_to_ask() -> None:
    source = Source(TaskSpec(name="copy", options={"symbols": 300, "alphabet": 4}), 0)
    long = source.training(0, 2)
    batch = preflight.shortened(long, 64)
    assert batch.inputs_BT.shape == (2, 64)
    assert (batch.targets_BT != IGNORE).sum() == 2
    short = preflight.shortened(long, 10_000)
    assert (short.inputs_BT == long.inputs_BT).all()
    assert (short.targets_BT == long.targets_BT).all()


def test_a_lr_that_diverges_later_is_no_reason_to_refuse() -> None:
    (spec,) = plan(Request(task=Part(name="copy"), settings={"train": {"lr": 1e6}}))
    assert spec.train.lr == 1e6


def test_a_fault_of_a_built_in_part_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*arguments: object) -> None:
        torch.zeros(2, 3) @ torch.zeros(2, 3)

    monkeypatch.setattr("attnlab.experiments._preflight.is_users", lambda filename: False)
    monkeypatch.setattr("attnlab.attention.base.Attention.project", wrong)
    with pytest.raises(RuntimeError, match="mat1 and mat2") as caught:
        plan(Request(task=Part(name="copy")))
    assert caught.type is RuntimeError
    with pytest.raises(InvalidValueError):
        plan(Request(task=Part(name="copy"), settings={"model": {"heads": 3}}))
