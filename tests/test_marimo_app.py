"""The app of the manual, run by marimo where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import attnlab

pytest.importorskip("marimo", reason="marimo is absent: pip install marimo")

ROOT = Path(__file__).resolve().parents[1]
APP = ROOT / "docs" / "app.py"
ERROR = "application/vnd.marimo+error"


def exported(folder: Path, store: str) -> str:
    """The page that marimo writes once all cells have run."""
    shutil.copy(APP, folder / "app.py")  # marimo keeps a session beside it
    words = ["export", "html", "app.py", "-o", "app.html", "-f", "--", "--store", store]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "marimo", *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    return (folder / "app.html").read_text(encoding="utf-8")


def test_the_app_is_short() -> None:
    assert len(APP.read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.slow
def test_the_app_shows_a_store(tmp_path: Path) -> None:
    pytest.importorskip("altair", reason="altair is absent: pip install 'attnlab[plots]'")
    model = {"layers": 1, "width": 8, "heads": 1}
    fast = {"max_steps": 2, "batch_size": 4, "validation_examples": 4, "test_examples": 4}
    attnlab.train("copy", "softmax,linear", model=model, train=fast, store=tmp_path / "s", device="cpu")
    page = exported(tmp_path, "s")
    assert ERROR not in page
    assert "vegalite" in page
    assert "learning curves" in page


@pytest.mark.slow
def test_a_folder_without_a_store_is_told_in_the_app(tmp_path: Path) -> None:
    page = exported(tmp_path, "nowhere")
    assert "danger" in page
    assert "vegalite" not in page
