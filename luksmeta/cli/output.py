"""What commands print: errors and warnings, results for people and programs, write plans."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import click

from luksmeta.errors import (
    ChecksumError,
    HeaderError,
    KeyslotsAreaFullError,
    LuksError,
    NotLuksError,
    PassphraseError,
    PolicyError,
    RequirementError,
    ResourceLimitError,
    SealError,
    StorageBusyError,
    StorageError,
    StoragePermissionError,
    TokenError,
    VersionError,
)

if TYPE_CHECKING:
    from luksmeta.model import CopyState, Header
    from luksmeta.write_plan import WritePlan

STANDARD_OUTPUT: Final = "standard output"

# A kind of error, what its message must say for that, and what to do next; the first row counts.
_HINTS: Final[tuple[tuple[type[LuksError], str, str], ...]] = (
    (
        NotLuksError,
        "",
        "if the header lies in another file, name it with --header; repair --dry-run looks for "
        "remains",
    ),
    (
        VersionError,
        "cut off",
        "restore-header brings it back from the file that convert made: IMAGE.before-convert, or "
        "what --backup named",
    ),
    (ChecksumError, "", "restore-header can bring back a header backup"),
    (HeaderError, "more)", "repair --dry-run lists them all"),
    (PolicyError, "more)", "check lists them all"),
    (PassphraseError, "", "dump shows the keyslots; a key file's newline counts"),
    (SealError, "has no seal", "seal makes one, of the header as it is now"),
    (SealError, "changed again", "verify shows how"),
    (SealError, "", "verify lists all; repair mends a copy; seal --update accepts changes"),
    (TokenError, "no room", "config --luks2-metadata-size makes room"),
    (KeyslotsAreaFullError, "", "remove-key or kill-slot makes room"),
    (RequirementError, "reencryption", "cryptsetup can finish or repair it"),
    (ResourceLimitError, "memory is", "--max-memory raises the limit"),
    (ResourceLimitError, "would take", "--max-time raises the limit"),
    (ResourceLimitError, "cpus is", "--max-threads raises the limit"),
    (StoragePermissionError, "", "check the file's owner and mode"),
    (StorageBusyError, "exists", "nothing is overwritten; choose another name"),
    (StorageBusyError, "", "try again when the other program has finished"),
)


@dataclass
class Session:
    """What is known of the command that runs: whether it logs, and the file that it is about."""

    debug: bool = False
    file: str | None = None
    files: list[str] = field(default_factory=lambda: [STANDARD_OUTPUT])  # all that are named

    def names_a_file(self, text: str) -> bool:
        """Whether a message says already which of the files it is about."""
        names = "|".join(re.escape(name) for name in self.files)
        return bool(names and re.search(rf"(?:^|\s)(?:{names})(?::|\s(?:at|holds)\s)", text))


session = Session()


def error(text: str, *, hint: str | None = None) -> None:
    """One line on standard error; with --debug the traceback of the current exception before it."""
    if session.debug:
        import traceback

        click.echo(printable(traceback.format_exc()), err=True, nl=False)
    if session.file is not None and not session.names_a_file(text):
        text = f"{session.file}: {text}"
    click.echo(f"luksmeta: error: {one_line(text)}" + (f" ({hint})" if hint else ""), err=True)


def warning(text: str) -> None:
    """One line on standard error."""
    click.echo(f"luksmeta: warning: {one_line(text)}", err=True)


def log(text: str) -> None:
    """One line on standard error, with --debug only."""
    if session.debug:
        click.echo(f"luksmeta: debug: {one_line(text)}", err=True)


def one_line(text: str) -> str:
    """Text, parts of which may come from a disk, without line ends and terminal controls."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Text from disk without what could steer a terminal; line ends stay."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def hint(failure: LuksError) -> str | None:
    """What to do next about an error, where that is known."""
    said = str(failure)
    return next(
        (text for kind, part, text in _HINTS if isinstance(failure, kind) and part in said), None
    )


def say(text: str) -> None:
    """A result for people, on standard output; parts of it may come from a disk."""
    say_styled(printable(text))


def say_styled(text: str) -> None:
    """A result for people, in which nothing is left that came from a disk as it was."""
    with to_standard_output():
        click.echo(text)


def say_json(document: Mapping[str, object]) -> None:
    """A result for programs: one JSON document on standard output."""
    with to_standard_output():
        click.echo(json.dumps(document, indent=2, ensure_ascii=True))


@contextlib.contextmanager
def to_standard_output() -> Iterator[None]:
    """StorageError that names standard output, where it is closed or cannot be written."""
    if sys.stdout is None:
        raise StorageError(f"{STANDARD_OUTPUT}: is closed")
    with errors_of(STANDARD_OUTPUT):
        yield


@contextlib.contextmanager
def errors_of(name: str) -> Iterator[None]:
    """StorageError with the file's name instead of the system's errors."""
    try:
        yield
    except OSError as error:
        kind = StoragePermissionError if isinstance(error, PermissionError) else StorageError
        raise kind(f"{name}: {(error.strerror or str(error)).lower()}") from error


def say_plans(plans: Iterable[WritePlan], *, as_json: bool) -> None:
    """What a dry run would have written, and where."""
    say_steps(steps_of(plans), as_json=as_json)


def steps_of(plans: Iterable[WritePlan]) -> list[dict[str, int | str]]:
    """The steps of write plans, each with the name of its change."""
    return [{"change": plan.what, **step} for plan in plans for step in plan.describe()]


def say_new_file(name: str, size: int, what: str, *, as_json: bool) -> None:
    """The new file that a dry run would have made; StorageBusyError when the name is taken."""
    if os.path.lexists(name):
        raise StorageBusyError(f"{name}: file exists")
    step: dict[str, int | str] = {
        "step": "write",
        "offset": 0,
        "length": size,
        "what": f"{what}, in a new file {name}",
    }
    say_steps([step], as_json=as_json)


def say_steps(steps: Sequence[Mapping[str, int | str]], *, as_json: bool) -> None:
    """The steps of a write plan that was not carried out."""
    if as_json:
        say_json({"plan": steps})
        return
    say("Nothing was written. The write plan:")
    for step in steps:
        if step["step"] == "barrier":
            say("  barrier")
            continue
        offset = f"{step['offset']:#12x}" if "offset" in step else " " * 12
        say(f"  {step['step']:8} {offset} {step['length']:>12} bytes  {step['what']}")


def warn_about_copies(name: str, header: Header) -> None:
    """Say which header copy of the file is damaged; nothing is repaired by reading."""
    for copy in header.copies:
        if copy.problem:
            warning(f"{name}: {copy.copy} header copy at {copy.offset:#x}: {problem_of(copy)}")


def problem_of(copy: CopyState) -> str:
    """What is wrong with a header copy, which the line names already; empty when it is good."""
    return (copy.problem or "").removeprefix(f"{copy.copy} header: ")
