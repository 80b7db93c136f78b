"""Registries: how attentions, positions and tasks are found by name, described and built.

A registry imports the modules of its own package, then what third parties offer through entry points of the same
group, then the files that a user names with ``--plugin``. Registering is a decorator on a class. The signature of the
class's constructor is the list of its options, so a part has typed options and no configuration class.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import pkgutil
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from attnlab.errors import AttnlabError, InvalidValueError, PluginError, UnknownNameError, echo, plain_reason, unknown
from attnlab.part_code import SCRIPT, PartCode, digest, part_code
from attnlab.plugins import PREFIX, plugin_error
from attnlab.sizes import MAX_INTEGER
from attnlab.specs import Part
from attnlab.user_code import constructor_line

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """One keyword of a part's constructor: its name, accepted type and default."""

    name: str
    accepts: Any
    default: Any

    def check(self, value: Any) -> Any:
        """Validate a value against the annotation.

        Args:
            value: Plain data; lists become tuples.

        Returns:
            The value, as the constructor takes it.

        Raises:
            InvalidValueError: The value is of another type or outside the range.
        """
        if too_large := next((one for one in _integers(value) if abs(one) > MAX_INTEGER), None):
            problem = f"Option '{self.name}' cannot be {echo(too_large)}: it has more than 64 bits."
            raise InvalidValueError(problem, f"Use at most {MAX_INTEGER:,}. Default: {self.default!r}.")
        try:
            return self._adapter.validate_python(_tuples(value))
        except ValidationError as error:
            said = self._in_words
            reasons = sorted({said or plain_reason(one["msg"]) for one in error.errors()})
            hint = f"{'; or '.join(reasons)}. Default: {self.default!r}."
            given = "empty" if value is None or value == "" else echo(value)
            raise InvalidValueError(f"Option '{self.name}' cannot be {given}.", hint) from None

    @property
    def _in_words(self) -> str:
        """What is accepted, where the annotation says it in words; a regular expression says nothing to a reader."""
        bounds = self.accepts.__metadata__ if typing.get_origin(self.accepts) is typing.Annotated else ()
        return next(
            (f"It is {one.description}" for one in bounds if isinstance(one, FieldInfo) and one.description), ""
        )

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return _adapter(self.accepts)


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered part: its class and its description."""

    name: str
    cls: type[T]
    summary: str
    source: str
    version: int
    aliases: tuple[str, ...]
    loaded_code: PartCode | None = None
    """The code of a class that another process has sent; None for a class whose code is here."""
    home: ModuleType | None = None
    """The module whose code is that of the part; None takes that of the class."""
    typed: str = ""
    """What the user wrote to name it, ``folder/my.py:Mixer``; empty where that was its name."""

    @property
    def to_type(self) -> str:
        """What names the part on the command line."""
        return self.typed or self.name

    def as_typed(self, part: Part) -> str:
        """Write a part as the user can write it on the command line.

        Args:
            part: Its registered name, and options.

        Returns:
            What names it, with the options.
        """
        return self.to_type + str(part).removeprefix(part.name)

    @property
    def code(self) -> PartCode:
        """The code of the class: what runs in this session, not what its file says by now."""
        if self.loaded_code is not None:
            return self.loaded_code
        try:
            code = part_code(getattr(self.cls, "adapted", self.cls), self.home)
        except AttnlabError as error:
            raise error.at(self.name) from None
        words = getattr(self.cls, "adapted_with", "")
        if words and self.home is None:  # of a script: a file that calls adapt says so in its text
            code = replace(code, digest=digest([("", code.digest), ("adapted with", words)]))
        return code

    @property
    def code_to_plan(self) -> PartCode:
        """The code of the class, for a new run; refused where a file was edited and the session has its old code."""
        code = self.code
        try:
            code.check_current()
        except AttnlabError as error:
            raise error.at(self.name) from None
        return code

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
        """Check the given options and add the defaults of the others.

        Args:
            options: Option -> value.

        Returns:
            Every option of the part, with its value.

        Raises:
            UnknownNameError: The part has no such option.
            InvalidValueError: A value is not accepted, or a required option is missing.
        """
        known = self.options
        given = {name: self.check(name, value) for name, value in options.items()}
        missing = [name for name in self.required if name not in given]
        if missing:
            noun = "option" if len(missing) == 1 else "options"
            problem = f"'{self.to_type}' needs the {noun} {', '.join(map(repr, missing))}."
            hints: Mapping[str, str] = getattr(self.cls, "option_hints", {})
            first = next((name for name in missing if name in hints), "")
            if first:
                raise InvalidValueError(problem, hints[first].format(part=self.to_type, option=first))
            hint = f"Write {self.to_type}:{','.join(f'{name}=...' for name in missing)}"
            if (adapted := getattr(self.cls, "adapted", None)) is not None:
                hint += ", or name a function that returns the module with them."
                hint = "\n".join(filter(None, (constructor_line(adapted), hint)))
            raise InvalidValueError(problem, hint)
        return {name: given.get(name, option.default) for name, option in known.items()}

    def check(self, name: str, value: Any) -> Any:
        """Check one option.

        Args:
            name: The option.
            value: Plain data.

        Returns:
            The value, as the constructor takes it.

        Raises:
            UnknownNameError: The part has no such option.
            InvalidValueError: The value is not accepted.
        """
        if name not in self.options:
            if name in (theirs := getattr(self.cls, "original_options", {})):
                problem = f"'{self.to_type}' has no option '{name}', which the original code has."
                raise UnknownNameError(problem, theirs[name])
            raise unknown("option", name, self.options, owner=f"'{self.to_type}'")
        return self.options[name].check(value)

    def non_default(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Check the given options and drop those that equal their defaults.

        Args:
            options: Option -> value.

        Returns:
            The options that differ from the defaults.

        Raises:
            UnknownNameError: The part has no such option.
            InvalidValueError: A value is not accepted, or a required option is missing.
        """
        complete = self.complete(options)
        return {name: value for name, value in complete.items() if value != self.options[name].default}


