"""What went wrong in code of the user, and where: the line of the file, and what to do about it.

The line is the innermost one of a file of the user's own; or else of the package that the module is of; never one of
attnlab, of the standard library, or of the machinery by which torch calls a module.
"""

from __future__ import annotations

import inspect
import linecache
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

LIBRARY = f"{Path(__file__).resolve().parent}/"
STANDARD = f"{sysconfig.get_path('stdlib')}/"
INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]([^/\\]+)")
MACHINERY = ("torch/nn/modules/module.py", "torch/utils/_contextlib.py", "torch/_dynamo/", "torch/autograd/")
"""Files of torch that only pass a call on."""
MISSING = re.compile(r"(\w+)\.forward\(\) missing \d+ required (?:positional|keyword-only) arguments?: (.*)")
GPU = re.compile(r"\bcuda\b|\bnvidia\b|\btriton\b|\bcudnn\b", re.IGNORECASE)

CORRECT = "Correct this line, and run the command again."
OF_PACKAGE = (
    "This is code of a package: give it other arguments, NAME:key=value, or call it from a class of your own, "
    "FILE.py:Class."
)
NO_GPU = (
    "attnlab builds and checks a module on the CPU, and moves it to the device of the run itself. The module must not "
    "ask for a GPU: leave out .cuda() and .to('cuda'), and make new tensors with device=x.device. A module that runs "
    "on a GPU only cannot be used."
)
NO_FORWARD = "Write def forward(self, x), which returns the output."


def user_frame(error: BaseException) -> traceback.FrameSummary | None:
    """Find the line of the user's code that an exception came through.

    Args:
        error: The exception, with its traceback.

    Returns:
        The innermost line of a file of the user; or else of the outermost package that is not torch, or of torch; None
        where there is only attnlab, the standard library and torch's machinery.
    """
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if is_users(frame.filename)]
    if theirs:
        return theirs[-1]
    packages = {id(frame): _package(frame.filename) for frame in frames}
    outermost = next((name for name in packages.values() if name not in ("", "torch")), "torch")
    return next((frame for frame in reversed(frames) if packages[id(frame)] == outermost), None)


def is_users(filename: str) -> bool:
    """Tell whether a file is the user's own.

    Args:
        filename: As a traceback has it; a cell of a notebook is the user's own.

    Returns:
        Whether it is none of attnlab, of an installed package, and of the standard library.
    """
    return not (filename.startswith((LIBRARY, "<frozen", STANDARD)) or INSTALLED.search(filename))


def code_line(*owners: Any) -> str:
    """Tell where code is written.

    >>> code_line(3)
    ''

    Args:
        *owners: Classes and functions, of which the first one of the user is taken, or else the first. Of a class of
            modules the line is that of its forward, if the class has one.

    Returns:
        ``at FILE:LINE: text``; empty where it is not known.
    """
    places = [place for owner in owners for place in _places(owner)]
    return _line(next((place for place in places if is_users(place[0])), places[0] if places else ("", 0)))


def users_line(*owners: Any) -> str:
    """Tell where code of the user is written.

    Args:
        *owners: Classes and functions, the innermost first.

    Returns:
        ``at FILE:LINE: text`` of the first that is the user's own; empty where none is.
    """
    line = code_line(*owners)
    return line if is_users(line.removeprefix("at ")) else ""


def class_line(cls: type) -> str:
    """Tell where a class is written.

    Args:
        cls: The class.

    Returns:
        ``at FILE:LINE: class ...``; empty where it is not known.
    """
    return _line(next(iter(_class_places(cls)), ("", 0)))


def constructor_line(build: Any) -> str:
    """Tell where the constructor of a class, or a function that makes a module, is written.

    Args:
        build: The class or function.

    Returns:
        ``at FILE:LINE: def ...``; empty where it is not known.
    """
    return _line(next(iter(_places(vars(build).get("__init__") if isinstance(build, type) else build)), ("", 0)))


def _line(place: tuple[str, int]) -> str:
    file, line = place
    return f"at {file}:{line}: {linecache.getline(file, line).strip()}" if file else ""


