"""The model of a finished run: built from its spec and its stored weights, with its random draws repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlab.choices import ExtrapolationMode
from attnlab.model.base import Model
from attnlab.model.transformer import build_model
from attnlab.specs import RunSpec, Split
from attnlab.tasks.io.streams import Source, generator
from attnlab.training._transfer import to_tensor
from attnlab.training.eval_levels import trained_length
from attnlab.training.extrapolation import extrapolated_position
from attnlab.training.run_parts import check_parts
from attnlab.training.state_check import check_weights


def rebuild_model(
    spec: RunSpec,
    weights: Mapping[str, NDArray[Any]],
    source: Source,
    mode: ExtrapolationMode = "trained",
    length: int | None = None,
) -> Model:
    """Build the model of a run with its weights.

    Whatever is drawn at random rather than learned, such as random features and random positions, is drawn as it was
    for the run.

    Args:
        spec: The run.
        weights: Its learned weights and persistent buffers, by name.
        source: Its data, which give the vocabulary and the longest length of its embeddings.
        mode: How its position is extended beyond the trained length; by default as trained.
        length: Length in tokens that the model is evaluated on; None, the default, takes the trained length.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        InvalidValueError: A part or the task has another version or other code than the run was trained with.
        StoreError: The weights are those of another model.
    """
    check_parts(spec)
    model, trained = spec.model, trained_length(spec.task)
    if mode != "trained":
        position = extrapolated_position(model.position, mode, trained, length or trained)
        model = model.model_copy(update={"position": position})
    seed = int(generator(spec.seed, Split.INIT).integers(2**63))
    built = build_model(model, vocabulary=source.vocabulary, features=source.features, length=source.length, seed=seed)
    check_weights(weights, built)
    built.load_state_dict({name: to_tensor(np.array(array)) for name, array in weights.items()})
    return built.eval()