class Registry(Generic[T]):
    """The parts of one kind, by name.

    Args:
        kind: What a part is called in messages, such as ``attention``.
        package: The package whose modules are discovered.
        group: The group of entry points; empty takes the name of the package.
    """

    def __init__(self, kind: str, package: str, group: str = "") -> None:
        self.kind = kind
        self.package = package
        self.group = group or package
        self._entries: dict[str, Entry[T]] = {}
        self._discovered = False

    def register(
        self, name: str, *, source: str = "", version: int = 1, summary: str = "", aliases: tuple[str, ...] = ()
    ) -> Callable[[type[T]], type[T]]:
        """Register a class under a name, as a decorator.

        Args:
            name: The name by which the part is chosen.
            source: Where the mechanism or task comes from: an arXiv number, or ``ours``; required.
            version: Raised when the meaning of the part changes; part of the ids of runs.
            summary: One line; empty takes the first line of the docstring.
            aliases: Further names.

        Returns:
            A decorator that returns the class unchanged.

        Raises:
            PluginError: There is no source, or another class has the name already.
        """
        if not source:
            owner = getattr(name, "__name__", name)  # of the class, if the decorator has no brackets
            hint = 'Write its name and its source in the decorator: "NAME", source="arXiv:...", or source="ours".'
            raise PluginError(f"The {self.kind} '{owner}' has no source.", hint)

        def add(cls: type[T]) -> type[T]:
            if not cls.__module__.startswith(f"{self.package}."):
                self.discover()  # so that a user's class cannot take a name before its owner is imported
            for word in (name, *aliases):
                other = self._find(word)
                if other and (other.cls.__module__, other.cls.__qualname__) != (cls.__module__, cls.__qualname__):
                    problem = f"The {self.kind} '{word}' is already registered by {_origin(other.cls)}."
                    raise PluginError(problem, "Register it under another name.")
            text = summary or (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")
            home = None if cls.__module__ == SCRIPT else sys.modules.get(cls.__module__)
            if home is not None:
                part_code(cls, home, check=False)  # remembers the text that is being run
            self._entries[name] = Entry(name, cls, text, source, version, aliases, home=home)
            return cls

        return add

    def adopt(self, entry: Entry[T]) -> None:
        """Take a part of another process, in place of one of its name.

        Args:
            entry: The part, with the code that it was loaded from there.
        """
        self._entries[entry.name] = entry

    def entry(self, name: str) -> Entry[T]:
        """Find a part by its name or an alias.

        Args:
            name: The name.

        Returns:
            The registered part.

        Raises:
            UnknownNameError: No part has the name; the message has the closest one.
        """
        self.discover()
        if entry := self._find(name):
            return entry
        raise unknown(self.kind, name, self._entries)

    def __iter__(self) -> Iterator[Entry[T]]:
        self.discover()
        return iter(sorted(self._entries.values(), key=lambda entry: entry.name))

    def __contains__(self, name: str) -> bool:
        self.discover()
        return self._find(name) is not None

    def discover(self) -> None:
        """Import the modules of the registry's package and the entry points of third parties, once."""
        if self._discovered:
            return
        self._discovered = True
        try:
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
        except BaseException:
            self._discovered = False  # the next lookup raises the same error, and not that a name is unknown
            raise
        for point in importlib.metadata.entry_points(group=self.group):
            try:
                point.load()
            except Exception as error:
                raise plugin_error(f"entry point {point.name} = {point.value}", error) from error

    def _find(self, name: str) -> Entry[T] | None:
        if name in self._entries:
            return self._entries[name]
        return next((entry for entry in self._entries.values() if name in entry.aliases), None)


def _origin(cls: type) -> str:
    """Name where a class comes from: the file of a plugin, otherwise the module."""
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    return str(file) if file and cls.__module__.startswith(PREFIX) else cls.__module__


_ADAPTERS: dict[str, TypeAdapter[Any]] = {}
"""Validators of annotations, by their repr: most annotations are alike, and each validator takes a millisecond."""


def _adapter(accepts: Any) -> TypeAdapter[Any]:
    """Make the validator of an annotation, or take the one of an equal annotation."""
    key = repr(accepts) if _has_faithful_repr(accepts) else ""
    adapter = _ADAPTERS.get(key) or TypeAdapter(accepts, config=ConfigDict(strict=True))
    if key:
        _ADAPTERS[key] = adapter
    return adapter


def _has_faithful_repr(accepts: Any) -> bool:
    """Tell whether an annotation holds only builtins and bounds, so that equal reprs mean equal annotations."""
    if isinstance(accepts, type) and not typing.get_args(accepts):
        return accepts.__module__ == "builtins"
    origin, inner = typing.get_origin(accepts), typing.get_args(accepts)
    if origin is typing.Annotated:
        return all(type(bound) is FieldInfo for bound in inner[1:]) and _has_faithful_repr(inner[0])
    if origin is typing.Literal:
        return all(type(word) in (str, int, bool) for word in inner)
    return accepts in (Any, ...) or (bool(inner) and all(map(_has_faithful_repr, inner)))


def _integers(value: Any) -> Iterator[int]:
    """Every integer in a value of plain data."""
    if isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _integers(inner)
    elif isinstance(value, int):
        yield value


def _tuples(value: Any) -> Any:
    """Turn lists into tuples: YAML has lists only, and options with several values are tuples."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
