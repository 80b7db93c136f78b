"""Plugins: Python files of users, run so that the parts they register are known.

Each file is a module of its own, named after its whole path, so that ``v1/mine.py`` and ``v2/mine.py`` are two. Modules
beside a file can be imported by it, and by no other.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path

from attnlab.errors import AttnlabError, PluginError
from attnlab.part_code.plugin_imports import PluginImports

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
    except Exception as error:
        sys.modules.pop(name, None)
        raise plugin_error(where, error) from error


def plugin_error(where: str, error: Exception) -> PluginError:
    """Make the error for user code that raised an exception.

    Args:
        where: The location of the code: the option or entry point that named it.
        error: The exception.

    Returns:
        The error, to be raised.
    """
    head, _, location = describe_exception(error).partition("\n")
    return PluginError(head, location, where=where)


def describe_exception(error: Exception) -> str:
    """Describe an exception of a user's code in two lines.

    Args:
        error: The exception, with its traceback.

    Returns:
        Its type and message, and the last line of the user's own code that it passed through.
    """
    if isinstance(error, SyntaxError):
        location = f"{error.filename}:{error.lineno}: {(error.text or '').strip()}"
        return f"SyntaxError: {error.msg}\nat {location}"
    library = str(Path(__file__).parent)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    theirs = [
        frame for frame in frames if not frame.filename.startswith(library) and "site-packages" not in frame.filename
    ]
    frame = (theirs or frames)[-1] if frames else None
    location = f"{frame.filename}:{frame.lineno}: {frame.line}" if frame else "(no frame)"
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}\nat {location}"
