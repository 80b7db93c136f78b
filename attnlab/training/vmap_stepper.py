"""Vmapped runs: K runs of one shape as one stacked program, each with its own weights, data, rate, decay and clip.

    forward    one pass under vmap; the run is the leading axis of weights, batch and predictions
    loss       one per run; their sum is differentiated, and the gradient of each run is its own
    padding    shorter sequences and fewer query positions are filled up: see :mod:`attnlab.training._padding`
    repacking  a run that is given no step has ended: its weights are set aside, and the block shrinks

A pass whose result depends on the padded length is computed for each length separately, over the runs that have it. So
is one in which a single long batch would pad all others to several times their tokens.

Letters  K vmapped runs, B batch, T tokens, N query positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import final

import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn import functional

from attnlab.choices import Compile, DiagnosticsKind, Precision
from attnlab.model.modes import evaluation_mode
from attnlab.model.transformer import ModelOutput, Transformer, build
from attnlab.specs import RunSpec
from attnlab.storage.arrays import Arrays
from attnlab.tasks import Batch, Split
from attnlab.tasks.io.streams import Source, generator
from attnlab.tensors import at_least_float32
from attnlab.training._cuda_graphs import CudaGraphRunner, should_capture
from attnlab.training._log_diagnostics import measure_diagnostics
from attnlab.training._padding import IGNORED_TARGET, accepts_padding, pad_batches
from attnlab.training._transfer import to_array, to_device, to_tensor
from attnlab.training._vmap_optimizer import VmapOptimizer
from attnlab.training.batched_sdpa import BatchedSDPAMode
from attnlab.training.denormals import flush_denormals
from attnlab.training.memory import keep_all_freed_memory, keep_freed_memory
from attnlab.training.precision import cast_parameters, matmul_precision
from attnlab.training.stepper import Predictions, Stepper, predict_batch

MAX_PADDED = 4
"""Tokens with padding per token without, up to which batches of several lengths are padded to one."""


@final
class VmapStepper(Stepper):
    """The stepper of K runs whose models and optimizers are stacked.

    Args:
        specs: Runs of one shape.
        sources: The data of each run.
        device: Where to train.
        compile: Whether steps are captured in a CUDA graph, on a GPU; stacked programs are not compiled.
    """

    compiled = False

    @flush_denormals()
    def __init__(
        self, specs: Sequence[RunSpec], sources: Sequence[Source], device: torch.device, compile: Compile = "auto"
    ) -> None:
        keep_freed_memory()
        self.device, self.precision = device, specs[0].train.precision
        models = [initial_model(spec, source) for spec, source in zip(specs, sources, strict=True)]
        self.parameters = models[0].parameter_count
        learned = {name for name, weight in models[0].named_parameters() if weight.requires_grad}
        states = [dict([*model.named_parameters(), *model.named_buffers()]) for model in models]
        weights = [{name: tensor for name, tensor in state.items() if name in learned} for state in states]
        self.optimizer = VmapOptimizer(weights, [spec.train for spec in specs], device, models[0].parameter_roles())
        fixed_names = [name for name in states[0] if name not in learned]
        self.fixed = {name: [state[name].detach().clone() for state in states] for name in fixed_names}
        """Tensors that are not learned, by name, one of each run."""
        self.model = models[0].to(device)
        """The program of all runs; its own weights are those of the run that :meth:`model_of` was last called for."""
        self.accepts_padding = accepts_padding(self.model)
        self.captures = should_capture(compile, specs[0], device, self.model.position.random)
        """Whether steps of the whole block are captured."""
        self.runs: list[int] = list(range(len(specs)))
        """Indices of the runs in the block, in the order of its rows."""
        self.retired: dict[int, dict[str, Tensor]] = {}
        """Learned weights of the runs that have ended, by index and name."""
        self._stack_fixed()
        self._losses: list[tuple[tuple[int, ...], Tensor]] = []
        self._has_stepped = False

    @flush_denormals()
    def step(self, batches: dict[int, Batch], rates: dict[int, float]) -> None:
        """Take one step of the runs given; those that are not given have ended."""
        self._retire([index for index in self.runs if index not in batches])
        assert self.runs == sorted(batches), "a run that has ended takes no steps"
        self.model.position.draw = self.optimizer.steps + 1
        groups = self._groups(batches)
        grads: list[Tensor | None] = [None] * len(self.optimizer.leaves)
        with matmul_precision(self.precision):
            for group in groups:
                program, inputs = partial(self._gradients_of, group), self._to_device([batches[i] for i in group])
                cuda_graphs = self._cuda_graphs if len(groups) == 1 else None
                losses_K, *own = program(*inputs) if cuda_graphs is None else cuda_graphs(program, *inputs)
                assert losses_K is not None, "every step has losses"
                self._losses.append((tuple(group), losses_K.clone()))
                grads = own if len(groups) == 1 else [_add(*pair) for pair in zip(grads, own, strict=True)]
        self.optimizer.step(grads, [rates[index] for index in self.runs])
        if not self._has_stepped:
            keep_all_freed_memory()
            self._has_stepped = True

    def _groups(self, batches: Mapping[int, Batch]) -> list[list[int]]:
        """Divide the runs into those that are computed together: all, or by the length of their batch.

        They are divided where padding would change a result, and where it would make most of the tokens.
        """
        rows, lengths = ({i: batch.inputs_BT.shape[axis] for i, batch in batches.items()} for axis in (0, 1))
        tokens = sum(batch.inputs_BT.size for batch in batches.values())
        padded = len(batches) * max(rows.values()) * max(lengths.values())
        if self.accepts_padding and padded <= MAX_PADDED * tokens:
            return [self.runs]
        return [[i for i in self.runs if lengths[i] == length] for length in sorted(set(lengths.values()))]

    def losses(self) -> dict[int, list[float]]:
        """Return the losses since the previous call; waits for the device once."""
        losses: dict[int, list[float]] = {index: [] for index in [*self.runs, *self.retired]}
        if self._losses:
            numbers = iter(torch.cat([losses_K for _, losses_K in self._losses]).tolist())
            for group, _ in self._losses:
                for index in group:
                    losses[index].append(next(numbers))
        self._losses = []
        return dict(sorted(losses.items()))

    def predict(self, index: int, batches: Sequence[Batch], first: int = 1) -> list[Predictions]:
        """Predict with the model of one run."""
        model, numbered = self.model_of(index), enumerate(batches, start=first)
        outputs = [predict_batch(model, batch, number, self.device) for number, batch in numbered]
        return [Predictions(tokens_N.cpu().numpy(), float(nats)) for tokens_N, nats in outputs]

    def predict_each(self, batches: Mapping[int, Sequence[Batch]]) -> dict[int, list[Predictions]]:
        """Predict with the models of runs in the block, as one program where their batches can be stacked."""
        predictions: dict[int, list[Predictions]] = {index: [] for index in batches}
        # Padding adds tokens, not sequences, of which the batches of a finite data set may have different numbers.
        compared = slice(1) if self.accepts_padding else slice(2)
        shapes = {tuple(batch.inputs_BT.shape[compared] for batch in own) for own in batches.values()}
        if len(shapes) > 1:
            return {index: self.predict(index, own) for index, own in batches.items()}
        rounds = list(zip(*batches.values(), strict=True))
        outputs = []
        for number, each in enumerate(rounds, start=1):
            self.model.position.draw = -number
            outputs.append(self._predict_stacked(list(batches), each))
        for each, (tokens_on_device_KN, nats_K) in zip(rounds, outputs, strict=True):
            tokens_KN, nats = tokens_on_device_KN.cpu().numpy(), nats_K.tolist()
            for row, (index, batch) in enumerate(zip(batches, each, strict=True)):
                predictions[index].append(Predictions(tokens_KN[row, : len(batch.query_positions())], nats[row]))
        return predictions

    def diagnostics(self, index: int, batch: Batch, kinds: Collection[DiagnosticsKind]) -> dict[str, tuple[float, ...]]:
        """Measure diagnostics of one run."""
        return measure_diagnostics(self.model_of(index), batch, kinds, self.device)

    def state(self) -> Arrays:
        """Return weights and moments of the runs in the block, by name, and the weights of the others."""
        blocks = self._blocks()
        arrays = {
            f"{kind}/{name}": view
            for kind, block in blocks.items()
            for name, view in self.optimizer.views(block).items()
        }
        for index, weights in self.retired.items():
            arrays |= {f"retired/{index}/{name}": weight for name, weight in weights.items()}
        arrays |= {"runs": torch.tensor(self.runs), "taken": torch.tensor(self.optimizer.steps)}
        return {name: to_array(tensor) for name, tensor in arrays.items()}

    @torch.no_grad()
    def restore(self, arrays: Arrays) -> None:
        """Continue from a state, with the runs that had not ended."""
        staying = [int(index) for index in arrays["runs"]]
        self._retire([index for index in self.runs if index not in staying])
        for kind, block in self._blocks().items():
            for name, view in self.optimizer.views(block).items():
                view.copy_(to_tensor(arrays[f"{kind}/{name}"]))
        for index, weights in self.retired.items():
            for name, weight in weights.items():
                weight.copy_(to_tensor(arrays[f"retired/{index}/{name}"]))
        self.optimizer.steps = int(arrays["taken"])

    def weights(self, index: int) -> Arrays:
        """Return weights and persistent buffers of one run."""
        return {name: to_array(tensor) for name, tensor in self.model_of(index).state_dict().items()}

    @torch.no_grad()
    def model_of(self, index: int) -> Transformer:
        """Load the weights of one run into the model.

        Args:
            index: Index of the run.

        Returns:
            The model. There is one for all runs, so the next call replaces its weights.
        """
        learned = self.retired.get(index)
        if learned is None:
            row, views = self.runs.index(index), self.optimizer.views(self.optimizer.weights_KP)
            learned = {name: view[row] for name, view in views.items()}
        state = {**learned, **{name: tensors[index] for name, tensors in self.fixed.items()}}
        for name, tensor in [*self.model.named_parameters(), *self.model.named_buffers()]:
            tensor.copy_(state[name])
        return self.model

    def _blocks(self) -> dict[str, Tensor]:
        """Return the blocks that make up a state, by the prefix of their arrays."""
        optimizer = self.optimizer
        return {"weight": optimizer.weights_KP, "first": optimizer.first_KP, "second": optimizer.second_KP}

    def _gradients_of(self, group: Sequence[int], *inputs: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the losses of some runs, each on its own batch, and the gradient of every leaf of the block."""
        inputs_KBT, positions_KN, targets_KN, count_K = inputs
        output = self._forward(group, inputs_KBT, positions_KN, self.precision)
        losses_K = cross_entropy_sums(at_least_float32(output.logits_NV), targets_KN) / count_K
        auxiliary_K = at_least_float32(output.auxiliary)
        total, leaves = (losses_K + auxiliary_K).sum(), list(self.optimizer.leaves.values())
        return losses_K.detach(), *torch.autograd.grad(total, leaves, allow_unused=True)

    @flush_denormals()
    @torch.no_grad()
    def _predict_stacked(self, group: Sequence[int], batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Predict with some runs, one batch each: most likely tokens, K x N, and summed cross-entropy, K."""
        inputs_KBT, positions_KN, targets_KN, _ = self._to_device(batches)
        with evaluation_mode(self.model):
            logits_KNV = self._forward(group, inputs_KBT, positions_KN, "float32").logits_NV
        return logits_KNV.argmax(-1), cross_entropy_sums(logits_KNV, targets_KN)

    def _to_device(self, batches: Sequence[Batch]) -> list[Tensor]:
        """Pad batches to one shape and copy them to the device."""
        return [to_device(array, self.device) for array in pad_batches(batches)]

    def _forward(
        self, group: Sequence[int], inputs_KBT: Tensor, positions_KN: Tensor, precision: Precision
    ) -> ModelOutput:
        """Run the forward pass of some runs; the run is the leading axis of the output.

        Query positions are padded and never arranged by rows, so the last layer computes all queries.
        """
        leaves, (fixed, axes) = self.optimizer.leaves, self._fixed
        if len(group) < len(self.runs):
            rows = torch.tensor([self.runs.index(index) for index in group], device=self.device)
            leaves = {name: leaf.index_select(0, rows) for name, leaf in leaves.items()}
            fixed = {n: tensor if axes[n] is None else tensor.index_select(0, rows) for n, tensor in fixed.items()}

        def program(
            weights: dict[str, Tensor], fixed: dict[str, Tensor], inputs_BT: Tensor, positions_N: Tensor
        ) -> ModelOutput:
            state = cast_parameters(weights, precision), cast_parameters(fixed, precision)
            return functional_call(self.model, state, (inputs_BT, positions_N))

        with BatchedSDPAMode():
            return vmap(program, in_dims=(0, axes, 0, 0))(leaves, fixed, inputs_KBT, positions_KN)

    def _retire(self, ended: Collection[int]) -> None:
        """Set the weights of some runs aside, and repack the others."""
        if not ended:
            return
        views = self.optimizer.views(self.optimizer.weights_KP)
        for index in ended:
            row = self.runs.index(index)
            self.retired[index] = {name: view[row].detach().cpu().clone() for name, view in views.items()}
        staying = [index for index in self.runs if index not in ended]
        self.optimizer.keep([self.runs.index(index) for index in staying])
        self.runs = staying
        self._stack_fixed()

    def _stack_fixed(self) -> None:
        """Stack the tensors that are not learned; one that is equal in all runs stays a single tensor."""
        fixed: dict[str, Tensor] = {}
        axes: dict[str, int | None] = {}
        for name, tensors in self.fixed.items():
            chosen = [tensors[index] for index in self.runs]
            equal = all(torch.equal(tensor, chosen[0]) for tensor in chosen[1:])
            fixed[name] = (chosen[0] if equal and chosen else torch.stack(chosen)).to(self.device)
            axes[name] = None if equal else 0
        self._fixed = fixed, axes
        # The block and the fixed tensors have new addresses, which graphs captured before would not read.
        self._cuda_graphs = CudaGraphRunner() if self.captures else None


def initial_model(spec: RunSpec, source: Source) -> Transformer:
    """Build the model of a run before its first step.

    Args:
        spec: The run.
        source: Its data.

    Returns:
        The model, on the CPU.
    """
    seed = int(generator(spec.seed, Split.INIT).integers(2**63))
    return build(spec.model, vocabulary=source.vocabulary, length=source.length, seed=seed)


def cross_entropy_sums(logits_KNV: Tensor, targets_KN: Tensor) -> Tensor:
    """Sum the cross-entropy of each run over its query positions; ignored targets add nothing.

    Args:
        logits_KNV: Logits at the query positions.
        targets_KN: Targets, int64.

    Returns:
        Nats, K.
    """
    logits, targets = logits_KNV.flatten(0, 1), targets_KN.flatten()
    losses = functional.cross_entropy(logits, targets, ignore_index=IGNORED_TARGET, reduction="none")
    return losses.view_as(targets_KN).sum(1)


def _add(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Add two gradients, either of which may be missing."""
    return other if one is None else one if other is None else one + other