def location_of(error: BaseException, *owners: Any) -> str:
    """Tell where an exception comes from.

    Args:
        error: The exception.
        *owners: Classes and functions whose code it is, for an exception that did not reach a line of the user.

    Returns:
        ``at FILE:LINE: text``, of a package and of the user's code that uses it two such lines; empty where it is not
        known.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"at {error.filename}:{error.lineno}: {(error.text or '').strip()}"
    frame = user_frame(error)
    raised = f"at {frame.filename}:{frame.lineno}: {frame.line}" if frame else ""
    if frame is not None and is_users(frame.filename):
        return raised
    if written := users_line(*owners):
        return "\n".join(filter(None, (written, raised)))
    return raised or code_line(*owners)


def advice_on(error: BaseException, accepted: str = "") -> str:
    """Tell what would be accepted and what to do about an exception of the user's code.

    >>> advice_on(ModuleNotFoundError("No module named 'fla.ops'", name="fla.ops")).splitlines()[0]
    'Install the package that has it in the environment of attnlab: pip install fla.'

    Args:
        error: The exception.
        accepted: What to say of one that tells nothing by itself; empty takes advice by the place of the code.

    Returns:
        One or two sentences.
    """
    message = str(error)
    if isinstance(error, SyntaxError):
        version = ".".join(map(str, sys.version_info[:2]))
        return f"Correct this line, and run the command again: the file must be valid Python {version}."
    if isinstance(error, ModuleNotFoundError) and error.name:
        root = error.name.partition(".")[0]
        return (
            f"Install the package that has it in the environment of attnlab: pip install {root}.\n"
            "A module of your own must lie beside the file that imports it."
        )
    if isinstance(error, ImportError):
        return "Correct the import, or install a version of the package that has the name."
    if GPU.search(message) and "out of memory" not in message:
        return NO_GPU
    if match := MISSING.search(message):
        return (
            f"attnlab gives the forward one input. Give {match[2]} a default, or name a class of your own that calls "
            f"{match[1]} with all it needs."
        )
    if isinstance(error, NotImplementedError) and '"forward" function' in message:
        return NO_FORWARD
    if accepted:
        return accepted
    frame = user_frame(error)
    return OF_PACKAGE if frame is not None and not is_users(frame.filename) else CORRECT


def user_stacklevel() -> int:
    """Count the frames from the caller to the user's code, for :func:`warnings.warn`.

    Returns:
        The ``stacklevel`` of the innermost line that is not attnlab's; 1 is the caller.
    """
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None and frame.f_code.co_filename.startswith(LIBRARY):
        frame, level = frame.f_back, level + 1
    return level


def _package(filename: str) -> str:
    """The installed package of a file; empty for any other file, and for torch's machinery."""
    match = INSTALLED.search(filename)
    if match is None or any(part in filename.replace("\\", "/") for part in MACHINERY):
        return ""
    return match[1].removesuffix(".py")


def _places(owner: Any) -> list[tuple[str, int]]:
    """File and line of a function; of a class those of its forward and of itself."""
    if not isinstance(owner, type):
        code = getattr(inspect.unwrap(owner) if callable(owner) else owner, "__code__", None)
        return [_definition(code)] if isinstance(code, CodeType) else []
    places = _places(vars(owner).get("forward") or getattr(owner, "forward", None))
    if any(part in file.replace("\\", "/") for file, _ in places for part in MACHINERY):
        places = []  # the forward of torch's base class, which a class without one has
    return [*places, *_class_places(owner)]


def _class_places(owner: type) -> list[tuple[str, int]]:
    """File and line of a class; in a notebook those of its first method."""
    try:
        lines, first = inspect.getsourcelines(owner)
        file = inspect.getsourcefile(owner) or ""
    except (OSError, TypeError):  # of a notebook, or of C
        methods: list[Callable[..., Any]] = [one for one in vars(owner).values() if inspect.isfunction(one)]
        return _places(methods[0]) if methods else []
    skipped = next((index for index, line in enumerate(lines) if line.lstrip().startswith("class ")), 0)
    return [(file, first + skipped)]


def _definition(code: CodeType) -> tuple[str, int]:
    """File and line of a ``def``, below its decorators."""
    file, first = code.co_filename, code.co_firstlineno
    starts = ("def ", "async def ")
    return file, next(
        (line for line in range(first, first + 10) if linecache.getline(file, line).lstrip().startswith(starts)), first
    )
