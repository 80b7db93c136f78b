"""Small transformers: a specification and a seed -> a module."""
