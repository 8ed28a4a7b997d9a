"""How many headers a core checks in a second, beside the least that any checker must do.

Run it with ``python -m tests.bench.check [FOLDER]``. The contract is 2000 LUKS2 headers of 16 KiB a
second on one core, from the page cache. Times are of the processor, so that other programs on the
machine disturb little.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from luksmeta.file_storage import FileStorage
from luksmeta.luks2.header import Luks2Header
from luksmeta.trust.fleet import check_each
from luksmeta.trust.policy import NAMES, Policy
from tests.trust.images import good_image

_HEADERS = 500
_ROUNDS = 7
_COPY = 16 << 10  # bytes


def rate(work: Callable[[str], object], paths: list[str]) -> float:
    """Headers a second, of the best round."""
    best = float("inf")
    for _ in range(_ROUNDS):
        start = time.process_time()
        for path in paths:
            work(path)
        best = min(best, time.process_time() - start)
    return len(paths) / best


def least(path: str) -> object:
    """Read both copies, compute both checksums, parse the text."""
    with Path(path).open("rb", buffering=0) as file:
        data = file.read(2 * _COPY)
    for offset in (0, _COPY):
        hashlib.sha256(data[offset : offset + _COPY]).digest()
    return json.loads(data[4096:_COPY].partition(b"\0")[0])


def read(path: str) -> object:
    """Read and validate the header, without a policy."""
    with FileStorage(path) as storage:
        return Luks2Header.read(storage)


def checker(policy: Policy) -> Callable[[str], object]:
    """Check, and make the line of JSON."""
    return lambda path: json.dumps(check_each([path], policy)[0].describe())


def main(folder: str | None = None) -> None:
    """Print the rates."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        paths = [str(Path(name, f"{number}.img")) for number in range(_HEADERS)]
        content = good_image()
        for path in paths:
            with Path(path).open("wb") as file:
                file.write(content[: 2 * _COPY])
                file.truncate(len(content))
        works: dict[str, Callable[[str], object]] = {
            "sha256 and json.loads": least,
            "Luks2Header.read": read,
        }
        works |= {f"check --policy {each}": checker(Policy.load(each)) for each in NAMES}
        for what, work in works.items():
            print(f"{what:32} {rate(work, paths):8,.0f} headers a second")


if __name__ == "__main__":
    main(*sys.argv[1:])
