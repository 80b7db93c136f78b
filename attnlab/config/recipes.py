"""Recipes: named settings of model and training, which lie below those of a ladder and of the user.

A recipe is nothing but the words that ``--set`` takes, so that a run with it is the run with its settings spelled out,
of the same id. It is written into no spec. A modifier that an attention does not take is left out for it
(:mod:`attnlab.experiments.recipe_modifiers`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from attnlab.errors import unknown


@dataclass(frozen=True)
class Recipe:
    """Named settings of model and training.

    Args:
        name: The name.
        summary: What it is, in one line.
        favors: What it is better and worse for, as far as it was measured: benchmarks/README.md, "Recipes".
        settings: Words as ``--set`` takes them.
    """

    name: str
    summary: str
    favors: str
    settings: tuple[str, ...] = ()


PLAIN = ("model.position=learned",)
QK_NORM = ("model.modifiers.qk_norm=true",)
MUON = ("train.optimizer=muon", "train.lr=0.01")
ALL = (
    Recipe(
        "default",
        "AdamW at 3e-3, Fourier positions.",
        "What counts where no recipe is named. Softmax and mamba2 leave the plateaus of recall with it, on which they "
        "stay with plain; expressive and delta take up to 2.3 times the steps of plain to reverse and to delay.",
    ),
    Recipe(
        "plain",
        "As default, with learned positions.",
        "The default until 2026-11-30: as soon or sooner where something is addressed by its place, and softmax stays "
        "on plateaus of recall. It has no position beyond the longest sequence of the run.",
        PLAIN,
    ),
    Recipe(
        "qk-norm",
        "As default, with normalized queries and keys.",
        "With learned positions it solves 12 of 12 runs of softmax; a step costs 1.1 to 1.5 times as much. delta and "
        "its kin have it built in.",
        QK_NORM,
    ),
    Recipe(
        "muon",
        "As default, with Muon at 1e-2.",
        "With learned positions it solves 12 of 12 runs of softmax, and expressive takes 1.5 times the steps; a step "
        "costs up to 1.7 times.",
        MUON,
    ),
    Recipe(
        "muon-qk-norm",
        "As default, with Muon at 1e-2 and normalized queries and keys.",
        "With learned positions it solves recall with two pairs sooner than either alone, in one seed of softmax.",
        MUON + QK_NORM,
    ),
)
RECIPES = {recipe.name: recipe for recipe in ALL}
DEFAULT = "default"
"""What counts where no recipe is named."""


def find_recipe(name: Any, where: str = "--recipe") -> Recipe:
    """Find a recipe.

    >>> find_recipe("muon").settings
    ('train.optimizer=muon', 'train.lr=0.01')
    >>> find_recipe(None).name
    'default'

    Args:
        name: Its name; None is the default.
        where: The location, for messages.

    Returns:
        The recipe.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name is None:
        name = DEFAULT
    if not isinstance(name, str) or name not in RECIPES:
        raise unknown("recipe", str(name), RECIPES, where=where)
    return RECIPES[name]


def with_recipe(name: str | None, section: str, *over: dict[str, Any]) -> dict[str, Any]:
    """Merge the settings of one section: those of a recipe, and over them the ladder's, and over these the user's.

    >>> with_recipe("muon", "train", {"max_steps": 500, "lr": 1e-3}, {"max_steps": 9})
    {'optimizer': 'muon', 'lr': 0.001, 'max_steps': 9}

    Args:
        name: The recipe; None is the default.
        section: ``model`` or ``train``.
        *over: The settings of the ladder, and those of the user.

    Returns:
        New nested data.

    Raises:
        UnknownNameError: There is no such recipe.
    """
    from attnlab.config.inline_parts import merged, parse_settings

    data = parse_settings([*find_recipe(name).settings]).get(section, {})
    for settings in over:
        data = merged(data, settings)
    return data
