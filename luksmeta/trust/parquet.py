"""Rows of a fleet as a Parquet file; pyarrow is an extra."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import IO, Any, Final

from luksmeta.trust.rows import Row

_TEXTS: Final = ("image", "policy", "format", "uuid", "label", "error")
_BATCH: Final = 10_000  # rows held in memory


def through(rows: Iterable[Row], file: IO[bytes]) -> Iterator[Row]:
    """The same rows, each written to ``file`` on its way; whole when the last one was taken.

    ValueError where pyarrow is missing.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ValueError("Parquet needs pyarrow, which comes with luksmeta[fleet]") from None
    schema = _schema(pyarrow)
    iterator = iter(rows)
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while batch := list(islice(iterator, _BATCH)):
            records = list(map(_record, batch))
            writer.write_table(pyarrow.Table.from_pylist(records, schema=schema))
            yield from batch


def _record(row: Row) -> dict[str, object]:
    return {
        **{name: _storable(getattr(row, name)) for name in _TEXTS},
        "findings": [
            {name: _storable(text) for name, text in each.describe().items()}
            for each in row.findings
        ],
        "holds": row.holds,
        "errors": row.errors,
        "warnings": len(row.findings) - row.errors,
    }


def _storable(text: str | None) -> str | None:
    """Text from a disk, perhaps no UTF-8 there: what Parquet cannot hold becomes an escape."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def _schema(pyarrow: Any) -> Any:  # noqa: ANN401  # a module without types
    text = pyarrow.string()
    finding = [(each, text) for each in ("rule", "severity", "path", "text", "why", "reference")]
    return pyarrow.schema(
        [
            *((name, text) for name in ("image", "policy")),
            ("holds", pyarrow.bool_()),
            *((name, text) for name in ("format", "uuid", "label")),
            *((name, pyarrow.int32()) for name in ("errors", "warnings")),
            ("findings", pyarrow.list_(pyarrow.struct(finding))),
            ("error", text),
        ]
    )
