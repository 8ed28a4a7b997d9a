"""A new volume: where everything goes, and what is written.

The geometry is that of cryptsetup 2.8 (lib/luks2/luks2_json_format.c, lib/luks1/keymanage.c,
lib/setup.c). All offsets and sizes are in bytes.
"""

from __future__ import annotations

import uuid as uuids
from dataclasses import dataclass
from typing import Final

from luksmeta import key_management
from luksmeta.extents import Extent, align_down, align_up
from luksmeta.format_options import FormatOptions
from luksmeta.header import Header
from luksmeta.header_change import HeaderChange
from luksmeta.kdf import calibrate
from luksmeta.luks1.header import Luks1Header
from luksmeta.luks1.partition_header import areas_end
from luksmeta.luks2.header import Luks2Header
from luksmeta.luks2.limits import AREA_ALIGNMENT, HDR_SIZES, KEYSLOTS_AREA_MAX
from luksmeta.model import DYNAMIC, SECTOR_SIZE, CryptSegment, Metadata, Pbkdf2Digest
from luksmeta.moving import make_room
from luksmeta.new_keyslot import KeyslotOptions
from luksmeta.random_bytes import random_uuid
from luksmeta.resizing import check_keyslots_size, check_metadata_size
from luksmeta.secret import BytesLike, SecretBytes
from luksmeta.sector import engine
from luksmeta.sector.cipher_spec import CipherSpec
from luksmeta.sizes import counted
from luksmeta.volume_key import make_digest
from luksmeta.write_plan import Barrier, Fill, WritePlan

DATA_ALIGNMENT: Final = 1 << 20  # lib/libcryptsetup_macros.h DEFAULT_DISK_ALIGNMENT
LUKS2_HEADER_SIZE: Final = 16 << 20  # both copies and the keyslots area, lib/luks2/luks2.h
WIPED_MAX: Final = LUKS2_HEADER_SIZE // 2 + KEYSLOTS_AREA_MAX  # luks2_json_format.c: 8 + 128 MiB
DEFAULT_KEY_SIZE: Final = 32  # of one key; a mode with two keys has twice that


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a new volume goes: the sizes in bytes of what will hold its data and its header.

    ``header_size`` is None when both lie together; ``sector_size`` is what suits the data's device.
    """

    data_size: int
    header_size: int | None = None
    sector_size: int = 4096

    @property
    def is_detached(self) -> bool:
        """Whether the header lies apart from the data."""
        return self.header_size is not None


def create(
    passphrase: BytesLike | SecretBytes,
    volume_key: SecretBytes | None,
    place: Place,
    options: FormatOptions,
) -> list[HeaderChange]:
    """The changes that make a new volume with one keyslot: an empty header, then the keyslot.

    Everything is computed, and every option checked, before the caller applies the first of them.
    Raises AlgorithmError, UnsupportedError, or ValueError for sizes that do not fit.
    """
    spec = CipherSpec.parse(options.cipher)
    key_size = _key_size(spec, options, None if volume_key is None else len(volume_key))
    with SecretBytes(volume_key) if volume_key else SecretBytes.random(key_size) as key:
        if options.type == "luks1":
            header: Header = _luks1_header(key, spec, options, place)
        else:
            header = _luks2_header(key, spec, options, place)
        _check_cipher(header.metadata, key)
        started = HeaderChange(_first_plan(header, place), header)
        keyslot_options = KeyslotOptions(
            pbkdf=options.pbkdf,
            hash=options.hash,
            encryption=options.keyslot_cipher,
            area_key_size=options.keyslot_key_size,
        )
        key_management.require_free(header, options.keyslot)
        added = key_management.add(header, options.keyslot, passphrase, key, 0, keyslot_options)
    return [started, added]


def data_offset(options: FormatOptions, volume_key_size: int | None = None) -> int:
    """Where the data of a volume with its header in front of it starts, in bytes.

    ``volume_key_size`` is that of a given key. Raises ValueError for sizes that do not fit.
    """
    place = Place(data_size=0)
    if options.type == "luks2":
        return _luks2_geometry(options, place)[1]
    key_size = _key_size(CipherSpec.parse(options.cipher), options, volume_key_size)
    return _data_offset(options, place, align_up(areas_end(key_size), DATA_ALIGNMENT))


def _key_size(spec: CipherSpec, options: FormatOptions, given: int | None) -> int:
    """The volume key's size; two keys of the default size where the mode wants two."""
    if given is not None:
        if options.key_size not in (None, given):
            raise ValueError(
                f"volume key of {counted(given, 'byte')}, key size {options.key_size} is asked for"
            )
        return given
    if options.key_size is not None:
        return options.key_size
    return 2 * DEFAULT_KEY_SIZE if spec.mode == "xts" else DEFAULT_KEY_SIZE


def _check_cipher(metadata: Metadata, key: SecretBytes) -> None:
    """Raise AlgorithmError before anything is written for a cipher that cannot work."""
    segment = metadata.segments[0]
    if isinstance(segment, CryptSegment):
        engine.create(segment.encryption, key, segment.sector_size).close()


def _data_offset(options: FormatOptions, place: Place, default: int) -> int:
    """Where the data starts; 0 asks for the default, which is 0 where the header lies apart."""
    return options.data_offset or (0 if place.is_detached else default)


