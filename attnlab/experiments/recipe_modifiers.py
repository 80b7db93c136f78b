"""Modifiers that a recipe sets, for attentions that do not take them: they are left out, and said to be."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any

from attnlab.attention import ATTENTIONS
from attnlab.config.recipes import with_recipe
from attnlab.errors import PartWarning
from attnlab.specs import ModelSpec, Modifiers, variant_text
from attnlab.user_code import user_stacklevel

Data = dict[str, Any]


def modifiers_of_recipe(name: str | None, *over: Data) -> tuple[str, ...]:
    """List the modifiers that are set by a recipe alone.

    Args:
        name: The recipe; None is the default.
        *over: The settings of the model that the ladder and the user give; what they set is theirs.

    Returns:
        Names of modifiers.

    Raises:
        UnknownNameError: There is no such recipe.
    """
    own = with_recipe(name, "model").get("modifiers", {})
    return tuple(key for key in own if not any(key in (settings.get("modifiers") or {}) for settings in over))


def without_unsupported(model: ModelSpec, of_recipe: Collection[str]) -> ModelSpec:
    """Leave out what a recipe sets and no attention of a model takes, and warn of it.

    A recipe is one for all attentions, so that they can be compared: what one of them cannot use, or has built in, is
    no reason to refuse it. What a user sets by name is refused where it would change nothing.

    Args:
        model: The model, with its parts looked up.
        of_recipe: Modifiers that are set by the recipe alone.

    Returns:
        The model with the modifiers that it takes.
    """
    classes = [ATTENTIONS.entry(part.name).cls for part in model.attention]
    out = [name for name in of_recipe if all(name in cls.unsupported_modifiers for cls in classes)]
    if not out:
        return model
    for name in out:
        reason = classes[0].unsupported_modifiers[name]
        text = f"{name} of the recipe is left out for {variant_text(model.attention)}: {reason}."
        warnings.warn(text, PartWarning, stacklevel=user_stacklevel())
    kept = {name: value for name, value in model.modifiers if name not in out}
    return model.model_copy(update={"modifiers": Modifiers(**kept)})
