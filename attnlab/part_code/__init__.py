"""The code of parts that are not built in, as a digest that is part of the ids of runs.

A part is the file in which its class stands, with the modules beside it that it imports, directly or through one
another. A part of a package is its module, with the modules of the package that it imports. A class of a notebook or a
script is its own text, with the functions, classes and constants of the notebook that it uses. Comments, docstrings and
formatting do not count; neither does the path, so that a file that is moved is the same part.
"""

from attnlab.part_code.code import PartCode, code_now, part_code
from attnlab.part_code.files import file_digest, files_with, is_installed
from attnlab.part_code.notebooks import SCRIPT

__all__ = ["SCRIPT", "PartCode", "code_now", "file_digest", "files_with", "is_installed", "part_code"]
