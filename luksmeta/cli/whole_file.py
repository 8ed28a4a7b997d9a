"""Files that have their name only when they are complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from luksmeta.cli import interrupts, output


@contextmanager
def replaced(name: str) -> Iterator[IO[bytes]]:
    """A file that takes the place of ``name`` at the end of the block, and not on an error."""
    import os
    import tempfile

    path = Path(name).resolve()
    with (
        output.errors_of(name),
        tempfile.NamedTemporaryFile(dir=path.parent, prefix=".luksmeta.", delete=False) as file,
    ):
        temporary = Path(file.name)
        with interrupts.incomplete(file.name):
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                file.close()
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
