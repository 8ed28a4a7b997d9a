"""What ``recover`` prints for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from luksmeta.cli import output

if TYPE_CHECKING:
    from luksmeta.forensics.recovery.candidates import Candidate
    from luksmeta.forensics.recovery.recovery import Recovery

_UNPROVED = "not proved: nothing shows that any passphrase opens it"


def plan_page(recovery: Recovery) -> Iterator[str]:
    """Every possible header with its reasons, its bytes, and what is lost."""
    yield "Nothing was written. Possible headers, the surest first:"
    for number, candidate in enumerate(recovery.candidates):
        yield ""
        chosen = ", chosen" if candidate is recovery.chosen else ""
        yield f"{number}: {_title(candidate)}{chosen}"
        yield from _details(candidate)
    yield ""
    yield proof_of(recovery)


def result_page(recovery: Recovery, files: Mapping[str, str | None]) -> Iterator[str]:
    """The files that were made, of what, and what shows that it is right."""
    candidate = recovery.chosen
    if candidate is None:
        return
    kinds = {"header": "header", "repaired": "repaired copy"}
    for kind, name in files.items():
        if name is not None:
            yield f"{name}: {kinds[kind]}, {_title(candidate)}"
    if recovery.proof is not None and recovery.proof.holds:
        yield f"  {recovery.proof.text}"
    for loss in candidate.lost:
        yield f"  lost: {output.one_line(loss)}"


def _title(candidate: Candidate) -> str:
    metadata = candidate.metadata
    keyslots = ", ".join(map(str, sorted(metadata.keyslots))) or "none"
    return (
        f"{candidate.way}, {candidate.confidence}: LUKS{metadata.version} "
        f"{output.one_line(metadata.uuid)}, keyslots {keyslots}"
    )


def _details(candidate: Candidate) -> Iterator[str]:
    for reason in candidate.reasons:
        yield f"  {output.one_line(reason)}"
    for source in candidate.sources:
        where = f"{source.extent.offset:#x}..{source.extent.end:#x}"
        yield f"  from {source.file} {where} {source.what}"
        yield f"    SHA-256 {source.sha256}"
    for loss in candidate.lost:
        yield f"  lost: {output.one_line(loss)}"


def proof_of(recovery: Recovery) -> str:
    """What shows that the chosen header is right, or that nothing does."""
    return _UNPROVED if recovery.proof is None else recovery.proof.text
