"""Records as a list that a notebook shows as a table, and that turns into a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex, final, overload

if TYPE_CHECKING:
    from attnlab.records import Record


@final
class Records(list["Record"]):
    """A list of records, as :func:`attnlab.train`, :func:`attnlab.sweep` and :func:`attnlab.load_records` return."""

    @overload
    def __getitem__(self, index: SupportsIndex) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Records: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Record | Records:
        """A record; of a slice, the records."""
        return Records(super().__getitem__(index)) if isinstance(index, slice) else super().__getitem__(index)

    def rows(self) -> list[dict[str, Any]]:
        """List one row for each run, with the same columns throughout.

        Returns:
            Column -> value: id, status and reason, where the run was trained and tested, the fields of the model, the
            training and the task, metrics (shares from 0 to 1, losses in nats or squared errors, seconds), and
            diagnostics by name. What a run does not have is None, and a metric without a value is nan.
        """
        from attnlab.analysis.record_columns import record_rows

        return record_rows(self)

    def to_pandas(self) -> Any:
        """Make a data frame of pandas of :meth:`rows`.

        Returns:
            A ``pandas.DataFrame``, one row for each run.

        Raises:
            attnlab.errors.AttnlabError: pandas is not installed.
        """
        from attnlab.data_frames import to_pandas

        return to_pandas(self.rows())

    def to_polars(self) -> Any:
        """Make a data frame of polars of :meth:`rows`.

        Returns:
            A ``polars.DataFrame``, one row for each run.

        Raises:
            attnlab.errors.AttnlabError: polars is not installed.
        """
        from attnlab.data_frames import to_polars

        return to_polars(self.rows())

    def plot(self) -> Any:
        """Draw the learning curves: validation accuracy by training step, a line for each run, a panel for each level.

        Accuracy against complexity is ``attnlab.report(records).plot()``.

        Returns:
            A chart of altair, which a notebook shows; ``chart.save("file.svg")`` writes it.

        Raises:
            attnlab.errors.AttnlabError: altair is not installed, or no run was validated.
        """
        from attnlab.rendering.report import report

        return report(self).plot("curves")

    def _repr_html_(self) -> str:
        """The table of ``attnlab train``, for a notebook."""
        from attnlab.rendering.notebook import as_html
        from attnlab.rendering.record_table import RecordTable

        return as_html(RecordTable(self) if self else "No runs.")

    def __str__(self) -> str:
        """The table of ``attnlab train`` as text, of ``print``."""
        from attnlab.rendering.notebook import as_text
        from attnlab.rendering.record_table import RecordTable

        return as_text(RecordTable(self) if self else "No runs.")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The same for IPython."""
        printer.text(str(self))
