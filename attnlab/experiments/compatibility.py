"""Step 3 of a plan: parts that cannot be combined are refused."""

from __future__ import annotations

from attnlab.attention import ATTENTIONS
from attnlab.errors import IncompatiblePartsError
from attnlab.position import POSITIONS, Position
from attnlab.specs import ModelSpec, Modifiers


def check_position(model: ModelSpec) -> None:
    """Refuse a position that adds a bias to scores, or rotates queries and keys, where an attention has none.

    Args:
        model: The model, with its parts looked up.

    Raises:
        IncompatiblePartsError: The message lists the positions that can be combined with the attention.
    """
    position = POSITIONS.entry(model.position.name)
    for part in model.attention:
        if position.cls.biases and not ATTENTIONS.entry(part.name).cls.has_scores:
            names = ", ".join(entry.name for entry in POSITIONS if not entry.cls.biases)
            problem = f"'{part.name}' has no attention scores, and the position '{position.name}' adds a bias to them."
            raise IncompatiblePartsError(problem, f"Combine it with: {names}.", where="model.position")
        if position.cls.rotate is not Position.rotate and not ATTENTIONS.entry(part.name).cls.has_heads:
            embedded = [
                entry.name for entry in POSITIONS if entry.cls.rotate is Position.rotate and not entry.cls.biases
            ]
            problem = f"'{part.name}' has no queries and keys of ours, which the position '{position.name}' rotates."
            raise IncompatiblePartsError(problem, f"Combine it with: {', '.join(embedded)}.", where="model.position")


def check_modifiers(model: ModelSpec) -> None:
    """Refuse a modifier that would change nothing in any layer.

    Args:
        model: The model, with its parts looked up.

    Raises:
        IncompatiblePartsError: The message lists the modifiers that the attention supports.
    """
    used = sorted(name for name, value in model.modifiers if value != Modifiers.model_fields[name].default)
    if "value_residual" in used and model.layers == 1:
        problem = "value_residual mixes in the values of the first layer, and this model has one layer."
        hint = "Use two layers or more, or leave value_residual out."
        raise IncompatiblePartsError(problem, hint, where="model.modifiers")
    classes = {part.name: ATTENTIONS.entry(part.name).cls for part in model.attention}
    for name in used:
        if all(name in cls.unsupported_modifiers for cls in classes.values()):
            part, cls = next(iter(classes.items()))
            supported = ", ".join(other for other in Modifiers.model_fields if other not in cls.unsupported_modifiers)
            problem = f"'{part}' does not support {name}: {cls.unsupported_modifiers[name]}."
            hint = f"Leave {name} out. '{part}' supports: {supported}."
            raise IncompatiblePartsError(problem, hint, where="model.modifiers")
