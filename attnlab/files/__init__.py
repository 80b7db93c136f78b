"""Files that attnlab writes: whole or not at all, and what a dead process has left of them."""

from attnlab.files.leftovers import remove_leftovers
from attnlab.files.writing import replacing, unwritable, write_output, write_whole

__all__ = ["remove_leftovers", "replacing", "unwritable", "write_output", "write_whole"]
