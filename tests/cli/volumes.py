"""Every command that takes a volume, with arguments that it succeeds with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from luksmeta.format_options import Version
from tests import builders
from tests.builders import FIRST, SECOND, THIRD
from tests.cli.runner import CHEAP, Argument, key_file, luksmeta


@dataclass(frozen=True)
class Command:
    """A command, ready to be run; ``{name}`` in an argument is a file of the test's folder."""

    name: str
    arguments: tuple[str, ...] = ()
    writes: bool = False
    versions: tuple[Version, ...] = field(default=builders.VERSIONS)

    def line(self, image: Path, *more: Argument) -> list[Argument]:
        """The command line for ``image``, which :func:`folder_with` made."""
        number = [] if self.name != "kill-slot" else ["1"]
        options = [argument.format(d=image.parent) for argument in self.arguments]
        return [*self.name.split(), image, *number, *options, *more]


_HEADERS = 32 << 10  # bytes: both copies of a LUKS2 header, more than a LUKS1 header
_SECTORS = str(builders.data_offset("luks2") // 512)
FIRST_KEY = ("-d", "{d}/first")
NEW_KEY = (*FIRST_KEY, "--new-keyfile", "{d}/third", *CHEAP)

COMMANDS = (
    Command("dump"),
    Command("unlock", FIRST_KEY),
    Command("read", (*FIRST_KEY, "-o", "{d}/plain")),
    Command("volume-key", (*FIRST_KEY, "-o", "{d}/volume-key")),
    Command("measure"),
    Command("table", (*FIRST_KEY, "--device", "7:0")),
    Command("inspect"),
    Command("report", ("-o", "{d}/report.html")),
    Command("recover", (*FIRST_KEY, "-o", "{d}/new-recovered")),
    Command("hash"),
    Command("repair"),
    Command("backup-header", ("-o", "{d}/new-backup")),
    Command("export-header", ("-o", "{d}/new-header")),
    Command("write", (*FIRST_KEY, "-i", "{d}/data"), writes=True),
    Command("add-key", NEW_KEY, writes=True),
    Command("change-key", NEW_KEY, writes=True),
    Command("convert-key", (*FIRST_KEY, *CHEAP), writes=True, versions=("luks2",)),
    Command("renew-digest", (*FIRST_KEY, "--pbkdf-force-iterations", "1000"), writes=True),
    Command("seal", FIRST_KEY, writes=True, versions=("luks2",)),
    Command("remove-key", ("-d", "{d}/second"), writes=True),
    Command("kill-slot", FIRST_KEY, writes=True),
    Command("remove-key", ("--matching", "{d}/second", "--empty"), writes=True),
    Command("token list", versions=("luks2",)),
    Command("token add", ("--key-description", "x"), writes=True, versions=("luks2",)),
    Command("token import", ("--json-file", "{d}/token"), writes=True, versions=("luks2",)),
    Command(
        "token export", ("--token-id", "0", "--json-file", "{d}/new-token"), versions=("luks2",)
    ),
    Command("token remove", ("--token-id", "0"), writes=True, versions=("luks2",)),
    Command("token assign", ("--token-id", "0"), writes=True, versions=("luks2",)),
    Command("token unassign", ("--token-id", "0", "-S", "0"), writes=True, versions=("luks2",)),
    Command("config", ("--uuid", "c0ffee00-0000-4000-8000-000000000002"), writes=True),
    Command("restore-header", ("-q", "-i", "{d}/backup"), writes=True),
    Command("erase", ("-q",), writes=True),
    Command("erase", ("-q", "--all"), writes=True),
    Command("convert", ("-q", "--type", "luks2"), writes=True, versions=("luks1",)),
    Command("format", ("-q", "-d", "{d}/first", "--offset", _SECTORS, *CHEAP), True, ("luks2",)),
)
WRITERS = tuple(command for command in COMMANDS if command.writes)


def folder_with(folder: Path, version: Version) -> Path:
    """A volume with two keyslots and, in LUKS2, a token.

    Beside it lie key files, a token, data to write and a header backup.
    """
    image = builders.file(folder / "volume.img", version, FIRST, SECOND)
    with image.open("r+b") as file:  # hash says nothing of data that was never written
        file.seek(builders.data_offset(version))
        file.write(bytes(range(256)) * 2)
    for name, secret in (("first", FIRST), ("second", SECOND), ("third", THIRD)):
        key_file(folder, secret, name)
    (folder / "token").write_text('{"type":"acme","keyslots":["1"]}')
    if version == "luks2":
        luksmeta("token", "import", image, stdin=b'{"type":"acme","keyslots":["0"]}')
    (folder / "data").write_bytes(bytes(range(256)) * 10)
    luksmeta("backup-header", image, "-o", folder / "backup")
    return image


def detach(image: Path) -> Path:
    """Move the volume's header to a file of its own; IMAGE is left with bytes that are none.

    The data keeps its place in IMAGE, so the header's offsets hold.
    """
    header = image.with_name("volume.hdr")
    content = image.read_bytes()
    header.write_bytes(content)
    image.write_bytes(bytes(_HEADERS) + content[_HEADERS:])
    return header
