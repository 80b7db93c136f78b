#!/usr/bin/env bash
# pydantic_core 2.50.4: from_json(allow_inf_nan=False) refuses the words NaN and Infinity, and returns infinity for 1e400.
#
# The good guess: with allow_inf_nan=False the parser returns finite numbers alone, so losses and scores read from JSON lines
# need no further check.
# The behavior: the option is about the words of JavaScript. A number whose exponent is beyond float64 is valid JSON; it
# overflows to infinity without an error, in lists and objects too. A model's allow_inf_nan=False does refuse it.
# Output seen: "words refused, 1e400 inf, list [inf, -inf], model refuses".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install pydantic-core==2.50.4 pydantic==2.14.3
"$folder/venv/bin/python" - <<'PY'
import math
import sys

import pydantic
from pydantic_core import from_json


def refused(read, text: bytes) -> bool:
    try:
        read(text)
    except ValueError:
        return True
    return False


class Point(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(allow_inf_nan=False)
    loss: float


words = all(refused(lambda text: from_json(text, allow_inf_nan=False), word) for word in (b"NaN", b"Infinity"))
number = from_json(b"1e400", allow_inf_nan=False)
listed = from_json(b"[1e400, -1e400]", allow_inf_nan=False)
model = refused(Point.model_validate_json, b'{"loss": 1e400}')
print(f"words {'refused' if words else 'taken'}, 1e400 {number}, list {listed}, model {'refuses' if model else 'takes'}")
sys.exit(0 if words and model and number == math.inf and listed == [math.inf, -math.inf] else 1)
PY
