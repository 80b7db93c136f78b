"""Vmapped runs: K runs of one shape as one stacked program, each with its own weights, data, rate, decay and clip.

    forward    one pass under vmap; the run is the leading axis of weights, batch and predictions
    loss       one per run; their sum is differentiated, and the gradient of each run is its own
    padding    shorter sequences and fewer query positions are filled up: see :mod:`attnlab.training._padding`
    repacking  a run that is given no step has ended: its weights are set aside, and the block shrinks

A pass whose result depends on the padded length is computed for each length separately, over the runs that have it. So
is one in which a single long batch would pad all others to several times their tokens. So
are runs at different steps, where positions are drawn anew for each step: a run that goes on from a checkpoint may be
ahead of the others.

Dropout and whatever else draws: each run draws from a stream of its own, as when it is trained alone, and batches are
not padded. Buffers that a step changes, such as running averages, are stacked, and each run changes its own.

Letters  K vmapped runs, B batch, T tokens, N query positions, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TypeVar, final

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from attnlab.choices import Compile, DiagnosticsKind, Precision
from attnlab.model.base import Model, ModelOutput
from attnlab.model.losses import answers_of, losses_of
from attnlab.model.modes import evaluation_mode
from attnlab.model.transformer import build_model
from attnlab.specs import RunSpec
from attnlab.storage.arrays import Arrays
from attnlab.tasks import Batch, Split
from attnlab.tasks.io.streams import Source, generator
from attnlab.tensors import at_least_float32
from attnlab.training._buffers import changing_buffers
from attnlab.training._cuda_graphs import CudaGraphRunner, should_capture
from attnlab.training._log_diagnostics import measure_diagnostics
from attnlab.training._noise import first_seed, noise_seed, seed_noise
from attnlab.training._padding import accepts_padding, pad_batches
from attnlab.training._transfer import to_array, to_device, to_tensor
from attnlab.training._vmap_optimizer import VmapOptimizer
from attnlab.training.batched_sdpa import BatchedSDPAMode
from attnlab.training.denormals import flush_denormals
from attnlab.training.memory import keep_all_freed_memory, keep_freed_memory
from attnlab.training.precision import keep_norms_exact, matmul_precision, products
from attnlab.training.state_check import ADAMW, MUON, check_state
from attnlab.training.stepper import Predictions, Stepper, predict_batch
from attnlab.training.vmap_noise import RunNoise, is_refused_draw

T = TypeVar("T")
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
        own_names = {id(tensor): name for name, tensor in [*self.model.named_parameters(), *self.model.named_buffers()]}
        kept = self.model.state_dict(keep_vars=True)
        self.names = {name: own_names[id(tensor)] for name, tensor in kept.items()}
        """Names of weights and persistent buffers -> that under which a tensor of several names is kept here."""
        keep_norms_exact(self.model, self.precision)
        self.changing = changing_buffers(self.model)
        """Names of the buffers that a step may change; those of each run are stacked."""
        self.random = False
        """Whether the program has been found to draw random numbers of its own, such as dropout."""
        self.accepts_padding = accepts_padding(self.model) and not self.changing
        self.captures = not self.changing and should_capture(compile, specs[0], device, self.model.position.random)
        """Whether steps of the whole block are captured."""
        self._cuda_graphs: CudaGraphRunner | None = None
        self._first_seeds = [first_seed(spec.seed) for spec in specs]
        self.runs: list[int] = list(range(len(specs)))
        """Indices of the runs in the block, in the order of its rows."""
        self.retired: dict[int, dict[str, Tensor]] = {}
        """Learned weights and optimizer state of the runs that have ended, by index and name as in a state."""
        self._stack_fixed()
        self._losses: list[tuple[tuple[int, ...], Tensor]] = []
        self._has_stepped = False

    @flush_denormals()
    def step(self, batches: dict[int, Batch], rates: dict[int, float]) -> None:
        """Take one step of the runs given; those that are not given have ended."""
        self._retire([index for index in self.runs if index not in batches])
        assert self.runs == sorted(batches), "a run that has ended takes no steps"
        with matmul_precision(self.precision):
            losses, grads = self._expecting_draws(partial(self._gradients, batches))
        self._losses += losses
        self.optimizer.step(grads, [rates[index] for index in self.runs])
        if not self._has_stepped:
            keep_all_freed_memory()
            self._has_stepped = True

    def _gradients(
        self, batches: Mapping[int, Batch]
    ) -> tuple[list[tuple[tuple[int, ...], Tensor]], list[Tensor | None]]:
        """Compute the losses of the runs by group, and the gradient of every leaf of the block."""
        steps = dict(zip(self.runs, self.optimizer.steps_K, strict=True))
        groups = self._groups(batches)
        losses: list[tuple[tuple[int, ...], Tensor]] = []
        grads: list[Tensor | None] = [None] * len(self.optimizer.leaves)
        for group in groups:
            self.model.position.draw = steps[group[0]] + 1
            numbers = [steps[index] + 1 for index in group]
            program = partial(self._gradients_of, group, numbers)
            inputs = self._to_device([batches[i] for i in group])
            cuda_graphs = self._cuda_graphs if len(groups) == 1 else None
            losses_K, *own = program(*inputs) if cuda_graphs is None else cuda_graphs(program, *inputs)
            assert losses_K is not None, "every step has losses"
            losses.append((tuple(group), losses_K.clone()))
            grads = own if len(groups) == 1 else [_add(*pair) for pair in zip(grads, own, strict=True)]
        return losses, grads

    def _expecting_draws(self, compute: Callable[[], T]) -> T:
        """Compute something, and once more if the program turns out to draw; from then on nothing is padded."""
        try:
            return compute()
        except RuntimeError as error:
            if self.random or not is_refused_draw(error):
                raise
        # What is drawn depends on the shapes.
        self.random, self.accepts_padding, self.captures, self._cuda_graphs = True, False, False, None
        return compute()

    def _groups(self, batches: Mapping[int, Batch]) -> list[list[int]]:
        """Divide the runs into those computed together: all, or by the length of their batch, or by their step.

        They are divided where padding would change a result, where it would make most of the tokens, and where random
        positions differ from step to step.
        """
        rows, lengths = ({i: batch.inputs_BT.shape[axis] for i, batch in batches.items()} for axis in (0, 1))
        tokens = sum(batch.inputs_BT.size for batch in batches.values())
        padded = len(batches) * max(rows.values()) * max(lengths.values())
        by_length = not self.accepts_padding or padded > MAX_PADDED * tokens
        keys = {
            index: (lengths[index] if by_length else 0, steps if self.model.position.random else 0)
            for index, steps in zip(self.runs, self.optimizer.steps_K, strict=True)
        }
        return [[index for index in self.runs if keys[index] == key] for key in sorted(set(keys.values()))]

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

    def gradient_norms(self) -> dict[int, float]:
        """Return the norms of the runs in the block; waits for the device once."""
        if self.optimizer.norms_K1 is None:
            return {}
        norms, clips = self.optimizer.norms_K1.flatten().tolist(), self.optimizer.clip_K1.flatten().tolist()
        return {index: norms[row] for row, index in enumerate(self.runs) if clips[row] != math.inf}

    def predict(self, index: int, batches: Sequence[Batch], first: int = 1) -> list[Predictions]:
        """Predict with the model of one run."""
        model, outputs = self.model_of(index), []
        for number, batch in enumerate(batches, start=first):
            seed_noise(noise_seed(self._first_seeds[index], -number), self.device)
            outputs.append(predict_batch(model, batch, number, self.device))
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
            outputs.append(self._expecting_draws(partial(self._predict_stacked, list(batches), each, number)))
        for each, (tokens_on_device_KN, nats_K) in zip(rounds, outputs, strict=True):
            tokens_KN, nats = tokens_on_device_KN.cpu().numpy(), nats_K.tolist()
            for row, (index, batch) in enumerate(zip(batches, each, strict=True)):
                predictions[index].append(Predictions(tokens_KN[row, : len(batch.query_positions())], nats[row]))
        return predictions

    def diagnostics(self, index: int, batch: Batch, kinds: Collection[DiagnosticsKind]) -> dict[str, tuple[float, ...]]:
        """Measure diagnostics of one run."""
        return measure_diagnostics(self.model_of(index), batch, kinds, self.device)

    def state(self, index: int) -> Arrays:
        """Return weights, persistent buffers and optimizer state of one run, ended or not."""
        arrays = self._learned_state(index)
        for name, own in self.names.items():
            tensor = self.fixed[own][index] if own in self.fixed else arrays[f"weight/{own}"]
            arrays[f"weight/{name}"] = tensor
        return {name: to_array(tensor) for name, tensor in arrays.items()}

    def check(self, index: int, arrays: Arrays) -> None:
        """Compare a state with the model and its optimizer."""
        muon = self.optimizer.muon_names
        check_state(arrays, self.model, {name: MUON if name in muon else ADAMW for name in self.optimizer.shapes})

    @torch.no_grad()
    def restore(self, index: int, arrays: Arrays) -> None:
        """Let a run go on from a state; weights alone are a state too, the one before the first step."""
        state, row = {name: to_tensor(array) for name, array in arrays.items()}, self.runs.index(index)
        for name, view in self.optimizer.views(self.optimizer.weights_KP).items():
            view[row] = state[f"weight/{name}"]
        buffers = [name for name in self.names if name in self.fixed and f"weight/{name}" in state]
        for name in buffers:
            self.fixed[name][index].copy_(state[f"weight/{name}"])
        if buffers:
            self._stack_fixed()
        self.optimizer.restore(row, state, int(state.get("taken", 0)))

    def weights(self, index: int) -> Arrays:
        """Return weights and persistent buffers of one run."""
        return {name: to_array(tensor) for name, tensor in self.model_of(index).state_dict().items()}

    @torch.no_grad()
    def model_of(self, index: int) -> Model:
        """Load the weights of one run into the model.

        Args:
            index: Index of the run.

        Returns:
            The model. There is one for all runs, so the next call replaces its weights.
        """
        if index in self.retired:
            learned = {name: self.retired[index][f"weight/{name}"] for name in self.optimizer.shapes}
        else:
            row, views = self.runs.index(index), self.optimizer.views(self.optimizer.weights_KP)
            learned = {name: view[row] for name, view in views.items()}
        state = {**learned, **{name: tensors[index] for name, tensors in self.fixed.items()}}
        for name, tensor in [*self.model.named_parameters(), *self.model.named_buffers()]:
            tensor.copy_(state[name])
        return self.model

    def _learned_state(self, index: int) -> dict[str, Tensor]:
        """Return the learned weights and the optimizer state of one run, by name, on the CPU."""
        if index in self.retired:
            return dict(self.retired[index])
        row = self.runs.index(index)
        weights = {f"weight/{n}": weight for n, weight in self.optimizer.row_of(self.optimizer.weights_KP, row).items()}
        taken = torch.tensor(float(self.optimizer.steps_K[row]))
        return {**weights, **self.optimizer.state(row), "taken": taken}

    def _gradients_of(self, group: Sequence[int], numbers: Sequence[int], *inputs: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the losses of some runs, each on its own batch, and the gradient of every leaf of the block."""
        inputs_KBT, positions_KN, targets_KN, count_K = inputs
        output = self._forward(group, numbers, inputs_KBT, positions_KN, self.precision)
        losses_K = losses_of(at_least_float32(output.logits_NV), targets_KN).sum(1) / count_K
        auxiliary_K = at_least_float32(output.auxiliary)
        total, leaves = (losses_K + auxiliary_K).sum(), list(self.optimizer.leaves.values())
        return losses_K.detach(), *torch.autograd.grad(total, leaves, allow_unused=True)

    @flush_denormals()
    @torch.no_grad()
    def _predict_stacked(self, group: Sequence[int], batches: Sequence[Batch], number: int) -> tuple[Tensor, Tensor]:
        """Predict with some runs, one batch each: most likely tokens, K x N, and summed cross-entropy, K."""
        inputs_KBT, positions_KN, targets_KN, _ = self._to_device(batches)
        with evaluation_mode(self.model):
            numbers = [-number] * len(group)
            logits_KNV = self._forward(group, numbers, inputs_KBT, positions_KN, "float32").logits_NV
        return answers_of(logits_KNV, targets_KN), losses_of(logits_KNV, targets_KN).sum(1)

    def _to_device(self, batches: Sequence[Batch]) -> list[Tensor]:
        """Pad batches to one shape and copy them to the device."""
        return [to_device(array, self.device) for array in pad_batches(batches)]

    def _forward(
        self,
        group: Sequence[int],
        numbers: Sequence[int],
        inputs_KBT: Tensor,
        positions_KN: Tensor,
        precision: Precision,
    ) -> ModelOutput:
        """Run the forward pass of some runs; the run is the leading axis of the output.

        Query positions are padded and never arranged by rows, so the last layer computes all queries.

        Args:
            group: Indices of the runs.
            numbers: Step of each run, or less than 0 for a batch of an evaluation; seeds what the program draws.
            inputs_KBT: Input tokens.
            positions_KN: Query positions.
            precision: The precision of the pass.
        """
        leaves, (fixed, axes) = self.optimizer.leaves, self._fixed
        whole = len(group) == len(self.runs)
        if not whole or self.changing:
            rows = torch.tensor([self.runs.index(index) for index in group], device=self.device)
        if not whole:
            leaves = {name: leaf.index_select(0, rows) for name, leaf in leaves.items()}
            fixed = {n: tensor if axes[n] is None else tensor.index_select(0, rows) for n, tensor in fixed.items()}
        fixed = fixed | {name: fixed[name].clone() for name in self.changing}

        def program(
            weights: dict[str, Tensor], fixed: dict[str, Tensor], inputs_BT: Tensor, positions_N: Tensor
        ) -> tuple[ModelOutput, dict[str, Tensor]]:
            state = weights | fixed
            output = functional_call(self.model, state, (inputs_BT, positions_N))
            return output, {name: state[name] for name in self.changing}  # the call puts what it changed into the state

        seeds = [noise_seed(self._first_seeds[i], n) for i, n in zip(group, numbers, strict=True)]
        noise = RunNoise(seeds) if self.random else nullcontext()
        with products(precision, self.device), BatchedSDPAMode(), noise:
            stacked = vmap(program, in_dims=(0, axes, 0, 0), randomness="different" if self.random else "error")
            output, changed = stacked(leaves, fixed, inputs_KBT, positions_KN)
        with torch.no_grad():
            for name, tensor in changed.items() if self.model.training else ():
                self._fixed[0][name].index_copy_(0, rows, tensor.to(self._fixed[0][name].dtype))
        return output

    def _retire(self, ended: Collection[int]) -> None:
        """Set the weights of some runs aside, and repack the others."""
        if not ended:
            return
        for index in ended:
            state = self._learned_state(index)
            self.retired[index] = {name: tensor.clone() for name, tensor in state.items()}
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
            equal = name not in self.changing and all(torch.equal(tensor, chosen[0]) for tensor in chosen[1:])
            if not chosen:
                continue
            fixed[name] = (chosen[0] if equal else torch.stack(chosen)).to(self.device)
            axes[name] = None if equal else 0
            if name in self.changing:
                for index, row in zip(self.runs, fixed[name], strict=True):
                    tensors[index] = row  # the state of a run is what its last step has left
        self._fixed = fixed, axes
        # The block and the fixed tensors have new addresses, which graphs captured before would not read.
        self._cuda_graphs = CudaGraphRunner() if self.captures else None


def initial_model(spec: RunSpec, source: Source) -> Model:
    """Build the model of a run before its first step.

    Args:
        spec: The run.
        source: Its data.

    Returns:
        The model, on the CPU.
    """
    seed = int(generator(spec.seed, Split.INIT).integers(2**63))
    return build_model(
        spec.model, vocabulary=source.vocabulary, features=source.features, length=source.length, seed=seed
    )


def _add(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Add two gradients, either of which may be missing."""
    return other if one is None else one if other is None else one + other
