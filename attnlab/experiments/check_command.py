"""The command that tells more of what is wrong with attentions."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from attnlab.attention import ATTENTIONS
from attnlab.plugins import PREFIX
from attnlab.specs import Part


def check_command(parts: Iterable[Part]) -> str:
    """Write the command that checks attentions.

    Args:
        parts: The attentions, with their options; each is registered.

    Returns:
        ``attnlab check`` with their names as the user can write them, and the files that register them.
    """
    words, files = [], []
    for part in {str(part): part for part in parts}.values():
        entry = ATTENTIONS.entry(part.name)
        words.append(shlex.quote(entry.as_typed(part)))
        module = sys.modules.get(entry.cls.__module__)
        of_plugin = ":" not in entry.to_type and entry.cls.__module__.startswith(PREFIX)  # FILE.py:Class names its file
        if of_plugin and module is not None and module.__file__:
            path = Path(module.__file__).resolve()
            path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
            files.append(f"--plugin {shlex.quote(str(path))}")
    return " ".join(["attnlab check", *words, *dict.fromkeys(files)])
