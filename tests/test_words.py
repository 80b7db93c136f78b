"""Retired words of attnlab 0.1 do not come back in help, documents, YAML, messages or exported names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import attnlab

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = Path(attnlab.__file__).parent
OLD_WORDS = ("config/renamed.py", "cli/renamed.py", "storage/_migration.py", "resources.py")
"""Files whose purpose is to know the old words."""

PROSE = {
    r"rungs?": "level",
    r"knobs?": "complexity (the option), level (its value)",
    r"medleys?": "mixture",
    r"lanes?": "vmapped runs",
    r"bundles?": "group",
    r"the shelf": "built-in",
    r"the climb|climbs|climbed|climbing": "sweep over the levels",
    r"by heart": "overfit",
    r"cannot hear|hears|unheard": "supports",
    r"wardrobe|dressed|worn": "modifiers",
    r"clerk": "result recorder",
    r"verdicts?": "failure mode, or the outcome of a claim",
    r"exhibits?": "subject",
    r"vault": "checkpointer",
    r"optimi[s]ers?|optimi[s]ation|normali[s]e\w*|initiali[s]ation": "American spelling",
    r"behavio[u]r|neighbo[u]rs?|colo[u]rs?": "American spelling",
    r"paint": "tables",
}
"""What would be matched in a document or a message, and the word that is used now."""
NAMES = {
    "Site",
    "Heads",
    "Context",
    "Mixed",
    "Trace",
    "Rows",
    "Wardrobe",
    "Clerk",
    "Exhibit",
    "Wanted",
    "Told",
    "Louder",
    "Stream",
    "UnknownName",
    "BadValue",
    "BadFile",
    "Pairing",
    "Interrupted",
    "SoloStepper",
    "LaneStepper",
    "Said",
    "Lane",
    "Vault",
    "Captured",
    "Draws",
    "Folded",
    "Ascent",
    "Climbed",
    "Climb",
    "Medley",
    "Optimiser",
    "declared",
    "sparing",
    "mix_asked",
    "fuses",
    "unheard",
    "wardrobe",
    "rows_held",
    "forms_scores",
    "normalise",
    "facing",
    "settled",
    "optimiser",
    "stop_at",
    "validate_every",
    "readings",
    "watched",
    "kin",
    "asked",
    "due",
    "surprise",
}
"""Identifiers that must not be defined in the library again."""
COMMANDS = ["train", "sweep", "interference", "diagnose", "evaluate", "report", "ls", "show", "sample", "generate"]
COMMANDS += ["check", "audit", "bench", "cp", "schema"]
PATTERN = re.compile(rf"\b(?:{'|'.join(PROSE)})\b", re.IGNORECASE)
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "tasks/README.md", "experiments/README.md", "benchmarks/README.md"]
DOCUMENTS += sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))


def found(text: str) -> list[str]:
    """The retired words in a text."""
    return PATTERN.findall(text)


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(LIBRARY.rglob("*.py")):
        name = path.relative_to(LIBRARY).as_posix()
        if name not in OLD_WORDS:
            yield name, ast.parse(path.read_text())


@pytest.mark.parametrize(
    "text", ["The next rung.", "Every ladder of the shelf", "one verdict", "'kda' cannot hear qk_norm", "Print paint"]
)
def test_the_guard_finds_a_retired_word(text: str) -> None:
    assert len(found(text)) == 1


@pytest.mark.parametrize("text", ["planes and explain", "level 4", "prelude, overheard", "painting"])
def test_the_guard_passes_other_words(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_document_has_a_retired_word(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    assert {number: words for number, line in enumerate(lines, 1) if (words := found(line))} == {}


def test_no_yaml_has_a_retired_word() -> None:
    paths = [path for folder in ("tasks", "experiments", "benchmarks") for path in (ROOT / folder).glob("*.yaml")]
    assert paths
    assert {path.name: words for path in paths if (words := found(path.read_text()))} == {}


def test_no_message_and_no_docstring_has_a_retired_word() -> None:
    result = {}
    for name, tree in sources():
        texts = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        if words := sorted({word for text in texts for word in found(text)}):
            result[name] = words
    assert result == {}


def test_no_retired_name_is_defined() -> None:
    result = {}
    for name, tree in sources():
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)} | {
            target.id
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
            for inner in node.body
            if isinstance(inner, ast.AnnAssign) and isinstance(target := inner.target, ast.Name)
        }
        if words := sorted(defined & NAMES):
            result[name] = words
    assert result == {}


@pytest.mark.parametrize(
    "command",
    ["", *COMMANDS],
)
def test_no_help_has_a_retired_word(command: str) -> None:
    line = [sys.executable, "-m", "attnlab", *([command] if command else []), "--help"]
    text = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    assert "attnlab" in text
    assert found(text) == []
