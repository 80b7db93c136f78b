"""Steppers: what the loop drives. One model at a time here; stacked lanes stand beside it under the same protocol.

Letters  B batch, T tokens, N supervised positions, P of each row, V vocabulary, K lanes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from attnlab.model.transformer import Transformer, build
from attnlab.specs import DiagnosticsKind, RunSpec
from attnlab.tasks import Batch, Split
from attnlab.tasks.io.streams import Source, generator
from attnlab.training._cuda_graphs import CudaGraphRunner, should_record
from attnlab.training._log_diagnostics import diagnostics_of
from attnlab.training._optimizer import Optimizer
from attnlab.training._transfer import to_device
from attnlab.training.compiling import Compile, Compiled, should_compile
from attnlab.training.denormals import flush_denormals
from attnlab.training.memory import keep_all_freed_memory, keep_freed_memory
from attnlab.training.precision import forward_in_bf16, products

Arrays = dict[str, NDArray[np.float32]]
FEW = 4
"""Supervised positions are few where they are at most one in so many tokens."""


class Predictions(NamedTuple):
    """What a model answers to one batch."""

    tokens_N: NDArray[np.int64]
    """Most likely tokens at the supervised positions."""
    loss_sum: float
    """ChunkedCrossEntropy at all the answers that were due."""


class Stepper(Protocol):
    """K runs that take their steps together. VmapWidth are counted from 0 and keep their number when others retire."""

    parameters: int
    """Numbers that one lane learns."""

    @property
    def compiled(self) -> bool:
        """Whether its steps are compiled."""

    def step(self, batches: dict[int, Batch], rates: dict[int, float]) -> None:
        """One step of each lane given, on its own batch at its own rate."""

    def losses(self) -> dict[int, list[float]]:
        """Losses of each lane since this was last called, in nats per question; may wait for the device."""

    def predict(self, lane: int, batches: Sequence[Batch]) -> list[Predictions]:
        """What the model answers to each batch."""

    def predict_each(self, batches: Mapping[int, Sequence[Batch]]) -> dict[int, list[Predictions]]:
        """What the models of several lanes answer, each to its own batches."""

    def diagnostics(self, lane: int, batch: Batch, kinds: Collection[DiagnosticsKind]) -> dict[str, tuple[float, ...]]:
        """What the model shows of its inside on a batch, per metric and layer; nothing of the training changes."""

    def state(self) -> Arrays:
        """Weights and optimizer of all lanes, by name."""

    def restore(self, arrays: Arrays) -> None:
        """Go on from a state."""

    def weights(self, lane: int) -> Arrays:
        """Weights of one lane, by name."""


@final
class SingleStepper:
    """One model and its optimizer.

    Args:
        spec: The run.
        source: Its data.
        device: Where to train.
        compile: Whether its steps are compiled; evaluations never are.
    """

    @flush_denormals()
    def __init__(self, spec: RunSpec, source: Source, device: torch.device, compile: Compile = "auto") -> None:
        keep_freed_memory()
        seed = int(generator(spec.seed, Split.INIT).integers(2**63))
        model = build(spec.model, vocabulary=source.vocabulary, length=source.length, seed=seed)
        self.spec, self.device, self.model = spec, device, model.to(device)
        self.parameters = model.parameter_count
        self.optimizer = Optimizer(dict(self.model.named_parameters()), spec.train, self.model.parameter_roles())
        self._losses: list[Tensor] = []
        self._taken = 0
        random = model.position.random
        self._program = Compiled(self._losses_of) if should_compile(compile, spec, device, random) else None
        self.cuda_graphs = CudaGraphRunner() if should_record(compile, spec, device, random) else None
        """What records its steps, if they are."""
        self._begun = False

    @property
    def compiled(self) -> bool:
        """Whether its steps are compiled."""
        return self._program is not None and self._program.works

    @flush_denormals()
    def step(self, batches: dict[int, Batch], rates: dict[int, float]) -> None:
        """One step of the only lane."""
        self._taken += 1
        self.model.position.draw = self._taken
        with products(self.spec.train.precision):
            given = batch_to_device(batches[0], self.device)
            result = self.cuda_graphs(self._gradients_of, *given) if self.cuda_graphs else self._gradients_of(*given)
        loss, *grads = result
        assert loss is not None, "every step has a loss"
        self._losses.append(loss.clone())
        weights = self.optimizer.weights.values()
        for weight, grad in zip(weights, grads, strict=True):
            weight.grad = grad
        if self.spec.train.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(weights, self.spec.train.grad_clip)
        self.optimizer.step(rates[0])
        self.optimizer.clear()
        if not self._begun:
            keep_all_freed_memory()
            self._begun = True

    def _gradients_of(
        self, inputs_BT: Tensor, positions: Tensor | None, targets_N: Tensor
    ) -> tuple[Tensor | None, ...]:
        """The loss of a batch, and the gradient of each weight; None where a weight takes no part."""
        loss, auxiliary = (self._program or self._losses_of)(inputs_BT, positions, targets_N)
        weights = list(self.optimizer.weights.values())
        grads: tuple[Tensor | None, ...] = torch.autograd.grad(loss + auxiliary, weights, allow_unused=True)
        return loss.detach(), *unshared_gradients(grads)

    def _losses_of(self, inputs_BT: Tensor, positions: Tensor | None, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the auxiliary loss of a batch."""
        if self.spec.train.precision != "bf16":
            return self.model.losses(inputs_BT, positions, targets_N)
        answer = forward_in_bf16(self.model, inputs_BT, positions)
        return functional.cross_entropy(answer.logits_NV, targets_N), answer.auxiliary

    def losses(self) -> dict[int, list[float]]:
        """Losses since this was last called."""
        fetched = torch.stack(self._losses).tolist() if self._losses else []
        self._losses = []
        return {0: fetched}

    @torch.no_grad()
    def predict(self, lane: int, batches: Sequence[Batch]) -> list[Predictions]:
        """What the model answers to each batch; the device is waited for once, at the end."""
        predictions = [
            predict_batch(self.model, batch, index, self.device) for index, batch in enumerate(batches, start=1)
        ]
        return [Predictions(predicted.cpu().numpy(), float(nats)) for predicted, nats in predictions]

    def predict_each(self, batches: Mapping[int, Sequence[Batch]]) -> dict[int, list[Predictions]]:
        """What the only model answers."""
        return {lane: self.predict(lane, own) for lane, own in batches.items()}

    def diagnostics(self, lane: int, batch: Batch, kinds: Collection[DiagnosticsKind]) -> dict[str, tuple[float, ...]]:
        """What the model shows of its inside."""
        return diagnostics_of(self.model, batch, kinds, self.device)

    def state(self) -> Arrays:
        """Weights, persistent buffers, and what the optimizer remembers."""
        arrays = {f"weight/{name}": stored for name, stored in self.model.state_dict().items()} | self.optimizer.state()
        arrays["taken"] = torch.tensor(float(self._taken))
        arrays["compiled"] = torch.tensor(float(self.compiled))
        return {name: _array(tensor) for name, tensor in arrays.items()}

    @torch.no_grad()
    def restore(self, arrays: Arrays) -> None:
        """Go on from a state, compiled if it was; weights alone are a state too, before the first step."""
        if bool(arrays.get("compiled", self.compiled)) != self.compiled:
            self._program = None if self.compiled else Compiled(self._losses_of)
        for name, stored in self.model.state_dict().items():
            stored.copy_(torch.from_numpy(arrays[f"weight/{name}"]))
        self.optimizer.restore({name: torch.from_numpy(array) for name, array in arrays.items()})
        self._taken = int(arrays.get("taken", 0))

    def weights(self, lane: int) -> Arrays:
        """Weights and persistent buffers."""
        return {name: _array(stored) for name, stored in self.model.state_dict().items()}


