"""The wheel contains the files of the repository, and what it installs works outside of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def built(kind: str, folder: Path) -> Path:
    """Build the wheel or the sdist."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return path


@pytest.mark.slow
def test_the_wheel_ships_all_data(tmp_path: Path) -> None:
    names = zipfile.ZipFile(built("wheel", tmp_path)).namelist()
    shipped = {name.removeprefix("attnlab/_resources/") for name in names if name.endswith((".yaml", ".json", ".gz"))}
    data = [path for kind in ("tasks", "experiments") for path in (ROOT / kind).glob("*.[yj]*")]
    data += (ROOT / "experiments" / "published").glob("*.jsonl.gz")
    assert shipped == {str(path.relative_to(ROOT)) for path in data}
    assert "attnlab/py.typed" in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"attnlab"}


@pytest.mark.slow
def test_the_sdist_has_what_builds_the_wheel_and_the_manual(tmp_path: Path) -> None:
    with tarfile.open(built("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path, filter="data")
    expected = {"pyproject.toml", "LICENSE", "CITATION.cff", "mkdocs.yml", "docs/tutorial.md", "manual/build.py"}
    assert expected - names == set()
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "again")]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (again,) = (tmp_path / "again").glob("*.whl")
    ours = zipfile.ZipFile(built("wheel", tmp_path / "ours")).namelist()
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(ours)


@pytest.mark.slow
def test_the_wheel_trains_outside_of_the_checkout(tmp_path: Path) -> None:
    wheel = built("wheel", tmp_path)
    venv.create(tmp_path / "bare", with_pip=True)
    programs = tmp_path / "bare" / "bin"
    python = str(programs / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    # The packages that it needs are those of this Python, behind its own: a network would be asked for them otherwise.
    (site,) = (tmp_path / "bare").glob("lib/python*/site-packages")
    (site / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    work = tmp_path / "work"
    work.mkdir()

    def attnlab(*words: str) -> str:
        command = [str(programs / "attnlab"), *words]
        return subprocess.run(command, cwd=work, env=env, check=True, capture_output=True, text=True).stdout

    where = [python, "-c", "import attnlab; print(attnlab.__file__, attnlab.__version__)"]
    file, version = subprocess.run(where, cwd=work, env=env, check=True, capture_output=True, text=True).stdout.split()
    assert Path(file).is_relative_to(tmp_path / "bare")
    tiny = ("--width", "8", "--steps", "5", "--device", "cpu")
    record = json.loads(attnlab("train", "--task", "copy", "--complexity", "2", *tiny, "--json"))
    assert (record["status"], record["steps"]) == ("done", 5)
    assert (work / "results" / "records.jsonl").is_file()
    assert {one["experiment"] for one in json.loads(attnlab("ls", "experiments", "--json"))} >= {"quickstart"}
    assert "Published: attnlab sweep quickstart" in attnlab("report", "quickstart", "--published")
    assert version in attnlab("--version")


@pytest.mark.parametrize("kind", ["tasks", "experiments"])
def test_the_data_folders_contain_data_only(kind: str) -> None:
    assert {path.suffix for path in (ROOT / kind).iterdir() if path.is_file()} <= {".yaml", ".md", ".json"}
    folders = {path.name: {file.name.partition(".")[2] for file in path.iterdir()} for path in (ROOT / kind).glob("*/")}
    assert folders == ({"published": {"jsonl.gz"}} if kind == "experiments" else {})
