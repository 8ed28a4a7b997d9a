"""A closer look at hits: is it LUKS, how certain, and what is wrong with it.

A look reads what the hit claims for itself, up to 4 MiB to be hashed and parsed, and a hostile disk
may hold such a claim in every sector. So looks have an allowance that grows with what was searched.
"""

from __future__ import annotations

from typing import Final

from luksmeta.errors import StorageError
from luksmeta.forensics.evidence import Evidence
from luksmeta.forensics.findings import Confidence, Finding
from luksmeta.forensics.luks1_trace import examine_luks1
from luksmeta.forensics.luks2_trace import examine_binary_header, examine_json_area
from luksmeta.forensics.luksmeta_trace import examine_luksmeta
from luksmeta.forensics.sweep import PRIMARY, Hit, Mark
from luksmeta.luks1.partition_header import VERSION as LUKS1_VERSION
from luksmeta.luks2.limits import BINARY_HEADER_SIZE
from luksmeta.storage import Storage

_ALLOWANCE: Final = 256 << 20
"""Bytes that looks may read in any case: 64 copies of the largest size."""

_SHARE: Final = 8
"""They may read one in eight of the bytes searched besides."""


class Looks:
    """The looks at one disk; ``refused`` counts the hits that were over the allowance."""

    def __init__(self, storage: Storage) -> None:
        self._storage = _Metered(storage)
        self._proven_end = 0
        self._last_header: int | None = None
        self.refused = 0

    def at(self, hit: Hit, searched: int) -> Finding | None:
        """What the hit is, after ``searched`` bytes; None where it is nothing, or was found."""
        if hit.offset < self._proven_end or self._is_known_json(hit):
            return None
        if self._storage.read > _ALLOWANCE + searched // _SHARE:
            self.refused += 1
            return None
        try:
            finding = self._examine(hit)
        except StorageError:  # the search has told what cannot be read
            return None
        if finding is not None and finding.hdr_size and finding.confidence is Confidence.HIGH:
            self._proven_end = finding.offset + finding.size
        return finding

    def _examine(self, hit: Hit) -> Finding | None:
        match hit.mark:
            case Mark.JSON:
                return examine_json_area(self._storage, hit.offset)
            case Mark.KEYSLOT_TABLE:
                return examine_luks1(self._storage, hit.offset, magic_is_lost=True)
            case Mark.LUKSMETA:
                return examine_luksmeta(self._storage, hit.offset)
            case Mark.MAGIC:
                return self._examine_magic(hit.offset)

    def _examine_magic(self, offset: int) -> Finding | None:
        start = self._storage.read_at(offset, min(8, self._storage.size - offset))
        if start == PRIMARY + LUKS1_VERSION.to_bytes(2, "big"):
            return examine_luks1(self._storage, offset, magic_is_lost=False)
        finding = examine_binary_header(self._storage, offset)
        if finding is not None and finding.confidence is not Confidence.LOW:
            self._last_header = offset
        return finding

    def _is_known_json(self, hit: Hit) -> bool:
        """Whether the JSON is that of a header copy which was found."""
        return hit.mark is Mark.JSON and hit.offset - BINARY_HEADER_SIZE == self._last_header


class _Metered(Evidence):
    """A storage that counts in ``read`` what is read of it."""

    def __init__(self, base: Storage) -> None:
        super().__init__(base.name)
        self._base = base
        self.read = 0

    @property
    def size(self) -> int:
        """That of the base."""
        return self._base.size

    def _read(self, offset: int, size: int) -> bytes:
        self.read += size
        return self._base.read_at(offset, size)
