"""JSON schemas of the YAML files; each field is described by the sentence below it in the source.

Only editors read these sentences, and finding them means parsing the source, so that it is done on request.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from attnlab.specs import Value


def schema(kind: type[Value]) -> dict[str, Any]:
    """Make the JSON schema of a value and of the values in it.

    Args:
        kind: The class of the value.

    Returns:
        The schema, as plain data.
    """
    data = kind.model_json_schema()
    inner = data.get("$defs", {})
    for value in _below(Value):
        described = data if value is kind else inner.get(value.__name__, {})
        properties, meant = described.get("properties", {}), meanings(value)
        for field, info in value.model_fields.items():
            words = properties.get(key := info.alias or field)
            if words is not None and field in meant and "description" not in words:
                properties[key] = dict(sorted({**words, "description": meant[field]}.items()))
    return data


def meanings(kind: type[Value]) -> dict[str, str]:
    """Find the sentences below the fields of a value.

    Args:
        kind: The class of the value.

    Returns:
        Field -> sentence, for the fields that have one.
    """
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    result: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                result[name] = inspect.cleandoc(text)
    return result


def _below(kind: type[Value]) -> Iterator[type[Value]]:
    for value in kind.__subclasses__():
        yield value
        yield from _below(value)
