"""The code of parts that are not built in, as a digest that is part of the ids of runs.

A part is the file in which its class stands, with the modules beside it that it imports, directly or through one
another, in functions too, and with the data files beside these that their constants name. A part of an installed
package is the package's version with all of its modules. A class of a notebook or a script is its own text, with the
functions, classes and constants of the notebook that it uses, and the user's modules among these. Comments, docstrings
and formatting do not count; neither does the path, so that a file that is moved is the same part.

The digest is that of what is in memory when a run is planned. A file that was edited and not loaded again is refused,
and so is a function that was replaced by hand. A constant of a module or class that was given another value is part of
the digest, if its file assigns it once, a literal, and the code does not change it itself. Not covered: names that are
put together while the code runs, of modules or files; files elsewhere; constants that are computed, such as an array,
and attributes of objects, given other values by hand; the environment; modules that are neither Python nor beside the
file.
"""

from attnlab.part_code._trees import digest
from attnlab.part_code.code import PartCode, code_now, part_code
from attnlab.part_code.files import file_digest, files_with, own_name
from attnlab.part_code.installed import installed_folder
from attnlab.part_code.notebooks import SCRIPT, without_text

__all__ = [
    "SCRIPT",
    "PartCode",
    "code_now",
    "digest",
    "file_digest",
    "files_with",
    "installed_folder",
    "own_name",
    "part_code",
    "without_text",
]
