"""Findings in SARIF 2.1.0, the format in which CI systems take the results of checkers.

Source: Static Analysis Results Interchange Format 2.1.0 (OASIS standard), section 3.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from luksmeta.trust.rows import Row
from luksmeta.trust.rule import PolicyRule
from luksmeta.trust.rules import RULES

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_INDEX: Final = {rule.name: number for number, rule in enumerate(RULES)}


def log(rows: Iterable[Row], version: str) -> dict[str, object]:
    """One run of ``version`` of this program over ``rows``; the member names are SARIF's."""
    results: list[object] = []
    failures: list[object] = []
    for row in rows:
        results += _results(row)
        failures += _failures(row)
    driver = {"name": "luksmeta", "version": version, "rules": list(map(_rule, RULES))}
    invocation = {"executionSuccessful": not failures, "toolExecutionNotifications": failures}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [invocation],
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: PolicyRule) -> dict[str, object]:
    described: dict[str, object] = {
        "id": rule.name,
        "shortDescription": {"text": rule.name.replace("-", " ")},
        "fullDescription": {"text": rule.why},
        "help": {"text": f"{rule.why} See {rule.reference}."},
        "defaultConfiguration": {"level": str(rule.severity)},
    }
    first = rule.reference.split(",")[0]
    return described | ({"helpUri": first} if first.startswith("https://") else {})


def _results(row: Row) -> Iterator[object]:
    for finding in row.findings:
        place = {"fullyQualifiedName": finding.path or "header"}
        location = {**_location(row.image), "logicalLocations": [place]}
        yield {
            "ruleId": finding.rule,
            "ruleIndex": _INDEX[finding.rule],
            "level": str(finding.severity),
            "message": {"text": finding.text},
            "locations": [location],
        }


def _failures(row: Row) -> Iterator[object]:
    if row.error is not None:
        message = {"text": f"{row.image}: {row.error}"}
        yield {"level": "error", "message": message, "locations": [_location(row.image)]}


def _location(image: str) -> dict[str, object]:
    return {"physicalLocation": {"artifactLocation": {"uri": _uri(image)}}}


def _uri(image: str) -> str:
    if "://" in image:
        return quote(os.fsencode(image), safe=":/?&=#%@+~")
    path = Path(image)
    return path.as_uri() if path.is_absolute() else quote(os.fsencode(path.as_posix()))
