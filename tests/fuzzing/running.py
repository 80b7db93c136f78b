"""One case of a campaign: files in an empty folder, a command, and what must hold of its answer.

Each command runs in this process as a user runs it, with a limit of processor time that only a command that hangs
reaches, whatever else the machine does.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from attnlab.cli import main
from attnlab.rendering import waiting
from attnlab.storage import weights

CPU_SECONDS, WALL_SECONDS = 5.0, 120.0
"""After so much time of the processor, or of the clock, a command hangs."""
LONGEST_MESSAGE = 60
"""Lines on the standard error, at most."""
JOURNAL = "records.jsonl"


@dataclass(frozen=True)
class Case:
    """A command, and the files that it finds."""

    words: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Path within the folder -> content."""
    told: str = ""
    """What was done to the files, for the report of a fault."""
    expected: Callable[[Answer], str] | None = None
    """Says what is wrong with an answer beyond what holds for every command; empty where nothing is."""


@dataclass(frozen=True)
class Answer:
    """What a command gave."""

    status: int
    out: str
    error: str
    seconds: float
    """Of the processor."""
    raised: str = ""
    """The traceback of an exception that came through."""
    hung: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    """What is in the folder afterwards."""


class Output(io.BytesIO):
    """A stream that can be read after the command has closed it."""

    def close(self) -> None:
        pass


class Hangs(BaseException):
    """A command takes too long; no ``except Exception`` hides it."""


class Runner:
    """Runs cases, each in an empty folder below one.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def run(self, words: tuple[str, ...], files: dict[str, bytes]) -> Answer:
        """Run ``attnlab WORDS`` in a folder with files.

        Args:
            words: The words.
            files: The files.

        Returns:
            The answer.
        """
        self.count += 1
        here = self.folder / str(self.count)
        here.mkdir()
        try:
            for name, content in files.items():
                path = here / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            with _streams() as (out, error), _current(here):
                start = time.process_time()
                status, raised, hung = _status(words)
                seconds = time.process_time() - start
                sys.stdout.flush()
                sys.stderr.flush()
            left = {str(path.relative_to(here)): path.read_bytes() for path in here.rglob("*") if path.is_file()}
            return Answer(status, text(out), text(error), seconds, raised, hung, left)
        finally:
            os.chdir(self.folder)
            shutil.rmtree(here, ignore_errors=True)


def text(stream: io.BytesIO) -> str:
    """What was written to a stream."""
    return stream.getvalue().decode(errors="replace")


@contextmanager
def limits() -> Iterator[None]:
    """Within this block a command that hangs raises :class:`Hangs`; tables have 80 columns, and nothing tells time."""

    def hang(number: int, frame: FrameType | None) -> None:
        raise Hangs

    before = {number: signal.signal(number, hang) for number in (signal.SIGPROF, signal.SIGALRM)}
    columns, seconds = os.environ.get("COLUMNS"), waiting.SECONDS
    os.environ["COLUMNS"], waiting.SECONDS = "80", 1000.0
    try:
        yield
    finally:
        waiting.SECONDS = seconds
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns
        for number, handler in before.items():
            signal.signal(number, handler)


def _status(words: tuple[str, ...]) -> tuple[int, str, bool]:
    """Run the command line: its status, the traceback of what it raised, whether it hung."""
    sys.argv = ["attnlab", *words]
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning of another library is no clear block
            warnings.simplefilter("ignore", DeprecationWarning)  # Python shows none of these
            main()
    except SystemExit as end:
        return int(str(end.code or 0)), "", False
    except Hangs:
        return -1, traceback.format_exc(), True
    except BaseException:
        return -1, traceback.format_exc(), False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return 0, "", False


@contextmanager
def _streams() -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    out, error, before = Output(), Output(), (sys.stdout, sys.stderr, sys.argv)
    sys.stdout, sys.stderr = (io.TextIOWrapper(stream, encoding="utf-8") for stream in (out, error))
    try:
        yield out, error
    finally:
        sys.stdout, sys.stderr, sys.argv = before


@contextmanager
def _current(folder: Path) -> Iterator[None]:
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(folder.parent)


def fault(case: Case, answer: Answer) -> str:
    """Tell what is wrong with an answer.

    Args:
        case: The case.
        answer: Its answer.

    Returns:
        The name of the fault and a detail, parted by a line end; empty where everything holds.
    """
    if answer.hung:
        return f"hang\nover {CPU_SECONDS:g} s of the processor\n{answer.raised[-900:]}"
    if answer.raised or "Traceback (most recent" in answer.error:
        return f"traceback\n{(answer.raised or answer.error)[-900:]}"
    if answer.status not in (0, 1, 2):
        return f"status\n{answer.status}: {answer.error}"
    if answer.status == 2 and not _is_block(answer.error):
        return f"message\n{answer.error}"
    if answer.status == 1 and not (answer.error or answer.out):
        return "message\nit fails without a word"
    if hidden := [name for name in answer.files if re.search(r"(^|/)\.", name) and name not in case.files]:
        return f"leftover\n{hidden}"
    for check in (_half_written, _lost, _changed):
        if problem := check(case, answer):
            return f"{check.__name__.strip('_')}\n{problem}"
    if case.expected and (problem := case.expected(answer)):
        return f"unexpected\n{problem}"
    return ""


def _is_block(error: str) -> bool:
    """Whether a refusal ends in one block: of attnlab's own, or of typer."""
    lines = error.rstrip("\n").split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith("attnlab: ")]
    if "Usage: attnlab" in error:
        return not starts and len(lines) <= LONGEST_MESSAGE
    own = bool(starts) and all(line.startswith("  ") or not line.strip() for line in lines[starts[-1] + 1 :])
    return own and len(lines) <= LONGEST_MESSAGE and max(map(len, lines)) < 2000


