"""The baselines compute what they should: our model, our task, the counted number of operations."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from attnlab.model.transformer import Transformer
from attnlab.tasks import IGNORE
from attnlab.tasks.recall import Recall
from attnlab.training.stepper import SingleStepper
from benchmarks.timing.textbook import HandBlock, HandModel, Shape, SourceOfShape, hand_written, ours, x_transformers
from benchmarks.timing.zoology_baseline import every_position, row_by_row

CPU = torch.device("cpu")
SMALL = Shape(layers=2, width=16, heads=2, length=12, vocabulary=10, batch=3)


def models_of_equal_weights() -> tuple[SingleStepper, HandModel]:
    """Our model, and the hand-written one with its weights."""
    stepper, hand = SingleStepper(SMALL.spec(), SourceOfShape(SMALL), CPU), HandModel(SMALL)
    model = stepper.model
    assert isinstance(model, Transformer)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        hand.tokens.weight.copy_(model.embedding_VD)
        hand.positions.weight.copy_(next(weights[name] for name in weights if name.startswith("position.")))
        hand.head.weight.copy_(weights["head.weight"])
        for layer, block in enumerate(hand.blocks):
            assert isinstance(block, HandBlock)
            parts: list[torch.Tensor] = [
                weights[f"blocks.{layer}.attention.{name}.weight"] for name in ("query", "key", "value")
            ]
            block.qkv.weight.copy_(torch.cat(parts))
            block.out_proj.weight.copy_(weights[f"blocks.{layer}.attention.out_proj.weight"])
            block.up_proj.weight.copy_(weights[f"blocks.{layer}.mlp.up_proj.weight"])
            block.down_proj.weight.copy_(weights[f"blocks.{layer}.mlp.down_proj.weight"])
    return stepper, hand


def test_the_hand_written_model_is_ours() -> None:
    stepper, hand = models_of_equal_weights()
    batch = SMALL.batches(1)[0]
    inputs_BT = torch.from_numpy(batch.inputs_BT)
    logits_NV = stepper.model(inputs_BT, torch.from_numpy(batch.query_positions())).logits_NV
    torch.testing.assert_close(hand(inputs_BT).flatten(0, 1), logits_NV, rtol=1e-5, atol=1e-5)
    assert sum(weight.numel() for weight in hand.parameters()) == stepper.parameters


def test_the_counted_operations_are_those_that_run() -> None:
    hand = HandModel(SMALL).double()
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        hand(torch.from_numpy(SMALL.batches(1)[0].inputs_BT))
    assert 3 * counter.get_total_flops() == SMALL.operations


def test_every_step_runs() -> None:
    for step in (ours(SMALL, CPU), hand_written(SMALL, CPU), every_position(Shape(vocabulary=32, batch=4), CPU)):
        step()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from x-transformers itself
@pytest.mark.skipif(importlib.util.find_spec("x_transformers") is None, reason="x-transformers is not installed")
def test_a_step_of_x_transformers_runs() -> None:
    x_transformers(SMALL, CPU, flash=True)()


def test_rows_drawn_one_by_one_follow_the_task() -> None:
    inputs_BT, targets_BT = row_by_row(np.random.RandomState(0), 64, 32, 20)
    task = Recall(vocabulary=64, length=32, pairs=4, filler="random")
    assert ((targets_BT != IGNORE).sum(1) == 4).all()
    for inputs, targets in zip(inputs_BT.tolist(), targets_BT.tolist(), strict=True):
        solution = task.solve(inputs)
        assert all(token == target for token, target in zip(solution, targets, strict=True) if target != IGNORE)