def unshared_gradients(grads: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Gradients laid out as their weights are, each in memory of its own, for what follows to write into.

    Two weights that are added to one another have the same gradient, and autograd says so by giving it twice.
    """
    result: list[Tensor | None] = []
    seen: set[int] = set()
    for grad in grads:
        laid = None if grad is None else grad.contiguous()
        if laid is not None and laid.untyped_storage().data_ptr() in seen:
            laid = laid.clone()
        if laid is not None:
            seen.add(laid.untyped_storage().data_ptr())
        result.append(laid)
    return result


def batch_to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor | None, Tensor]:
    """The inputs of a batch, where something is asked and what is due there, on a device that is not waited for.

    Where every position is asked no places are named: to pick them all out would be a copy of the stream, and on the
    way back a sum over places.
    """
    places_N = batch.query_positions()
    everywhere = len(places_N) == batch.targets_BT.size
    positions = None if everywhere else to_device(positions_by_row(places_N, *batch.inputs_BT.shape), device)
    return to_device(batch.inputs_BT, device), positions, to_device(batch.targets_BT.reshape(-1)[places_N], device)


def positions_by_row(places_N: NDArray[np.int64], rows: int, tokens: int) -> NDArray[np.int64]:
    """Places as B x P if each row has as many and they are few, so that an attention may answer them alone.

    Args:
        places_N: Places in the flattened batch, rising.
        rows: B.
        tokens: T.
    """
    if not len(places_N) or len(places_N) % rows or len(places_N) > rows * tokens // FEW:
        return places_N
    places_BP = places_N.reshape(rows, -1)
    even = bool((places_BP // tokens == np.arange(rows)[:, None]).all())
    return places_BP if even else places_N


@flush_denormals()
@torch.no_grad()
def predict_batch(model: Transformer, batch: Batch, index: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The most likely tokens of one batch of an evaluation, counted from 1, and the surprise at what was due."""
    model.position.draw = -index
    inputs_BT, positions, targets_N = batch_to_device(batch, device)
    logits_NV = model(inputs_BT, positions).logits_NV
    return logits_NV.argmax(-1), functional.cross_entropy(logits_NV, targets_N, reduction="sum")


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().cpu().numpy().copy()
