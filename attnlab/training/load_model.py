"""The model of a finished run, alive again: what was learned from its weights, what was drawn drawn as it was."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from attnlab.attention import ATTENTIONS
from attnlab.errors import InvalidValueError, StoreError
from attnlab.model.transformer import Transformer, build
from attnlab.position import POSITIONS
from attnlab.specs import Part, RunSpec, Split, TaskSpec
from attnlab.tasks.base import TASKS
from attnlab.tasks.io.streams import Source, generator
from attnlab.training.eval_levels import trained_length
from attnlab.training.extrapolation import Mode, reaching

Arrays = Mapping[str, NDArray[np.float32]]


def rebuild_model(
    spec: RunSpec, weights: Arrays, home: Source, mode: Mode = "trained", length: int | None = None
) -> Transformer:
    """The model of a run with its weights, ready for sequences of a length; None takes the trained one.

    What is not learned but drawn, such as random features and random places, is drawn as it was for the run.

    Raises:
        InvalidValueError: a part has come to mean something else since.
        StoreError: the weights are those of another model.
    """
    for part in spec.model.attention:
        check_version(part, ATTENTIONS.entry(part.name).version)
    check_version(spec.model.position, POSITIONS.entry(spec.model.position.name).version)
    check_version(spec.task, TASKS.entry(spec.task.name).version)
    model, trained = spec.model, trained_length(spec.task)
    if mode != "trained":
        model = model.model_copy(update={"position": reaching(model.position, mode, trained, length or trained)})
    seed = int(generator(spec.seed, Split.INIT).integers(2**63))
    built = build(model, vocabulary=home.vocabulary, length=home.length, seed=seed)
    state = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
    if wrong := sorted(state.keys() ^ built.state_dict().keys()):
        hint = "They were written by another version of attnlab; train the run again."
        raise StoreError(f"Its weights do not fit the model: '{wrong[0]}' is in only one of them.", hint)
    built.load_state_dict(state)
    return built.eval()


def check_version(part: Part | TaskSpec, version: int) -> None:
    """Refuse a part or a task that has come to mean something else."""
    if part.version is not None and part.version != version:
        result = f"It was trained with version {part.version} of '{part.name}'; this is version {version}."
        raise InvalidValueError(result, "Train it again.")
