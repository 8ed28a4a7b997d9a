"""What a test needs from outside the package, and what happens where it is missing."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

REQUIRED = os.environ.get("LUKSMETA_REQUIRE_PEERS") == "1"
"""Every peer and every shared image must be there: a missing one fails its tests."""


def missing(reason: str) -> NoReturn:
    """End the running test: skipped with ``reason``, or failed where everything is required."""
    if REQUIRED:
        pytest.fail(f"{reason} (LUKSMETA_REQUIRE_PEERS=1)", pytrace=False)
    pytest.skip(reason)
