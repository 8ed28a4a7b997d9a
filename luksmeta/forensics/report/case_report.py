"""A report on any number of volumes, of which some may be broken or not be there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from luksmeta.errors import LuksError
from luksmeta.forensics.read_log import ReadLog
from luksmeta.forensics.report.exhibit import Exhibit, Failure, Progress, examine_evidence
from luksmeta.forensics.report.page import Case, render

Path = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class CaseReport:
    """What is said of each image, in the order in which they were named."""

    case: Case
    exhibits: tuple[Exhibit | Failure, ...]

    def html(self) -> str:
        """The page: one document that needs nothing else."""
        return render(self.case, self.exhibits)

    def describe(self) -> dict[str, object]:
        """Verdicts and findings for programs."""
        return {
            "case": self.case.case,
            "examiner": self.case.examiner,
            "made": self.case.made.isoformat(timespec="seconds"),
            "exhibits": [each.describe() for each in self.exhibits],
        }


def case_report(
    images: Iterable[Path],
    *,
    header: Path | None = None,
    hash_image: bool = False,
    case: str | None = None,
    examiner: str | None = None,
    read_log: ReadLog | None = None,
    progress: Progress | None = None,
) -> CaseReport:
    """Report on ``images``, which are opened read-only; ``header`` is that of the only one.

    ``hash_image`` reads all of each for its SHA-256, of which ``progress`` hears the bytes that are
    done and those to do, image by image. An image that cannot be read has a :class:`Failure` in its
    place; nothing is raised for it, nor for what images hold.
    """
    names = [os.fspath(each) for each in images]
    if header is not None and len(names) != 1:
        raise ValueError(f"a detached header is of one image, not of {len(names)}")
    made = datetime.now(UTC)

    def examined(image: str) -> Exhibit | Failure:
        try:
            return examine_evidence(
                image, header, hash_image=hash_image, read_log=read_log, progress=progress
            )
        except LuksError as error:
            return Failure(image, error)

    exhibits = tuple(map(examined, names))
    return CaseReport(Case(made=made, case=case, examiner=examiner), exhibits)
