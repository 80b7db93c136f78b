"""What a shell completes, as the shell asks for it, and how little is imported for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest

from attnlab import resources
from attnlab.attention import ATTENTIONS
from attnlab.block import BLOCKS
from attnlab.cli import completion
from attnlab.cli.completion import part_names
from attnlab.mlp import MLPS
from attnlab.norm import NORMS
from attnlab.position import POSITIONS
from attnlab.registry import Registry
from attnlab.residual_stream import RESIDUAL_STREAMS

SHELL = {"_ATTNLAB_COMPLETE": "complete_bash", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}


def completed(folder: Path, line: str) -> list[str]:
    """What a shell offers at the end of a line."""
    words = line.split(" ")
    asked = {**os.environ, **SHELL, "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    code = (
        "import sys; sys.argv = ['attnlab']\nfrom attnlab.cli import main\n"
        "try:\n    main()\nfinally:\n    assert not {'torch', 'numpy', 'yaml'} & set(sys.modules), 'slow'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=asked, check=False
    )
    assert not done.stderr, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("kind", "registry"),
    [
        ("attention", ATTENTIONS),
        ("position", POSITIONS),
        ("norm", NORMS),
        ("mlp", MLPS),
        ("block", BLOCKS),
        ("residual_stream", RESIDUAL_STREAMS),
    ],
)
def test_the_names_that_are_read_off_the_source_are_those_that_are_registered(
    kind: str, registry: Registry[object]
) -> None:
    registry.discover()
    package = f"attnlab.{kind}"
    builtin = {entry.name for entry in registry if entry.cls.__module__.startswith(package) and not entry.typed}
    assert set(part_names(kind)) == builtin


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("attnlab train --attn gpam,softmax+sparsem", ["gpam,softmax+sparsemax"]),
        ("attnlab sweep dape-le", ["dape-length"]),
        ("attnlab sweep --task recall --pos kerple,aut", ["kerple,auto"]),
        ("attnlab train --task recall --pos aut", []),
        ("attnlab sweep --task recall --recipe qk", ["qk-norm"]),
        ("attnlab evaluate --store there ab", ["abc123", "abd456"]),
        ("attnlab tag --store there abc", ["abc123"]),
        ("attnlab show --store there abc1", ["abc123"]),
        ("attnlab diagnose gradients --store there --run abc123,abd", ["abc123,abd456"]),
    ],
)
def test_a_shell_is_offered_names_and_ids(line: str, offered: list[str], tmp_path: Path) -> None:
    store = tmp_path / "there" / "one"
    store.mkdir(parents=True)
    (store / "records.jsonl").write_text('{"id": "abc123", "spec": {}}\n{"id":"abd456","spec":{}}\n{"id": "ab')
    assert completed(tmp_path, line) == offered


@pytest.mark.parametrize(
    ("complete", "typed", "offered"),
    [
        (completion.attentions, "softm", ["softmax"]),
        (completion.attentions, "softmax,kerpl", []),
        (partial(completion.positions, Mock(info_name="train")), "none,kerpl", ["none,kerple"]),
        (completion.tasks, "recall-len", ["recall-length"]),
        (completion.recipes, "mu", ["muon", "muon-qk-norm"]),
        (completion.files_to_copy, "dape-le", ["dape-length"]),
    ],
)
def test_names_that_begin_so_are_offered(complete: Callable[[str], list[str]], typed: str, offered: list[str]) -> None:
    assert complete(typed) == offered


def test_all_names_are_offered() -> None:
    assert completion.tasks("") == resources.names("tasks")
    assert completion.experiments("") == resources.names("experiments")
    assert {"softmax", "kerple", "recall", "layernorm"} <= set(completion.shown(Mock(params={}), ""))
