"""The arguments of the hooks that a variant overrides: a wrong number of them is found where the class is written."""

from __future__ import annotations

import inspect
from types import FunctionType

from attnlab.errors import PluginError
from attnlab.user_code import code_line


def check_hooks(cls: type, template: type) -> None:
    """Refuse a class one of whose methods cannot be called as the template calls its own.

    Args:
        cls: The class.
        template: The class with the hooks.

    Raises:
        PluginError: A method takes other arguments than that of the template.
    """
    for name, method in vars(cls).items():
        hook = vars(template).get(name)
        if name.startswith("_") or not isinstance(method, FunctionType) or not isinstance(hook, FunctionType):
            continue
        called = list(inspect.signature(hook).parameters.values())
        positional = [None for one in called if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
        try:
            inspect.signature(method).bind(*positional)
        except TypeError:
            listed = ", ".join(one.name for one in called[1:])
            problem = f"{cls.__name__}.{name} takes other arguments than it is called with: {listed or 'none'}."
            hint = f"{code_line(method)}\nWrite it as def {name}({', '.join(one.name for one in called)})."
            raise PluginError(problem, hint) from None
