"""Data to values, with every refusal told as: where, what was found, what would be accepted."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from attnlab.config.yaml import Place
from attnlab.errors import AttnlabError, InvalidValueError, unknown

M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], data: Any, where: Callable[[Place], str]) -> M:
    """The value that the data describes.

    Args:
        model: The class of the value.
        data: Plain data, as YAML gives it.
        where: Tells the place of a field to a person.

    Raises:
        UnknownNameError: a key that the value does not have.
        InvalidValueError: a field of the wrong type, out of range, or missing.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        errors = error.errors()
        first = min(errors, key=_urgency)
        place = _standing(first["loc"], data)
        alike = [
            other["msg"]
            for other in errors
            if _standing(other["loc"], data) == place and len(other["loc"]) == len(first["loc"])
        ]
        raise _told(model, first, place, alike, where) from None


def _told(
    model: type[BaseModel], error: ErrorDetails, place: Place, messages: list[str], where: Callable[[Place], str]
) -> AttnlabError:
    if error["type"] == "extra_forbidden":
        place = error["loc"]
        return unknown("key", str(place[-1]), _fields(model, place[:-1]), where=where(place))
    if error["type"] == "missing":
        return InvalidValueError(
            f"'{error['loc'][-1]}' is missing.", "It has no default.", where=where(error["loc"][:-1])
        )
    result = error["input"]
    reasons = dict.fromkeys(
        text.removeprefix("Value error, ").replace("tuple", "list").replace("Tuple", "List") for text in messages
    )
    return InvalidValueError(
        "A mapping is not accepted here." if isinstance(result, BaseModel | dict) else f"It cannot be {result!r}.",
        f"{'; or '.join(reasons)}.",
        where=where(place),
    )


def _urgency(error: ErrorDetails) -> int:
    """A mistyped key first: what it should have said is then missing as well."""
    return 0 if error["type"] == "extra_forbidden" else 1


def _standing(place: Place, data: Any) -> Place:
    """A place up to the last step that stands in the data; the steps after it are the types that were tried."""
    for depth, step in enumerate(place):
        try:
            data = data[step]
        except (LookupError, TypeError):
            return place[:depth]
    return place


def _fields(model: type[BaseModel], place: Place) -> list[str]:
    """Names of the fields at a place, found by walking the annotations."""
    for step in place:
        inner = model.model_fields.get(str(step))
        candidates = [] if inner is None else [inner.annotation, *typing.get_args(inner.annotation)]
        result = [one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)]
        if not result:
            break
        model = result[0]
    return list(model.model_fields)
