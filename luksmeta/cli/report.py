"""``report``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import click

from luksmeta.cli import interrupts, output, progress
from luksmeta.cli.options import FileName, NewFileName, dry_run_option, json_option
from luksmeta.cli.read_log import log_to, read_log_option
from luksmeta.cli.whole_file import replaced
from luksmeta.errors import LuksError, NotLuksError
from luksmeta.file_storage import new_file
from luksmeta.forensics.report.case_report import CaseReport, case_report
from luksmeta.forensics.report.exhibit import Exhibit, Failure
from luksmeta.forensics.report.findings import Level
from luksmeta.forensics.report.verdict import kind_of
from luksmeta.sizes import counted


@click.command("report", short_help="Write one HTML page about headers, for a case file.")
@click.argument("images", nargs=-1, required=True, type=FileName(), metavar="IMAGE...")
@click.option(
    "-o",
    "--output",
    "output_file",
    required=True,
    type=NewFileName(),
    metavar="FILE.html",
    help="A new file, mode 0600.",
)
@click.option("--header", type=FileName(), metavar="FILE", help="Detached header of one IMAGE.")
@click.option("--hash-image", is_flag=True, help="Read all of each IMAGE, for its SHA-256.")
@click.option("--case", metavar="TEXT", help="What the report is for; stands at its head.")
@click.option("--examiner", metavar="TEXT", help="Who made it; stands at its head.")
@read_log_option
@json_option
@dry_run_option
@click.option("--debug", is_flag=True, help="Show a log, and tracebacks of errors.")
def report_command(
    *,
    images: tuple[str, ...],
    output_file: str,
    header: str | None,
    hash_image: bool,
    case: str | None,
    examiner: str | None,
    read_log: str | None,
    as_json: bool,
    dry_run: bool,
    debug: bool,
) -> int:
    """Write one HTML page about headers for a case file, whatever state they are in.

    Verdict, findings by severity with their bytes and how certain they are, maps of the device and
    of the header to scale, the randomness of each keyslot's area, structures in hex, hashes of all
    that was read. The page needs nothing else, also when it is printed; of more than one IMAGE it
    has an index. An IMAGE that cannot be read does not stop the others; the exit status is that of
    the worst, 4 where there is no trace of a header.
    """
    if header is not None and len(images) > 1:
        raise click.UsageError(f"--header is of one IMAGE, not of {len(images)}")
    output.log(f"report on {counted(len(images), 'image')}, --debug {debug}")
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(interrupts.making(output_file))
            stack.enter_context(new_file(output_file))  # the name is taken before hours of reading
        log = stack.enter_context(log_to(None if dry_run else read_log))
        with progress.bar("hashing") as update:
            report = case_report(
                images,
                header=header,
                hash_image=hash_image,
                case=case,
                examiner=examiner,
                read_log=log,
                progress=update,
            )
        errors = sorted(_errors(report), key=lambda each: each.exit_status)
        if all(isinstance(each, Failure) for each in report.exhibits):
            _say_errors(errors[:-1])
            raise errors[-1]
        page = report.html().encode()
        if dry_run:
            output.say_new_file(output_file, len(page), "report", as_json=as_json)
            return 0
        with replaced(output_file) as file:
            file.write(page)
    _say_errors(errors)
    with output.after_making(output_file):
        _say(report, output_file, len(page), as_json=as_json)
    return errors[-1].exit_status if errors else 0


def _errors(report: CaseReport) -> Iterator[LuksError]:
    """What was wrong with images: not readable, or nothing of LUKS in them."""
    for each in report.exhibits:
        if isinstance(each, Failure):
            named = each.error.storage_name is not None
            yield each.error if named else each.error.about(each.image)
        elif not each.inspection.has_traces:
            yield NotLuksError("no trace of a LUKS header").about(each.header or each.image)


def _say_errors(errors: Iterable[LuksError]) -> None:
    for error in errors:
        output.error(str(error), hint=error.hint)


def _say(report: CaseReport, name: str, size: int, *, as_json: bool) -> None:
    if as_json:
        output.say_json({"file": name, "size": size, **report.describe()})
        return
    for each in report.exhibits:
        if isinstance(each, Exhibit):
            output.say(f"{each.image}: {_line(each)}")
    output.say(f"{name}: {size} bytes, report on {counted(len(report.exhibits), 'image')}")


def _line(exhibit: Exhibit) -> str:
    counts = Counter(each.level for each in exhibit.findings)
    found = (
        f"{counts[Level.CRITICAL]} critical, {counted(counts[Level.WARNING], 'warning')}, "
        f"{counted(counts[Level.NOTE], 'note')}"
    )
    return f"{kind_of(exhibit.inspection)}; can it open: {exhibit.verdict.opening}; {found}"
