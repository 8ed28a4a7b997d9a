"""Every bench, one after another: ``python -m tests.bench``. Twenty minutes on a quiet machine."""

from __future__ import annotations

from tests.bench import check, data, guesses, kdf, scan, sector, serve, startup, unlock

if __name__ == "__main__":
    for bench in (sector, data, serve, unlock, kdf, startup, check, scan, guesses):
        bench.main()
