"""Whether arrays are the state of a run: each has the name, shape and type of what the run's model builds.

A state may come from elsewhere. Nothing of it is copied before all of it fits: torch's kernels trust shapes, and arrays
that are missing would silently be other numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from attnlab.errors import StoreError
from attnlab.records import DiagnosticsPoint, HistoryPoint
from attnlab.specs import RunSpec
from attnlab.storage.arrays import Arrays
from attnlab.training._transfer import to_array

ADAMW, MUON = ("exp_avg", "exp_avg_sq", "step"), ("exp_avg",)
"""What the optimizers keep of a weight."""
AGAIN = "Move it away to start that run anew, or give another store."


def check_weights(weights: Mapping[str, NDArray[Any]], model: nn.Module) -> None:
    """Refuse weights of another model.

    Args:
        weights: Learned weights and persistent buffers, by name.
        model: The model that the run's spec builds.

    Raises:
        StoreError: A name, a shape or a type is not the model's.
    """
    state = model.state_dict()
    if unmatched := sorted(weights.keys() ^ state.keys()):
        hint = "They were written by another version of attnlab; train the run again."
        raise StoreError(f"Its weights do not fit the model: '{unmatched[0]}' is in only one of them.", hint)
    for name, array in weights.items():
        _check_like(name, array, state[name], "Train the run again.")


def check_state(arrays: Arrays, model: nn.Module, moments: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse the state of another run; nothing is copied.

    Args:
        arrays: The state, by name, as :meth:`attnlab.training.stepper.Stepper.state` returns it.
        model: The model that the run's spec builds.
        moments: Of each learned weight, what its optimizer keeps: :data:`ADAMW` or :data:`MUON`.

    Raises:
        StoreError: An array is missing, or one has a name, a shape or a type that the run does not have.
    """
    tensors = {**model.state_dict(), **dict(model.named_parameters())}
    counts = {"taken", "compiled"}
    expected: dict[str, Tensor] = {f"weight/{name}": tensor for name, tensor in tensors.items()}
    for name, kinds in moments.items():
        given = [kind for kind in kinds if f"{kind}/{name}" in arrays]
        if given and len(given) < len(kinds):
            missing = next(kind for kind in kinds if kind not in given)
            raise StoreError(f"The array '{missing}/{name}' is missing.", AGAIN)
        expected |= {f"{kind}/{name}": tensors[name] for kind in given if kind != "step"}
        counts |= {f"{kind}/{name}" for kind in given if kind == "step"}
    required = [f"weight/{name}" for name, weight in model.named_parameters() if weight.requires_grad]
    if missing_weights := [name for name in required if name not in arrays]:
        raise StoreError(f"The array '{missing_weights[0]}' is missing.", AGAIN)
    for name, array in arrays.items():
        if name in counts:
            if not _is_count(array, flag=name == "compiled"):
                raise StoreError(f"'{name}' is no number.", AGAIN)
        elif name not in expected:
            raise StoreError(f"The model of the run has no '{name}'.", AGAIN)
        else:
            _check_like(name, array, expected[name], AGAIN)
    for name in moments:
        if not arrays.get(f"step/{name}", np.ones(())) and np.asarray(arrays[f"exp_avg/{name}"]).any():
            raise StoreError(f"'step/{name}' is 0, and the optimizer has gone on from there.", AGAIN)


def check_progress(about: Mapping[str, Any], spec: RunSpec, arrays: Arrays) -> None:
    """Refuse what a checkpoint says of its run where it cannot be.

    Args:
        about: The description of the checkpoint.
        spec: The run.
        arrays: Its arrays.

    Raises:
        StoreError: A field is missing or has another type, or the step is beyond the budget.
    """
    step, most = about.get("step"), spec.train.max_steps
    if about.get("id") != spec.id:
        raise StoreError(f"It is of another run, {about.get('id')!r}.", AGAIN)
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step <= most:
        raise StoreError(f"It is at step {step!r}, and the run has {most}.", AGAIN)
    taken = float(arrays.get("taken", np.zeros(())))
    ended = bool(about.get("reason") or about.get("early_stopped"))  # those it is stacked with may go on
    if "taken" in arrays and taken != step and not ended:
        raise StoreError(f"It is at step {step}, and its arrays are at step {taken:g}.", AGAIN)
    for name, array in arrays.items():
        if name.startswith("step/") and float(array) > most:
            raise StoreError(f"'{name}' is {float(array):g}, and the run has {most} steps.", AGAIN)
    fields: tuple[tuple[str, type], ...] = (("losses", list), ("history", list), ("diagnostics_history", list))
    for name, kind in (*fields, ("reason", str), ("early_stopped", bool)):
        if not isinstance(about.get(name), kind):
            raise StoreError(f"Its field '{name}' is no {kind.__name__}.", AGAIN)
    if not all(map(_is_number, about["losses"])):
        raise StoreError("Its field 'losses' has something else than numbers.", AGAIN)
    if about.get("initial_loss") is not None and not _is_number(about["initial_loss"]):
        raise StoreError("Its field 'initial_loss' is no number.", AGAIN)
    for name, model in (("history", HistoryPoint), ("diagnostics_history", DiagnosticsPoint)):
        try:
            for point in about[name]:
                model.model_validate(point)  # as strictly as they are restored
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, (name, *first["loc"])))
            raise StoreError(f"Its field '{place}': {first['msg']}.", AGAIN) from None


def _is_number(value: Any) -> bool:
    """Whether a value of JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(array: NDArray[Any], *, flag: bool) -> bool:
    """Whether an array is a whole number that is not negative, or, of a flag, a truth value; old ones are 0 or 1."""
    if array.shape or array.dtype.kind not in ("biuf" if flag else "iuf"):
        return False
    if flag:
        return bool(array in (0, 1))
    return bool(np.isfinite(array) and array >= 0 and array == np.floor(array))


def _check_like(name: str, array: NDArray[Any], tensor: Tensor, hint: str) -> None:
    """Compare shape and type of an array with those of a tensor."""
    wanted = to_array(tensor.detach().flatten()[:0]).dtype
    shape, own = (_size(one) for one in (array.shape, tuple(tensor.shape)))
    if shape != own:
        raise StoreError(f"The array '{name}' is {shape}; that of the run is {own}.", hint)
    if array.dtype.newbyteorder("=") != wanted.newbyteorder("="):
        raise StoreError(f"The array '{name}' has the type {_type(array.dtype)}, not {_type(wanted)}.", hint)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a scalar"


def _type(dtype: np.dtype[Any]) -> str:
    return dtype.names[0] if dtype.names else dtype.name
