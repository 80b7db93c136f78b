"""The wheel contains the files of the repository."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
def test_the_wheel_ships_all_data(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {name.removeprefix("attnlab/_resources/") for name in names if name.endswith((".yaml", ".json"))}
    data = [path for kind in ("tasks", "experiments") for path in (ROOT / kind).glob("*.[yj]*")]
    assert shipped == {str(path.relative_to(ROOT)) for path in data}
    assert "attnlab/py.typed" in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"attnlab"}


@pytest.mark.parametrize("kind", ["tasks", "experiments"])
def test_the_data_folders_contain_data_only(kind: str) -> None:
    assert {path.suffix for path in (ROOT / kind).iterdir()} <= {".yaml", ".md", ".json"}
