"""The root command: finds the others when they are called for, and turns errors into statuses."""

from __future__ import annotations

import importlib
import os
from typing import Final

import click

import luksmeta
from luksmeta.cli import interrupts, output, progress
from luksmeta.errors import HeaderError, LuksError

WRONG_ARGUMENTS: Final = 1

# Every command by its family's module, in the order of the help.
_FAMILIES: Final = {
    "luksmeta.cli.creation": ("format",),
    "luksmeta.cli.inspection": ("dump",),
    "luksmeta.cli.unlock": ("unlock",),
    "luksmeta.cli.reading": ("read",),
    "luksmeta.cli.writing": ("write",),
    "luksmeta.cli.mount": ("mount",),
    "luksmeta.cli.serve": ("serve",),
    "luksmeta.cli.table": ("table",),
    "luksmeta.cli.mapping": ("map", "unmap", "status"),
    "luksmeta.cli.adding": ("add-key",),
    "luksmeta.cli.keyslots": ("change-key", "convert-key"),
    "luksmeta.cli.removal": ("remove-key", "kill-slot"),
    "luksmeta.cli.tokens": ("token",),
    "luksmeta.cli.digests": ("renew-digest",),
    "luksmeta.cli.settings": ("config", "volume-key"),
    "luksmeta.cli.sealing": ("measure", "seal", "verify"),
    "luksmeta.cli.exporting": ("backup-header", "export-header"),
    "luksmeta.cli.restoring": ("restore-header",),
    "luksmeta.cli.repair": ("repair",),
    "luksmeta.cli.diff": ("diff",),
    "luksmeta.cli.checking": ("check",),
    "luksmeta.cli.scan": ("scan",),
    "luksmeta.cli.inspect": ("inspect",),
    "luksmeta.cli.report": ("report",),
    "luksmeta.cli.recover": ("recover",),
    "luksmeta.cli.hash": ("hash",),
    "luksmeta.cli.erase": ("erase",),
    "luksmeta.cli.convert": ("convert",),
    "luksmeta.cli.benchmark": ("benchmark",),
    "luksmeta.cli.completion": ("completion",),
}
# What cryptsetup calls them, where no command here has nearly that name.
_CRYPTSETUP_NAMES: Final = {
    "luksFormat": "format",
    "luksDump": "dump",
    "open": "map",
    "luksOpen": "map",
    "close": "unmap",
    "luksClose": "unmap",
    "luksAddKey": "add-key",
    "luksRemoveKey": "remove-key",
    "luksChangeKey": "change-key",
    "luksConvertKey": "convert-key",
    "luksKillSlot": "kill-slot",
    "luksErase": "erase",
    "luksUUID": "dump",
    "isLuks": "dump",
    "luksHeaderBackup": "backup-header",
    "luksHeaderRestore": "restore-header",
}
_FAMILY_OF: Final = {name: module for module, names in _FAMILIES.items() for name in names}


class Interrupted(Exception):  # noqa: N818  # no error
    """KeyboardInterrupt on its way through click, which would print an empty line for that."""

    def __init__(self, cause: KeyboardInterrupt) -> None:
        super().__init__()
        self.cause = cause


class LazyGroup(click.Group):
    """A group that imports a command's module when that command is called or described."""

    def invoke(self, ctx: click.Context) -> object:
        """Call the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise Interrupted(interrupt) from interrupt

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called; UsageError with the likeliest name for an unknown one."""
        name = args[0]
        if name not in _FAMILY_OF and not name.startswith("-"):
            ctx.fail(f"no such command '{name}'{_likely(name)}")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the help."""
        return list(_FAMILY_OF)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        if cmd_name not in _FAMILY_OF:
            return None
        module = importlib.import_module(_FAMILY_OF[cmd_name])
        command = getattr(module, cmd_name.replace("-", "_") + "_command")
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name} is no command")
        return command


_EPILOG = """\b
A first volume, without root:
  luksmeta format secret.img --size 64M
  luksmeta write secret.img -i data.tar
  luksmeta add-key secret.img
  luksmeta dump secret.img
  luksmeta read secret.img -o copy.tar --length SIZE

\b
Exit status: 0 done; 1 wrong arguments, or the request makes no sense for this
volume; 2 no permission, no keyslot opens with this passphrase, or not confirmed
(a new volume: 1); 3 out of memory or over a limit; 4 not a LUKS volume, damaged,
too small, or an I/O error; 5 busy, or already there; 130 interrupted.
"""


@click.group(
    cls=LazyGroup,
    context_settings={"max_content_width": 100},
    no_args_is_help=False,  # a missing command is an error of one line, as any other
    epilog=_EPILOG,
)
@click.version_option(luksmeta.__version__, prog_name="luksmeta")
def root() -> None:
    """LUKS1 and LUKS2 volumes in files and devices, without root, kernel or device-mapper.

    IMAGE is a file or a block device. What is written here, cryptsetup and the Linux kernel open,
    and the other way round. Passphrases are asked for on a terminal; otherwise they are the first
    lines of standard input, or come from --key-file. Sizes are bytes, or have a unit: 64M, 1G.
    """


def run(arguments: list[str]) -> int:
    """The exit status of the command line ``arguments``."""
    output.session = output.Session("--debug" in arguments, tuple(arguments))
    _occupy_standard_descriptors()
    try:
        with interrupts.answered_at_once():
            return _status(root.main(arguments, prog_name="luksmeta", standalone_mode=False))
    except Interrupted as interrupted:
        return _interrupted(interrupted.cause)
    except KeyboardInterrupt as interrupt:
        return _interrupted(interrupt)
    except click.Abort:
        return _interrupted(KeyboardInterrupt())
    except click.ClickException as error:
        text = error.format_message().rstrip(".")
        output.error(text[:1].lower() + text[1:], hint=_usage(error))
        return WRONG_ARGUMENTS
    except LuksError as error:
        _log_violations(error)
        file = output.session.file if error.storage_name is None else None
        output.error(str(error), file=file, hint=error.hint)
        return error.exit_status
    except ValueError as error:
        output.error(str(error), file=output.session.file)
        return WRONG_ARGUMENTS
    except MemoryError:
        output.error("out of memory", file=output.session.file)
        return 3
    except OSError as error:
        file = error.filename or output.session.file or output.STANDARD_OUTPUT  # of --help
        output.error((error.strerror or str(error)).lower(), file=file)
        return 2 if isinstance(error, PermissionError) else 4


def _log_violations(error: LuksError) -> None:
    """Every broken rule, of which the error's line has only the first."""
    for violation in error.violations if isinstance(error, HeaderError) else ():
        output.log(f"{violation.severity}: {violation.rule}: {violation}")


def _interrupted(interrupt: KeyboardInterrupt) -> int:
    progress.end_line()
    output.error(interrupts.describe(interrupt), file=output.session.file)
    return interrupts.status(interrupt)


def _occupy_standard_descriptors() -> None:
    """Where a standard stream is closed, keep its number from a file that is opened later.

    Passphrases would be read from that file, and messages written into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # takes the lowest free number


def _status(result: object) -> int:
    """What click gives back: an exit status from --help and from few commands, else nothing."""
    return result if isinstance(result, int) else 0


def _likely(name: str) -> str:
    """What somebody may mean by a command that does not exist; nothing when no name is near."""
    import difflib

    known = _CRYPTSETUP_NAMES.get(name)
    near = [known] if known else difflib.get_close_matches(name, _FAMILY_OF, n=1)
    return f". Did you mean '{near[0]}'?" if near else ""


def _usage(error: click.ClickException) -> str | None:
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"see {error.ctx.command_path} --help"
    return None
