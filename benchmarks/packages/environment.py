"""Folders of packages: each requirement is installed once, without its dependencies, so that torch stays ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

INSTALL_SECONDS = 300


def installed(requirements: Sequence[str], folder: Path) -> tuple[list[Path], str]:
    """Install what is not there yet, each requirement into a folder of its own.

    Args:
        requirements: ``NAME==VERSION``, or the path of a folder that is used as it is.
        folder: Where they are kept.

    Returns:
        The folders; and why one could not be installed, empty if all could.
    """
    places: list[Path] = []
    for requirement in requirements:
        place = folder / requirement
        if not place.is_dir():
            reason = _install(requirement, place)
            if reason:
                return places, reason
        places.append(place)
    return places, ""


def environment(places: Sequence[Path]) -> dict[str, str]:
    """The variables of a process that imports from folders, with one thread and no accelerator.

    Args:
        places: The folders, the first of which is searched first.

    Returns:
        All variables.
    """
    path = os.pathsep.join([str(Path.cwd()), *map(str, places), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def _install(requirement: str, place: Path) -> str:
    """Install a requirement; the last line of the error if that fails."""
    part = place.with_name(f"{place.name}.part")
    words = ["--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(part)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", *words, requirement], capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"{requirement}: not installed within {INSTALL_SECONDS} s"
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return f"{requirement}: {lines[-1].strip() if lines else 'pip failed'}"
    part.rename(place)
    return ""
