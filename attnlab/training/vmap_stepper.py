"""VmapWidth: K runs of one shape as one stacked program, each with its own weights, data, rate, decay and clip.

    forward    one pass under vmap; the lane is a leading axis of weights, batch and answers
    loss       one per lane; their sum is differentiated, and each lane's gradient is its own
    padding    shorter sequences, and fewer questions, are filled up: see :mod:`attnlab.training._padding`
    repacking  a lane that is given no step has retired: its weights are set aside, the block shrinks

A pass that depends on how long the sequences are is made for each length by itself, over the lanes that have it.

Letters  K lanes, B batch, T tokens, N supervised positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional

from attnlab.model.transformer import ModelOutput, Transformer, build
from attnlab.specs import DiagnosticsKind, Precision, RunSpec
from attnlab.tasks import Batch, Split
from attnlab.tasks.io.streams import Source, generator
from attnlab.tensors import at_least_float32
from attnlab.training._batched_sdpa import BatchedSDPAMode
from attnlab.training._cuda_graphs import CudaGraphRunner, should_record
from attnlab.training._log_diagnostics import diagnostics_of
from attnlab.training._padding import SILENT, accepts_padding, pad_batches
from attnlab.training._transfer import to_device
from attnlab.training._vmap_optimizer import VmapOptimizer
from attnlab.training.compiling import Compile
from attnlab.training.denormals import flush_denormals
from attnlab.training.memory import keep_all_freed_memory, keep_freed_memory
from attnlab.training.precision import cast_parameters, products
from attnlab.training.stepper import Arrays, Predictions, predict_batch


@final
class VmapStepper:
    """K models and their AdamW, stacked.

    Args:
        specs: Runs of one shape.
        sources: Their data.
        device: Where to train.
        compile: Whether steps are recorded as one launch, on a GPU; stacked programs are not compiled.
    """

    compiled = False

    @flush_denormals()
    def __init__(
        self, specs: Sequence[RunSpec], sources: Sequence[Source], device: torch.device, compile: Compile = "auto"
    ) -> None:
        keep_freed_memory()
        self.device, self.precision = device, specs[0].train.precision
        models = [initial(spec, source) for spec, source in zip(specs, sources, strict=True)]
        self.parameters = models[0].parameter_count
        learned = {name for name, weight in models[0].named_parameters() if weight.requires_grad}
        stored = [dict([*model.named_parameters(), *model.named_buffers()]) for model in models]
        own = [{name: tensor for name, tensor in one.items() if name in learned} for one in stored]
        self.block = VmapOptimizer(own, [spec.train for spec in specs], device, models[0].parameter_roles())
        self.fixed = {name: [one[name].detach().clone() for one in stored] for name in stored[0] if name not in learned}
        """What no lane learns, for each lane."""
        self.model = models[0].to(device)
        """The program; and the model of the lane that answers."""
        self.padded = accepts_padding(self.model)
        random = self.model.position.random
        self.captures = should_record(compile, specs[0], device, random)
        """Whether steps of the whole block are recorded."""
        self.runs: list[int] = list(range(len(specs)))
        """VmapWidth in the block, in its order."""
        self.retired: dict[int, dict[str, Tensor]] = {}
        """What the others had learned when they retired."""
        self._fix()
        self._losses: list[tuple[tuple[int, ...], Tensor]] = []
        self._begun = False

    @flush_denormals()
    def step(self, batches: dict[int, Batch], rates: dict[int, float]) -> None:
        """One step of the lanes given; those that are not given retire."""
        self._retire([lane for lane in self.runs if lane not in batches])
        assert self.runs == sorted(batches), "a retired lane takes no steps"
        self.model.position.draw = self.block.taken + 1
        lengths = {lane: 0 if self.padded else batch.inputs_BT.shape[1] for lane, batch in batches.items()}
        groups = [[lane for lane in self.runs if lengths[lane] == length] for length in sorted(set(lengths.values()))]
        grads: list[Tensor | None] = [None] * len(self.block.leaves)
        with products(self.precision):
            for group in groups:
                program, placed = partial(self._gradients_of, group), self._placed([batches[lane] for lane in group])
                recording = self._captured if len(groups) == 1 else None
                losses_K, *own = program(*placed) if recording is None else recording(program, *placed)
                assert losses_K is not None, "every step has losses"
                self._losses.append((tuple(group), losses_K.clone()))
                grads = own if len(groups) == 1 else [_sum(*pair) for pair in zip(grads, own, strict=True)]
        self.block.step(grads, [rates[lane] for lane in self.runs])
        if not self._begun:
            keep_all_freed_memory()
            self._begun = True

    def losses(self) -> dict[int, list[float]]:
        """Losses since this was last called; waits for the device once."""
        fetched: dict[int, list[float]] = {lane: [] for lane in [*self.runs, *self.retired]}
        if self._losses:
            numbers = iter(torch.cat([losses_K for _, losses_K in self._losses]).tolist())
            for group, _ in self._losses:
                for lane in group:
                    fetched[lane].append(next(numbers))
        self._losses = []
        return dict(sorted(fetched.items()))

    def predict(self, lane: int, batches: Sequence[Batch]) -> list[Predictions]:
        """What the model of a lane answers to each batch."""
        model = self.alone(lane)
        predictions = [predict_batch(model, batch, index, self.device) for index, batch in enumerate(batches, start=1)]
        return [Predictions(predicted.cpu().numpy(), float(nats)) for predicted, nats in predictions]

    def predict_each(self, batches: Mapping[int, Sequence[Batch]]) -> dict[int, list[Predictions]]:
        """What the models of lanes in the block answer, together where their batches can be stacked."""
        predictions: dict[int, list[Predictions]] = {lane: [] for lane in batches}
        turns = list(zip(*batches.values(), strict=True))
        if not self.padded and any(len({batch.inputs_BT.shape for batch in turn}) > 1 for turn in turns):
            return {lane: self.predict(lane, own) for lane, own in batches.items()}
        result = []
        for index, turn in enumerate(turns, start=1):
            self.model.position.draw = -index
            result.append(self._replies(list(batches), turn))
        for turn, (predicted_KN, nats_K) in zip(turns, result, strict=True):
            tokens_KN, nats = predicted_KN.cpu().numpy(), nats_K.tolist()
            for slot, (lane, batch) in enumerate(zip(batches, turn, strict=True)):
                predictions[lane].append(Predictions(tokens_KN[slot, : len(batch.query_positions())], nats[slot]))
        return predictions

    def diagnostics(self, lane: int, batch: Batch, kinds: Collection[DiagnosticsKind]) -> dict[str, tuple[float, ...]]:
        """What the model of a lane shows of its inside."""
        return diagnostics_of(self.alone(lane), batch, kinds, self.device)

    def state(self) -> Arrays:
        """Weights and moments of the lanes in the block, by name, and what the others had learned."""
        blocks = {"weight": self.block.weights_KP, "first": self.block.first_KP, "second": self.block.second_KP}
        arrays = {
            f"{kind}/{name}": window
            for kind, block in blocks.items()
            for name, window in self.block.windows(block).items()
        }
        for lane, weights in self.retired.items():
            arrays |= {f"retired/{lane}/{name}": weight for name, weight in weights.items()}
        arrays |= {"lanes": torch.tensor(self.runs), "taken": torch.tensor(self.block.taken)}
        return {name: _array(tensor) for name, tensor in arrays.items()}

    @torch.no_grad()
    def restore(self, arrays: Arrays) -> None:
        """Go on from a state, with the lanes that had not retired."""
        staying = [int(lane) for lane in arrays["lanes"]]
        self._retire([lane for lane in self.runs if lane not in staying])
        blocks = {"weight": self.block.weights_KP, "first": self.block.first_KP, "second": self.block.second_KP}
        for kind, block in blocks.items():
            for name, window in self.block.windows(block).items():
                window.copy_(torch.from_numpy(arrays[f"{kind}/{name}"]))
        for lane, weights in self.retired.items():
            for name, weight in weights.items():
                weight.copy_(torch.from_numpy(arrays[f"retired/{lane}/{name}"]))
        self.block.taken = int(arrays["taken"])

    def weights(self, lane: int) -> Arrays:
        """Weights and persistent buffers of one lane."""
        return {name: _array(stored) for name, stored in self.alone(lane).state_dict().items()}

    @torch.no_grad()
    def alone(self, lane: int) -> Transformer:
        """The model of one lane; there is one model, which is another's after the next call."""
        learned = self.retired.get(lane)
        if learned is None:
            slot, windows = self.runs.index(lane), self.block.windows(self.block.weights_KP)
            learned = {name: window[slot] for name, window in windows.items()}
        own = {**learned, **{name: per_lane[lane] for name, per_lane in self.fixed.items()}}
        for name, stored in [*self.model.named_parameters(), *self.model.named_buffers()]:
            stored.copy_(own[name])
        return self.model

    def _gradients_of(self, group: Sequence[int], *placed: Tensor) -> tuple[Tensor | None, ...]:
        """Losses of some lanes, each on its own batch, and the gradient of every leaf of the block."""
        inputs_KBT, positions_KN, targets_KN, count_K = placed
        answer = self._stacked(group, inputs_KBT, positions_KN, self.precision)
        losses_K, auxiliary_K = (
            surprise(at_least_float32(answer.logits_NV), targets_KN) / count_K,
            at_least_float32(answer.auxiliary),
        )
        total, leaves = (losses_K + auxiliary_K).sum(), list(self.block.leaves.values())
        return losses_K.detach(), *torch.autograd.grad(total, leaves, allow_unused=True)

    @flush_denormals()
    @torch.no_grad()
    def _replies(self, group: Sequence[int], batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Most likely tokens, and the surprise at all answers due, of some lanes."""
        inputs_KBT, positions_KN, targets_KN, _ = self._placed(batches)
        logits_KNV = self._stacked(group, inputs_KBT, positions_KN, "float32").logits_NV
        return logits_KNV.argmax(-1), surprise(logits_KNV, targets_KN)

    def _placed(self, batches: Sequence[Batch]) -> list[Tensor]:
        return [to_device(array, self.device) for array in pad_batches(batches)]

    def _stacked(
        self, group: Sequence[int], inputs_KBT: Tensor, positions_KN: Tensor, precision: Precision
    ) -> ModelOutput:
        """What the models of some lanes answer, the lane leading.

        Questions are padded, and never told by rows: the last layer mixes all of them, whatever is asked.
        """
        leaves, (fixed, axes) = self.block.leaves, self._fixed
        if len(group) < len(self.runs):
            slots = torch.tensor([self.runs.index(lane) for lane in group], device=self.device)
            leaves = {name: leaf.index_select(0, slots) for name, leaf in leaves.items()}
            fixed = {n: tensor if axes[n] is None else tensor.index_select(0, slots) for n, tensor in fixed.items()}

        def program(
            own: dict[str, Tensor], shared: dict[str, Tensor], inputs_BT: Tensor, positions_N: Tensor
        ) -> ModelOutput:
            stored = cast_parameters(own, precision), cast_parameters(shared, precision)
            return functional_call(self.model, stored, (inputs_BT, positions_N))

        with BatchedSDPAMode():
            return vmap(program, in_dims=(0, axes, 0, 0))(leaves, fixed, inputs_KBT, positions_KN)

    def _retire(self, runs: Collection[int]) -> None:
        """Set lanes aside, and repack the others."""
        if not runs:
            return
        windows = self.block.windows(self.block.weights_KP)
        for lane in runs:
            slot = self.runs.index(lane)
            self.retired[lane] = {name: window[slot].detach().cpu().clone() for name, window in windows.items()}
        staying = [lane for lane in self.runs if lane not in runs]
        self.block.keep([self.runs.index(lane) for lane in staying])
        self.runs = staying
        self._fix()

    def _fix(self) -> None:
        """Stack what is not learned; what is the same in all lanes stays one tensor."""
        fixed: dict[str, Tensor] = {}
        axes: dict[str, int | None] = {}
        for name, per_lane in self.fixed.items():
            chosen = [per_lane[lane] for lane in self.runs]
            alike = all(torch.equal(one, chosen[0]) for one in chosen[1:])
            fixed[name] = (chosen[0] if alike and chosen else torch.stack(chosen)).to(self.device)
            axes[name] = None if alike else 0
        self._fixed = fixed, axes
        # Both the block and what is fixed have moved: what was recorded would read where they were.
        self._captured = CudaGraphRunner() if self.captures else None


def initial(spec: RunSpec, source: Source) -> Transformer:
    """The model of a run before its first step."""
    seed = int(generator(spec.seed, Split.INIT).integers(2**63))
    return build(spec.model, vocabulary=source.vocabulary, length=source.length, seed=seed)


def surprise(logits_KNV: Tensor, targets_KN: Tensor) -> Tensor:
    """Nats at all the answers that are due, of each lane."""
    flat, answers = logits_KNV.flatten(0, 1), targets_KN.flatten()
    return functional.cross_entropy(flat, answers, ignore_index=SILENT, reduction="none").view_as(targets_KN).sum(1)


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Of gradients that may be missing."""
    return other if one is None else one if other is None else one + other


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy().copy()
