"""Parts named by their class: ``FILE.py:Class``, ``package.module:Class``, or the class itself.

A part is registered under the name of its file or module and its own, ``my.py:Mixer``, with its code, so that other
code is another run. Attentions and whole models are named in this way.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from attnlab.errors import CLOSEST, InvalidValueError, PluginError, UnknownNameError
from attnlab.part_code import SCRIPT, digest, file_digest, installed_folder, own_name, part_code, without_text
from attnlab.plugins import PREFIX, load_plugin, plugin_error, plugin_module
from attnlab.registry import Entry, Registry

_LOADED: dict[Path, str] = {}
"""Files that were loaded because a class of theirs was named -> digest of their code then."""


@dataclass(frozen=True)
class Naming:
    """How the classes of one kind of part are named and registered.

    Args:
        registry: The parts of the kind.
        module: The class of all modules.
        own: Classes of this one are registered as they are; None where there are none.
        adapt: Makes a registered class of any other one, with the other one as its attribute ``adapted``.
        example: A function that makes a module, for a hint.
    """

    registry: Registry[Any]
    module: type
    own: type | None
    adapt: Callable[[Any], type]
    example: str

    def resolved(self, name: str) -> str:
        """Register the part that a name or word names, unless it is registered already.

        Args:
            name: The name of a part, ``FILE.py:Class`` or ``package.module:Class``.

        Returns:
            The name under which it is registered; a name that names no file and no module is returned as it is.

        Raises:
            PluginError: The file or module cannot be loaded, or what is named is no module.
            UnknownNameError: There is no such class.
            InvalidValueError: The word begins with the name of a part, or the class is missing.
        """
        if ":" in name:
            return self.named(name)
        if name in self.registry or not (name.endswith(".py") or "." in name):
            return name
        if name.endswith(".py"):
            load_plugin(Path(name).expanduser(), name)
            if name in self.registry:
                return name
            module = sys.modules[plugin_module(Path(name).expanduser())]
        else:
            try:
                module = _imported(name, name)
            except PluginError as error:
                if error.__cause__ is None:  # there is no such module: a slip in the name of a part
                    return name
                raise
        listed = self._classes(module)
        more = f", and {len(listed) - CLOSEST} more" if len(listed) > CLOSEST else ""
        hint = "Name the class: " + ", ".join(f"{name}:{key}" for key in listed[:CLOSEST]) + f"{more}."
        hint = hint if listed else f"Name the class, {name}:Class; there is no class of modules now."
        raise InvalidValueError("The class is missing.", hint, where=name)

    def named(self, word: str) -> str:
        """Register the part that a word names; a file is run, unless it was and has not changed since.

        Args:
            word: ``FILE.py:Class`` or ``package.module:Class``.

        Returns:
            The name under which it is registered.

        Raises:
            PluginError: The file or module cannot be loaded, or what is named is no module.
            UnknownNameError: There is no such class.
            InvalidValueError: The word begins with the name of a part.
        """
        found = self._named(word)
        if ":" in found and (entry := self.registry.entry(found)).to_type != word:
            self.registry.adopt(replace(entry, typed=word))
        return found

    def _named(self, word: str) -> str:
        """Register the part that a word names."""
        place, _, name = word.rpartition(":")
        if place in self.registry:
            raise InvalidValueError(f"'{name}' is not an option.", f"Write {place}:key=value,key=value.", where=word)
        if not place.endswith(".py"):
            module = _imported(place, word)
            value = self._member(module, name, word)
            if getattr(value, "made_in", ""):
                return self.of(value)
            module = sys.modules.get(getattr(value, "__module__", "") or place, module)
            return self.adopt(value, _public_name(value, place, name), module)
        path = Path(place).expanduser()
        file = path.resolve()
        if not path.is_file() or _LOADED.get(file) != file_digest(file) or plugin_module(path) not in sys.modules:
            load_plugin(path, word)
            _LOADED[file] = file_digest(file)
        return self._adopt_from_file(sys.modules[plugin_module(path)], name, word)

    def known(self, name: str) -> None:
        """Register a part of a run again: from a file that was loaded, a module that can be imported, or the session.

        Args:
            name: The name under which it was registered; nothing happens if it is known, or cannot be found.

        Raises:
            PluginError: Its module cannot be imported, or has no such class any more.
        """
        place, colon, cls = name.rpartition(":")
        if name in self.registry:
            return
        if not colon:
            self._known_by_itself(name)
            return
        if not place.endswith(".py"):
            self.named(name)
            return
        for module in _loaded_from(place):
            if not hasattr(module, cls.partition(".")[0]) and not module.__name__.startswith(PREFIX):
                continue
            self._adopt_from_file(module, cls, name)
            return

    def _known_by_itself(self, name: str) -> None:
        """Register a class of a script or notebook, if the one that is running has it."""
        value = getattr(sys.modules.get(SCRIPT), name, None)
        accepted = self._is_module_class(value) or (self.own is None and inspect.isfunction(value))
        words: str = getattr(value, "adapted_with", "")
        if accepted and words:
            self.of(value)
        elif accepted and getattr(value, "__module__", "") == SCRIPT:
            self.adopt(value, name, None)

    def of(self, value: Any) -> str:
        """Register a class that was passed from Python.

        Args:
            value: A class of modules, or a function that makes one.

        Returns:
            The name under which it is registered.

        Raises:
            PluginError: It is no class of modules, or another one of its name is registered.
        """
        registered = next((entry.name for entry in self.registry if entry.cls is value), None)
        if registered is not None:
            return registered
        if getattr(value, "made_in", ""):
            return self._of_adapted(value) if value.adapted_with else self.of(value.adapted)
        module, name = getattr(value, "__module__", ""), getattr(value, "__qualname__", "")
        if module == SCRIPT and name == "<lambda>" and value.__closure__ is None:
            return self.adopt(value, f"lambda_{digest([('', without_text(value))])[:8]}", None)
        if not name or "<" in name or isinstance(value, self.module):
            kind = "A function without a name of its own" if name else f"A {type(value).__name__}"
            problem = f"{kind} is no class of modules, and no function that can be named in a record."
            hint = f"Give the class itself, or a function: {self.example}"
            raise PluginError(problem, hint, where=self.registry.kind)
        if module == SCRIPT:
            return self.adopt(value, name, None)
        if module.startswith(PREFIX):
            return self._adopt_from_file(sys.modules[module], name, name)
        return self.adopt(value, _public_name(value, module, name), sys.modules[module])

    def _of_adapted(self, value: Any) -> str:
        """Register what ``adapt`` made of a class with arguments: it is another part than the class."""
        home = sys.modules[value.made_in]
        name: str = next((key for key, one in vars(home).items() if one is value), "")
        if not name:
            problem = "A class that is adapted with arguments needs a name, by which a record can tell it."
            raise PluginError(problem, "Name it: Mixer = adapt(...), and pass Mixer.", where=self.registry.kind)
        if home.__name__.startswith(PREFIX):
            return self._adopt_from_file(home, name, name)
        if home.__name__ != SCRIPT:
            return self.adopt(value, f"{home.__name__}:{name}", home)
        value.__module__, value.__qualname__, value.__name__ = SCRIPT, name, name  # workers are sent it by its code
        return self.adopt(value, name, None)

    def words(self, given: Any) -> list[str]:
        """Register the classes among parts that were passed from Python.

        Args:
            given: A word, a class, or several.

        Returns:
            One word for each.

        Raises:
            PluginError: A value is no class of modules.
        """
        several = list(given) if isinstance(given, list | tuple) else [given] if given else []
        words = [one if isinstance(one, str) else self._word(one) for one in several]
        by_name: dict[str, Any] = {}
        for word, one in zip(words, several, strict=True):
            if by_name.setdefault(word, one) is not one and not isinstance(one, str):
                problem = f"Two classes are named '{word}'."
                raise PluginError(problem, "Rename one of them.", where=self.registry.kind)
        return words

    def _word(self, value: Any) -> str:
        """Register what was passed from Python; ``functools.partial(Mixer, heads=2)`` is a class with options."""
        if not (isinstance(value, partial) and not value.args and all(map(_is_plain, value.keywords.values()))):
            return self.of(value)
        options = ",".join(
            f"{key}={str(one).lower() if one is True or one is False else one}" for key, one in value.keywords.items()
        )
        return f"{self.of(value.func)}:{options}" if options else self.of(value.func)

    def adopt(self, value: Any, name: str, home: ModuleType | None) -> str:
        """Register a class under a name.

        Args:
            value: A class of modules, or a function that makes one.
            name: The name.
            home: The module whose code is its; None for a class of a notebook.

        Returns:
            The name under which it is registered: its own, where it is registered already.

        Raises:
            PluginError: It is no class of modules, or another one has the name.
        """
        for entry in self.registry:
            if entry.cls is value or (getattr(entry.cls, "adapted", None) is value and entry.name == name):
                return entry.name
        if name in self.registry and ":" not in name and self.registry.entry(name).cls.__module__ != SCRIPT:
            hint = "Give the class another name, or name it by its file: FILE.py:Class."
            raise PluginError(f"Another {self.registry.kind} is registered as '{name}'.", hint, where=name)
        own = self.own is not None and isinstance(value, type) and issubclass(value, self.own)
        if isinstance(value, self.module) or not callable(value):
            problem = f"It is a {type(value).__name__}, not a class of modules."
            raise PluginError(problem, "Name the class itself, or a function that makes the module.", where=name)
        cls = value if own else self.adapt(value)
        text = (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")
        text = text or f"{name}, which has no docstring."
        if home is not None:
            part_code(value, home, check=False)  # remembers the text that was run
        self.registry.adopt(Entry(name, cls, text, "your own", 1, (), home=home))
        return name

    def _adopt_from_file(self, module: ModuleType, name: str, word: str) -> str:
        """Register a class of a file."""
        path = Path(module.__file__ or "").resolve()
        label = f"{path.name}:{name}"
        other = self.registry.entry(label) if label in self.registry else None
        if other and other.code.path not in ("", str(path)):
            problem = f"'{label}' names two classes: of {other.code.path} and of {path}."
            raise PluginError(problem, "Rename one of the files, or one of the classes.", where=word)
        return self.adopt(self._member(module, name, word), label, module)

    def _member(self, module: ModuleType, name: str, word: str) -> Any:
        """Find a class of a module; a wrong name is an error with those that the module has."""
        value: Any = module
        for step in name.split("."):
            if not hasattr(value, step):
                own = self._classes(module)
                lower = {key.lower(): key for key in own}
                same = difflib.get_close_matches(name, own, n=1)
                close = difflib.get_close_matches(name.lower(), lower, n=1)
                guess = f"; did you mean '{(same or [lower[close[0]]])[0]}'?" if close else "."
                place = word.rpartition(":")[0]
                listed = [lower[key] for key in difflib.get_close_matches(name.lower(), lower, n=12, cutoff=0.0)]
                noun = "Classes of modules" if self.own is not None else "Classes of modules and functions"
                more = f", and {len(own) - len(listed)} more" if len(own) > len(listed) else ""
                hint = f"{noun} there: {', '.join(listed) or 'none'}{more}."
                raise UnknownNameError(f"{place} has no class '{name}'{guess}", hint, where=word)
            value = getattr(value, step)
        return value

    def _classes(self, module: ModuleType) -> list[str]:
        """The classes that a module has for this kind; of a file, its own."""
        is_file = module.__name__.startswith(PREFIX)
        classes = {key: one for key, one in vars(module).items() if self._is_module_class(one)}
        if self.own is None:  # most whole models are made by a function
            classes |= {key: one for key, one in vars(module).items() if inspect.isfunction(one) and is_file}
        return [key for key, one in classes.items() if not is_file or one.__module__ == module.__name__]

    def _is_module_class(self, value: Any) -> bool:
        return isinstance(value, type) and issubclass(value, self.module)


def _is_plain(value: Any) -> bool:
    """Whether the command line can write a value of an option, so that it is read as the same value."""
    if isinstance(value, str):
        return bool(re.fullmatch("[A-Za-z][A-Za-z0-9_]*", value)) and value.lower() not in ("true", "false", "null")
    return isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))


def _loaded_from(file: str) -> list[ModuleType]:
    """The modules of the user's that were loaded from files of a name: plugins first, then those that were imported."""
    named = [one for one in list(sys.modules.values()) if Path(getattr(one, "__file__", None) or "").name == file]
    plugins = [one for one in named if one.__name__.startswith(PREFIX) and "." not in one.__name__]
    skipped = (SCRIPT, PREFIX.rstrip("_"))
    imported = [one for one in named if not one.__name__.startswith(skipped) and own_name(one) == one.__name__]
    return plugins + [one for one in imported if installed_folder(Path(one.__file__ or "").resolve()) is None]


def _public_name(value: Any, module: str, name: str) -> str:
    """The shortest name by which a class is imported: ``torch.nn:GRU``, not ``torch.nn.modules.rnn:GRU``."""
    steps = (getattr(value, "__module__", None) or module).split(".")
    own = getattr(value, "__qualname__", name)
    places = [".".join(steps[:count]) for count in range(1, len(steps) + 1)]
    found = (f"{place}:{own}" for place in places if getattr(sys.modules.get(place), own, None) is value)
    return next(found, f"{module}:{name}")


def _imported(name: str, word: str) -> ModuleType:
    """Import a module."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.split(".")[0] == error.name.split(".")[0]:
            package = name.split(".")[0]
            hint = f"Install the package that has it where attnlab runs, perhaps: pip install {package}."
            hint += f"\nOr write a file: {name.replace('.', '/')}.py:Class."
            raise PluginError(f"There is no module '{error.name}' here.", hint, where=word) from None
        raise plugin_error(word, error) from error
    except Exception as error:
        raise plugin_error(word, error) from error
