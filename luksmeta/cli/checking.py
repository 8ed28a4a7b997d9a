"""``check``: headers against a policy, for people, for programs and for CI systems."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import click

import luksmeta
from luksmeta.cli import findings_page, output
from luksmeta.cli.options import FileName, Uuid, json_option
from luksmeta.cli.whole_file import replaced
from luksmeta.errors import LuksError
from luksmeta.trust import fleet, parquet, sarif
from luksmeta.trust.check import check
from luksmeta.trust.policy import NAMES, Policy
from luksmeta.trust.rows import Row

_BREAKS: Final = 2  # the status of a policy that does not hold


@click.command("check", short_help="Check whether headers keep a policy.")
@click.argument("images", nargs=-1, required=True, type=FileName(), metavar="IMAGE...")
@click.option(
    "--policy",
    default="default",
    show_default=True,
    metavar="NAME|FILE",
    help=f"{', '.join(NAMES)}, or a TOML file.",
)
@click.option("--header", type=FileName(), metavar="FILE", help="Detached header of one IMAGE.")
@click.option("--uuid", type=Uuid(), help="The UUID that the header must have.")
@click.option("--label", metavar="TEXT", help="The label that it must have.")
@click.option(
    "--min-seqid",
    type=click.IntRange(min=0),
    metavar="N",
    help="The last seqid that is known of it; an older header is refused. dump shows it.",
)
@click.option("--deep", is_flag=True, help="Also read all of a large gap before the data.")
@json_option
@click.option("--json-lines", is_flag=True, help="One JSON document a line, for each header.")
@click.option("--sarif", "sarif_file", type=FileName(), metavar="FILE", help="SARIF 2.1.0; - too.")
@click.option(
    "--parquet", "parquet_file", type=FileName(), metavar="FILE", help="A row for each header."
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes; default: one for each CPU, where there is enough to do.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Of a Dask cluster that does the work.")
@click.option("--debug", is_flag=True, help="Show a log, and tracebacks of errors.")
def check_command(
    *,
    images: tuple[str, ...],
    policy: str,
    header: str | None,
    uuid: str | None,
    label: str | None,
    min_seqid: int | None,
    deep: bool,
    as_json: bool,
    json_lines: bool,
    sarif_file: str | None,
    parquet_file: str | None,
    jobs: int | None,
    scheduler: str | None,
    debug: bool,
) -> int:
    """Check whether headers can be trusted: exit status 0 when all keep the policy, 2 when not.

    No passphrase is needed, and nothing is written. IMAGE is a volume, a header backup, a detached
    header, a folder of these, a glob, or an fsspec URL (s3://, https://).
    """
    expected = Policy.load(policy).expecting(uuid=uuid, label=label, min_seqid=min_seqid)
    output.log(f"policy {expected.name}: {len(expected.settings)} settings, --debug {debug}")
    if parquet_file is not None:  # before that file is begun, which may lie in a folder to check
        images = tuple(fleet.expand(images))
    if header is not None:
        rows = iter([_detached(images, header, expected, deep=deep)])
    else:
        rows = fleet.check_all(images, expected, jobs=jobs, scheduler=scheduler, deep=deep)
    totals = _Totals()
    with ExitStack() as stack:
        counted = totals.counting(rows)
        if parquet_file is not None:
            counted = parquet.through(counted, stack.enter_context(replaced(parquet_file)))
        _say(counted, totals, as_json=as_json, json_lines=json_lines, sarif_file=sarif_file)
    return totals.status


@dataclass
class _Totals:
    """What the rows come to, when all have been taken."""

    holding: int = 0
    breaking: int = 0
    failed: int = 0
    failure_status: int = 0

    def counting(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows."""
        for row in rows:
            if row.error is not None:
                self.failed += 1
                self.failure_status = self.failure_status or row.status
            elif row.holds:
                self.holding += 1
            else:
                self.breaking += 1
            yield row

    @property
    def status(self) -> int:
        """The exit status: that of the worst."""
        return _BREAKS if self.breaking else self.failure_status


def _detached(images: tuple[str, ...], header: str, policy: Policy, *, deep: bool) -> Row:
    if len(images) > 1:
        raise click.UsageError(f"--header is of one IMAGE, not of {len(images)}")
    try:
        return Row.of(check(images[0], policy, header=header, deep=deep), header)
    except LuksError as error:
        return Row(header, policy.name).failed(error)


def _say(
    rows: Iterable[Row],
    totals: _Totals,
    *,
    as_json: bool,
    json_lines: bool,
    sarif_file: str | None,
) -> None:
    """The rows in the form that was asked for; one pass over them does for all."""
    if sum((as_json, json_lines, sarif_file == "-")) > 1:
        raise click.UsageError("standard output has one form: --json, --json-lines or --sarif -")
    if sarif_file is not None:
        rows = list(rows)
        _write_sarif(sarif_file, rows)
        if sarif_file == "-":
            return
    if as_json:
        described = [row.describe() for row in rows]
        output.say_json({"holds": totals.status == 0, "results": described})
    elif json_lines:
        with output.to_standard_output():
            for row in rows:
                click.echo(json.dumps(row.describe()))
    else:
        _say_pages(rows, totals)


def _say_pages(rows: Iterable[Row], totals: _Totals) -> None:
    for row in rows:
        if row.error is None:
            findings_page.say(row)
        else:
            output.error(str(row.error), file=row.image)
    number = totals.holding + totals.breaking + totals.failed
    if number > 1:
        output.say(
            f"{number} headers: {totals.holding} hold, {totals.breaking} break the policy, "
            f"{totals.failed} cannot be read"
        )


def _write_sarif(name: str, rows: list[Row]) -> None:
    document = sarif.log(rows, luksmeta.__version__)
    if name == "-":
        output.say_json(document)
        return
    with replaced(name) as file:
        file.write(json.dumps(document, indent=2).encode() + b"\n")
