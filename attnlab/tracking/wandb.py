"""Weights & Biases: ``STORE/wandb/offline-run-*``, which ``wandb sync`` uploads; ``WANDB_MODE=online`` sends at once.

Offline is the default, because a run that asks for an account would wait for an answer. Every point names its step as
the number ``step``, which all charts are drawn against: wandb's own counter drops what comes for an earlier step.

Source: wandb 0.31, ``wandb.init`` with ``reinit="create_new"``, ``Run.define_metric`` and ``Run.log``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from attnlab.tracking.base import TrackedRun, Tracker, register

PROJECT = "attnlab"
"""The project of all runs, unless WANDB_PROJECT names another; a sweep is a group in it."""
FINISHED = "finished.txt"
"""The file in the folder of a run that has its results."""


@final
@register("wandb", source="https://docs.wandb.ai")
class WeightsAndBiases(Tracker):
    """Weights & Biases: offline runs below the store, in wandb/; WANDB_MODE=online sends them."""

    extra = package = "wandb"

    def __init__(self, store: Path, group: str) -> None:
        super().__init__(store, group)
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read at the import; it also times every call of log
        import wandb

        self.wandb = wandb
        self.runs: dict[str, Any] = {}
        """Run id -> wandb's run."""

    def start(self, run: TrackedRun, step: int) -> None:
        """Open a run; one that is resumed, or trained again, is a further folder of the same id."""
        self._finish(run.spec.id)
        quiet = self.wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            x_save_requirements=False,  # the list of packages of every run, which records have as versions
        )
        mode: Any = os.environ.get("WANDB_MODE") or "offline"  # checked by wandb
        opened = self.wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            group=self.group or None,
            id=run.spec.id,
            name=run.name,
            config=dict(run.config),
            dir=str(self.store),
            mode=mode,
            resume=None if mode == "offline" else "allow",
            reinit="create_new",
            settings=quiet,
        )
        opened.define_metric("*", step_metric="step")
        self.runs[run.spec.id] = opened

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Write numbers, with their step as one of them."""
        self.runs[run].log({**values, "step": step})

    def finish(self, run: str, step: int, values: Mapping[str, float], table: str) -> None:
        """Write the results, as numbers and as ``results`` in the summary, and close the run."""
        self.log(run, step, values)
        self.runs[run].summary["results"] = table
        folder = Path(self.runs[run].dir).parent
        self._finish(run)
        if folder.is_dir():
            (folder / FINISHED).write_text("attnlab has written the results of this run.\n", encoding="utf-8")

    def has_finished(self, run: TrackedRun) -> bool:
        """Look for the mark of a run that has its results."""
        return any((self.store / "wandb").glob(f"*run-*-{run.spec.id}/{FINISHED}"))

    def close(self) -> None:
        """Close every open run."""
        for run in list(self.runs):
            self._finish(run)

    def _finish(self, run: str) -> None:
        if opened := self.runs.pop(run, None):
            opened.finish()
