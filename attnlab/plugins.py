"""Plugins: Python files of users, run so that the parts they register are known.

Each file is a module of its own, named after its whole path, so that ``v1/mine.py`` and ``v2/mine.py`` are two. Modules
beside a file can be imported by it, and by no other.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from attnlab.errors import AttnlabError, PluginError
from attnlab.part_code.plugin_imports import PluginImports, TextLoader
from attnlab.user_code import advice_on, location_of

PREFIX = "attnlab_plugin_"


def plugin_module(path: Path) -> str:
    """Name the module of a plugin.

    Args:
        path: The file.

    Returns:
        A name that no other file has.
    """
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    return f"{PREFIX}{path.stem}_{digest}"


def load_plugin(path: Path, where: str = "") -> None:
    """Run a user's Python file, so that the parts it registers are known.

    Args:
        path: The file.
        where: What the user wrote that names the file, for messages; empty where it was ``--plugin``.

    Raises:
        PluginError: The file is missing or fails; the message has the file's own error, shortened.
    """
    name, where = plugin_module(path), where or f"--plugin {path}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise PluginError("There is no such Python file.", "Give the path of a .py file.", where=where)
    if type(spec.loader) is SourceFileLoader:
        spec.loader = TextLoader(name, spec.loader.path)
    module = importlib.util.module_from_spec(spec)
    imports = PluginImports(name, path.resolve().parent)
    imports.prepare(module)
    imports.forget()
    sys.modules[name] = module
    try:
        with imports.active():
            spec.loader.exec_module(module)
    except AttnlabError as error:
        sys.modules.pop(name, None)
        raise error.at(where) from error
    except SystemExit as error:
        sys.modules.pop(name, None)
        hint = f"{location_of(error)}\nPut what is a program of its own below: if __name__ == '__main__':"
        raise PluginError("The file ends the program when it is imported.", hint.strip(), where=where) from error
    except Exception as error:
        sys.modules.pop(name, None)
        raise plugin_error(where, error) from error


def plugin_error(where: str, error: Exception, *owners: Any, accepted: str = "") -> PluginError:
    """Make the error for user code that raised an exception.

    Args:
        where: The location of the code: the option or entry point that named it.
        error: The exception.
        *owners: Classes and functions whose code it is, for an exception that did not reach a line of the user.
        accepted: What would be accepted; empty takes advice by the exception and its place.

    Returns:
        The error, to be raised: what was raised, the line, and what to do next.
    """
    hint = "\n".join(filter(None, (location_of(error, *owners), advice_on(error, accepted))))
    return PluginError(first_line(error), hint, where=where)


def first_line(error: BaseException) -> str:
    """Write an exception in one line.

    >>> first_line(KeyError("a"))
    "KeyError: 'a'"

    Args:
        error: The exception.

    Returns:
        Its type, and the first line of its message.
    """
    message = error.msg if isinstance(error, SyntaxError) else next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def describe_exception(error: Exception) -> str:
    """Describe an exception of a user's code in two lines.

    Args:
        error: The exception, with its traceback.

    Returns:
        Its type and message, and the last line of the user's own code that it passed through; one line where it passed
        through none.
    """
    return "\n".join(filter(None, (first_line(error), location_of(error))))
