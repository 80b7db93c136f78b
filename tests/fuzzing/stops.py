"""Commands that measure or write, stopped at random moments: one line, the right status, nothing left.

    python -m tests.fuzzing.stops --stops 60 --seed 0

``evaluate``, ``diagnose``, ``check`` and ``report --html`` get Ctrl-C, SIGTERM or SIGHUP at a moment from a seeded
generator. The store that they read must stay as it was.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from attnlab.stop_signals import STOP_SIGNALS, exit_status, signal_name
from attnlab.storage import Store
from tests.fuzzing.kills import SIZES, Command, Nursery, nursery

TRAIN = ["train", "--task", "copy", "--attn", "softmax", "--pos", "rotary", "--complexity", "2", "--device", "cpu"]
TRAIN += [word for size in SIZES for word in ("--set", size)]
COMMANDS = {
    "evaluate": ["evaluate", "RUN", "--length", "4,16,64,128", "--sequences", "3000", "--device", "cpu"],
    "diagnose": ["diagnose", "gradients", "--layers", "6", "--seeds", "4", "--csv", "out.csv"],
    "diagnose a run": ["diagnose", "reach", "--run", "RUN", "--sequences", "32"],
    "check one": ["check", "softmax"],
    "check several": ["check", "softmax", "linear"],
    "report": ["report", "store", "--html", "out.html", "--csv", "out.csv"],
}
"""Name -> words of a command that lasts at least some tenths of a second."""
LATE = 2.0
"""Seconds that a worker may outlive its command."""


def campaign(folder: Path, stops: int, seed: int, names: tuple[str, ...] = tuple(COMMANDS)) -> Counter[str]:
    """Stop commands at random moments.

    Args:
        folder: An empty folder.
        stops: Commands to stop.
        seed: Of the generator of signals and moments.
        names: Of :data:`COMMANDS`, taken in turn.

    Returns:
        Signal and command -> how many it ended; and ``done`` and command -> how many ended before it came.

    Raises:
        AssertionError: A status, a message or a file is not as it must be.
    """
    generator, seen = random.Random(seed), Counter[str]()
    with nursery(folder) as commands:
        first = commands.start([*TRAIN, "--store", "store"])
        assert first.wait() == 0, first.output.read_text()
        run = Store(folder / "store").records()[0].id
        before = files(folder / "store")
        spans: dict[str, float] = {}
        for index in range(stops + len(names)):
            name = names[index % len(names)]
            words = [word.replace("RUN", run) for word in COMMANDS[name]]
            words += ["--store", "store"] if name != "report" and "check" not in name else []
            command, started = commands.start(words), time.monotonic()
            if name not in spans:  # the first of each is not disturbed
                assert command.wait() in (0, 1), command.output.read_text()
                spans[name] = time.monotonic() - started
            else:
                number = generator.choice(STOP_SIGNALS)
                seen[stop(commands, command, number, generator.uniform(0.02, 0.9 * spans[name])) + f" {name}"] += 1
            assert files(folder / "store") == before, f"{words} changed the store"
            for written in ("out.csv", "out.html"):
                if (folder / written).exists():
                    content = (folder / written).read_text()
                    assert content.endswith(("\n", "</html>")), f"{written} is torn"
                    (folder / written).unlink()
            left = {path.name for path in folder.iterdir()} - {"store"}
            assert all(one.startswith("output-") for one in left), f"{words} left {left}"
    return seen


def stop(commands: Nursery, command: Command, number: int, moment: float) -> str:
    """Send a signal after some seconds and check how the command ends: by which signal, or ``done``."""
    time.sleep(moment)
    with suppress(ProcessLookupError):
        os.kill(command.process, number)
    status, said = command.wait(), command.output.read_text()
    assert "Traceback" not in said, said
    deadline = time.monotonic() + LATE
    while (workers := command.workers()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not workers, f"{workers} outlived the command"
    if status in (0, 1) and f"Stopped by {signal_name(number)}" not in said:
        return "done"
    assert status == exit_status(number), f"{signal.Signals(number).name} gave {status}: {said}"
    assert said.splitlines()[-1] == f"attnlab: Stopped by {signal_name(number)}.", said
    assert said.count("attnlab: ") == 1, said
    return signal.Signals(number).name


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def figures(seen: Counter[str]) -> str:
    """Describe what a campaign has seen."""
    return f"{seen.total()} stops: " + ", ".join(f"{count} {name}" for name, count in sorted(seen.items()))


def main() -> None:
    """Run a campaign and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stops", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(f"{figures(campaign(Path(folder), words.stops, words.seed))}\n")


if __name__ == "__main__":
    main()
