"""Ladders to tasks, tasks to streams of batches, and batches to files and back."""
