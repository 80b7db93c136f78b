"""A finished run on other lengths and levels than its own."""
