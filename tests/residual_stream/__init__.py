"""Tests of residual streams."""
