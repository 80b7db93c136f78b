#!/usr/bin/env bash
# safetensors 0.8.0: several metadata keys are written in an order that changes from call to call.
#
# The good guess: `save(tensors, metadata)` is a function of its arguments, so equal tensors and equal metadata give equal
# bytes, and a file can be compared, cached or addressed by its digest. The tensors themselves are sorted.
# The behavior: with one metadata key the bytes are always equal. With several keys their order in the header differs
# between two calls in one process, so that equal content has several digests. The content that is read back is equal.
# Output seen: "one key: 1 digest in 50 files" and "eight keys: N digests in 50 files" with N well above 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install safetensors==0.8.0 numpy==2.3.5
"$folder/venv/bin/python" - <<'PY'
import hashlib
import sys

import numpy as np
from safetensors.numpy import load, save

TENSORS = {"b": np.ones(3, np.float32), "a": np.zeros(2, np.float32)}


def digests(keys: int) -> int:
    metadata = {f"key{index}": "value" for index in range(keys)}
    files = [save(TENSORS, metadata=metadata) for _ in range(50)]
    assert all((load(file)["b"] == TENSORS["b"]).all() for file in files)
    return len({hashlib.sha256(file).hexdigest() for file in files})


one, several = digests(1), digests(8)
print(f"one key: {one} digest in 50 files; eight keys: {several} digests in 50 files")
sys.exit(0 if one == 1 and several > 1 else 1)
PY
