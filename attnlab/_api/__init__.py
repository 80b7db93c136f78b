"""The functions of the public API, which :mod:`attnlab` exports. They import what they need when they are called."""
