#!/usr/bin/env bash
# reasoning-gym 0.1.25: an item of "codeio" depends on whether scipy is installed, and without it has the answer "{}".
#
# The good guess: a seed and an index give one item wherever the package's requirements are met; an item that cannot be made
# raises, or another program is drawn.
# The behavior: an item is made by running a program that the package carries. Six of them import scipy, which is not required.
# Where such a program fails, a line is printed to standard output, and the item is given all the same: a question without
# its values whose right answer is "{}". With scipy the same seed and index give a question that can be answered.
# Output seen: "without scipy: answer {}, printed: Error generating I/O pair: No module named 'scipy'; with scipy: another answer".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install reasoning-gym==0.1.25 numpy==2.3.5
cd "$folder"
cat > item.py <<'PY'
import sys

import reasoning_gym

item = reasoning_gym.create_dataset("codeio", seed=389, size=1)[0]
print(item["answer"], file=sys.stderr)
PY
venv/bin/python -W ignore item.py > printed 2> without
venv/bin/python -m pip --disable-pip-version-check --quiet install scipy==1.17.1
venv/bin/python -W ignore item.py > printed-with 2> with
differs=$(cmp -s without with && echo "the same answer" || echo "another answer")
echo "without scipy: answer $(cat without), printed: $(cat printed); with scipy: $differs"
[ "$(cat without)" = "{}" ] && grep -q "No module named 'scipy'" printed && [ ! -s printed-with ] && [ "$differs" = "another answer" ]
