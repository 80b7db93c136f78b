"""How the position of a finished run is taken beyond its trained length, and whether it reaches there.

    as trained    as the run built it
    interpolated  rotary turns slowed, so that the longest sequence spans the trained length
    yarn          slow rotary turns slowed, fast ones kept
    randomized    places drawn at random from a range that is longer still

Whatever changes learns nothing, so that the weights of the run fit.

Source   the positions say theirs: :mod:`attnlab.position.stretched`, :mod:`attnlab.position.randomized`.
"""

from __future__ import annotations

from typing import Literal

import torch

from attnlab.errors import IncompatiblePartsError, InvalidValueError
from attnlab.model.transformer import Block, Transformer
from attnlab.position import POSITIONS
from attnlab.specs import Part
from attnlab.tensors import LayerInputs

Mode = Literal["trained", "interpolated", "yarn", "randomized"]
STRETCHED = ("rotary", "interpolated", "yarn")
"""Positions whose weights, none, fit one another."""
SPREAD = 2
"""A randomized range is this many times the longest sequence."""
RANDOMIZED = {
    "rotary": ("randomized", {"base": "rotary"}),
    "sinusoidal": ("randomized", {"base": "sinusoidal"}),
    "alibi": ("randomized-alibi", {}),
    "xl": ("randomized-xl", {}),
}
"""What a position becomes at random places. A learned table has no places to draw from."""


def check_mode(position: Part, mode: Mode) -> None:
    """Refuse a mode that does not fit the position.

    Raises:
        IncompatiblePartsError: with the modes that fit.
    """
    if mode not in (fits := modes(position)):
        words = f"A run with {position.name} positions cannot be evaluated as {mode}."
        raise IncompatiblePartsError(words, f"As these it can: {', '.join(fits)}.", where="--as")


def modes(position: Part) -> list[Mode]:
    """The modes that fit a position."""
    entry = POSITIONS.entry(position.name)
    fits: list[Mode] = ["trained"]
    if entry.name in STRETCHED:
        fits += ["interpolated", "yarn"]
    # Randomized turns have the usual base and no other.
    usual = entry.name not in STRETCHED or entry.complete(position.options)["base"] == 10_000.0
    if entry.cls.random or (entry.name in RANDOMIZED and usual):
        fits.append("randomized")
    return fits


def reaching(position: Part, mode: Mode, trained: int, length: int) -> Part:
    """The position that reaches beyond the trained length as the mode says."""
    entry = POSITIONS.entry(position.name)
    options = entry.complete(position.options)
    if mode == "randomized":
        if entry.cls.random:
            return position
        name, more = RANDOMIZED[entry.name]
        saved = {key: options[key] for key in POSITIONS.entry(name).options.keys() & options.keys() - {"range"}}
        return Part(name=name, options={**saved, **more, "range": SPREAD * max(trained, length)})
    start = options.get("trained") or trained
    return Part(name=mode, options={"base": options["base"], "trained": start, "factor": max(1.0, length / start)})


def check_length(model: Transformer, length: int, trained: int) -> None:
    """Refuse sequences that the positions of a model do not reach, before any is answered.

    Raises:
        InvalidValueError: with the longest that they do.
    """
    try:
        place(model, length)
    except InvalidValueError as error:
        low, high = trained, length
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if reaches(model, middle) else (low, middle)
        hint = f"This run reads up to {low} tokens."
        raise InvalidValueError(error.problem, hint, where=f"{length} tokens") from None


def reaches(model: Transformer, length: int) -> bool:
    """Whether a model has a place for so many tokens."""
    try:
        place(model, length)
    except InvalidValueError:
        return False
    return True


@torch.no_grad()
def place(model: Transformer, length: int) -> None:
    """Everything a position says of one sequence of that length, but of the last query alone.

    Raises:
        InvalidValueError: it is too long.
    """
    x_BTD = model.position.embed(model.embedding_VD[:1].expand(length, -1)[None])
    first = model.blocks[0]
    assert isinstance(first, Block)
    qkv = first.attention.prepare(x_BTD, model.position, LayerInputs(()))
    if model.position.biases:
        last = qkv._replace(queries_BHTC=qkv.queries_BHTC[..., -1:, :], start=length - 1)
        first.attention.scores(last, model.position)
