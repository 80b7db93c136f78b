"""Checks of an attention or a task: what a part claims, held to what it does."""
