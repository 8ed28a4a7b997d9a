"""A record of which bytes of which files were read.

It hashes the bytes as they come, so that it speaks of what was read, not of what a second reading
would find.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from luksmeta.closing import Closing
from luksmeta.errors import LuksError
from luksmeta.secret import BytesLike
from luksmeta.system_errors import storage_error

READ_LOG_FORMAT: Final = "luksmeta-read-log-1"
_OPEN_RUNS: Final = 8  # the sweep over a disk, and the looks at headers in between


class ReadLog:
    """Which bytes of which files were read, as JSON Lines on ``stream``.

    The first line names the format. A line for each file that is opened has its ``file_size`` and
    the time; a line for each run of bytes that were read one behind the other has ``offset``,
    ``size`` and ``sha256``. Bytes that were read twice are in two runs.
    """

    def __init__(self, stream: TextIO, name: str = "the log of reads") -> None:
        self._stream = stream
        self.name = name
        self.write({"format": READ_LOG_FORMAT})

    def opened(self, name: str, size: int) -> FileReads:
        """A file of ``size`` bytes was opened."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.write({"file": name, "file_size": size, "opened": now})
        return FileReads(self, name)

    def write(self, entry: dict[str, object]) -> None:
        """One line; ReadLogError, which names the log, where it cannot be written."""
        try:
            self._stream.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise ReadLogError(storage_error(error).text).about(self.name) from error


class FileReads(Closing):
    """The part of a :class:`ReadLog` that is about one file."""

    def __init__(self, log: ReadLog, name: str) -> None:
        self._log = log
        self._name = name
        self._runs: OrderedDict[int, _Run] = OrderedDict()  # by the offset where each ends

    def note(self, offset: int, data: BytesLike) -> None:
        """These bytes were read at ``offset``."""
        if not len(data):
            return
        run = self._runs.pop(offset, None) or _Run(offset)
        run.hash.update(data)
        run.size += len(data)
        self._end(self._runs.pop(offset + len(data), None))  # two that end at the same place
        self._runs[offset + len(data)] = run
        if len(self._runs) > _OPEN_RUNS:
            self._end(self._runs.popitem(last=False)[1])

    def close(self) -> None:
        """Write what is not written yet."""
        while self._runs:
            self._end(self._runs.popitem(last=False)[1])

    def _end(self, run: _Run | None) -> None:
        if run is not None:
            entry = {"offset": run.offset, "size": run.size, "sha256": run.hash.hexdigest()}
            self._log.write({"file": self._name, **entry})


@dataclass(slots=True)
class _Run:
    """Bytes that were read one behind the other."""

    offset: int
    size: int = 0
    hash: Any = field(default_factory=hashlib.sha256)


class ReadLogError(LuksError):
    """The record of reads cannot be written; not a matter of the evidence."""

    exit_status = 4
