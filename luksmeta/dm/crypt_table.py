"""The device-mapper table of a volume: a line for each segment, as libcryptsetup makes it.

Source: lib/setup.c, lib/luks2/luks2_json_metadata.c and lib/libdevmapper.c
(get_dm_crypt_params, dm_prepare_uuid); the parameters are in the kernel's own order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from luksmeta.dm.table import TableLine, print_table
from luksmeta.dm.targets.crypt import FLAGS, NO_KEY, CryptLine, CryptOptions
from luksmeta.errors import UnsupportedError
from luksmeta.headerless import HeaderlessVolume
from luksmeta.model import SECTOR_SIZE, CryptSegment, LinearSegment, Metadata
from luksmeta.requirements import allow_unlocking
from luksmeta.secret import SecretBytes
from luksmeta.sector.cipher_spec import CipherSpec
from luksmeta.segment import readable, segment_size
from luksmeta.storage import Storage

KEY_TYPE: Final = "logon"

_DIGITS: Final = tuple(f"{number:02x}".encode() for number in range(256))


@dataclass(frozen=True, slots=True)
class KeyedLine:
    """A line, in whose place for a key are zeroes, and which digest's key that is.

    ``digest`` is None for a line without a key; a volume without a header has digest 0.
    """

    line: TableLine
    digest: int | None = None

    def with_key_word(self, word: str) -> TableLine:
        """The line with another word for the key, where it has a key."""
        if self.digest is None:
            return self.line
        cipher, _, *rest = self.line.arguments
        return replace(self.line, arguments=(cipher, word, *rest))

    @property
    def key_size(self) -> int:
        """In bytes; 0 without a key."""
        return 0 if self.digest is None else len(self.line.arguments[1]) // 2


def luks_table(
    metadata: Metadata, storage: Storage, device: str, flags: Collection[str] = ()
) -> tuple[KeyedLine, ...]:
    """The table of a LUKS volume, whose data lie in ``storage``, called ``device`` there.

    ``flags`` are optional parameters besides those that the header asks for. Raises
    RequirementError for a header that must not be used, UnsupportedError for a segment that no
    crypt line can show here, StorageError where the device ends before the data does.
    """
    allow_unlocking(metadata)
    lines: list[KeyedLine] = []
    flags = {*flags, *persistent_flags(metadata)}
    for segment_id in metadata.data_segments:
        start = lines[-1].line.end if lines else 0
        lines.append(_line(metadata, segment_id, storage, device, flags, start))
    return tuple(lines)


def _line(
    metadata: Metadata,
    segment_id: int,
    storage: Storage,
    device: str,
    flags: Collection[str],
    start: int,
) -> KeyedLine:
    segment = readable(segment_id, metadata.segments[segment_id])
    unit = segment.sector_size if isinstance(segment, CryptSegment) else SECTOR_SIZE
    size = segment_size(segment_id, segment, unit, storage)
    if not size:
        raise UnsupportedError(f"segment {segment_id}: has no sector on {storage.name}")
    length, offset = size // SECTOR_SIZE, segment.offset // SECTOR_SIZE
    if isinstance(segment, LinearSegment):
        return KeyedLine(TableLine(start, length, "linear", (device, str(offset))))
    found = metadata.digest_of_segment(segment_id)
    key_size = None if found is None else metadata.key_size_of_digest(found[0])
    if found is None or key_size is None:
        raise UnsupportedError(f"segment {segment_id}: no keyslot tells the size of its key")
    crypt = CryptLine(
        cipher=str(segment.encryption),
        key="00" * key_size,
        iv_offset=segment.iv_tweak,
        device=device,
        start=offset,
        options=CryptOptions(tuple(flags), segment.sector_size),
    )
    return _keyed(crypt, found[0], start, length)


def headerless_table(
    volume: HeaderlessVolume, device: str, flags: Collection[str] = ()
) -> tuple[KeyedLine, ...]:
    """The table of a volume without a header; StorageError as in its ``run_size``."""
    place = volume.placement
    crypt = CryptLine(
        cipher=volume.cipher,
        key="00" * len(volume.volume_key),
        iv_offset=place.skip,
        device=device,
        start=place.offset,
        options=CryptOptions(tuple(flags), place.sector_size, place.iv_large_sectors),
    )
    length = place.run_size(volume.data_storage) // SECTOR_SIZE
    return (_keyed(crypt, 0, 0, length),)


def _keyed(crypt: CryptLine, digest: int, start: int, length: int) -> KeyedLine:
    """The null cipher has no key, whatever a header says."""
    if CipherSpec.parse(crypt.cipher).is_null:
        return KeyedLine(replace(crypt, key=NO_KEY).line(start, length))
    return KeyedLine(crypt.line(start, length), digest)


def persistent_flags(metadata: Metadata) -> tuple[str, ...]:
    """The optional parameters that a LUKS2 header asks for; its other flags mean nothing here."""
    words = (flag.replace("-", "_") for flag in metadata.config.flags)
    return tuple(word for word in words if word in FLAGS)


def key_description(uuid: str, digest: int) -> str:
    """What the kernel's keyring calls the key of a LUKS2 segment."""
    return f"cryptsetup:{uuid}-d{digest}"


def with_named_keys(table: tuple[KeyedLine, ...], uuid: str) -> tuple[TableLine, ...]:
    """The lines with their keys named, as they are in the kernel's keyring."""
    return tuple(
        each.line
        if each.digest is None
        else each.with_key_word(f":{each.key_size}:{KEY_TYPE}:{key_description(uuid, each.digest)}")
        for each in table
    )


def with_keys(table: tuple[KeyedLine, ...], keys: Mapping[int, SecretBytes]) -> SecretBytes:
    """The table as text with the keys in hex, by digest id."""
    text = print_table(each.line for each in table).encode()
    secret = SecretBytes(text)
    at = 0
    for each in table:
        if each.digest is not None:
            key = keys[each.digest].view()
            head = f"{each.line.start} {each.line.length} crypt {each.line.arguments[0]} "
            place = at + len(head.encode())
            for number, byte in enumerate(key):
                secret.view()[place + 2 * number : place + 2 * number + 2] = _DIGITS[byte]
        at += len(f"{each.line}\n".encode())
    return secret


def mapping_uuid(kind: str, name: str, uuid: str = "") -> str:
    """The UUID of a mapping, by which cryptsetup knows what it is; ``kind`` is LUKS2, PLAIN, …."""
    return "-".join(["CRYPT", kind, *([uuid.replace("-", "")] if uuid else []), name])
