"""The version of this code: read from the code and not from the metadata of an installation, which may be older."""

__version__ = "0.2.0"
"""The build takes it from here; CITATION.cff and the changelog name the same."""
