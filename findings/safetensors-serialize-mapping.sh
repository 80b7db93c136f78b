#!/usr/bin/env bash
# safetensors: the mapping that serialize takes in 0.5.3 is refused by 0.8.0.
#
# The good guess: safetensors.serialize, exported at the top of the package, keeps its interface between minor versions:
# a mapping from each name to {"dtype": ..., "shape": ..., "data": bytes}, as in 0.5.3. It is the one way to write types
# that NumPy lacks, such as bfloat16, without torch.
# The behavior: 0.8.0 takes TensorSpec objects that hold the address and the length of memory instead; a mapping raises
# TypeError. deserialize still returns mappings, so what is read cannot be written back.
# Output seen: "0.5.3: written, 0.8.0: TypeError".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
results=()
for version in 0.5.3 0.8.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip --disable-pip-version-check --quiet install "safetensors==$version" numpy==2.3.5
    results+=("$version: $("$folder/$version/bin/python" - <<'PY'
from safetensors import deserialize, serialize

try:
    content = serialize({"a": {"dtype": "bfloat16", "shape": [2], "data": bytes(4)}}, {"about": "a test"})
except TypeError as error:
    print(type(error).__name__)
else:
    assert deserialize(bytes(content))[0][0] == "a"
    print("written")
PY
)")
done
echo "${results[0]}, ${results[1]}"
[ "${results[0]}, ${results[1]}" = "0.5.3: written, 0.8.0: TypeError" ]
