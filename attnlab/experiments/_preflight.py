"""Step 5 of a plan: each model is trained for one step, evaluated, saved and loaded before anything is started.

    step      forward and backward pass and the optimizer, on a few sequences; loss and weights must stay finite
    evaluate  the loss of the same sequences in evaluation mode
    save      the checkpoint and the weights come back from a file's content bit for bit
    load      a model built anew with these weights has the same loss

Runs that differ in numbers such as the learning rate, and not in shape, are tried once. Nothing is written, and torch's
generators are left as they were.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from attnlab.errors import AttnlabError, InvalidValueError, PluginError
from attnlab.experiments.check_command import check_command
from attnlab.model.base import Model
from attnlab.model.modes import evaluation_mode
from attnlab.model.module import failed_module
from attnlab.model.transformer import build_model
from attnlab.plugins import plugin_error
from attnlab.specs import ModelSpec, RunSpec, TrainSpec, Variant, variant_text
from attnlab.storage.weights import decode, encode
from attnlab.tasks.base import IGNORE, Batch
from attnlab.tasks.io.streams import Source
from attnlab.testing.changes import changes_from_call_to_call
from attnlab.testing.not_finite import first_not_finite, holding
from attnlab.testing.trainable import check_real
from attnlab.training.denormals import flush_denormals
from attnlab.training.load_model import rebuild_model
from attnlab.training.stepper import SingleStepper, predict_batch
from attnlab.user_code import is_users, users_line

CPU = torch.device("cpu")
SEQUENCES, MAX_TOKENS = 2, 512
"""Sequences of the step, and tokens at which longer sequences are cut."""
RATE = 1e-3
"""The learning rate of the step, whatever that of the run: only a gradient can make a weight infinite."""
TOLERANCE = 1e-5
"""The largest difference between the losses before saving and after loading, relative to the loss or to 1."""


@flush_denormals()  # may start torch's threads, which keep the setting they start with
def preflight(model: ModelSpec, source: Source) -> Model:
    """Build a model, and take the gradient of its logits on the first tokens of one sequence.

    Args:
        model: The model.
        source: Gives the sequence.

    Returns:
        The built model.

    Raises:
        PluginError: A user's part raises an exception; the message has the user's own file and line.
        AttnlabError: Sizes or options do not fit.
    """
    with _reported(model):
        built = build_model(model, vocabulary=source.vocabulary, features=source.features, length=source.length, seed=0)
        batch = shortened(source.training(0, 1))  # a step on the whole of a long sequence may take minutes
        output = built(torch.from_numpy(batch.inputs_BT.copy()), torch.from_numpy(batch.query_positions()))
        (output.logits_NV.sum() + output.auxiliary).backward()
    return built


def preflight_run(spec: RunSpec, source: Source, save: bool = True) -> None:
    """Train a model for one step, evaluate it, save it and load it.

    Args:
        spec: The run; its batch size and learning rate are not used.
        source: Gives the sequences.
        save: Whether it is saved and loaded too; by default it is.

    Raises:
        InvalidValueError: A weight is complex, or a loss, or the weights after the step, are not finite.
        StoreError: A tensor of the model has a type that cannot be saved.
        PluginError: A user's part raises an exception, or its loss differs after it was loaded.
        AttnlabError: Sizes or options do not fit.
    """
    with torch.random.fork_rng(devices=[]), _reported(spec.model):
        stepper = SingleStepper(spec, source, CPU, "never")
        check_real(stepper.model)
        batch = shortened(source.training(0, SEQUENCES))
        stepper.step({0: batch}, {0: RATE})
        _check_finite(stepper, spec, source, batch)
        loss = _loss(stepper.model, batch)
        if not math.isfinite(loss):
            culprit, line = _culprit(stepper.model, batch)
            problem = f"In evaluation mode the loss is {loss}; in training it is not.{culprit}"
            advice = f"Nothing can be measured there. {_checked_by(spec.model)}or use other sizes."
            raise InvalidValueError(problem, "\n".join(filter(None, (line, advice))))
        if save:
            _check_saved(stepper, spec, source, batch, loss)


def trained_alike(train: TrainSpec) -> tuple[str, str, bool]:
    """Tell what the steps of two runs of one model must have in common to be tried once.

    Args:
        train: How a run is trained.

    Returns:
        Optimizer, precision, and whether gradients are clipped.
    """
    return train.optimizer, train.precision, train.grad_clip is not None


def shortened(batch: Batch, tokens: int = MAX_TOKENS) -> Batch:
    """Cut a batch to its first tokens; where no query position is left, the last token is asked for itself.

    Args:
        batch: Inputs and targets.
        tokens: Tokens that are kept.

    Returns:
        The batch, with at least one query position.
    """
    inputs_BT, targets_BT = batch.inputs_BT[:, :tokens].copy(), batch.targets_BT[:, :tokens].copy()
    if bool((targets_BT == IGNORE).all()):
        targets_BT[:, -1] = inputs_BT[:, -1] if inputs_BT.ndim == 2 else 0
    return batch._replace(inputs_BT=inputs_BT, targets_BT=targets_BT, accepted_NW=None)


def _check_finite(stepper: SingleStepper, spec: RunSpec, source: Source, batch: Batch) -> None:
    """Refuse a model whose first loss, or first gradient, is not finite; the message has the module and its line."""
    ((loss,),) = stepper.losses().values()
    advice = f"Nothing can be learned from there. {_checked_by(spec.model)}or use other sizes."
    if not math.isfinite(loss):
        model = build_model(
            spec.model, vocabulary=source.vocabulary, features=source.features, length=source.length, seed=0
        )
        culprit, line = _culprit(model, batch)
        hint = "\n".join(filter(None, (line, advice)))
        raise InvalidValueError(f"The loss of the first training step is {loss}.{culprit}", hint)
    if wrong := [name for name, weight in stepper.optimizer.weights.items() if not bool(weight.isfinite().all())]:
        problem = (
            f"The first loss is {loss:.4g}, but its gradient is not finite, and so '{wrong[0]}' is not after one step."
        )
        line = users_line(*holding(stepper.model, wrong[0]))
        raise InvalidValueError(problem, "\n".join(filter(None, (line, advice))))


def _culprit(model: Model, batch: Batch) -> tuple[str, str]:
    """A sentence on the first module whose output is not finite, and its line; empty where none is found."""
    found = first_not_finite(model, lambda: _loss(model, batch))
    if found is None:
        return "", ""
    return f" The first output that is not finite is that of {found[0]}.", users_line(*found[1])


def _checked_by(model: ModelSpec) -> str:
    """The command that tells where a model's attention, or a whole model, fails."""
    if model.module is not None:
        return f"attnlab check --model {model.module} tells more; "
    return f"{check_command(model.attention)} tells where an attention fails; "


