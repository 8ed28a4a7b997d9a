"""Options that every command shares, each group as one value that the command gets.

Those about passphrases and keys are in :mod:`luksmeta.cli.key_options`.
"""

from __future__ import annotations

import functools
import uuid as uuids
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from luksmeta.cli import output
from luksmeta.extents import Extent
from luksmeta.sizes import parse_size

Command = TypeVar("Command", bound=Callable[..., Any])
Option = Callable[[Any], Any]

if TYPE_CHECKING:
    NumberType = click.ParamType[int]
    TextType = click.ParamType[str]
    BytesType = click.ParamType[bytes]
    ExtentType = click.ParamType[Extent]
else:  # no generic class before click 8.3
    NumberType = TextType = BytesType = ExtentType = click.ParamType


class Size(NumberType):
    """A number of bytes, perhaps with a unit."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """The bytes that the text means."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Uuid(TextType):
    """A UUID; the value is its usual spelling."""

    name = "uuid"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """The UUID in lower case, with hyphens."""
        try:
            return str(uuids.UUID(str(value)))
        except ValueError:
            self.fail(f"{value!r} is not a UUID", param, ctx)


class FileName(click.Path):
    """The name of a file."""

    def __init__(self) -> None:
        super().__init__(readable=False)  # whether it can be read shows when it is opened

    def convert(
        self,
        value: Any,  # noqa: ANN401  # as in the base
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        """The name as it was given; an empty one would be this folder."""
        name = str(super().convert(value, param, ctx))
        if not name:
            self.fail("the name of a file is empty", param, ctx)
        return name


class NewFileName(FileName):
    """A file that the command makes."""

    def convert(
        self,
        value: Any,  # noqa: ANN401  # as in the base
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        """The name as it was given; elsewhere ``-`` is no file."""
        name = super().convert(value, param, ctx)
        if name == "-":
            self.fail("standard output cannot be it; ./- is a file of that name", param, ctx)
        return name


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    """Which volume, and how to treat the user."""

    image: str
    header: str | None
    batch_mode: bool
    debug: bool

    @property
    def header_file(self) -> str:
        """The file that holds the header."""
        return self.header or self.image


def volume_options(command: Command, *, is_required: bool = True) -> Command:
    """IMAGE and what every command takes; the command gets ``volume: VolumeOptions``."""
    return grouped(
        command,
        "volume",
        VolumeOptions,
        [
            click.argument("image", type=FileName(), required=is_required),
            click.option("--header", type=FileName(), metavar="FILE", help="Detached header."),
            click.option(
                "-q", "--batch-mode", is_flag=True, help="Ask nothing; the answer is yes."
            ),
            click.option("--debug", is_flag=True, help="Show a log, and tracebacks of errors."),
        ],
    )


def json_option(command: Command) -> Command:
    """``--json``; the command gets ``as_json: bool``."""
    option: Option = click.option(
        "--json", "as_json", is_flag=True, help="One JSON document on standard output."
    )
    decorated: Command = option(command)
    return decorated


def policy_option(command: Command) -> Command:
    """``--policy``; the command gets ``policy: str | None``, a name or a file."""
    option: Option = click.option(
        "--policy",
        metavar="NAME|FILE",
        help="Only with a header that keeps this policy, and use it as it was checked; see check.",
    )
    decorated: Command = option(command)
    return decorated


def dry_run_option(command: Command) -> Command:
    """``--dry-run``; the command gets ``dry_run: bool``."""
    option: Option = click.option(
        "--dry-run", is_flag=True, help="Print what would be written, and write nothing."
    )
    decorated: Command = option(command)
    return decorated


def options_behind(prefix: str) -> Callable[..., Option]:
    """What makes options of a family, ``--NAME``; behind a prefix they have no short form."""

    def option(name: str, short: str | None = None, **attributes: Any) -> Option:  # noqa: ANN401  # click's
        names = [f"--{prefix}{name}"]
        if short is not None and not prefix:
            names.insert(0, short)
        return click.option(*names, **attributes)

    return option


def refuse_given(names: Iterable[str], reason: str) -> None:
    """UsageError for the first of these parameters that the running command has, and was given."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) not in (None, click.core.ParameterSource.DEFAULT):
            raise click.UsageError(f"--{name.replace('_', '-')} {reason}")


def grouped(
    command: Command, parameter: str, kind: type[Any], options: Sequence[Option]
) -> Command:
    """Give ``command`` these options, collected into one value of ``kind``."""
    names = [field.name for field in fields(kind)]

    @functools.wraps(command)
    def collected(**values: object) -> object:
        group = kind(**{name: values.pop(name) for name in names})
        if isinstance(group, VolumeOptions):
            output.session.file = group.header_file
        return command(**values, **{parameter: group})

    decorated: Any = collected
    for option in reversed(options):
        decorated = option(decorated)
    result: Command = decorated
    return result
