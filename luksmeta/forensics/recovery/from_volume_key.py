"""A new header around old data whose volume key is known.

What the old header said of the data is found by trying: what decrypts to something that is not
random is right. The key is proved by that too where it is a structure that is known.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Final

from luksmeta import key_management
from luksmeta.errors import AlgorithmError, VolumeKeyError
from luksmeta.extents import Extent, align_down, align_up
from luksmeta.forensics.recovery.candidates import (
    Candidate,
    Confidence,
    ShiftedView,
    Source,
    candidate_of,
)
from luksmeta.forensics.recovery.data_start import DataPlace, DataStart
from luksmeta.forensics.recovery.filesystems import LOOKED_AT, Recognition
from luksmeta.forensics.recovery.known import Known
from luksmeta.forensics.recovery.placing import with_place
from luksmeta.format_options import FormatOptions
from luksmeta.formatting import Place as Layout
from luksmeta.formatting import create
from luksmeta.kdf.pbkdf import Pbkdf
from luksmeta.luks1.partition_header import areas_end
from luksmeta.luks2.header import Luks2Header
from luksmeta.model import SECTOR_SIZE
from luksmeta.new_keyslot import KeyslotOptions
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector import engine
from luksmeta.sector.cipher_spec import CipherSpec
from luksmeta.sector.engine import SECTOR_SIZES, SectorCipher
from luksmeta.sizes import counted
from luksmeta.storage import MemoryStorage, Storage
from luksmeta.write_plan import Progress, Write, WritePlan

CIPHERS: Final = (
    "aes-xts-plain64",
    "aes-cbc-essiv:sha256",
    "serpent-xts-plain64",
    "twofish-xts-plain64",
    "camellia-xts-plain64",
    "xchacha12,aes-adiantum-plain64",
    "xchacha20,aes-adiantum-plain64",
    "aes-cbc-plain64",
    "serpent-cbc-essiv:sha256",
    "twofish-cbc-essiv:sha256",
    "aes-lrw-benbi",
    "aes-xts-plain64be",
    "aes-cbc-plain64be",
)
"""What is tried; up to 2 TiB ``plain`` is the same as ``plain64``, and is called that."""

_FAST: Final = tuple(each for each in CIPHERS if each.startswith(("aes-xts", "aes-cbc")))
"""What a processor does, and a place costs so little that many can be tried."""

_MIB: Final = 1 << 20
_USUAL: Final = (16 * _MIB, 2 * _MIB, _MIB, 0, 4 * _MIB, 8 * _MIB, 32 * _MIB)
_FAR: Final = 1 << 30  # bytes; multiples of 1 MiB are tried up to here
_NEAR: Final = 32 * _MIB  # and multiples of 4096 up to here
_GRAIN: Final = 4096
_FURTHER_STEP: Final = 64 << 10
_FURTHER_MAX: Final = 16 * _MIB  # of data whose start is gone
_LUKS1_KEY_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class FoundData:
    """Where and how the data lies, and what shows it."""

    place: DataPlace
    recognition: Recognition


def not_proved(found: FoundData) -> VolumeKeyError:
    """What to say of data that is not noise, and has no structure that is known."""
    error = VolumeKeyError(
        f"volume key: not proved, {found.place}: {found.recognition.text}; other data than this "
        "key's can decrypt to that"
    )
    error.advise("--dry-run shows the header, --unproved takes it")
    return error


def find_data(
    storage: Storage, key: SecretBytes, known: Known, progress: Progress | None = None
) -> FoundData:
    """How this key decrypts the data of ``storage``.

    The usual offsets first, then every multiple of 1 MiB up to 1 GiB, and of 4096 bytes up to 32
    MiB: there with the usual ciphers and for known structures only, unless the cipher is known. A
    place that has a known structure counts before all others. Raises VolumeKeyError where nothing
    that is tried gives anything but noise.
    """
    rounds = list(_rounds(storage.size, known, len(key)))
    total = sum(len(each.offsets) for each in rounds)
    found: list[FoundData] = []
    best: FoundData | None = None
    done = 0
    for each in rounds:
        for at_once in each.found(storage, key, known):
            if progress is not None:
                progress(done * LOOKED_AT, total * LOOKED_AT)
            done += 1
            found += at_once
            best = min(found, key=lambda each: each.recognition.order, default=None)
            if best is not None and best.recognition.proves:
                return best
    if best is not None:
        return best
    for found_further in _further(storage, key, known):
        return found_further
    raise VolumeKeyError(
        f"volume key: {counted(len(list(_ciphers(known, len(key)))), 'cipher')} at "
        f"{counted(total, 'place')} give "
        "nothing but noise; either it is not this volume's, or its data begins with random bytes"
    ).advise("--cipher, --sector-size and --offset name what is known")


@dataclass(frozen=True, slots=True)
class _Round:
    """Which offsets are tried with which ciphers.

    ``is_quick``: what costs much only where a quick look promises something; ``named_only``: and
    only if that is a structure that is known.
    """

    offsets: Sequence[int]
    ciphers: Sequence[str]
    is_quick: bool = False
    named_only: bool = False

    def found(self, storage: Storage, key: SecretBytes, known: Known) -> Iterator[list[FoundData]]:
        """What is found at each offset."""
        ways = list(_ways(self.ciphers, known))
        with ExitStack() as stack:
            quick = list(_engines(ways, key, stack)) if self.is_quick else []
            for offset in self.offsets:
                start = DataStart(storage, offset)
                if self.is_quick:
                    ways = [] if start.is_repeated else self._promising(start, quick)
                yield list(_found_at(start, ways, key))

    def _promising(
        self, start: DataStart, quick: Iterable[tuple[tuple[str, int], SectorCipher]]
    ) -> list[tuple[str, int]]:
        return [way for way, each in quick if start.promises(each, named_only=self.named_only)]


def _engines(
    ways: Iterable[tuple[str, int]], key: SecretBytes, stack: ExitStack
) -> Iterator[tuple[tuple[str, int], SectorCipher]]:
    """Those that take the key."""
    for cipher, sector_size in ways:
        with suppress(AlgorithmError):
            made = stack.enter_context(engine.create(cipher, key, sector_size))
            yield (cipher, sector_size), made


def _ways(ciphers: Sequence[str], known: Known) -> Iterator[tuple[str, int]]:
    sizes = SECTOR_SIZES if known.sector_size is None else (known.sector_size,)
    return itertools.product(ciphers, sizes)


def _further(storage: Storage, key: SecretBytes, known: Known) -> Iterator[FoundData]:
    """Behind the start of data that begins where it was said to, should that be overwritten."""
    if known.offset is None:
        return
    ways = list(_ways(list(_ciphers(known, len(key))), known))
    for distance in range(_FURTHER_STEP, _FURTHER_MAX, _FURTHER_STEP):
        start = DataStart(storage, known.offset + distance)
        for found in _found_at(start, ways, key, distance // SECTOR_SIZE):
            place = replace(found.place, offset=known.offset, iv_tweak=0)
            yield FoundData(place, replace(found.recognition, name=None))


def _found_at(
    start: DataStart, ways: Iterable[tuple[str, int]], key: SecretBytes, iv_tweak: int = 0
) -> Iterator[FoundData]:
    for cipher, sector_size in ways:
        place = DataPlace(cipher, sector_size, start.offset, iv_tweak)
        recognition = start.under(place, key)
        if recognition is not None:
            yield FoundData(place, recognition)


def _rounds(size: int, known: Known, key_size: int) -> Iterator[_Round]:
    """The slow ciphers not at all places; those that were asked for are."""
    ciphers = list(_ciphers(known, key_size))
    if known.offset is not None:
        yield _Round([known.offset], ciphers)
        return
    usual = [each for each in _usual(key_size) if known.behind <= each < size]
    yield _Round(usual, ciphers)
    done = {*usual}
    far, near = range(_MIB, min(_FAR, size), _MIB), range(_GRAIN, min(_NEAR, size), _GRAIN)
    yield _Round([n for n in far if n >= known.behind and n not in done], ciphers, is_quick=True)
    done.update(far)
    others = [each for each in near if each >= known.behind and each not in done]
    if known.cipher is None:
        fast = [each for each in ciphers if each in _FAST]
        yield _Round(others, fast, is_quick=True, named_only=True)
    else:
        yield _Round(others, ciphers, is_quick=True)


def _ciphers(known: Known, key_size: int) -> Iterator[str]:
    for text in CIPHERS if known.cipher is None else (known.cipher,):
        sizes = CipherSpec.parse(text).key_sizes
        if sizes is None or key_size in sizes:
            yield text


def _usual(key_size: int) -> tuple[int, ...]:
    """Where cryptsetup has put the data of a header with such a key, of any version and age."""
    if key_size > _LUKS1_KEY_MAX:
        return _USUAL
    end = areas_end(key_size)
    luks1 = (align_up(end, each) for each in (_MIB, 4096, SECTOR_SIZE))
    return tuple(dict.fromkeys((*_USUAL, *luks1)))


def candidate(
    storage: Storage,
    key: SecretBytes,
    passphrase: BytesLike | SecretBytes,
    found: FoundData,
    *,
    uuid: str | None = None,
    pbkdf: Pbkdf | None = None,
) -> Candidate:
    """A new LUKS2 header with one keyslot for ``passphrase``, around the data that was found."""
    place = found.place
    header = _new_header(storage, key, passphrase, place, uuid, pbkdf)
    return candidate_of(
        ShiftedView(storage, 0),
        [Write(0, header, "a new header with one keyslot")],
        way="new header around known key",
        confidence=Confidence.LIKELY,
        reasons=[f"{place}: under the volume key, {found.recognition.text}"],
        sources=[Source.of(storage, Extent(place.offset, LOOKED_AT), "start of the data")],
        lost=["UUID, label, tokens and keyslots of the old header"],
        needs=len(header),
        material_from={0: MemoryStorage(header, name="new")},
    )


def _new_header(
    storage: Storage,
    key: SecretBytes,
    passphrase: BytesLike | SecretBytes,
    place: DataPlace,
    uuid: str | None,
    pbkdf: Pbkdf | None,
) -> bytes:
    """A detached header of the usual size, whose segment begins where the data does."""
    memory = MemoryStorage(0, name=storage.name)
    data_size = align_down(storage.size - place.offset, place.sector_size)
    options = FormatOptions(
        cipher=place.cipher, sector_size=place.sector_size, uuid=uuid, pbkdf=pbkdf
    )
    for change in create(passphrase, key, Layout(data_size=data_size, header_size=0), options):
        change.plan.apply(memory)
    header = with_place(Luks2Header.read(memory), place)
    WritePlan.of("place the data", header.steps()).apply(memory)
    memory.resize(header.metadata.keyslots_area.end)
    return bytes(memory.data)


def with_keyslot(
    candidate: Candidate,
    key: SecretBytes,
    passphrase: BytesLike | SecretBytes,
    pbkdf: Pbkdf | None,
) -> Candidate:
    """The candidate with one more keyslot, for ``passphrase``; KeyslotsAreaFullError."""
    header = candidate.header
    keyslot_id = key_management.free_keyslot_id(header)
    digest_id = next(each for each, digest in header.metadata.digests.items() if digest.segments)
    options = KeyslotOptions(pbkdf=pbkdf)
    change = key_management.add(header, keyslot_id, passphrase, key, digest_id, options)
    plan = WritePlan.of(candidate.plan.what, (*candidate.plan.steps, *change.plan.steps))
    reason = f"keyslot {keyslot_id} is new, for the new passphrase"
    return replace(candidate, plan=plan, header=change.header, reasons=(*candidate.reasons, reason))
