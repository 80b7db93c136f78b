"""The page of all fields that ``--set`` and YAML can set, from the specifications; and the recipes that set several."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic.fields import FieldInfo

from attnlab.attention.ops import modifiers
from attnlab.config.recipes import RECIPES
from attnlab.rendering.catalog import type_text
from attnlab.sizes import MAX_INTEGER
from attnlab.specs import FILLED_IN, ModelSpec, Modifiers, Part, TrainSpec, variant_text
from manual.api import class_of
from manual.markdown import code, documentation, inline, table

PATH = "reference/settings.md"
PARTS: Mapping[str, str] = {
    "attention": "attention",
    "position": "position",
    "norm_layer": "norm",
    "mlp": "mlp",
    "block": "block",
    "residual_stream": "residual-stream",
}
"""Fields that hold parts, and the folder of the pages of these."""
WORDS = {
    "layers": "Number of layers.",
    "heads": "Number of heads.",
    "attention": "One attention, or several that alternate over the layers.",
    "position": "How the order of the tokens is known.",
    "schedule": "How the learning rate falls after the warmup.",
    "betas": "Decay rates of the optimizer's two averages.",
}
"""Fields whose name says it all in the code."""
SECTIONS: tuple[tuple[str, type[Any], str, str], ...] = (
    ("Model", ModelSpec, "model", "Sizes, wiring and parts of the transformer: `--set model.FIELD=VALUE`."),
    ("Training", TrainSpec, "train", "How a run is trained, validated and tested: `--set train.FIELD=VALUE`."),
    ("Modifiers", Modifiers, "model.modifiers", "Additions to any attention: `--set model.modifiers.FIELD=VALUE`."),
)


def settings_page() -> tuple[str, str]:
    """Write the page of the fields.

    Returns:
        Path and Markdown.
    """
    parts = [
        "# Settings",
        "Every field of a run can be set: on the command line with `--set`, in YAML under `model:` and `train:`, "
        "in Python with `model={...}` and `train={...}`. `attnlab schema` prints the same as a JSON schema.",
    ]
    for title, section, _, intro in SECTIONS:
        rows = []
        for name, field in section.model_fields.items():
            if name not in (*FILLED_IN, "matched", "module", "modifiers"):
                rows.append((code(name), inline(_meaning(section, name)), code(_default(field)), _accepts(name, field)))
        parts += [f"## {title}", intro, table(("field", "meaning", "default", "accepts"), rows)]
    doc = modifiers.__doc__ or ""
    return PATH, "\n\n".join([*parts, documentation(doc.partition("\n\n")[2]), *_recipes()]) + "\n"


def _recipes() -> list[str]:
    """The recipes, with the settings that they stand for."""
    intro = (
        'Named settings: `--recipe NAME`, `recipe: NAME` in YAML, `recipe="NAME"` in Python. What the ladder sets is '
        "above them, and what you set is above both. A run with a recipe is the run with its settings spelled out."
    )
    rows = [
        (code(one.name), inline(one.summary), " ".join(map(code, one.settings)) or "none", inline(one.favors))
        for one in RECIPES.values()
    ]
    return ["## Recipes", intro, table(("recipe", "meaning", "settings", "what it favors"), rows)]


def _default(field: FieldInfo) -> str:
    value = field.get_default()
    if isinstance(value, tuple) and value and isinstance(value[0], Part):
        return variant_text(value)
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value) or "empty"


def _accepts(name: str, field: FieldInfo) -> str:
    """The type with its bounds, or a link to the parts that there are."""
    if name in PARTS:
        return f"[{PARTS[name]}]({PARTS[name]}/index.md)"
    inner = typing.get_args(field.annotation)
    if typing.get_origin(field.annotation) is tuple:
        count = "list of" if inner[-1] is ... else f"{len(inner)} of"
        text = f"{count} {type_text(inner[0])}"
    else:
        text = type_text(Annotated[field.annotation, field])
    return code(text.replace(f" <= {MAX_INTEGER}", "").strip(" |"))


def _meaning(section: type[Any], name: str) -> str:
    """The line below the field in the code."""
    found = class_of(f"{section.__module__}.{section.__qualname__}").members[name].docstring
    return " ".join(found.value.split()) if found else WORDS.get(name, "")
