"""``python -m tests.forensics.laboratory``: the README's table, by doing every damage now."""

from __future__ import annotations

from tests.forensics.laboratory.outcome import table

if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
