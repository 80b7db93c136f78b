"""A class -> where its code stands, and the digest of what it says."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from attnlab.part_code._trees import digest
from attnlab.part_code.files import PACKAGE, file_digest, module_root
from attnlab.part_code.notebooks import SCRIPT, notebook_digest, without_text


@dataclass(frozen=True)
class PartCode:
    """The code of a part that is not built in."""

    path: str = ""
    """The file; empty for a built-in part, and for a class of a notebook."""
    digest: str = ""
    """What the code says; empty for a built-in part."""
    package: str = ""
    """Name and version of the installed package that has it."""
    root: str = ""
    """The folder from which its modules are imported; empty where the file alone does not tell the code."""

    @property
    def place(self) -> str:
        """Where the code stands, in words."""
        return f"that in {self.path}" if self.path else "that of this session"


def part_code(cls: type) -> PartCode:
    """Find the code of a part.

    Args:
        cls: The class.

    Returns:
        Its file and digest; both are empty for a built-in part.
    """
    name = cls.__module__
    if name.partition(".")[0] == PACKAGE:
        return PartCode()
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    path = Path(file).resolve() if file else None
    if name == SCRIPT:
        return PartCode(str(path or ""), notebook_digest(cls))
    if module is None or path is None:
        return PartCode("", digest([("", without_text(cls))]))
    root = module_root(module, path)
    return PartCode(str(path), file_digest(path, root), root=str(root))


def code_now(path: str, root: str) -> str:
    """Digest what the file of a part says now, without running it.

    Args:
        path: The file.
        root: The folder from which its modules are imported.

    Returns:
        The digest; empty where the file alone does not tell, and where it is not there or cannot be read.
    """
    try:
        return file_digest(Path(path), Path(root)) if path and root else ""
    except (OSError, ValueError):
        return ""
