"""TensorBoard: one folder of event files for each run, ``STORE/tensorboard/RUN``.

The package ``tensorboard`` alone is needed, without TensorFlow. Its numbers have 32 bits; nan and infinities are kept.
A run that is resumed, or trained again, writes a second file, whose first event tells readers to drop what earlier
files have from that step on.

Source: tensorboard 2.21, ``summary.writer.record_writer``, ``compat.proto``, ``plugins.hparams`` and ``plugins.text``.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from attnlab.tracking.base import TrackedRun, Tracker, register

FINISHED = "finished.txt"
"""The file in the folder of a run that has its results."""


@final
@register("tensorboard", source="https://www.tensorflow.org/tensorboard")
class TensorBoard(Tracker):
    """TensorBoard: event files below the store, in tensorboard/."""

    extra = package = "tensorboard"

    def __init__(self, store: Path, group: str) -> None:
        super().__init__(store, group)
        from tensorboard.compat.proto import event_pb2, summary_pb2

        self.events, self.summaries = event_pb2, summary_pb2
        self.files: dict[str, Any] = {}
        """Run id -> its open file."""
        self.folders: dict[str, Path] = {}

    def start(self, run: TrackedRun, step: int) -> None:
        """Open a file of the run; readers drop what earlier files have beyond the step."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = self._folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FINISHED).unlink(missing_ok=True)
        self._close(run.spec.id)
        self.files[run.spec.id] = RecordWriter((folder / _file_name(time.time_ns())).open("xb"))
        self.folders[run.spec.id] = folder
        log = self.events.SessionLog
        self._write(run.spec.id, 0, file_version="brain.Event:2")
        self._write(run.spec.id, step + 1 if step else 0, session_log=log(status=log.START))
        config = hparams_pb(dict(run.config), trial_id=run.name)
        self._write(run.spec.id, step, summary=config)
        self._text(run.spec.id, step, "config", _table(run.config))

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Write scalars."""
        scalar = self.summaries.Summary.Value
        points = [scalar(tag=name, simple_value=value) for name, value in values.items()]
        self._write(run, step, summary=self.summaries.Summary(value=points))

    def finish(self, run: str, step: int, values: Mapping[str, float], table: str) -> None:
        """Write the results as scalars and as a text, and close the file."""
        if values:
            self.log(run, step, values)
        self._text(run, step, "results", table)
        self._close(run)
        (self.folders[run] / FINISHED).write_text("attnlab has written the results of this run.\n", encoding="utf-8")

    def has_finished(self, run: TrackedRun) -> bool:
        """Look for the mark of a run that has its results."""
        return (self._folder(run) / FINISHED).exists()

    def flush(self) -> None:
        """Flush every open file."""
        for file in self.files.values():
            file.flush()

    def close(self) -> None:
        """Close every open file."""
        for run in list(self.files):
            self._close(run)

    def _folder(self, run: TrackedRun) -> Path:
        return self.store / "tensorboard" / run.name

    def _close(self, run: str) -> None:
        if file := self.files.pop(run, None):
            file.close()

    def _write(self, run: str, step: int, **what: Any) -> None:
        """Write one event."""
        event = self.events.Event(wall_time=time.time(), step=step, **what)
        self.files[run].write(event.SerializeToString())

    def _text(self, run: str, step: int, name: str, markdown: str) -> None:
        """Write a text of Markdown."""
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.plugins.text.metadata import create_summary_metadata

        # tensorboard.plugins.text.summary.pb makes the same and wants TensorFlow for it.
        metadata = create_summary_metadata(display_name=name, description="")
        tensor = TensorProto(dtype=DT_STRING, string_val=[markdown.encode()])
        value = self.summaries.Summary.Value(tag=f"{name}/text_summary", metadata=metadata, tensor=tensor)
        self._write(run, step, summary=self.summaries.Summary(value=[value]))


def _file_name(nanoseconds: int) -> str:
    """Name a file so that readers, which sort names, take the files of a run in the order in which they were begun."""
    seconds, rest = divmod(nanoseconds, 10**9)
    host = re.sub(r"[^0-9A-Za-z-]", "-", socket.gethostname())
    return f"events.out.tfevents.{seconds:010d}.{rest:09d}.{host}.{os.getpid()}"


def _table(config: Mapping[str, Any]) -> str:
    """Write a config as a table of Markdown."""
    rows = [f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in config.items()]
    return "\n".join(["| | |", "|---|---|", *rows])