def _check_saved(stepper: SingleStepper, spec: RunSpec, source: Source, batch: Batch, loss: float) -> None:
    """Refuse a model that has another loss after its checkpoint and its weights were saved and loaded."""
    stepper.restore(0, _stored(stepper.state(0)))
    rebuilt = rebuild_model(spec, _stored(stepper.weights(0)), source)
    for name, model in (("checkpoint", stepper.model), ("weights", rebuilt)):
        again = _loss(model, batch)
        if not abs(again - loss) <= TOLERANCE * max(1.0, abs(loss)):  # nan is close to nothing
            if math.isfinite(again):
                _check_repeatable(model, batch)
            problem = f"With its {name} saved and loaded, the loss is {again:.6g} instead of {loss:.6g}."
            hint = (
                "Keep whatever the output depends on in parameters or persistent buffers, draw it from the context's "
                "generator, or compute it from the sizes."
            )
            raise PluginError(problem, hint)


def _check_repeatable(model: Model, batch: Batch) -> None:
    """Refuse a model that has another loss at every call: that is no fault of saving."""

    def call() -> Tensor:
        return torch.tensor(_loss(model, batch), dtype=torch.float64)

    with evaluation_mode(model):
        changes = changes_from_call_to_call(model, call)
    if changes:
        hint = "Whatever is measured is measured in evaluation mode, where equal calls must give equal outputs."
        raise PluginError(f"Its loss changes from call to call: {changes}.", hint)


def _stored(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Save arrays and load them; the content of the file stays in memory."""
    loaded = decode(encode(arrays, {}))
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype, f"{name} is stored as another type"
        assert loaded[name].tobytes() == array.tobytes(), f"{name} is stored with other bits"
    return loaded


def _loss(model: Model, batch: Batch) -> float:
    """The loss in evaluation mode, in nats per query position."""
    nats: Tensor = predict_batch(model, batch, 1, CPU)[1]
    return float(nats) / len(batch.query_positions())


@contextmanager
def _reported(model: ModelSpec) -> Iterator[None]:
    """Report every error at the model's part that is not built in, or at its attention if all are.

    An exception of a user's part is a :class:`PluginError`.
    """
    own = _own_fields(model)
    field, parts = next(iter(own.items())) if own else ("attention", model.attention)
    where = f"model.{field}: {variant_text(parts)}"
    try:
        yield
    except AttnlabError as error:
        raise error.at(where) from None
    except Exception as error:
        if not own and not any(is_users(frame.filename) for frame in traceback.extract_tb(error.__traceback__)):
            raise  # a fault of the library: its traceback is wanted
        if model.module is not None:
            raise failed_module(model, error) from error
        raise plugin_error(where, error) from error


def _own_fields(model: ModelSpec) -> dict[str, Variant]:
    """The fields of a model that hold a part which is not built in, with their parts."""
    if model.module is not None:
        return {"module": (model.module,)}
    fields = {"attention": model.attention, "position": model.position.alternating, "mlp": model.mlp}
    fields |= {name: (getattr(model, name),) for name in ("norm_layer", "block", "residual_stream")}
    return {name: parts for name, parts in fields.items() if any(part.code_digest for part in parts)}
