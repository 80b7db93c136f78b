#!/usr/bin/env bash
# trackio 0.43.0: a run that was finished, by a second init or by finish(), takes further points without a word.
#
# The good guess: either two runs can be open at once, or the one that ended refuses what comes later, or warns of it.
# The behavior: a second init in a process finishes the first run, which says "Run finished", and points logged to the first run
# afterwards are stored as its next steps. So are points after its own finish(), and those of trackio.log() after the current
# run's finish(), which go to that finished run; only trackio.finish() ends this. No warning is given for any.
# Output seen: "first finished by init; first: 1 2 3, second: 10 11 12; warnings: 0; after trackio.finish(): RuntimeError".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install trackio==0.43.0
TRACKIO_DIR="$folder/runs" HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PY'
import contextlib
import io
import sys
import warnings

import trackio
from trackio.sqlite_storage import SQLiteStorage

quiet = {"project": "finished", "auto_log_cpu": False, "auto_log_gpu": False}
with contextlib.redirect_stdout(io.StringIO()) as printed, warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    first = trackio.init(name="first", **quiet)
    first.log({"loss": 1})
    second = trackio.init(name="second", **quiet)
    by_init = printed.getvalue().count("Run finished")
    first.log({"loss": 2})
    second.log({"loss": 10})
    trackio.log({"loss": 11})
    first.finish()
    first.log({"loss": 3})
    second.finish()
    trackio.log({"loss": 12})
    trackio.finish()
    try:
        trackio.log({"loss": 13})
        after = "nothing"
    except Exception as error:
        after = type(error).__name__

stored = {
    run.name: [row["loss"] for row in SQLiteStorage.get_logs("finished", run.name, run_id=run.id)] for run in (first, second)
}
values = ", ".join(f"{name}: {' '.join(map(str, losses))}" for name, losses in stored.items())
about = [one for one in warned if "trackio" in str(one.filename) or "trackio" in str(one.message).lower()]
print(
    f"first {'finished' if by_init == 1 else 'not finished'} by init; {values}; warnings: {len(about)}; "
    f"after trackio.finish(): {after}"
)
right = stored == {"first": [1, 2, 3], "second": [10, 11, 12]}
sys.exit(0 if by_init == 1 and right and not about and after == "RuntimeError" else 1)
PY
