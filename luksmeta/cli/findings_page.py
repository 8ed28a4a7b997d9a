"""What a check found about one header, for people: what ``check`` prints."""

from __future__ import annotations

import sys
from typing import Final

from luksmeta.cli import output
from luksmeta.errors import Severity
from luksmeta.trust.rows import Row

_COLOURS: Final = {Severity.ERROR: "bold red", Severity.WARNING: "yellow"}


def say(row: Row) -> None:
    """Print a line about the header, and its findings: as a table where a terminal is."""
    verdict = f"{'keeps' if row.holds else 'breaks'} the policy {row.policy}"
    with output.to_standard_output():
        if sys.stdout.isatty():
            _say_table(row, verdict)
            return
    output.say(output.one_line(f"{row.image}: {verdict}"))
    for finding in row.findings:
        output.say(output.one_line(f"{finding.severity}: {finding}"))
        output.say(f"  {finding.why} ({finding.reference})")


def _say_table(row: Row, verdict: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    title = Text(output.one_line(row.image))
    title.append(f": {verdict}", "green" if row.holds else "bold red")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in row.findings:
        severity = Text(f"  {finding.severity}", _COLOURS[finding.severity])
        about = Text(output.one_line(finding.text))
        about.append(f"\n{finding.why}\n{finding.reference}", "dim")
        table.add_row(severity, Text(finding.rule), about)
    console = Console(highlight=False)
    console.print(title)
    if row.findings:
        console.print(table)
