"""Arguments of constructors: of a class, of the class above it, and of an object that holds them."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Container, Mapping
from typing import Any

CONFIG = ("config", "cfg", "configuration")
"""Names of arguments that take an object with the arguments; its class is known by the annotation."""

PLAIN = (dict, list, str, int, float, object)
"""Annotations that do not say which arguments an object has."""


def own_parameters(build: Callable[..., Any], names: Container[str] = ()) -> dict[str, inspect.Parameter]:
    """List the arguments of a constructor and, where it passes its keywords on, of the class above it.

    Args:
        build: A class, or a function that returns a module.
        names: Arguments of a class above that are listed although they have no default.

    Returns:
        The arguments by name.
    """
    found: dict[str, inspect.Parameter] = {}
    classes = build.__mro__ if isinstance(build, type) else (build,)
    outermost = True
    for one in classes:
        function = vars(one).get("__init__") if isinstance(one, type) else one
        if function is None:
            continue
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            break
        for parameter in parameters[1:] if isinstance(build, type) else parameters:
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            needed = parameter.default is not parameter.empty or parameter.name in names
            if named and parameter.name not in found and (outermost or needed):
                found[parameter.name] = parameter
        outermost = False
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def config_argument(build: Callable[..., Any]) -> tuple[str, type] | None:
    """Find the argument that takes an object with the arguments, such as ``config: LayerConfig``.

    Args:
        build: A class, or a function that returns a module.

    Returns:
        Its name and the class of the object; None if there is none, or its class is not annotated.
    """
    for name, one in own_parameters(build).items():
        if name in CONFIG and one.default is one.empty:
            function = getattr(build, "__init__", build) if isinstance(build, type) else build
            try:
                annotation = typing.get_type_hints(function).get(name)
            except Exception:  # an annotation names what is not there
                return None
            return (name, annotation) if isinstance(annotation, type) and annotation not in PLAIN else None
    return None


def with_config(build: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Put arguments into the object that a constructor takes.

    Args:
        build: A class, or a function that returns a module.
        arguments: The arguments of the constructor and of its object.

    Returns:
        The arguments of the constructor.

    Raises:
        Exception: Whatever the class of the object raises.
    """
    object_argument = config_argument(build)
    if object_argument is None:
        return dict(arguments)
    name, config = object_argument
    inside = own_parameters(config)
    own = {key: value for key, value in arguments.items() if key not in inside}
    return {name: config(**{key: value for key, value in arguments.items() if key in inside}), **own}
