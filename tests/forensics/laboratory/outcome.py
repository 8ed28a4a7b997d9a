"""What `cryptsetup repair` and `luksmeta recover` bring back, and the table of both."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import luksmeta
from tests.cli.runner import Answer, key_file
from tests.cli.runner import luksmeta as command
from tests.forensics.laboratory.case import Case
from tests.forensics.laboratory.damages import DAMAGES, Damage
from tests.forensics.laboratory.volumes import PASSPHRASES
from tests.interop.peers import cryptsetup
from tests.interop.peers.process import PeerError, Tool

VERSION: Final = "2.6.1"
"""The version of cryptsetup that the README's table is about."""

HEADING: Final = (
    f"| volume | damage | `cryptsetup repair`, {VERSION} | `luksmeta recover` | gone for good |",
    "| --- | --- | --- | --- | --- |",
)
_ALL: Final = tuple(PASSPHRASES)


@dataclass(frozen=True)
class Recovered:
    """The answer of `recover`, and the header that it made."""

    answer: Answer
    header: Path

    @property
    def exists(self) -> bool:
        """Whether a header was made."""
        return self.header.exists()


def recovered(case: Case, *options: str | Path) -> Recovered:
    """Recover with the passphrase that should open, the first where none does."""
    folder = case.disk.parent
    name = case.damage.opens[0] if case.damage.opens else "first"
    key = key_file(folder, PASSPHRASES[name], f"{name}.key")
    header = folder / "recovered.img"
    answer = command("recover", case.disk, "-o", header, "--key-file", key, *options)
    return Recovered(answer, header)


def opened_by_cryptsetup(disk: Path, header: Path | None = None) -> tuple[str, ...]:
    """The passphrases with which cryptsetup opens a volume; none where it sees no volume."""
    return tuple(name for name in PASSPHRASES if _opens(disk, PASSPHRASES[name], header))


def _opens(disk: Path, passphrase: bytes, header: Path | None) -> bool:
    try:
        return cryptsetup.unlocks(disk, passphrase, header=header)
    except PeerError:
        return False


def repaired_by_cryptsetup(case: Case) -> str:
    """The passphrases that open a copy of the disk after `cryptsetup repair`, in words."""
    copy = case.disk.with_name("repaired.img")
    Tool("cp", "coreutils").run("--sparse=always", case.disk, copy)
    cryptsetup.answer("repair", copy)
    opens = opened_by_cryptsetup(copy)
    return words(opens) + (", no data" if opens and not _finds_data(copy, case.damage) else "")


def _finds_data(disk: Path, damage: Damage) -> bool:
    """Whether the header says where the data is."""
    with luksmeta.open(disk) as volume:
        return [each.offset for each in volume.metadata.segments.values()] == [damage.kind.data]


def is_the_version_of_the_table() -> bool:
    """Whether this machine's cryptsetup is the one that the table is about."""
    return cryptsetup.run("--version").split()[1].decode() == VERSION


def row(damage: Damage, by_cryptsetup: str, by_recover: tuple[str, ...]) -> str:
    """A damage's row of the table."""
    lost = damage.lost or "nothing"
    cells = (damage.kind.name, damage.name, by_cryptsetup, words(by_recover), lost)
    return f"| {' | '.join(cells)} |"


def table() -> Iterable[str]:
    """The table, by doing every damage now."""
    yield from HEADING
    for damage in DAMAGES:
        with tempfile.TemporaryDirectory() as folder:
            case = Case.made(damage, Path(folder))
            made = recovered(case)
            by_recover = opened_by_cryptsetup(case.disk, made.header) if made.exists else ()
            yield row(damage, repaired_by_cryptsetup(case), by_recover)


def words(opens: tuple[str, ...]) -> str:
    """Which of the two passphrases open."""
    return "both" if opens == _ALL else " ".join(opens) or "none"