def _encryption(spec: CipherSpec) -> str:
    """The specification as headers have it: a bare cipher name gets the mode that it implies."""
    if "-" in spec.text or spec.text.startswith("capi:"):
        return spec.text
    return f"{spec.cipher}-{'-'.join(part for part in (spec.mode, spec.iv) if part)}"


def _uuid(options: FormatOptions) -> str:
    """In the one spelling that cryptsetup writes, or a new one."""
    return str(uuids.UUID(options.uuid) if options.uuid else random_uuid())


def _new_digest(
    key: SecretBytes, version: int, options: FormatOptions, iterations: int
) -> Pbkdf2Digest:
    return make_digest(
        key,
        version=version,
        hash_name=options.hash,
        iterations=iterations,
        segments=(0,),
    )


# --- LUKS1 -----------------------------------------------------------------------------------


def _luks1_header(
    key: SecretBytes, spec: CipherSpec, options: FormatOptions, place: Place
) -> Luks1Header:
    end = areas_end(len(key))
    payload_offset = _data_offset(options, place, align_up(end, DATA_ALIGNMENT))
    if payload_offset < end and not (payload_offset == 0 and place.is_detached):
        raise ValueError(f"data offset {payload_offset} lies before the keyslots' end, {end}")
    iterations = options.digest_iterations or calibrate.digest_iterations(options.hash)
    return Luks1Header.create(
        uuid=_uuid(options),
        cipher=_encryption(spec),
        hash_spec=options.hash,
        payload_offset=payload_offset,
        digest=_new_digest(key, 1, options, iterations),
        key_size=len(key),
    )


# --- LUKS2 -----------------------------------------------------------------------------------


def _luks2_header(
    key: SecretBytes,
    spec: CipherSpec,
    options: FormatOptions,
    place: Place,
) -> Luks2Header:
    keyslots_area, data_offset = _luks2_geometry(options, place)
    iterations = options.digest_iterations or calibrate.digest_iterations(options.hash)
    segment = CryptSegment(
        offset=data_offset,
        size=DYNAMIC,
        iv_tweak=0,
        encryption=_encryption(spec),
        sector_size=_sector_size(options, place, data_offset),
    )
    return Luks2Header.create(
        Metadata(
            version=2,
            uuid=_uuid(options),
            label=options.label,
            subsystem=options.subsystem,
            keyslots_area=keyslots_area,
            segments={0: segment},
            digests={0: _new_digest(key, 2, options, iterations)},
        )
    )


def _luks2_geometry(options: FormatOptions, place: Place) -> tuple[Extent, int]:
    """The keyslots area and the data offset (LUKS2_hdr_get_storage_params)."""
    metadata_size = HDR_SIZES[0] if options.metadata_size is None else options.metadata_size
    check_metadata_size(metadata_size)
    start = 2 * metadata_size
    end = options.data_offset or LUKS2_HEADER_SIZE
    if end < start + AREA_ALIGNMENT:
        raise ValueError(f"data offset {end} leaves no room behind two headers, {start} bytes")
    keyslots_size = options.keyslots_size
    if keyslots_size is None:
        keyslots_size = min(end - start, KEYSLOTS_AREA_MAX)
    check_keyslots_size(keyslots_size)
    keyslots_size = align_down(keyslots_size, AREA_ALIGNMENT)
    if options.data_offset:
        keyslots_size = min(keyslots_size, align_down(end - start, AREA_ALIGNMENT))
    default = align_up(start + keyslots_size, DATA_ALIGNMENT)
    return Extent(start, keyslots_size), _data_offset(options, place, default)


def _sector_size(options: FormatOptions, place: Place, data_offset: int) -> int:
    """The given size if it divides the data, or the device's own (lib/setup.c, utils_device.c)."""
    data_size = max(0, place.data_size - data_offset)
    if options.sector_size is None:
        preferred = place.sector_size
        return preferred if data_size % preferred == data_offset % preferred == 0 else SECTOR_SIZE
    if options.sector_size not in engine.SECTOR_SIZES:
        raise ValueError(
            f"sector size {options.sector_size}, legal are "
            f"{', '.join(str(size) for size in engine.SECTOR_SIZES)}"
        )
    if data_size % options.sector_size:
        raise ValueError(
            f"sector size {options.sector_size} does not divide the data, "
            f"{counted(data_size, 'byte')}"
        )
    return options.sector_size


# --- writing ---------------------------------------------------------------------------------


def _first_plan(header: Header, place: Place) -> WritePlan:
    """Room made, the old content wiped, random bytes where keyslots will be, and the header."""
    area = header.metadata.keyslots_area
    data_offset = next(iter(header.metadata.segments.values())).offset
    size = place.data_size if place.header_size is None else place.header_size
    # LUKS1 writes whole pages, and zeroes up to the payload even where the file ends before it.
    room = area.end if header.metadata.version == 2 else max(header.backup_size, data_offset)
    steps = make_room(size, room)
    end = min(max(data_offset, room), max(size, room), WIPED_MAX)
    steps.append(Fill(Extent(0, area.offset), "old content wiped", random=False))
    steps.append(Fill(area, "keyslots area", random=True))
    if end > area.end:
        steps.append(Fill(Extent(area.end, end - area.end), "old content wiped", random=False))
    steps.append(Barrier())
    return WritePlan.of("format", (*steps, *header.steps()))
