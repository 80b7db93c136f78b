"""What fits the memory: the limit of a container, the largest count, whole numbers as words."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from attnlab.errors import InvalidValueError
from attnlab.sizes import (
    MAX_INTEGER,
    available_memory,
    bytes_text,
    cgroup_memory,
    check_fits,
    largest_fitting,
    whole_number,
)


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_the_smallest_limit_of_a_version_2_group_and_those_above_it_counts(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/outer/inner\n")
    write(tmp_path / "root", memory__stat="inactive_file 0")
    write(tmp_path / "root/outer", memory__max=1000, memory__current=700, memory__stat="anon 5\ninactive_file 100")
    write(tmp_path / "root/outer/inner", memory__max="max", memory__current=10)
    assert cgroup_memory(tmp_path / "root", own) == 1000 - 700 + 100
    write(tmp_path / "root/outer/inner", memory__max=50, memory__current=10)
    assert cgroup_memory(tmp_path / "root", own) == 40


def test_the_limit_of_a_version_1_group_counts_even_where_its_path_is_that_of_the_host(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("5:cpu:/x\n4:memory:/docker/unknown\n")
    write(tmp_path / "root/memory", memory__limit_in_bytes=300, memory__usage_in_bytes=400)
    assert cgroup_memory(tmp_path / "root", own) == 0
    write(tmp_path / "root/memory", memory__usage_in_bytes=100, memory__stat="total_inactive_file 20")
    assert cgroup_memory(tmp_path / "root", own) == 220


def test_without_groups_the_machine_alone_is_the_limit(tmp_path: Path) -> None:
    assert cgroup_memory(tmp_path, tmp_path / "missing") == MAX_INTEGER
    assert 0 < available_memory() <= psutil.virtual_memory().total


@pytest.mark.parametrize("limit", [0, 1, 7, 8, 9, 100, 799, 10**9])
def test_the_largest_that_fits_fits_and_the_next_does_not(limit: int) -> None:
    found = largest_fitting(10**12, lambda count: 8 * count, limit)
    assert 8 * found <= limit < 8 * (found + 1)
    near = largest_fitting(10**12, lambda count: 8 * count, limit, exact=False)
    assert 8 * near <= limit < 8 * (near + near // 90 + 2)


def test_a_refusal_has_the_size_the_limit_and_the_largest_that_fits() -> None:
    check_fits(12, lambda count: 8 * count, what="12 rows", where="--rows", available=96)
    with pytest.raises(InvalidValueError) as caught:
        check_fits(13, lambda count: 8 * count, what="13 rows", where="--rows", available=96)
    assert str(caught.value) == (
        "--rows\n  13 rows would take about 104 bytes, and 96 bytes are available.\n  At most 12 would fit."
    )
    with pytest.raises(InvalidValueError, match="No number of them would fit"):
        check_fits(13, lambda count: 1000, what="13 rows", where="--rows", available=96)


@pytest.mark.parametrize("word", ["", "-1", "+1", "1_000", "1.0", "1e3", "²", "٣", "９", "0x1", "9" * 19, "1" * 5000])
def test_only_ascii_digits_of_at_most_64_bits_are_a_whole_number(word: str) -> None:
    assert whole_number(word) is None


def test_sizes_are_written_in_three_digits() -> None:
    assert [bytes_text(size) for size in (0, 999, 1000, 999_600, 2**63, 2**100)] == [
        *("0 bytes", "999 bytes", "1 kB", "1 MB", "9.22 EB", "1,267,650,600,228 EB")
    ]
    assert whole_number(" 12 ") == 12
    assert whole_number(str(MAX_INTEGER)) == MAX_INTEGER
