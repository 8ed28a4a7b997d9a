"""Keep what a long run found: ``python -m tests.fuzz.keep FOLDER`` writes found.tar.bz2 anew.

FOLDER is that of ``tests.fuzz.run --corpus``, in which libFuzzer leaves every input that went where
none had gone. A run that starts from it is where that run ended.
"""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

from tests.fuzz.run import NAMES
from tests.fuzz.seeds import FOUND, seeds


def main(corpus: Path) -> None:
    """Write the archive, without what the seeds have; the same inputs give the same bytes."""
    with tarfile.open(FOUND, "w:bz2", compresslevel=9) as archive:
        for name in NAMES:
            inputs = {path.read_bytes() for path in (corpus / name).iterdir()} - set(seeds(name))
            for number, content in enumerate(sorted(inputs)):
                entry = tarfile.TarInfo(f"{name}/{number:04}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    print(f"{FOUND}: {FOUND.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
