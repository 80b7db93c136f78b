#!/usr/bin/env bash
# numba 0.68.1: code that is cached on disk is never found again where a closure holds a compiled function.
#
# The good guess: cache=True keeps the machine code of every function that it accepts without a warning, so that a second process
# loads it; closures over numbers do.
# The behavior: the key of the cache is made of the pickled contents of a closure's cells. A compiled function pickles to other
# bytes in each process, so the entry never matches: every process compiles anew and writes one more file. No warning is given.
# Global names of compiled functions are not part of the key, and are found.
# Output seen: "closure over a number: 1 hit, 1 file; closure over a function: 0 hits, 2 files".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install numba==0.68.1 numpy==2.3.5
cat > "$folder/made.py" <<'PY'
from numba import njit


@njit
def twice(x):
    return 2 * x


def over_number(number):
    @njit("float64(float64)", cache=True)
    def numbered(x):
        return number * x

    return numbered


def over_function(function):
    @njit("float64(float64)", cache=True)
    def called(x):
        return function(x)

    return called


if __name__ == "__main__":
    from made import over_function, over_number, twice

    one, other = over_number(3), over_function(twice)
    print(sum(one.stats.cache_hits.values()), sum(other.stats.cache_hits.values()))
PY
cd "$folder"
venv/bin/python made.py > first
venv/bin/python made.py > second
read -r number function < second
numbered=$(find . -name "made.over_number*.nbc" | wc -l)
called=$(find . -name "made.over_function*.nbc" | wc -l)
echo "closure over a number: $number hit, $numbered file; closure over a function: $function hits, $called files"
[ "$number $numbered $function $called" = "1 1 0 2" ]
