"""Steppers take the steps of the loop: one model here, several vmapped models in :mod:`attnlab.training.vmap_stepper`.

Letters  B batch, T tokens, N query positions of a batch, P query positions of each row, V vocabulary, K vmapped runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnlab.choices import Compile, DiagnosticsKind
from attnlab.model.base import Model
from attnlab.model.losses import answers_of, losses_of
from attnlab.model.modes import evaluation_mode
from attnlab.model.transformer import build_model
from attnlab.specs import RunSpec
from attnlab.storage.arrays import Arrays
from attnlab.tasks import Batch, Split
from attnlab.tasks.io.streams import Source, generator
from attnlab.training._buffers import changing_buffers
from attnlab.training._cuda_graphs import CudaGraphRunner, should_capture
from attnlab.training._log_diagnostics import measure_diagnostics
from attnlab.training._noise import first_seed, noise_seed, seed_noise
from attnlab.training._optimizer import Optimizer
from attnlab.training._transfer import to_array, to_device, to_tensor
from attnlab.training.compiling import Compiled, should_compile
from attnlab.training.denormals import flush_denormals
from attnlab.training.memory import keep_all_freed_memory, keep_freed_memory
from attnlab.training.precision import keep_norms_exact, matmul_precision, products
from attnlab.training.state_check import ADAMW, MUON, check_state

TOKENS_PER_QUERY = 4
"""Query positions count as few where there is at most one of them in this many tokens."""


class Predictions(NamedTuple):
    """The predictions of a model on one batch."""

    tokens_N: NDArray[np.int64]
    """Most likely tokens at the query positions."""
    loss_sum: float
    """Cross-entropy in nats, or squared errors of numbers, summed over the query positions."""


class Stepper(Protocol):
    """K runs that take their steps together. A run keeps its index, counted from 0, when others have ended."""

    parameters: int
    """Number of learned parameters of one run."""

    @property
    def compiled(self) -> bool:
        """Whether the steps are compiled."""

    def step(self, batches: dict[int, Batch], rates: dict[int, float]) -> None:
        """Take one step of each run that is given.

        Args:
            batches: The batch of each run, by its index.
            rates: The learning rate of each run, by its index.
        """

    def losses(self) -> dict[int, list[float]]:
        """Fetch the losses since the previous call, which may wait for the device.

        Returns:
            Losses per query position, in nats or squared errors of numbers, by index of the run.
        """

    def gradient_norms(self) -> dict[int, float]:
        """Fetch the norms of the gradients of the last step, before they were clipped; waits for the device.

        Returns:
            Norms over all weights, by index of the run; a run that is not clipped has none, because its norm is not
            computed.
        """

    def predict(self, index: int, batches: Sequence[Batch], first: int = 1) -> list[Predictions]:
        """Predict with the model of one run.

        Args:
            index: Index of the run.
            batches: Batches of an evaluation, in order.
            first: Number of the first of them in the evaluation, counted from 1.

        Returns:
            The predictions for each batch.
        """

    def predict_each(self, batches: Mapping[int, Sequence[Batch]]) -> dict[int, list[Predictions]]:
        """Predict with the models of several runs, each on its own batches.

        Args:
            batches: Batches of an evaluation, by index of the run.

        Returns:
            The predictions for each batch, by index of the run.
        """

    def diagnostics(self, index: int, batch: Batch, kinds: Collection[DiagnosticsKind]) -> dict[str, tuple[float, ...]]:
        """Measure diagnostics of one run without changing its training.

        Args:
            index: Index of the run.
            batch: What they are measured on.
            kinds: What to measure.

        Returns:
            One number per layer, by metric.
        """

    def state(self, index: int) -> Arrays:
        """Return everything that a run needs to go on, in the same form whatever it is trained beside.

        Args:
            index: Index of the run.

        Returns:
            By name: ``weight/NAME`` of weights and persistent buffers; ``exp_avg/NAME``, ``exp_avg_sq/NAME`` and
            ``step/NAME`` of the optimizer, as :meth:`attnlab.training._optimizer.Optimizer.state` returns them; and
            ``taken``, the number of steps. Any stepper of the run's shape restores it.
        """

    def check(self, index: int, arrays: Arrays) -> None:
        """Refuse a state that is not of a run of this shape; nothing is changed.

        Args:
            index: Index of the run.
            arrays: The state, which may come from elsewhere.

        Raises:
            StoreError: An array is missing, or has a name, a shape or a type that the run does not have.
        """

    def restore(self, index: int, arrays: Arrays) -> None:
        """Let a run go on from a state; before the first step.

        Args:
            index: Index of the run.
            arrays: What :meth:`state` of any stepper returned.
        """

    def weights(self, index: int) -> Arrays:
        """Return weights and persistent buffers of one run.

        Args:
            index: Index of the run.

        Returns:
            Arrays by name.
        """


@final
class SingleStepper(Stepper):
    """The stepper of one run: one model and its optimizer.

    Args:
        spec: The run.
        source: Its data.
        device: Where to train.
        compile: Whether its steps are compiled or captured; evaluations never are.
    """

    @flush_denormals()
    def __init__(self, spec: RunSpec, source: Source, device: torch.device, compile: Compile = "auto") -> None:
        keep_freed_memory()
        seed = int(generator(spec.seed, Split.INIT).integers(2**63))
        model = build_model(
            spec.model, vocabulary=source.vocabulary, features=source.features, length=source.length, seed=seed
        )
        self.spec, self.device, self.model = spec, device, model.to(device)
        self.parameters = model.parameter_count
        keep_norms_exact(self.model, spec.train.precision)
        self.optimizer = Optimizer(dict(self.model.named_parameters()), spec.train, self.model.parameter_roles())
        self._losses: list[Tensor] = []
        self._gradient_norm: Tensor | None = None
        self._steps = 0
        random = model.position.random
        self._program = Compiled(self._losses_of) if should_compile(compile, spec, device, random) else None
        # A capture repeats the step, and would change what the step changes once more.
        captures = should_capture(compile, spec, device, random) and not changing_buffers(self.model)
        self.cuda_graphs = CudaGraphRunner() if captures else None
        """Captures the steps; None if they run eagerly."""
        self._has_stepped = False
        self._first_seed = first_seed(spec.seed)

    @property
    def compiled(self) -> bool:
        """Whether the steps are compiled."""
        return self._program is not None and self._program.works

    @flush_denormals()
    def step(self, batches: dict[int, Batch], rates: dict[int, float]) -> None:
        """Take one step of the only run."""
        self._steps += 1
        seed_noise(noise_seed(self._first_seed, self._steps), self.device)
        self.model.position.draw = self._steps
        with matmul_precision(self.spec.train.precision):
            inputs = batch_to_device(batches[0], self.device)
            outputs = self.cuda_graphs(self._gradients_of, *inputs) if self.cuda_graphs else self._gradients_of(*inputs)
        loss, *grads = outputs
        assert loss is not None, "every step has a loss"
        self._losses.append(loss.clone())
        weights = self.optimizer.weights.values()
        for weight, grad in zip(weights, grads, strict=True):
            weight.grad = grad
        if self.spec.train.grad_clip is not None:
            self._gradient_norm = torch.nn.utils.clip_grad_norm_(weights, self.spec.train.grad_clip)
        self.optimizer.step(rates[0])
        self.optimizer.clear()
        if not self._has_stepped:
            keep_all_freed_memory()
            self._has_stepped = True

    def _gradients_of(
        self, inputs_BT: Tensor, positions: Tensor | None, targets_N: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Compute the loss of a batch and the gradient of each weight; None for a weight that is not used."""
        loss, auxiliary = (self._program or self._losses_of)(inputs_BT, positions, targets_N)
        weights = list(self.optimizer.weights.values())
        grads: tuple[Tensor | None, ...] = torch.autograd.grad(loss + auxiliary, weights, allow_unused=True)
        return loss.detach(), *unshared_gradients(grads)

    def _losses_of(self, inputs_BT: Tensor, positions: Tensor | None, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss and the auxiliary loss of a batch."""
        with products(self.spec.train.precision, self.device):
            return self.model.losses(inputs_BT, positions, targets_N)

    def losses(self) -> dict[int, list[float]]:
        """Return the losses since the previous call."""
        losses = torch.stack(self._losses).tolist() if self._losses else []
        self._losses = []
        return {0: losses}

    def gradient_norms(self) -> dict[int, float]:
        """Return the norm that clipping has computed."""
        return {} if self._gradient_norm is None else {0: float(self._gradient_norm)}

    @torch.no_grad()
    def predict(self, index: int, batches: Sequence[Batch], first: int = 1) -> list[Predictions]:
        """Predict on each batch; the host waits for the device once, at the end."""
        outputs = []
        for number, batch in enumerate(batches, start=first):
            seed_noise(noise_seed(self._first_seed, -number), self.device)
            outputs.append(predict_batch(self.model, batch, number, self.device))
        return [Predictions(tokens_N.cpu().numpy(), float(nats)) for tokens_N, nats in outputs]

    def predict_each(self, batches: Mapping[int, Sequence[Batch]]) -> dict[int, list[Predictions]]:
        """Predict with the only model."""
        return {index: self.predict(index, own) for index, own in batches.items()}

    def diagnostics(self, index: int, batch: Batch, kinds: Collection[DiagnosticsKind]) -> dict[str, tuple[float, ...]]:
        """Measure diagnostics of the only model."""
        return measure_diagnostics(self.model, batch, kinds, self.device)

    def state(self, index: int) -> Arrays:
        """Return weights, persistent buffers and optimizer state, and whether the steps are compiled."""
        arrays = {f"weight/{name}": tensor for name, tensor in self.model.state_dict().items()} | self.optimizer.state()
        arrays["taken"] = torch.tensor(self._steps)
        arrays["compiled"] = torch.tensor(self.compiled)
        return {name: to_array(tensor) for name, tensor in arrays.items()}

    def check(self, index: int, arrays: Arrays) -> None:
        """Compare a state with the model and its optimizer."""
        muon = self.optimizer.muon_names
        check_state(arrays, self.model, {name: MUON if name in muon else ADAMW for name in self.optimizer.weights})

    @torch.no_grad()
    def restore(self, index: int, arrays: Arrays) -> None:
        """Go on from a state, compiled if it was; weights alone are a state too, the one before the first step.

        A persistent buffer that is missing keeps its initial value: checkpoints of whole groups of vmapped runs, which
        earlier versions wrote, have no buffers, because no step changes those of a vmapped run.
        """
        if bool(arrays.get("compiled", self.compiled)) != self.compiled:
            self._program = None if self.compiled else Compiled(self._losses_of)
        load_weights(self.model, arrays)
        self.optimizer.restore({name: to_tensor(array) for name, array in arrays.items()})
        self._steps = int(arrays.get("taken", 0))

    def weights(self, index: int) -> Arrays:
        """Return weights and persistent buffers."""
        return {name: to_array(tensor) for name, tensor in self.model.state_dict().items()}


@torch.no_grad()
def load_weights(model: Model, arrays: Arrays) -> None:
    """Load the weights and persistent buffers of a state into a model.

    Args:
        model: The model.
        arrays: The state; a buffer that is missing keeps its value.
    """
    learned = {name for name, _ in model.named_parameters()}
    for name, tensor in model.state_dict().items():
        if name in learned or f"weight/{name}" in arrays:
            tensor.copy_(to_tensor(arrays[f"weight/{name}"]))


def unshared_gradients(grads: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Make gradients contiguous, each in memory of its own, so that they can be changed in place.

    Two weights that are added to each other have the same gradient, and autograd returns one tensor for both.

    Args:
        grads: One gradient per weight, of its shape; None for a weight that is not used.

    Returns:
        The gradients in the same order.
    """
    unshared: list[Tensor | None] = []
    seen: set[int] = set()
    for grad in grads:
        own = None if grad is None else grad.contiguous()
        if own is not None and own.untyped_storage().data_ptr() in seen:
            own = own.clone()
        if own is not None:
            seen.add(own.untyped_storage().data_ptr())
        unshared.append(own)
    return unshared


def batch_to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor | None, Tensor]:
    """Copy a batch to a device without waiting for it.

    Where every position is a query position, no positions are passed: selecting all of them would copy the residual
    stream, and the backward pass would sum over positions.

    Args:
        batch: The batch.
        device: Where to copy it.

    Returns:
        Inputs, B x T; query positions, N or B x P as from :func:`positions_by_row`, or None for all; targets, N.
    """
    positions_N = batch.query_positions()
    all_positions = len(positions_N) == batch.targets_BT.size
    positions = None if all_positions else to_device(positions_by_row(positions_N, *batch.targets_BT.shape), device)
    return to_device(batch.inputs_BT, device), positions, to_device(batch.targets_BT.reshape(-1)[positions_N], device)


