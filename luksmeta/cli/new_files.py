"""A small new file that a command makes: there whole, or not at all."""

from __future__ import annotations

from luksmeta.cli import interrupts
from luksmeta.file_storage import new_file
from luksmeta.secret import BytesLike


def write_new_file(name: str, content: BytesLike) -> None:
    """Make the file with mode 0600; neither an error nor a signal leaves half of it.

    Raises StorageExistsError where the name is taken, StorageError.
    """
    with interrupts.making(name), new_file(name) as file:
        file.resize(len(content))
        file.write_at(0, content)
