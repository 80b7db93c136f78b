"""Checks of an attention or a task: properties that a part declares, compared with what it does."""
