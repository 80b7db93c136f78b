"""A task's sequences into a file: ``attnlab generate``.

The sequences are the very ones that a run of that seed sees in that stream, in order, in batches of its default size.
A file is written whole or not at all: it grows in a folder of its own beside its place and is moved there at the end,
with its sidecar.
"""

from __future__ import annotations

import importlib.metadata
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from attnlab.errors import AttnlabError, InterruptedTraining, InvalidFileError, InvalidValueError
from attnlab.specs import TaskSpec, TrainSpec
from attnlab.tasks.base import IGNORE, Batch, Split
from attnlab.tasks.io.formats import FORMATS, Pages, pyarrow
from attnlab.tasks.io.sidecar import Sidecar, beside, fingerprint
from attnlab.tasks.io.streams import Source

StreamName = Literal["training", "validation", "test"]
STREAMS: dict[StreamName, Split] = {
    "training": Split.TRAIN,
    "validation": Split.VALIDATION,
    "test": Split.TEST,
}
BATCH = TrainSpec().batch_size


def export(
    spec: TaskSpec,
    path: Path,
    *,
    sequences: int,
    seed: int = 0,
    stream: StreamName = "training",
    force: bool = False,
    progress: Callable[[float], None] = lambda share: None,
) -> Sidecar:
    """Write sequences of a task, and the sidecar beside them.

    Args:
        spec: The task at its level.
        path: The file; its ending says the format.
        sequences: How many.
        seed: The seed of the run that would see them.
        stream: Which of its streams.
        force: Whether a file that stands there is replaced.
        progress: Takes the share that is written, from time to time.

    Raises:
        InvalidValueError: no format has that ending, or it needs what is not installed.
        InvalidFileError: a file stands there already, or it cannot be written.
        InterruptedTraining: the person pressed Ctrl-C; nothing is left.
    """
    check_place(path, force)
    source = Source(spec.model_copy(update={"evaluate": ()}), seed)
    trains = stream == "training"
    length, vocabulary = (source.length, source.vocabulary) if trains else (source.task.length, source.task.vocabulary)
    kind = FORMATS[path.suffix]
    written = Written(source, stream, sequences, lambda rows: progress(rows / (kind.passes * sequences)))
    pages = Pages(source.task, sequences, length, written.batches)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            fresh = Path(folder) / path.name
            with fresh.open("xb") as file:
                kind.write(file, pages)
            sidecar = Sidecar(
                task=spec.name,
                options=spec.options,
                train=spec.train if trains else {},
                version=spec.version,
                vocabulary=vocabulary,
                symbols=tuple(source.task.token_to_str(token) for token in range(vocabulary)),
                length=length,
                chance=source.task.chance,
                ceiling=None if math.isnan(source.task.best_accuracy) else source.task.best_accuracy,
                several=written.several,
                seed=seed,
                stream=stream,
                sequences=sequences,
                attnlab=importlib.metadata.version("attnlab"),
                sha256=fingerprint(fresh),
            )
            beside(fresh).write_bytes(sidecar.to_bytes())
            beside(path).unlink(missing_ok=True)  # at no time does a file stand beside the sidecar of another
            fresh.replace(path)
            beside(fresh).replace(beside(path))
    except OSError as error:
        raise InvalidFileError(f"It cannot be written: {error.strerror}.", where=str(path)) from None
    except KeyboardInterrupt:
        raise InterruptedTraining("Stopped by Ctrl-C; nothing was written.", where=str(path)) from None
    return sidecar


def check_place(path: Path, force: bool) -> None:
    """Refuse a file that cannot be written, before anything is drawn."""
    where = str(path)
    if path.suffix not in FORMATS:
        ending = f"The ending '{path.suffix}' names no format." if path.suffix else "The name has no ending."
        raise InvalidValueError(ending, f"Accepted: {', '.join(FORMATS)}.", where=where)
    if path.suffix == ".parquet":
        try:
            pyarrow("pyarrow")
        except AttnlabError as error:
            raise error.at(where) from None
    if not path.parent.is_dir():
        raise InvalidFileError(f"There is no folder {path.parent}.", "Make it first, or take another.", where=where)
    if path.is_dir():
        raise InvalidFileError("This is a folder.", "Give the name of a file.", where=where)
    for place in (path, beside(path)):
        if place.exists() and not force:
            raise InvalidFileError(f"{place.name} is there already.", "Write --force to replace it.", where=where)


class Written:
    """The sequences of one stream, gone through as often as wanted, in constant memory.

    Args:
        source: Prefetcher them.
        stream: Which stream.
        sequences: How many.
        progress: Takes the number of rows drawn so far, over all passes.
    """

    def __init__(
        self, source: Source, stream: StreamName, sequences: int, progress: Callable[[int], None] = lambda rows: None
    ) -> None:
        self.source, self.stream, self.sequences, self.progress = source, STREAMS[stream], sequences, progress
        self.several = False
        """Whether a question with more than one right answer was met."""
        self.drawn = 0

    def batches(self) -> Iterator[Batch]:
        """The sequences from the first."""
        steps = range(-(-self.sequences // BATCH))
        result = self.source.iter_held_out(self.stream, self.sequences, BATCH)
        if self.stream is Split.TRAIN:
            result = (self.source.training(step, BATCH) for step in steps)
        left = self.sequences
        for batch in result:
            several = batch.accepted_NW
            if several is not None and several.shape[1] > 1 and (several[:, 1:] != IGNORE).any():
                self.several = True
            yield Batch(batch.inputs_BT[:left], batch.targets_BT[:left])
            rows = min(left, len(batch.inputs_BT))
            left, self.drawn = left - rows, self.drawn + rows
            self.progress(self.drawn)
