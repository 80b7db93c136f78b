"""The list of packages: what is installed, and which of its attentions are checked with which options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

LIST = Path(__file__).with_name("packages.yaml")


class Equal(BaseModel):
    """Our own mechanism that computes the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ours: str
    """Its name."""
    options: dict[str, Any] = Field(default_factory=dict)
    copied: dict[str, str]
    """Name of a weight of ours -> name of one of theirs, or ``name:0/3`` for the first of three equal parts of it,
    or ``name-1`` for a matrix less the identity."""


class Case(BaseModel):
    """One attention of a package with its options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """What of the package is meant; unique within it."""
    attention: str = ""
    """``module:Class``; empty where ``code`` says how it is built."""
    code: str = ""
    """Lines of a user that define ``build``, where a constructor takes an object of the package."""
    options: dict[str, Any] = Field(default_factory=dict)
    equal: Equal | None = None
    note: str = ""


class Package(BaseModel):
    """A package, with what it needs beyond torch, numpy and what attnlab itself requires."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    package: str = Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.+!-]+$")
    """``NAME==VERSION``."""
    requires: list[str] = Field(default_factory=list)
    """Further packages, each ``NAME==VERSION`` or a name of :attr:`Packages.versions`."""
    cases: list[Case] = Field(default_factory=list)
    note: str = ""
    """Why nothing of it is checked, where there is no case."""


class Packages(BaseModel):
    """The whole list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    versions: dict[str, str]
    """Exact versions of light requirements by name."""
    packages: list[Package]

    def requirements(self, package: Package) -> list[str]:
        """List what is installed for a package.

        Args:
            package: One of the list.

        Returns:
            Exact requirements, the package first.

        Raises:
            KeyError: A requirement has no version in the list.
        """
        exact = (name if "==" in name else f"{name}=={self.versions[name]}" for name in package.requires)
        return [package.package, *exact]


def read_packages(path: Path = LIST) -> Packages:
    """Read the list.

    Args:
        path: The file.

    Returns:
        The list.

    Raises:
        ValueError: A package has no version, or a field is not known.
    """
    return Packages.model_validate(yaml.safe_load(path.read_text()))
