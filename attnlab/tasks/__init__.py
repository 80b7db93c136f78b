"""The catalog of tasks: generators of token sequences with targets. They need numpy only."""

from attnlab.tasks.base import IGNORE, TASKS, Batch, Split, Task, register

__all__ = ["IGNORE", "TASKS", "Batch", "Split", "Task", "register"]
