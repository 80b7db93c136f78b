"""Plain data -> values; every refusal says where, what was found and what would be accepted."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from attnlab.config.renamed import Location
from attnlab.errors import AttnlabError, InvalidFileError, InvalidValueError, echo, plain_reason, unknown
from attnlab.specs import FILLED_IN

M = TypeVar("M", bound=BaseModel)
LISTS = ("list_type", "tuple_type", "too_long", "too_short", "missing")
"""Errors of pydantic of which an example of a list helps."""


def validated(model: type[M], data: Any, where: Callable[[Location], str]) -> M:
    """Make the value that the data describe.

    Args:
        model: The class of the value.
        data: Plain data, as YAML gives them.
        where: Names the location of a field for a message.

    Returns:
        The value.

    Raises:
        UnknownNameError: A key that the value does not have.
        InvalidValueError: A field of the wrong type, out of range, or missing.
        InvalidFileError: The data are those of an empty file.
    """
    if data is None:
        hint = "Copy a built-in one and edit it: attnlab cp NAME."
        raise InvalidFileError("The file is empty.", hint, where=where(()))
    try:
        return model.model_validate(data)
    except ValidationError as error:
        errors = error.errors()
        first = min(errors, key=_urgency)
        location = _existing(first["loc"], data)
        messages = [
            other["msg"]
            for other in errors
            if _existing(other["loc"], data) == location and len(other["loc"]) == len(first["loc"])
        ]
        raise _refusal(model, first, location, messages, where) from None


def _refusal(
    model: type[BaseModel],
    error: ErrorDetails,
    location: Location,
    messages: list[str],
    where: Callable[[Location], str],
) -> AttnlabError:
    if error["type"] == "extra_forbidden":
        location = error["loc"]
        return unknown("key", str(location[-1]), _fields(model, location[:-1]), where=where(location))
    if error["type"] == "missing":
        key = error["loc"][-1]
        return InvalidValueError(f"'{key}' is missing.", f"Add a line {key}: ...", where=where(error["loc"][:-1]))
    value = error["input"]
    reasons = dict.fromkeys(plain_reason(message).rstrip(".") for message in messages)
    example = _default(model, location) if error["type"] in LISTS else None
    return InvalidValueError(
        "A mapping is not accepted here." if isinstance(value, BaseModel | dict) else f"It cannot be {echo(value)}.",
        f"{'; or '.join(reasons)}{f', such as {list(example)}' if example else ''}.",
        where=where(location),
    )


def _urgency(error: ErrorDetails) -> int:
    """Put a mistyped key first: the key that was meant is then missing as well."""
    return 0 if error["type"] == "extra_forbidden" else 1


def _existing(location: Location, data: Any) -> Location:
    """Cut a location where the data end; the steps after it are the types that were tried."""
    for depth, step in enumerate(location):
        try:
            data = data[step]
        except (LookupError, TypeError):
            return location[:depth]
    return location


def _default(model: type[BaseModel], location: Location) -> tuple[Any, ...] | None:
    """The default of a field that holds a list of plain values; None of any other field."""
    for step in location[:-1]:
        inner = model.model_fields.get(str(step))
        if inner is None or not isinstance(inner.annotation, type) or not issubclass(inner.annotation, BaseModel):
            return None
        model = inner.annotation
    field = model.model_fields.get(str(location[-1])) if location else None
    default = None if field is None else field.default
    plain = isinstance(default, tuple) and all(isinstance(one, int | float | str) for one in default)
    return default if plain else None


def _fields(model: type[BaseModel], location: Location) -> list[str]:
    """Names of the fields that a user writes at a location, found by walking the annotations."""
    for step in location:
        if isinstance(step, int):
            continue  # an item of a list that the step before has led to
        inner = model.model_fields.get(str(step))
        candidates = [] if inner is None else [inner.annotation, *typing.get_args(inner.annotation)]
        models = [one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)]
        if not models:
            break
        model = models[0]
    return [field.alias or name for name, field in model.model_fields.items() if name not in FILLED_IN]
