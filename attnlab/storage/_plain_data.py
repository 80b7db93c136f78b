"""Values of pydantic -> the same as plain dictionaries, which are checked in a third of the time.

The types, bounds and strictness are those of the fields themselves: what a dictionary accepts, the value accepts.
A value with a check of its own, beyond its fields, stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, with_config
from typing_extensions import TypedDict

_typed_dict: Callable[[str, dict[str, Any]], Any] = TypedDict  # type: ignore[assignment]


def plain_data(kind: type[BaseModel], *, without: Collection[str] = ()) -> Any:
    """Describe a value as a dictionary.

    Args:
        kind: The value.
        without: Fields that are left out.

    Returns:
        A type that pydantic checks; fields that are unknown are ignored.
    """
    fields: dict[str, Any] = {}
    for name, info in kind.model_fields.items():
        if name not in without:
            annotation = _plain(info.annotation)
            for one in info.metadata:
                annotation = Annotated[annotation, one]
            fields[name] = Required[annotation] if info.is_required() else NotRequired[annotation]
    made = _typed_dict(f"Plain{kind.__name__}", fields)
    strict = bool(kind.model_config.get("strict"))
    return with_config(ConfigDict(strict=strict, extra="ignore", cache_strings="all"))(made)


def _plain(annotation: Any) -> Any:
    """The annotation with dictionaries in place of values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation if _checks(annotation) else plain_data(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[(_plain(arguments[0]), *arguments[1:])]
    if origin in (Union, UnionType):
        return reduce(or_, map(_plain, arguments))
    if origin in (tuple, list, dict):
        return origin[tuple(map(_plain, arguments))]
    return annotation


def _checks(kind: type[BaseModel]) -> bool:
    """Whether a value has checks beyond those of its fields."""
    own = kind.__pydantic_decorators__
    return bool(own.validators or own.field_validators or own.root_validators or own.model_validators)
