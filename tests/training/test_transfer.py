"""Tensors keep their type and bits as arrays, in weights, in checkpoints and on their way to another process."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attnlab.attention import ATTENTIONS, Attention, register
from attnlab.execution.jobs import Job, Message, RemoteCheckpointer, Saved, TrainedWeights, WorkerSettings
from attnlab.specs import RunSpec
from attnlab.storage.weights import decode, encode
from attnlab.tasks.io.streams import Source
from attnlab.tensors import QKV, LayerContext
from attnlab.training._transfer import NAMED_TYPES, to_array, to_tensor
from attnlab.training.load_model import rebuild_model
from attnlab.training.run import make_stepper
from attnlab.training.stepper import SingleStepper, Stepper
from attnlab.training.vmap_width import vmap_obstacle
from tests.training.runs import tiny

CPU = torch.device("cpu")
LEARNED = {"in_double": torch.float64, "in_brain": torch.bfloat16, "in_half": torch.float16}
COUNT, SEEN = 2**40 + 1, (True, False)
"""Neither is kept by float32."""
FIXED = {"count": torch.int64, "seen": torch.bool, "wave": torch.complex64}


class Typed(Attention):
    """Softmax with weights and buffers of several types, each of which float32 would change."""

    several = True

    def __init__(self, context: LayerContext) -> None:
        super().__init__(context)
        if self.several:
            self.in_double = nn.Parameter(torch.full((3,), 1 / 3, dtype=torch.float64))
            self.in_brain = nn.Parameter(torch.full((3,), 1 / 3, dtype=torch.bfloat16))
            self.in_half = nn.Parameter(torch.full((3,), 1 / 3, dtype=torch.float16))
        self.register_buffer("count", torch.tensor(COUNT))
        self.register_buffer("seen", torch.tensor(SEEN))
        self.register_buffer("wave", torch.tensor([1j, 2.0]))

    def score(self, qkv: QKV) -> Tensor:
        scores = super().score(qkv)
        if not self.several:
            return scores
        return scores * (self.in_double.sum() + self.in_brain.sum() + self.in_half.sum()).to(scores.dtype)


class Counting(Typed):
    """The same with weights of float32 alone."""

    several = False


@pytest.fixture(autouse=True)
def typed() -> Iterator[None]:
    register("typed", source="test")(Typed)
    register("counting", source="test")(Counting)
    yield
    for name in ("typed", "counting"):
        ATTENTIONS._entries.pop(name)


def specs(name: str, count: int) -> list[RunSpec]:
    return [tiny(name, seed=seed) for seed in range(count)]


def stepped(runs: list[RunSpec], steps: int = 2) -> Stepper:
    """A stepper after some steps."""
    sources = [Source(run.task, run.seed) for run in runs]
    stepper = make_stepper(runs, sources, CPU, "never")
    for step in range(steps):
        batches = {index: source.training(step, 4) for index, source in enumerate(sources)}
        stepper.step(batches, dict.fromkeys(batches, 1e-2))
    return stepper


@pytest.mark.parametrize("name", ["float64", "float32", "float16", "int64", "uint8", "bool", "complex64", *NAMED_TYPES])
def test_an_array_has_the_type_and_the_bits_of_its_tensor(name: str) -> None:
    dtype = getattr(torch, name)
    for tensor in (torch.tensor([0.0, 1.0, 3.0]).to(dtype), torch.ones(()).to(dtype), torch.ones(2, 0).to(dtype)):
        stored = decode(encode({"a": pickle.loads(pickle.dumps(to_array(tensor)))}, {}))["a"]
        again = to_tensor(stored)
        assert again.dtype == dtype
        assert again.shape == tensor.shape
        assert again.flatten().view(torch.uint8).equal(tensor.flatten().view(torch.uint8))


def test_an_array_is_a_copy_of_its_tensor() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        tensor = torch.ones(2, dtype=dtype)
        array = to_array(tensor)
        tensor.zero_()
        assert to_tensor(array).tolist() == [1.0, 1.0]


def test_finished_weights_come_back_in_their_types() -> None:
    (run,) = specs("typed", 1)
    stepper = stepped([run])
    assert isinstance(stepper, SingleStepper)
    model = rebuild_model(run, decode(encode(stepper.weights(0), {})), Source(run.task, run.seed))
    expected, result = stepper.model.state_dict(), model.state_dict()
    assert result.keys() == expected.keys()
    for name, tensor in expected.items():
        assert result[name].dtype == tensor.dtype, name
        assert result[name].equal(tensor), name
    types = {name.rpartition(".")[2]: tensor.dtype for name, tensor in result.items()}
    assert LEARNED.items() | FIXED.items() <= types.items()
    assert result["blocks.0.attention.count"].item() == COUNT


def test_a_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped() -> None:
    runs = specs("typed", 1)
    whole, half, resumed = stepped(runs, 4), stepped(runs, 2), stepped(runs, 0)
    resumed.restore(decode(encode(half.state(), {})))
    source = Source(runs[0].task, 0)
    for step in (2, 3):
        resumed.step({0: source.training(step, 4)}, {0: 1e-2})
    expected, result = whole.state(), resumed.state()
    assert expected.keys() == result.keys()
    for name, array in expected.items():
        assert array.dtype == result[name].dtype, name
        assert array.tobytes() == result[name].tobytes(), name
    assert expected["exp_avg/blocks.0.attention.in_double"].dtype == np.float64


def test_vmapped_runs_keep_the_types_of_what_is_not_learned() -> None:
    stepper = stepped(specs("counting", 2))
    for index in (0, 1):
        stored = decode(encode(stepper.weights(index), {}))
        for name, dtype in FIXED.items():
            assert to_tensor(stored[f"blocks.0.attention.{name}"]).dtype == dtype
        assert stored["blocks.0.attention.count"].item() == COUNT


def test_weights_of_several_types_are_not_stacked_into_one_block() -> None:
    assert vmap_obstacle(tiny("typed"), CPU) == (
        "its weights have several types, bfloat16 and float16 and float32 and float64, and one block has one"
    )
    assert vmap_obstacle(tiny("counting"), CPU) == ""


def test_messages_of_a_worker_keep_the_types() -> None:
    run = tiny("typed")
    sent: list[Message] = []
    checkpointer = RemoteCheckpointer(Job(run.id, (run,)), WorkerSettings(weights=True), sent.append)
    stepper = stepped([run])
    checkpointer.save(run.id, stepper.state(), {})
    checkpointer.save_weights(run.id, stepper.weights(0))
    saved, trained = pickle.loads(pickle.dumps(sent))
    assert isinstance(saved, Saved)
    assert isinstance(trained, TrainedWeights)
    for name, dtype in (LEARNED | FIXED).items():
        assert to_tensor(saved.arrays[f"weight/blocks.0.attention.{name}"]).dtype == dtype
        assert to_tensor(trained.arrays[f"blocks.0.attention.{name}"]).dtype == dtype