def _half_written(case: Case, answer: Answer) -> str:
    """Every file that the command has written is whole."""
    for name, content in answer.files.items():
        if content in case.files.values():  # as it was, or moved to the trash
            continue
        try:
            if name.endswith(".safetensors"):
                weights.decode(content)
            elif name.endswith(".json"):
                json.loads(content)
            elif name.endswith(JOURNAL) and _torn(content) and _torn(content) != _torn(case.files.get(name, b"")):
                return f"the last line of {name} is torn"
        except Exception as error:  # whatever a reader says of it
            return f"{name}: {error}"
    return ""


def _lost(case: Case, answer: Answer) -> str:
    """Every line of a journal is still in some journal, and weights of its runs are still somewhere."""
    lines = {line for name, one in answer.files.items() if name.endswith(".jsonl") for line in one.split(b"\n")}
    for name, content in case.files.items():
        if name.endswith(JOURNAL):
            *whole, _torn = content.split(b"\n")
            if missing := [line for line in whole if line.strip() and line not in lines]:
                return f"a line of {name}: {missing[0][:200]!r}"
        elif "weights/" in name and content not in answer.files.values() and _has_record(case, Path(name).stem):
            if name in answer.files and _is_damaged(content):
                continue  # training again has replaced it
            return name
    return ""


def _is_damaged(content: bytes) -> bool:
    """Whether no reader takes these weights."""
    try:
        weights.decode(content)
    except Exception:  # whatever a reader says of them
        return True
    return False


def _torn(content: bytes) -> bytes:
    """What stands behind the last complete line."""
    return content.rpartition(b"\n")[2]


def _has_record(case: Case, run: str) -> bool:
    """Whether a journal names a run; weights of others may be written anew."""
    return any(run.encode() in content for name, content in case.files.items() if name.endswith(JOURNAL))


def _changed(case: Case, answer: Answer) -> str:
    """A refusal leaves what it was given as it was."""
    if answer.status != 2:
        return ""
    changed = [name for name, content in case.files.items() if answer.files.get(name) != content]
    return f"refused, and changed: {changed}" if changed else ""
