"""Pages of the Python API, from signatures and docstrings; the code is read and not run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import griffe

import attnlab
from manual.markdown import Target, block, code, inline, table

FOLDER = "reference/api"
REGISTER = "attnlab.registry.Registry.register"
ELSEWHERE = {
    "attnlab.specs.ModelSpec": "../settings.md#model",
    "attnlab.specs.TrainSpec": "../settings.md#training",
    "attnlab.specs.Modifiers": "../settings.md#modifiers",
}
"""Names of docstrings that are documented on other pages."""


@dataclass(frozen=True)
class ApiPage:
    """One page of the API."""

    name: str
    title: str
    intro: str
    objects: tuple[tuple[str, str], ...]
    """What a user writes, and the path of the code that is documented; empty where it is what the user writes."""


def _exported(*names: str) -> tuple[tuple[str, str], ...]:
    """Names that attnlab exports."""
    return tuple((f"attnlab.{name}", "") for name in names)


def _registered(*names: str) -> tuple[tuple[str, str], ...]:
    """Decorators that are the method of a registry."""
    return tuple((f"attnlab.{name}", REGISTER) for name in names)


PAGES = (
    ApiPage("running", "Train and sweep", "The defaults are those of the command line.", _exported("train", "sweep")),
    ApiPage(
        "inspecting",
        "Report, evaluate, diagnose, check",
        "What was learned, how far it holds, and what stands inside a model.",
        _exported("report", "evaluate", "diagnose", "compare", "check", "audit"),
    ),
    ApiPage(
        "loading",
        "Load runs, models and tasks",
        "What a store has, and what is registered.",
        _exported("load_records", "load_run", "load_model", "load_plugin", "make_task"),
    ),
    ApiPage(
        "results",
        "Records and results",
        "What the functions return.",
        (
            *_exported("Record"),
            ("attnlab.records.Score", ""),
            ("attnlab.records.HistoryPoint", ""),
            ("attnlab.records.Evaluation", ""),
            ("attnlab.records.DiagnosticsPoint", ""),
            ("attnlab.Records", "attnlab._api.records.Records"),
            ("attnlab.rendering.report.Report", ""),
            ("attnlab.diagnosis.result.Diagnosis", ""),
            ("attnlab.evaluation.level_score.LevelScore", ""),
            ("attnlab.testing.finding.Conformance", ""),
            ("attnlab.testing.finding.Finding", ""),
            *_exported("AttnlabError"),
        ),
    ),
    ApiPage(
        "events",
        "Events",
        "What the functions of `callbacks=` receive.",
        _exported("Event", "RunStarted", "StepsTaken", "Validated", "DiagnosticsLogged", "RunFinished"),
    ),
    ApiPage(
        "attention",
        "Write an attention",
        "The template, of which a variant overrides the fewest methods it can, and what its methods are given.",
        (
            *_exported("Attention", "RowConstraint", "QKV", "LayerContext", "LayerInputs"),
            *_registered("register_attention"),
            ("attnlab.attention.adapt", ""),
        ),
    ),
    ApiPage(
        "task",
        "Write a task",
        "The template of a task, and what it draws.",
        (*_exported("Task", "Batch", "IGNORE", "Scorer"), *_registered("register_task", "register_scorer")),
    ),
    ApiPage(
        "parts",
        "Write other parts",
        "Positions, norms, MLPs, blocks, residual streams and metrics.",
        (
            *_exported("Position", "Norm", "Mlp", "Block", "BlockParts", "ResidualStream"),
            *_registered(
                "register_position", "register_norm", "register_mlp", "register_block", "register_residual_stream"
            ),
            ("attnlab.register_metric", "attnlab.metrics.metric.metric"),
        ),
    ),
)


def api_pages() -> Iterator[tuple[str, str]]:
    """Write the pages of the API.

    Yields:
        Path and Markdown; the list of all names first.
    """
    yield f"{FOLDER}/index.md", _index()
    for page in PAGES:
        parts = [f"# {page.title}", page.intro]
        for name, path in page.objects:
            parts += _object(name, _find(path or name), _target_from(page.name))
        yield f"{FOLDER}/{page.name}.md", "\n\n".join(parts) + "\n"


def _index() -> str:
    rows = [
        (f"[{code(name)}]({page.name}.md#{anchor(name)})", _summary(_find(path or name)))
        for page in PAGES
        for name, path in page.objects
    ]
    intro = "`import attnlab` is quick: torch is imported by the functions that need it."
    return "\n\n".join(["# Python API", intro, table(("name", "what it is"), rows)]) + "\n"


def anchor(name: str) -> str:
    """Name the place of an object on its page.

    Args:
        name: What a user writes, such as ``attnlab.train``.

    Returns:
        The id of its heading.
    """
    return name.lower()


@cache
def _code() -> griffe.Module:
    found = griffe.load("attnlab", search_paths=[Path(attnlab.__file__).parent.parent], docstring_parser="google")
    assert isinstance(found, griffe.Module)
    return found


def class_of(path: str) -> Any:
    """Find the code of a class.

    Args:
        path: Its module and name.

    Returns:
        What griffe read of it.
    """
    return _find(path)


def _find(path: str) -> Any:
    """The code of a name."""
    found = _code()[path.removeprefix("attnlab.")]
    found = found.final_target if found.is_alias else found
    if found.is_module:  # a module that has the name of its function
        return found[found.name]
    return found


def _target_from(page: str) -> Target:
    """Addresses of names, as seen from a page of the API."""
    places: dict[str, str] = {}
    for one in PAGES:
        for name, path in one.objects:
            address = f"{'' if one.name == page else f'{one.name}.md'}#{anchor(name)}"
            keys = {name, path or _find(name).path} - {REGISTER}
            places |= dict.fromkeys({*keys, *(key.rpartition(".")[-1] for key in keys)}, address)
    return lambda name: places.get(name) or ELSEWHERE.get(name, "")


def _object(name: str, found: Any, target: Target) -> list[str]:
    """Heading, signature, description, arguments, fields and methods."""
    parts = [f"## {code(name)} {{ #{anchor(name)} }}"]
    if found.is_function:
        return [*parts, block(_signature(name, found), "python"), *_docstring(found, target)]
    if found.is_attribute:
        return [
            *parts,
            *([block(f"{name} = {found.value}", "python")] if found.value else []),
            *_docstring(found, target),
        ]
    bases = ", ".join(str(base) for base in found.bases if str(base) not in ("Value", "Identity", "Result"))
    parts += [block(f"class {found.name}({bases})" if bases else f"class {found.name}", "python")]
    parts += _docstring(found, target)
    public = [one for one in found.members.values() if not one.name.startswith("_") and not one.is_alias]
    fields = [one for one in public if one.is_attribute and "property" not in one.labels and _has_text(one)]
    if fields:
        rows = [(code(one.name), code(_type(one.annotation)), inline(_text(one), target)) for one in fields]
        parts += ["**Fields**", table(("field", "type", "meaning"), rows)]
    properties = [one for one in public if one.is_attribute and "property" in one.labels]
    if properties:
        rows = [(code(one.name), code(_type(one.annotation)), inline(_text(one), target)) for one in properties]
        parts += ["**Properties**", table(("property", "type", "meaning"), rows)]
    for method in (one for one in public if one.is_function and one.docstring):
        inner = f"{name}.{method.name}"
        parts += [f"### {code(f'{found.name}.{method.name}')} {{ #{anchor(inner)} }}"]
        parts += [block(_signature(method.name, method), "python"), *_docstring(method, target)]
    return parts


def _docstring(found: Any, target: Target) -> list[str]:
    """A docstring, section by section."""
    if not found.docstring:
        return []
    sections = found.docstring.parse(
        "google",
        warnings=False,
        returns_multiple_items=False,
        returns_named_value=False,
        returns_type_in_property_summary=False,
    )
    written = []
    for section in sections:
        kind = section.kind.value
        if kind == "text":
            written += [_paragraphs(section.value, target)]
        elif kind in ("parameters", "raises", "attributes"):
            rows = []
            for one in section.value:
                name = _linked(str(one.annotation), target) if kind == "raises" else code(one.name)
                rows.append((name, inline(_joined(one.description), target)))
            heading = {"parameters": "Arguments", "raises": "Raises", "attributes": "Fields"}[kind]
            written += [f"**{heading}**", table(("", ""), rows)]
        elif kind in ("returns", "yields"):
            words = _raw_section(found.docstring.value, kind.capitalize())
            written.append(f"**{kind.capitalize()}** {inline(words, target)}")
        elif kind == "admonition":
            words = _paragraphs(section.value.description, target)
            written.append(f"**{section.title}** {words}")
        elif kind == "examples":
            written += [block(text, "pycon") if what.value == "examples" else text for what, text in section.value]
    return written


def _raw_section(text: str, heading: str) -> str:
    """The words of a section, as they are: a colon within them separates no type."""
    _, _, rest = text.partition(f"{heading}:\n")
    lines = itertools.takewhile(lambda line: not line.strip() or line.startswith("    "), rest.split("\n"))
    return _joined(" ".join(lines))


def _paragraphs(text: str, target: Target) -> str:
    """Prose; examples and indented lines as they are."""
    written = []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith(">>>"):
            written.append(block(paragraph, "pycon"))
        elif paragraph.startswith("    ") or "\n    " in paragraph:
            written.append(block("\n".join(line.removeprefix("    ") for line in paragraph.split("\n"))))
        else:
            written.append(inline(_joined(paragraph), target))
    return "\n\n".join(written)


def _signature(name: str, function: Any) -> str:
    """The call with types and defaults, one argument a line where it is long."""
    words: list[str] = []
    starred = False
    for one in function.parameters:
        kind = one.kind.value
        if one.name in ("self", "cls"):
            continue
        if kind == "keyword-only" and not starred:
            words.append("*")
            starred = True
        starred |= kind == "variadic positional"
        stars = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
        annotation = f": {_type(one.annotation)}" if one.annotation is not None else ""
        default = "" if one.default is None or stars else (" = " if annotation else "=") + str(one.default)
        words.append(f"{stars}{one.name}{annotation}{default}")
    returns = f" -> {_type(function.returns)}" if function.returns is not None else ""
    line = f"{name}({', '.join(words)}){returns}"
    if len(line) <= 76:
        return line
    inner = "".join(f"    {word},\n" for word in words)
    return f"{name}(\n{inner}){returns}"


def _type(annotation: Any) -> str:
    """An annotation without the machinery of validation."""
    text = "" if annotation is None else str(annotation)
    while text.startswith("Annotated["):
        text = _first(text.removeprefix("Annotated[").removesuffix("]"))
    return text.replace("'", '"').replace("ClassVar[", "").removesuffix("]") if "ClassVar[" in text else text


def _first(text: str) -> str:
    """What stands before the first comma that is not within brackets."""
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and not depth:
            return text[:index]
    return text


def _linked(name: str, target: Target) -> str:
    short = name.removeprefix("attnlab.errors.")
    address = target(name)
    return f"[{code(short)}]({address})" if address else code(short)


def _summary(found: Any) -> str:
    """The first sentence of a docstring."""
    return inline(_joined(found.docstring.value.split("\n\n")[0]) if found.docstring else "")


def _text(found: Any) -> str:
    return _joined(found.docstring.value.split("\n\n")[0]) if found.docstring else ""


def _has_text(found: Any) -> bool:
    return bool(found.docstring) or bool(found.annotation)


def _joined(text: str) -> str:
    return " ".join(text.split())
