"""The state of one run during training, and what a checkpoint holds of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from attnlab.records import DiagnosticsPoint, HistoryPoint
from attnlab.specs import RunSpec
from attnlab.tasks.io.streams import Source


@dataclass
class RunState:
    """The state of one run during training."""

    spec: RunSpec
    source: Source
    step: int = 0
    """Steps taken."""
    losses: list[float] = field(default_factory=list)
    """Losses since the last validation, in nats per query position."""
    initial_loss: float | None = None
    """The loss of the first step; None where a checkpoint of an older attnlab does not say."""
    history: list[HistoryPoint] = field(default_factory=list)
    diagnostics_history: list[DiagnosticsPoint] = field(default_factory=list)
    tokens: int = 0
    """Tokens trained on since the last ``StepsTaken`` event."""
    reason: str = ""
    """Why it has diverged; empty while it has not."""
    early_stopped: bool = False
    """Whether it is solved."""

    @property
    def running(self) -> bool:
        """Whether it has steps left to take."""
        return not self.reason and not self.early_stopped and self.step < self.spec.train.max_steps

    def checkpoint_data(self) -> dict[str, Any]:
        """Return everything that a checkpoint needs besides the arrays, as plain data."""
        own = {name: getattr(self, name) for name in ("losses", "initial_loss", "reason", "early_stopped")}
        return checkpoint_data(self.spec, self.step, self.history, self.diagnostics_history) | own

    def restore(self, metadata: Mapping[str, Any]) -> None:
        """Restore the state that a checkpoint holds.

        Args:
            metadata: What :meth:`checkpoint_data` returned.
        """
        assert metadata["id"] == self.spec.id, "a checkpoint of another run"
        self.step, self.losses, self.reason = metadata["step"], list(metadata["losses"]), metadata["reason"]
        self.early_stopped, self.initial_loss = metadata["early_stopped"], metadata.get("initial_loss")
        self.history = [HistoryPoint(**point) for point in metadata["history"]]
        self.diagnostics_history = [DiagnosticsPoint(**point) for point in metadata["diagnostics_history"]]


def checkpoint_data(
    spec: RunSpec,
    step: int,
    history: Sequence[HistoryPoint],
    diagnostics_history: Sequence[DiagnosticsPoint],
) -> dict[str, Any]:
    """Describe a run that has taken some steps and has none to report since its last validation, as plain data."""
    return {
        "id": spec.id,
        "summary": spec.summary,
        "spec": spec.model_dump(mode="json"),
        "max_steps": spec.train.max_steps,
        "step": step,
        "history": [point.model_dump() for point in history],
        "diagnostics_history": [point.model_dump() for point in diagnostics_history],
        "losses": [],
        "initial_loss": None,
        "reason": "",
        "early_stopped": False,
    }
