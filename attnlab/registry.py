"""Names to parts: how attentions, positions and tasks are found, described and built.

A registry imports the modules of its own package, then what third parties offer through entry points of the same
group, then the files a user names with ``--with``. Registering is a decorator on a class; the class's constructor
signature *is* the list of its options, so a part has typed options and no configuration class.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from attnlab.errors import AttnlabError, InvalidValueError, PluginError, unknown

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """One keyword of a part's constructor: its name, accepted type and default."""

    name: str
    accepts: Any
    default: Any

    def check(self, value: Any) -> Any:
        """The value, validated against the annotation.

        Raises:
            InvalidValueError: the value is of another type or outside the range.
        """
        try:
            return self._adapter.validate_python(_tuples(value))
        except ValidationError as error:
            reasons = sorted({result["msg"].removeprefix("Value error, ") for result in error.errors()})
            hint = f"{'; or '.join(reasons)}. Default: {self.default!r}."
            raise InvalidValueError(f"Option '{self.name}' cannot be {value!r}.", hint) from None

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return _adapter(self.accepts)


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered part: its class, and what is said of it."""

    name: str
    cls: type[T]
    summary: str
    source: str
    version: int
    aliases: tuple[str, ...]

    @cached_property
    def options(self) -> dict[str, Option]:
        """The keyword-only arguments of the constructor, in order."""
        hints = typing.get_type_hints(self.cls.__init__, include_extras=True)
        keywords = inspect.signature(self.cls.__init__).parameters.values()
        return {
            word.name: Option(word.name, hints.get(word.name, Any), word.default)
            for word in keywords
            if word.kind is inspect.Parameter.KEYWORD_ONLY
        }

    @property
    def required(self) -> list[str]:
        """Names of the options that have no default."""
        return [option.name for option in self.options.values() if option.default is inspect.Parameter.empty]

    def complete(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options of the part: the given ones checked, the others at their defaults.

        Raises:
            UnknownNameError: an option the part does not have.
            InvalidValueError: a value it does not accept, or a needed option that is missing.
        """
        known = self.options
        given = {name: self.check(name, value) for name, value in options.items()}
        missing = [name for name in self.required if name not in given]
        if missing:
            raise InvalidValueError(
                f"'{self.name}' needs the option '{missing[0]}'.", f"Write {self.name}:{missing[0]}=..."
            )
        return {name: given.get(name, option.default) for name, option in known.items()}

    def check(self, name: str, value: Any) -> Any:
        """One option, checked.

        Raises:
            UnknownNameError: the part has no such option.
            InvalidValueError: the value is not accepted.
        """
        if name not in self.options:
            raise unknown(f"option of {self.name}", name, self.options)
        return self.options[name].check(value)

    def non_default(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The given options, checked, without those that say what the default says anyway."""
        complete = self.complete(options)
        return {name: value for name, value in complete.items() if value != self.options[name].default}


class Registry(Generic[T]):
    """The parts of one kind, by name.

    Args:
        kind: What a part is called in messages, such as ``attention``.
        package: The package whose modules are discovered; also the entry-point group.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._entries: dict[str, Entry[T]] = {}
        self._discovered = False

    def register(
        self, name: str, *, source: str, version: int = 1, summary: str = "", aliases: tuple[str, ...] = ()
    ) -> Callable[[type[T]], type[T]]:
        """Decorator that adds a class under a name; the summary defaults to its docstring's first line."""

        def add(kind: type[T]) -> type[T]:
            if not kind.__module__.startswith(f"{self.package}."):
                self.discover()  # so that a stranger cannot take a name before its owner comes
            for word in (name, *aliases):
                stored = self._find(word)
                if stored and (stored.cls.__module__, stored.cls.__qualname__) != (kind.__module__, kind.__qualname__):
                    raise PluginError(f"The {self.kind} '{word}' is already taken by {stored.cls.__module__}.")
            text = summary or (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
            self._entries[name] = Entry(name, kind, text, source, version, aliases)
            return kind

        return add

    def entry(self, name: str) -> Entry[T]:
        """The part of that name or alias.

        Raises:
            UnknownNameError: no part has it; carries the closest one.
        """
        self.discover()
        if result := self._find(name):
            return result
        raise unknown(self.kind, name, self._entries)

    def __iter__(self) -> Iterator[Entry[T]]:
        self.discover()
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __contains__(self, name: str) -> bool:
        self.discover()
        return self._find(name) is not None

    def discover(self) -> None:
        """Import this package's own modules and the entry points of third parties, once."""
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        for point in importlib.metadata.entry_points(group=self.package):
            try:
                point.load()
            except Exception as error:
                raise _failed(f"entry point {point.name} = {point.value}", error) from error

    def _find(self, name: str) -> Entry[T] | None:
        if name in self._entries:
            return self._entries[name]
        return next((entry for entry in self._entries.values() if name in entry.aliases), None)


_ADAPTERS: dict[str, TypeAdapter[Any]] = {}
"""What validates the annotations that their words say all of: most are alike, and each takes a millisecond to build."""


def _adapter(accepts: Any) -> TypeAdapter[Any]:
    """What validates an annotation."""
    words = repr(accepts) if _told_by_words(accepts) else ""
    result = _ADAPTERS.get(words) or TypeAdapter(accepts, config=ConfigDict(strict=True))
    if words:
        _ADAPTERS[words] = result
    return result


def _told_by_words(accepts: Any) -> bool:
    """Whether nothing stands in an annotation but builtins and bounds, so that its words say all of it."""
    if isinstance(accepts, type) and not typing.get_args(accepts):
        return accepts.__module__ == "builtins"
    origin, inner = typing.get_origin(accepts), typing.get_args(accepts)
    if origin is typing.Annotated:
        return all(type(bound) is FieldInfo for bound in inner[1:]) and _told_by_words(inner[0])
    if origin is typing.Literal:
        return all(type(word) in (str, int, bool) for word in inner)
    return accepts in (Any, ...) or (bool(inner) and all(map(_told_by_words, inner)))


def load_plugin(path: Path) -> None:
    """Run a user's Python file, so that the parts it registers are known.

    Raises:
        PluginError: the file is missing or fails; its own error is shown, shortened.
    """
    name = f"attnlab_with_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise PluginError("There is no such Python file.", "Give the path of a .py file.", where=f"--with {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except AttnlabError as error:
        sys.modules.pop(name, None)
        raise error.at(f"--with {path}") from error
    except Exception as error:
        sys.modules.pop(name, None)
        raise _failed(f"--with {path}", error) from error


def _failed(where: str, error: Exception) -> PluginError:
    head, _, place = describe_exception(error).partition("\n")
    return PluginError(head, place, where=where)


def describe_exception(error: Exception) -> str:
    """A stranger's exception in two lines: what it says, and the last line of the stranger's own code."""
    if isinstance(error, SyntaxError):
        place = f"{error.filename}:{error.lineno}: {(error.text or '').strip()}"
        return f"SyntaxError: {error.msg}\nat {place}"
    ours = str(Path(__file__).parent)
    walked = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    theirs = [
        frame for frame in walked if not frame.filename.startswith(ours) and "site-packages" not in frame.filename
    ]
    frame = (theirs or walked)[-1] if walked else None
    place = f"{frame.filename}:{frame.lineno}: {frame.line}" if frame else "(no frame)"
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}\nat {place}"


def _tuples(value: Any) -> Any:
    """YAML knows lists only; options that hold several values are tuples."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
