"""How the position of a finished run is extended beyond its trained length, and the longest length it accepts.

    trained       as the run was trained
    interpolated  rotary angles scaled down, so that the longest sequence spans the trained length
    yarn          low rotary frequencies scaled down, high ones kept
    randomized    positions drawn at random from a range that is longer still

A mode changes nothing that is learned, so the weights of the run fit.

Source   in the modules of the positions: :mod:`attnlab.position.stretched`, :mod:`attnlab.position.randomized`.
"""

from __future__ import annotations

import torch

from attnlab.choices import ExtrapolationMode
from attnlab.errors import IncompatiblePartsError, InvalidValueError
from attnlab.model.base import Model
from attnlab.model.modes import evaluation_mode
from attnlab.model.transformer import Block, Transformer
from attnlab.plugins import describe_exception
from attnlab.position import POSITIONS
from attnlab.specs import Part
from attnlab.tensors import LayerInputs

ROTARY = ("rotary", "interpolated", "yarn")
"""Positions without weights that replace one another."""
RANGE_FACTOR = 2
"""The range of randomized positions is this many times the longest sequence."""
RANDOMIZED = {
    "rotary": ("randomized", {"base": "rotary"}),
    "sinusoidal": ("randomized", {"base": "sinusoidal"}),
    "fourier": ("randomized", {"base": "fourier"}),
    "alibi": ("randomized-alibi", {}),
    "xl": ("randomized-xl", {}),
}
"""The randomized form of a position: its name and options. A learned table has no entries beyond its length."""


def check_mode(position: Part, mode: ExtrapolationMode) -> None:
    """Refuse a mode that does not fit the position.

    Args:
        position: The position of the run.
        mode: The extrapolation mode.

    Raises:
        IncompatiblePartsError: The mode does not fit; lists the modes that do.
    """
    if mode not in (supported := supported_modes(position)):
        problem = f"A run with {position.name} positions cannot be evaluated as {mode}."
        raise IncompatiblePartsError(problem, f"Modes that fit: {', '.join(supported)}.", where="--extrapolation")


def supported_modes(position: Part) -> list[ExtrapolationMode]:
    """List the modes that fit a position.

    Args:
        position: The position of a run.

    Returns:
        The modes, ``trained`` first.
    """
    entry = POSITIONS.entry(position.name)
    supported: list[ExtrapolationMode] = ["trained"]
    if position.then:
        return supported  # each mode replaces the one position of a model
    if entry.name in ROTARY:
        supported += ["interpolated", "yarn"]
    # The randomized position has rotary angles of the default base only.
    default_base = entry.name not in ROTARY or entry.complete(position.options)["base"] == 10_000.0
    if entry.cls.random or (entry.name in RANDOMIZED and default_base):
        supported.append("randomized")
    return supported


def extrapolated_position(position: Part, mode: ExtrapolationMode, trained: int, length: int) -> Part:
    """Build the position that a mode uses beyond the trained length.

    Args:
        position: The position of the run.
        mode: A mode other than ``trained`` that fits the position.
        trained: Trained length in tokens.
        length: Length in tokens to evaluate on.

    Returns:
        The position's name and options.
    """
    entry = POSITIONS.entry(position.name)
    options = entry.complete(position.options)
    if mode == "randomized":
        if entry.cls.random:
            return position
        name, more = RANDOMIZED[entry.name]
        shared = POSITIONS.entry(name).options.keys() & options.keys() - {"range"}
        kept = {key: options[key] for key in shared}
        return Part(name=name, options={**kept, **more, "range": RANGE_FACTOR * max(trained, length)})
    start = options.get("trained") or trained
    return Part(name=mode, options={"base": options["base"], "trained": start, "factor": max(1.0, length / start)})


def check_length(model: Model, length: int, trained: int) -> None:
    """Refuse sequences that are too long for the position of a model, before any prediction.

    Args:
        model: The model.
        length: Length in tokens to evaluate on.
        trained: Trained length in tokens, which the model accepts.

    Raises:
        InvalidValueError: The length is too long; names the longest accepted length.
    """
    try:
        apply_position(model, length)
    except InvalidValueError as error:
        low, high = trained, length
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if accepts_length(model, middle) else (low, middle)
        hint = f"This run reads up to {low} tokens."
        raise InvalidValueError(error.problem, hint, where=f"{length} tokens") from None


def accepts_length(model: Model, length: int) -> bool:
    """Whether the position of a model accepts a length.

    Args:
        model: The model.
        length: Length in tokens.

    Returns:
        Whether it does.
    """
    try:
        apply_position(model, length)
    except InvalidValueError:
        return False
    return True


@torch.no_grad()
def apply_position(model: Model, length: int) -> None:
    """Compute everything that depends on the position for one sequence; its score bias for the last query only.

    A whole model of the user's own is run: what in it depends on the position is not known.

    Args:
        model: The model.
        length: Length in tokens.

    Raises:
        InvalidValueError: The position does not accept the length.
    """
    if not isinstance(model, Transformer):
        _apply_whole(model, length)
        return
    x_BTD = model.position.embed(model.embedding_VD[:1].expand(length, -1)[None])
    pattern = model.spec.position.alternating
    for layer, block in enumerate(model.blocks[: len(pattern)]):
        assert isinstance(block, Block)
        if not block.attention.has_heads:
            continue
        position = model.position.of_layer(layer)
        qkv = block.attention.prepare(x_BTD, position, LayerInputs(()))
        if position.biases:
            last = qkv._replace(queries_BHTC=qkv.queries_BHTC[..., -1:, :], start=length - 1)
            block.attention.scores(last, position)


def _apply_whole(model: Model, length: int) -> None:
    """Run a whole model over one sequence of zeros."""
    weight = next(model.parameters(), None)
    device = None if weight is None else weight.device
    try:
        with evaluation_mode(model):
            model(torch.zeros(1, length, dtype=torch.int64, device=device), None)
    except InvalidValueError:
        raise
    except Exception as error:
        head = describe_exception(error).partition("\n")[0]
        raise InvalidValueError(f"{model.spec.variant} does not read {length} tokens: {head}.") from error
