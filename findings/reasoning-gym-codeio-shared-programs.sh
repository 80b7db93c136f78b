#!/usr/bin/env bash
# reasoning-gym 0.1.25: making a second data set "codeio" changes the items of the first.
#
# The good guess: a data set is a function of its settings; the same object gives the same item for the same index, whatever else
# the process makes.
# The behavior: the programs of "codeio" are kept in an attribute of the class, so that the data set made last sets them for all.
# A data set of difficulty 6 (22 programs) gives the items of difficulty 9 (54 programs) once one of difficulty 9 exists, and its
# metadata still says 6. So a training set and a test set of two difficulties in one process are one.
# Output seen: "22 programs, then 54; items of the first unchanged: 0 of 3, those of the second: 3 of 3, said difficulty 6".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install reasoning-gym==0.1.25
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys

import reasoning_gym

INDICES = range(3)
first = reasoning_gym.create_dataset("codeio", seed=0, size=3, difficulty=6)
programs = len(first._jsonl_data)
before = [first[index]["question"] for index in INDICES]
second = reasoning_gym.create_dataset("codeio", seed=0, size=3, difficulty=9)
after = [first[index]["question"] for index in INDICES]
unchanged = sum(one == other for one, other in zip(before, after, strict=True))
of_second = sum(one == second[index]["question"] for index, one in zip(INDICES, after, strict=True))
said = first[0]["metadata"]["difficulty"]["difficulty"]
print(
    f"{programs} programs, then {len(first._jsonl_data)}; items of the first unchanged: {unchanged} of 3, "
    f"those of the second: {of_second} of 3, said difficulty {said}"
)
sys.exit(0 if (programs, len(first._jsonl_data), unchanged, of_second, said) == (22, 54, 0, 3, 6) else 1)
PY
