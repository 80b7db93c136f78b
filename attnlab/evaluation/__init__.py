"""The evaluation of a finished run on other lengths and levels than its own."""
