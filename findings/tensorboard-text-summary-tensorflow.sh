#!/usr/bin/env bash
# tensorboard 2.21.0: plugins.text.summary.pb imports and then needs TensorFlow, which hparams_pb beside it does not.
#
# The good guess: functions named pb in tensorboard.plugins.*.summary build a Summary proto, so that a tool without TensorFlow can
# write texts and scalars into event files with the package tensorboard alone; its requirements do not list TensorFlow.
# The behavior: importing the module succeeds; calling pb raises ModuleNotFoundError for tensorflow, for texts and for scalars.
# plugins.hparams.summary_v2.hparams_pb works. The protos can be built from plugins.text.metadata without TensorFlow.
# Output seen: "text.pb needs tensorflow, scalar.pb needs tensorflow, hparams_pb works, metadata works".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install tensorboard==2.21.0 setuptools==80.9.0
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys

from tensorboard.plugins.hparams import summary_v2
from tensorboard.plugins.scalar import summary as scalar
from tensorboard.plugins.text import metadata
from tensorboard.plugins.text import summary as text


def outcome(make, *values) -> str:
    try:
        make(*values)
    except ModuleNotFoundError as error:
        return f"needs {error.name}"
    return "works"


found = {
    "text.pb": outcome(text.pb, "note", "hello"),
    "scalar.pb": outcome(scalar.pb, "loss", 0.5),
    "hparams_pb": outcome(summary_v2.hparams_pb, {"lr": 0.1}),
    "metadata": outcome(metadata.create_summary_metadata, "note", "a note"),
}
print(", ".join(f"{name} {what}" for name, what in found.items()))
sys.exit(0 if list(found.values()) == ["needs tensorflow", "needs tensorflow", "works", "works"] else 1)
PY
