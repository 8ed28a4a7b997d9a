"""``scan``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import click

from luksmeta.cli import output, progress
from luksmeta.cli.options import FileName, json_option
from luksmeta.cli.read_log import log_to, read_log_option
from luksmeta.errors import LuksError, StorageError
from luksmeta.forensics.findings import Finding, Role, Scan
from luksmeta.forensics.scanner import scan
from luksmeta.sizes import counted, format_size

_UNITS: Final = (
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("bytes", 1),
)
_NOT_ALL_WAS_READ = StorageError.exit_status


@click.command("scan", short_help="Search disks for headers, backups and remains.")
@click.argument("disks", metavar="DISK...", nargs=-1, required=True, type=FileName())
@click.option("--unaligned", is_flag=True, help="Search at every byte, not at sectors; slower.")
@click.option(
    "--deep", is_flag=True, help="Search for keyslot areas without a header as well; slower."
)
@click.option("--all", "is_all", is_flag=True, help="Show findings of low confidence too.")
@click.option("--raw", is_flag=True, help="Search a container file's own bytes, not its disk.")
@read_log_option
@json_option
@click.option("--debug", is_flag=True, help="Show a log, and tracebacks of errors.")
def scan_command(
    *,
    disks: Sequence[str],
    unaligned: bool,
    deep: bool,
    is_all: bool,
    raw: bool,
    read_log: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Search disks for LUKS headers, their backups and their remains. Nothing is written to them.

    DISK is a device or an image: raw, qcow2, vmdk, vdi, vhdx, vhd or E01. DISK#part=2 searches that
    partition alone, DISK#lv=group/name a logical volume. Each finding has an offset in bytes, what
    it is, how certain it is and why. Unless --all is given, what is little more than a magic is
    only counted.
    """
    output.log(f"scan of {', '.join(disks)}, --debug {debug}")
    with log_to(read_log) as log:
        scans: list[Scan] = []
        failures: dict[str, LuksError] = {}
        for disk in disks:
            try:
                with progress.bar(f"Searching {disk}") as show:
                    found = scan(
                        disk, unaligned=unaligned, deep=deep, raw=raw, progress=show, read_log=log
                    )
            except LuksError as error:
                failures[disk] = error.about(disk)
                continue
            scans.append(found)
            _warn(found)
            if not as_json:
                output.say(_page(found, is_all=is_all))
    _tell(failures, is_anything_searched=bool(scans))
    if as_json:
        output.say_json(
            {
                "findings": [each.describe() for one in scans for each in _shown(one, is_all)],
                "disks": [one.describe() for one in scans],
                "errors": [{"disk": disk, "error": error.text} for disk, error in failures.items()],
            }
        )
    worst = max((error.exit_status for error in failures.values()), default=0)
    return max(worst, _NOT_ALL_WAS_READ if any(one.unreadable for one in scans) else 0)


def _tell(failures: Mapping[str, LuksError], *, is_anything_searched: bool) -> None:
    """One disk that cannot be searched does not stop the others; without any it is the error."""
    for error in failures.values():
        if not is_anything_searched:
            raise error
        output.error(str(error), hint=error.hint)


def _shown(found: Scan, is_all: bool) -> list[Finding]:
    shown = (*found.findings, *found.dismissed) if is_all else found.findings
    return sorted(shown, key=lambda each: each.offset)


def _warn(found: Scan) -> None:
    for extent in found.unreadable:
        output.warning(
            f"{found.disk}: {counted(extent.size, 'byte')} at {extent.offset:#x} cannot be read"
        )
    for note in found.notes:
        output.warning(f"{found.disk}: {note}")


# --- for people --------------------------------------------------------------------------------


def _page(found: Scan, *, is_all: bool) -> str:
    shown = _shown(found, is_all)
    lines = [_title(found)]
    for finding in shown:
        lines += ["", *_finding(finding)]
    hidden = 0 if is_all else len(found.dismissed)
    if hidden:
        lines += ["", f"{hidden} more of low confidence; --all shows them"]
    return "\n".join(lines)


def _title(found: Scan) -> str:
    parts = [_about(found.size)]
    if found.container is not None:
        parts.append(f"in a {found.container} image")
    if found.partitions:
        parts.append(counted(found.partitions, "partition"))
    if found.searched < found.size:
        parts.append(f"{_about(found.size - found.searched)} of holes")
    findings = counted(len(found), "finding") if found else "no findings"
    return f"{found.disk}: {', '.join(parts)}: {findings}"


def _about(size: int) -> str:
    """A size to three digits."""
    unit = next((unit for unit in _UNITS if size >= unit[1]), _UNITS[-1])
    return f"{size / unit[1]:.3g} {unit[0]}"


def _finding(finding: Finding) -> Iterator[str]:
    role = f" ({finding.role})" if finding.role not in (None, Role.UNKNOWN) else ""
    yield f"  {finding.offset:#014x}  {finding.kind}{role}, {finding.confidence} confidence"
    if finding.place is not None and finding.offset_in_place is not None:
        yield f"      in {finding.place} at {finding.offset_in_place:#x}"
    for name, value in _details(finding):
        yield f"      {name} {value}"
    if finding.problem:
        yield f"      problem: {output.one_line(finding.problem)}"
    for reason in finding.reasons:
        yield f"      {output.one_line(reason)}"


def _details(finding: Finding) -> Iterator[tuple[str, str]]:
    if finding.uuid is not None:
        yield "UUID", output.one_line(finding.uuid)
    if finding.label:
        yield "label", output.one_line(finding.label)
    if finding.seqid is not None:
        yield "seqid", f"{finding.seqid}, metadata of {format_size(finding.hdr_size or 0)}"
    if finding.volume_offset not in (None, finding.offset):
        yield "volume starts at", f"{finding.volume_offset:#x}"