def positions_by_row(positions_N: NDArray[np.int64], rows: int, tokens: int) -> NDArray[np.int64]:
    """Arrange query positions by row where possible, so that an attention may compute these queries alone.

    Args:
        positions_N: Query positions in the flattened batch, rising.
        rows: B.
        tokens: T.

    Returns:
        The positions as B x P if each row has equally many and they are few, otherwise as N.
    """
    if not len(positions_N) or len(positions_N) % rows or len(positions_N) > rows * tokens // TOKENS_PER_QUERY:
        return positions_N
    positions_BP = positions_N.reshape(rows, -1)
    equally_many = bool((positions_BP // tokens == np.arange(rows)[:, None]).all())
    return positions_BP if equally_many else positions_N


@flush_denormals()
@torch.no_grad()
def predict_batch(model: Model, batch: Batch, number: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Predict the tokens of one batch of an evaluation, with the model in evaluation mode.

    Args:
        model: The model.
        batch: The batch.
        number: Number of the batch in the evaluation, counted from 1; it seeds positions that are drawn at random.
        device: Where the model is.

    Returns:
        Most likely tokens at the query positions, N, and the cross-entropy summed over them, in nats, a scalar.
    """
    model.position.draw = -number
    inputs_BT, positions, targets_N = batch_to_device(batch, device)
    with evaluation_mode(model):
        logits_NV = model(inputs_BT, positions).logits_NV
    return answers_of(logits_NV, targets_N), losses_of(logits_NV, targets_N).sum()
