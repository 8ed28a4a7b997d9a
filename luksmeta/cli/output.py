"""What commands print: errors and warnings, results for people and programs, write plans."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from luksmeta.errors import StorageError, StorageExistsError
from luksmeta.system_errors import storage_error

if TYPE_CHECKING:
    from luksmeta.header import Header
    from luksmeta.header_copies import CopyState
    from luksmeta.write_plan import WritePlan

STANDARD_OUTPUT: Final = "standard output"


@dataclass
class Session:
    """What is known of the command that runs: whether it logs, and the file that it is about.

    ``arguments`` are those of the command line.
    """

    debug: bool = False
    arguments: tuple[str, ...] = ()
    file: str | None = None


session = Session()


def error(text: str, *, file: str | None = None, hint: str | None = None) -> None:
    """One line on standard error; with --debug the traceback of the current exception before it.

    ``file`` is what it is about, where the text does not say that itself.
    """
    if session.debug:
        import traceback

        show(printable(traceback.format_exc()), end="")
    if file is not None:
        text = f"{file}: {text}"
    advice = f" ({one_line(hint)})" if hint else ""
    show(f"luksmeta: error: {one_line(text)}{advice}")


def warning(text: str) -> None:
    """One line on standard error."""
    show(f"luksmeta: warning: {one_line(text)}")


def log(text: str) -> None:
    """One line on standard error, with --debug only."""
    if session.debug:
        show(f"luksmeta: debug: {one_line(text)}")


def show(text: str, *, end: str = "\n") -> None:
    """On standard error. Where that cannot be written, the exit status still says how it went."""
    with contextlib.suppress(OSError):
        click.echo(text + end, err=True, nl=False)


def one_line(text: str) -> str:
    """Text, parts of which may come from a disk, without line ends and terminal controls."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Text from disk without what could steer a terminal; line ends stay."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def say(text: str) -> None:
    """A result for people, on standard output; parts of it may come from a disk."""
    say_styled(printable(text))


def say_styled(text: str) -> None:
    """A result for people, in which nothing is left that came from a disk as it was."""
    with to_standard_output():
        click.echo(text)


def say_before(lines: Iterable[str], *, as_json: bool) -> None:
    """What is about to be done, for the people who are to confirm it.

    With a JSON document on standard output it is for a terminal alone, and on standard error.
    """
    for line in lines:
        if not as_json:
            say(line)
        elif sys.stdin is not None and sys.stdin.isatty():
            show(printable(line))


def say_json(document: Mapping[str, object]) -> None:
    """A result for programs: one JSON document on standard output."""
    with to_standard_output():
        click.echo(json.dumps(document, indent=2, ensure_ascii=True))


@contextlib.contextmanager
def to_standard_output() -> Iterator[None]:
    """StorageError that names standard output, where it is closed or cannot be written."""
    if sys.stdout is None:
        raise StorageError("is closed").about(STANDARD_OUTPUT)
    with errors_of(STANDARD_OUTPUT):
        yield


@contextlib.contextmanager
def errors_of(name: str) -> Iterator[None]:
    """StorageError with the file's name instead of the system's errors."""
    try:
        yield
    except OSError as error:
        raise storage_error(error).about(name) from error


def say_plans(plans: Iterable[WritePlan], *, as_json: bool) -> None:
    """What a dry run would have written, and where."""
    say_steps(steps_of(plans), as_json=as_json)


def steps_of(plans: Iterable[WritePlan]) -> list[dict[str, int | str]]:
    """The steps of write plans, each with the name of its change."""
    return [{"change": plan.what, **step} for plan in plans for step in plan.describe()]


def require_new(name: str) -> None:
    """Raise StorageExistsError when the name of a new file is taken."""
    if os.path.lexists(name):
        raise StorageExistsError("file exists").about(name)


@contextlib.contextmanager
def after_making(*names: str) -> Iterator[None]:
    """Results about new files: an error in saying them says that the files are whole."""
    try:
        yield
    except StorageError as error:
        if names and error.storage_name == STANDARD_OUTPUT:
            error.advise(f"written, and complete: {', '.join(names)}")
        raise


def say_new_file(name: str, size: int, what: str, *, as_json: bool) -> None:
    """The new file that a dry run would have made; StorageExistsError when the name is taken."""
    require_new(name)
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
        length = f"{step['length']:>12} {'byte ' if step['length'] == 1 else 'bytes'}"
        offset = f"{step['offset']:#12x}" if "offset" in step else " " * 12
        say(f"  {step['step']:8} {offset} {length}  {step['what']}")


def warn_about_copies(name: str, header: Header) -> None:
    """Say which header copy of the file is damaged; nothing is repaired by reading."""
    for copy in header.copies:
        if copy.problem:
            where = f"{copy.copy} header copy at {copy.offset:#x}"
            warning(f"{name}: {where}: {problem_of(copy)} (repair mends it)")


def problem_of(copy: CopyState) -> str:
    """What is wrong with a header copy, which the line names already; empty when it is good."""
    return (copy.problem or "").removeprefix(f"{copy.copy} header: ")
