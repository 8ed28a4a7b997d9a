"""Options about notes: whose a keyslot is, and what for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import click

from luksmeta.cli.options import Command, grouped
from luksmeta.tokens.notes import Note


@dataclass(frozen=True, slots=True)
class NoteOptions:
    """What a keyslot's note shall say; None where it is not named."""

    owner: str | None
    note: str | None

    @property
    def is_given(self) -> bool:
        """Whether any of it is named."""
        return self.owner is not None or self.note is not None

    def of(self, before: Note | None) -> Note:
        """The note that was there, with what is named put in its place."""
        note = before or Note()
        if self.owner is not None:
            note = replace(note, owner=self.owner)
        return note if self.note is None else replace(note, purpose=self.note)


def note_options(command: Command) -> Command:
    """A keyslot's note; the command gets ``note: NoteOptions``."""
    return grouped(
        command,
        "note",
        NoteOptions,
        [
            click.option(
                "--owner",
                metavar="NAME",
                help="LUKS2: whose the keyslot is, in clear; dump shows it.",
            ),
            click.option(
                "--note", metavar="TEXT", help="LUKS2: what the keyslot is for, in clear."
            ),
        ],
    )
