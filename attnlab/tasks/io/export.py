"""Write sequences of a task to a file, for ``attnlab generate``.

The sequences are exactly those that a run with the same seed draws from the split, in the same order, in batches of the
default size. The file is written completely or not at all: it is written next to its destination and moved at the end,
together with its sidecar.
"""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from attnlab.choices import IgnoreIndex, SplitName
from attnlab.errors import AttnlabError, InterruptedTraining, InvalidFileError, InvalidValueError
from attnlab.files import remove_leftovers, replacing, unwritable
from attnlab.sizes import bytes_text
from attnlab.specs import TaskSpec, TrainSpec
from attnlab.stop_signals import exit_status, signal_name, signal_of
from attnlab.tasks.base import IGNORE, Batch, Split, Task
from attnlab.tasks.io.aligned import check_words
from attnlab.tasks.io.formats import FORMATS, Sequences, pyarrow
from attnlab.tasks.io.sidecar import Sidecar, fingerprint, sidecar_path
from attnlab.tasks.io.size_check import SMALL, check_largest_option, row_bytes
from attnlab.tasks.io.streams import Source, generator
from attnlab.version import __version__

SPLITS: dict[SplitName, Split] = {
    "training": Split.TRAIN,
    "validation": Split.VALIDATION,
    "test": Split.TEST,
}
BATCH_SIZE = TrainSpec().batch_size
WORD_BYTES = 64
"""Bytes of one word in memory."""
CHECKED_DISK = 2**30
"""Bytes up to which the room on the disk is not looked at: the error of a full disk tells it as well."""


def export(
    spec: TaskSpec,
    path: Path,
    *,
    sequences: int,
    seed: int = 0,
    split: SplitName = "training",
    ignore_index: IgnoreIndex = "-100",
    force: bool = False,
    progress: Callable[[float], None] = lambda share: None,
) -> Sidecar:
    """Write sequences of a task to a file, with a sidecar next to it.

    Args:
        spec: The task at its level.
        path: The file; its suffix selects the format.
        sequences: The number of sequences.
        seed: The seed of the run that would draw them.
        split: The split that they are drawn from.
        ignore_index: What is written where nothing is asked; null in .jsonl and .parquet only.
        force: Whether an existing file is replaced.
        progress: Is called with the share that is written, from 0 to 1; the default ignores it.

    Returns:
        The sidecar.

    Raises:
        InvalidValueError: No format has that suffix, the format needs a package that is not installed or has no null,
            the data set has fewer sequences, or the tokens cannot be written as text.
        InvalidFileError: The file exists already or cannot be written.
        InterruptedTraining: The user pressed Ctrl-C; nothing is left behind.
    """
    check_output_path(path, force)
    check_ignore_index(path, ignore_index)
    source = Source(spec.model_copy(update={"evaluate": ()}), seed)
    if source.features:
        problem = f"Tokens of '{spec.name}' are numbers, and a file holds ids."
        hint = f"To look at sequences: attnlab sample {spec.name}. In Python, a task's sample gives arrays."
        raise InvalidValueError(problem, hint, where="--task")
    check_words_fit(source.vocabulary, spec)
    check_disk(path, sequences, source.length)
    training = split == "training"
    if not training:
        _check_available(source, split, sequences)
    sized: Source | Task = source if training else source.task
    file_format = FORMATS[path.suffix]
    words = tuple(source.task.token_to_str(token) for token in range(sized.vocabulary))
    if path.suffix == ".txt":
        check_words(words, str(path))
    drawn = SplitSequences(source, split, sequences, lambda rows: progress(rows / (file_format.passes * sequences)))
    try:
        remove_leftovers([path.parent])
        with replacing(sidecar_path(path)) as description, replacing(path) as file:
            sizes = sequences, sized.vocabulary, sized.length
            file_format.write(file, Sequences(source.task, *sizes, drawn.batches, ignore_index))
            file.flush()
            sidecar = Sidecar(
                task=spec.name,
                options=spec.options,
                train=spec.train if training else {},
                version=spec.version,
                vocabulary=sized.vocabulary,
                token_strings=words,
                length=sized.length,
                chance=source.task.chance,
                best_accuracy=None if math.isnan(source.task.best_accuracy) else source.task.best_accuracy,
                multiple_targets=drawn.multiple_targets,
                seed=seed,
                split=split,
                sequences=sequences,
                attnlab=__version__,
                sha256=fingerprint(Path(file.name)),
            )
            description.write(sidecar.to_bytes())
            sidecar_path(path).unlink(missing_ok=True)  # no file is ever next to the sidecar of another
    except OSError as error:
        raise unwritable(error, path) from None
    except KeyboardInterrupt as stop:
        number = signal_of(stop)
        problem = f"Stopped by {signal_name(number)}; nothing was written."
        raise InterruptedTraining(problem, where=str(path), status=exit_status(number)) from None
    return sidecar


