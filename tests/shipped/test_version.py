"""The version stands in the package; CITATION.cff, the changelog, the wheel and records name the same."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import torch
import yaml

import attnlab
from attnlab.training.environment import environment

ROOT = Path(__file__).resolve().parent.parent.parent
HEADING = re.compile(r"## (?P<version>\d+\.\d+\.\d+) – (?P<day>\d{4}-\d\d-\d\d)")
Release = tuple[tuple[int, ...], date]


def project() -> dict[str, Any]:
    data: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return data


def citation() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    return data


def releases() -> list[Release]:
    """Version and day of each heading of the changelog, without one of what is not released."""
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    headings = [line for line in lines if line.startswith("## ") and line != "## Unreleased"]
    found = [HEADING.fullmatch(line) for line in headings]
    assert all(found), headings
    return [(numbers(one["version"]), date.fromisoformat(one["day"])) for one in found if one]


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_the_package_the_citation_and_the_changelog_have_one_version() -> None:
    version, day = releases()[0]
    assert numbers(attnlab.__version__) == version
    assert str(citation()["version"]) == attnlab.__version__
    assert citation()["date-released"] == day


def test_the_wheel_has_the_version_of_the_package() -> None:
    assert project()["project"]["dynamic"] == ["version"]
    assert "version" not in project()["project"]
    print_version = [sys.executable, "-m", "hatchling", "version"]
    printed = subprocess.run(print_version, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert printed.strip() == attnlab.__version__


def test_the_releases_are_in_order_the_newest_first() -> None:
    assert releases() == sorted(releases(), reverse=True)
    assert len({version for version, _ in releases()}) == len(releases())
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    assert "## Unreleased" not in lines[lines.index(next(line for line in lines if HEADING.fullmatch(line))) :]


def test_records_name_the_version() -> None:
    assert environment(torch.device("cpu"))["attnlab"] == attnlab.__version__
