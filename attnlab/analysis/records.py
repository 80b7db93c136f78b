"""The records of a store, in the order of its plan, as a report needs them."""

from __future__ import annotations

from pathlib import Path

from attnlab.records import Record
from attnlab.storage import Store
from attnlab.storage.status import read_plan


def records(folder: Path) -> list[Record]:
    """Read the records of a store, with the last point of each history only.

    Args:
        folder: The store.

    Returns:
        The records in the order of the plan; records that are not in the plan follow. Empty without a journal.

    Raises:
        StoreError: A line other than a torn last one is no record, or the store has a newer format.
    """
    order = {planned.id: index for index, planned in enumerate(read_plan(folder))}
    return sorted(Store(folder).journal.read(history=False), key=lambda record: order.get(record.id, len(order)))