def check_output_path(path: Path, force: bool) -> None:
    """Refuse a file that cannot be written, before anything is drawn.

    Args:
        path: The file.
        force: Whether an existing file is replaced.

    Raises:
        InvalidValueError: No format has that suffix, or the format needs a package that is not installed.
        InvalidFileError: The folder does not exist, or the file or its sidecar exists already.
    """
    where = str(path)
    if path.suffix not in FORMATS:
        problem = f"The suffix '{path.suffix}' belongs to no format." if path.suffix else "The file name has no suffix."
        raise InvalidValueError(problem, f"Accepted: {', '.join(FORMATS)}.", where=where)
    if path.suffix == ".parquet":
        try:
            pyarrow("pyarrow")
        except AttnlabError as error:
            raise error.at(where) from None
    if not path.parent.is_dir():
        raise InvalidFileError(
            f"The folder {path.parent} does not exist.", "Create it first, or use another.", where=where
        )
    if path.is_dir():
        raise InvalidFileError("This is a folder.", "Give the name of a file.", where=where)
    if path.exists() and not path.is_file():
        hint = "Give the name of a file: its description is written next to it."
        raise InvalidFileError("This is a pipe or a device.", hint, where=where)
    for target in (path, sidecar_path(path)):
        if target.exists() and not force:
            raise InvalidFileError(f"{target.name} exists already.", "Add --force to replace it.", where=where)


def check_ignore_index(path: Path, ignore_index: IgnoreIndex) -> None:
    """Refuse null in a format that has none.

    Args:
        path: The file, with the suffix of a format.
        ignore_index: What is to be written where nothing is asked.

    Raises:
        InvalidValueError: The format has no null.
    """
    if ignore_index == "null" and not FORMATS[path.suffix].has_null:
        accepted = ", ".join(suffix for suffix, one in FORMATS.items() if one.has_null)
        hint = f"Leave it out, or write one of: {accepted}."
        raise InvalidValueError(f"Files with the suffix '{path.suffix}' have no null.", hint, where="--ignore-index")


def check_words_fit(vocabulary: int, spec: TaskSpec) -> None:
    """Refuse a vocabulary whose words do not fit the memory: the sidecar has the word of every id.

    Args:
        vocabulary: V.
        spec: The task, with the options that decide it.

    Raises:
        InvalidValueError: They do not fit.
    """
    if vocabulary > SMALL:
        check_largest_option(spec, lambda task: WORD_BYTES * task.vocabulary + row_bytes(task, BATCH_SIZE))


def check_disk(path: Path, sequences: int, length: int) -> None:
    """Refuse more sequences than the disk has room for, before any is drawn.

    A lower bound: rows of .npz all have the length of the longest, with four bytes for each token; those of other
    formats may be short.

    Args:
        path: The file.
        sequences: Their number.
        length: Tokens of the longest.

    Raises:
        InvalidValueError: There is no room; the message has the largest number that would fit.
    """
    room, row = shutil.disk_usage(path.parent).free, 4 * length if path.suffix == ".npz" else 1
    if sequences * row > max(room, CHECKED_DISK):
        problem = f"{sequences:,} sequences need more than {bytes_text(sequences * row)} of disk"
        hint = f"At most {room // row:,} could fit."
        raise InvalidValueError(f"{problem}, and {bytes_text(room)} are free.", hint, where="--sequences")


def _check_available(source: Source, split: SplitName, sequences: int) -> None:
    """Refuse more held-out sequences than a finite data set has."""
    task, random = source.task.for_split(SPLITS[split]), generator(source.seed, SPLITS[split])
    if (rows := task.held_out(random, sequences, BATCH_SIZE)) is not None:
        available = sum(len(batch.inputs_BT) for batch in rows)
        if available < sequences:
            problem = f"The {split} split has {available:,} sequences, of which {sequences:,} are asked for."
            raise InvalidValueError(problem, f"Use at most {available:,}.", where="--sequences")


class SplitSequences:
    """The sequences of one split, which can be iterated over repeatedly in constant memory.

    Args:
        source: Draws the sequences.
        split: The split.
        sequences: The number of sequences.
        progress: Is called with the number of rows drawn so far, over all iterations.
    """

    def __init__(
        self, source: Source, split: SplitName, sequences: int, progress: Callable[[int], None] = lambda rows: None
    ) -> None:
        self.source, self.split, self.sequences, self.progress = source, SPLITS[split], sequences, progress
        self.multiple_targets = False
        """Whether a position with more than one accepted token has occurred."""
        self.drawn = 0

    def batches(self) -> Iterator[Batch]:
        """Iterate over the sequences, from the first."""
        batches = self.source.iter_held_out(self.split, self.sequences, BATCH_SIZE)
        if self.split is Split.TRAIN:
            batches = (self.source.training(step, BATCH_SIZE) for step in itertools.count())
        left = self.sequences
        for batch in batches:
            if not left:
                return
            accepted = batch.accepted_NW
            if accepted is not None and accepted.shape[1] > 1 and (accepted[:, 1:] != IGNORE).any():
                self.multiple_targets = True
            yield Batch(batch.inputs_BT[:left], batch.targets_BT[:left])
            rows = min(left, len(batch.inputs_BT))
            left, self.drawn = left - rows, self.drawn + rows
            self.progress(self.drawn)
