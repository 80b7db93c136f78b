"""Files that attnlab writes: whole or not at all, and what a dead process has left of them."""

from attnlab.files.leftovers import remove_leftovers
from attnlab.files.writing import check_output, replacing, unwritable, write_output, write_whole

__all__ = ["check_output", "remove_leftovers", "replacing", "unwritable", "write_output", "write_whole"]
