"""Strict YAML: data, never code; YAML 1.2 scalars; no repeated keys; the line of every value is known.

PyYAML follows YAML 1.1, in which ``1e-3`` is a string, ``no`` a boolean, ``010`` is eight and ``12:30`` a number in
base sixty, and in which the last of several equal keys wins silently. Here the scalars are those of the YAML 1.2 core
schema (section 10.3.2 of its specification) and a repeated key is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import yaml

from attnlab.config.renamed import REUSED, Location, Names, renamed_location, renamed_tree
from attnlab.errors import InvalidFileError


@dataclass(frozen=True)
class Document:
    """The data of a YAML file, and the line of every value."""

    name: str
    data: Any
    lines: dict[Location, int]
    text: str = field(default="", compare=False)
    """The file as it was read."""

    def where(self, location: Location = ()) -> str:
        """Name the location of a value for a message.

        Args:
            location: Keys and indices that lead to the value.

        Returns:
            ``file:line: dotted.field[0]``, with the line of the closest value above it if it is not in the file itself.
        """
        known = location
        while known and known not in self.lines:
            known = known[:-1]
        dotted = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).removeprefix(".")
        head = f"{self.name}:{self.lines.get(known, 1)}"
        return f"{head}: {dotted}" if dotted else head

    def renamed(self, names: Callable[[Location], Names]) -> Document:
        """Replace the names of attnlab 0.1 and warn of each.

        Args:
            names: Tells the old names that may stand at a location; see :func:`attnlab.config.renamed.renamed_tree`.

        Returns:
            The same document under the new names.

        Raises:
            InvalidValueError: An old key and its new name are both given.
        """
        # A key that is old or new by its value has its line under both names.
        reused = {at: line for at, line in self.lines.items() if at and at[-1] in REUSED}
        lines = reused | {renamed_location(at, names): line for at, line in self.lines.items()}
        new = Document(self.name, self.data, lines, self.text)
        return replace(new, data=renamed_tree(self.data, names, lambda at: new.where(at).partition(": ")[0]))


class _Loader(yaml.SafeLoader):
    """Load words, numbers, lists and mappings, with the scalars of YAML 1.2 and nothing else."""

    yaml_implicit_resolvers: dict[str, Any] = {}
    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in (None, *(f"tag:yaml.org,2002:{kind}" for kind in ("null", "str", "seq", "map")))
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str | int | float | bool):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key_node.start_mark)
            if key in seen:
                problem = f"the key '{key}' stands twice, first on line {seen[key]}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            seen[key] = line
        return yaml.SafeLoader.construct_mapping(self, node, deep=deep)


def _scalar(tag: str, pattern: str, first: str, value: Callable[[str], Any]) -> None:
    """Teach the loader how a scalar is written, by its first characters, and what it means."""
    name, written = f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$")

    def construct(loader: _Loader, node: yaml.ScalarNode) -> Any:
        text = str(loader.construct_scalar(node))
        try:
            return value(text)
        except ValueError:
            raise yaml.MarkedYAMLError(problem=f"'{text:.40}' is no {tag}", problem_mark=node.start_mark) from None

    _Loader.add_implicit_resolver(name, written, list(first))
    _Loader.add_constructor(name, construct)


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(text)
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text.removeprefix("0o") if base == 8 else text, base)


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_scalar("bool", r"true|True|TRUE|false|False|FALSE", "tTfF", _bool)
_scalar("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789", _int)
_scalar(
    "float",
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "-+0123456789.",
    _float,
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])


class _Quick(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same over a parser in C, where there is one."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers
    yaml_constructors = _Loader.yaml_constructors
    construct_mapping = _Loader.construct_mapping


SHORT = 4096
"""Characters of a text that the quick loader is given: it follows nesting to any depth."""
MAX_BYTES = 2**19
"""Bytes of a file; the loader in Python reads so many in seconds."""
MAX_NODES = 100_000
"""Words, numbers, lists and mappings of a text, each alias counted with everything that it stands for."""
MAX_DEPTH = 40
"""Lists and mappings within one another."""
MAX_DIGITS = 300
"""Characters of an integer."""


def read(path: Path) -> Document:
    """Read a YAML file.

    Args:
        path: The file, in UTF-8.

    Returns:
        Its data, with the line of every value.

    Raises:
        InvalidFileError: It cannot be read, or is not strict YAML.
    """
    try:
        if path.exists() and not path.is_file():
            raise InvalidFileError("This is no file.", where=str(path))
        if (size := path.stat().st_size) > MAX_BYTES:
            raise InvalidFileError(f"It has {size:,} bytes; up to {MAX_BYTES:,} are read.", where=str(path))
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFileError(f"It cannot be read: {error}.", where=str(path)) from None
    return parse(text, str(path))


def parse(text: str, name: str = "<text>") -> Document:
    r"""Parse a text.

    >>> parse("lr: 1e-3\nanswer: no").data
    {'lr': 0.001, 'answer': 'no'}

    Args:
        text: The YAML.
        name: What the text is called in messages.

    Returns:
        Its data, with the line of every value.

    Raises:
        InvalidFileError: It is not strict YAML, or beyond :data:`MAX_BYTES`, :data:`MAX_NODES` or :data:`MAX_DEPTH`;
            the message has the line.
    """
    if len(text) > MAX_BYTES:
        raise InvalidFileError(f"It has {len(text):,} characters; up to {MAX_BYTES:,} are read.", where=name)
    if len(text) <= SHORT:
        try:
            return replace(_document(_Quick(text), name), text=text)
        except (yaml.YAMLError, RecursionError):
            pass  # the other loader gives the same message whatever library is installed
    try:
        return replace(_document(_Loader(text), name), text=text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        hint = "YAML here is data only: words, numbers, lists and mappings."
        raise InvalidFileError(
            f"Not valid YAML: {error.problem or error.context}.", hint, where=f"{name}:{line}"
        ) from None
    except yaml.YAMLError as error:
        raise InvalidFileError(f"Not valid YAML: {error}", where=name) from None
    except RecursionError:
        raise InvalidFileError("It is nested too deeply, or holds itself.", where=name) from None


HALF = re.compile("[\ud800-\udfff]")
"""Halves of surrogate pairs, which JSON and files cannot hold."""


class _Sizes:
    """Refuses what would unfold to too much, before it is unfolded: an alias is the same node, and its size known.

    Args:
        name: What the text is called in messages.
    """

    def __init__(self, name: str) -> None:
        self.name, self.known = name, dict[int, tuple[int, int]]()
        self.above: set[int] = set()

    def check(self, node: yaml.Node) -> tuple[int, int]:
        """Count the nodes in a node, itself included, and its depth."""
        if isinstance(node, yaml.ScalarNode):
            if half := HALF.search(node.value):
                problem = f"It has half a character, \\u{ord(half[0]):04x}."
                raise InvalidFileError(problem, "Write the whole one.", where=f"{self.name}:{node.start_mark.line + 1}")
            return 1, 0
        if id(node) in self.known:
            return self.known[id(node)]
        where = f"{self.name}:{node.start_mark.line + 1}"
        if id(node) in self.above:
            raise InvalidFileError("It holds itself.", "Leave out the alias.", where=where)
        depth, count = len(self.above) + 1, 1
        deep = InvalidFileError(f"It is nested too deeply: over {MAX_DEPTH} lists or mappings.", where=where)
        if depth > MAX_DEPTH:
            raise deep
        self.above.add(id(node))
        deepest = 0
        for inner in (one for pair in node.value for one in (pair if isinstance(pair, tuple) else (pair,))):
            own, own_depth = self.check(inner)
            count, deepest = count + own, max(deepest, own_depth)
            if count > MAX_NODES:
                hint = "An alias counts with all that it stands for."
                raise InvalidFileError(f"It holds over {MAX_NODES:,} values.", hint, where=where)
        if len(self.above) + deepest > MAX_DEPTH:
            raise deep
        self.above.remove(id(node))
        self.known[id(node)] = count, deepest + 1
        return self.known[id(node)]


def _document(loader: Any, name: str) -> Document:
    node = loader.get_single_node()
    if node is not None:
        _Sizes(name).check(node)
    data = None if node is None else loader.construct_document(node)
    return Document(name, data, {} if node is None else dict(_locations(node, ())))


def scalar(text: str) -> Any:
    """Read a word of the command line as YAML; a star begins a pattern here, not an alias.

    >>> scalar("1e-3"), scalar("no"), scalar("[1, 2]"), scalar("010"), scalar("*.py")
    (0.001, 'no', [1, 2], 10, '*.py')

    Args:
        text: The word.

    Returns:
        The value: a number, a string, a list or a mapping.

    Raises:
        InvalidFileError: It is not strict YAML.
    """
    return text if text.startswith("*") else parse(text).data


def _locations(node: yaml.Node, location: Location) -> list[tuple[Location, int]]:
    result = [(location, node.start_mark.line + 1)]
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = _locations(value, (*location, key.value))
            result += [(below[0][0], key.start_mark.line + 1), *below[1:]]
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            result += _locations(item, (*location, index))
    return result
