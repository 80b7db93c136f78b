"""Inputs that nobody would write, drawn by hypothesis, and what attnlab must answer to each: one block, or results."""
