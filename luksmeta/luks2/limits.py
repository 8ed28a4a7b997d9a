"""The fixed numbers of the LUKS2 format. Sizes are in bytes."""

from __future__ import annotations

from typing import Final

BINARY_HEADER_SIZE: Final = 4096
"""One copy's binary header (specification 1.1.4, section 2.1)."""

HDR_SIZES: Final = tuple(1 << exponent for exponent in range(14, 23))
"""The legal ``hdr_size``: 16 KiB to 4 MiB, powers of two (specification 2.2, table 1)."""

KEYSLOTS_MAX: Final = 32
"""How many keyslots the reference implementation handles (cryptsetup ``lib/luks2/luks2.h``)."""

DIGESTS_MAX: Final = 8
"""How many digests it handles (cryptsetup ``lib/luks2/luks2.h``)."""

TOKENS_MAX: Final = 32
"""How many tokens it handles (cryptsetup ``lib/luks2/luks2.h``)."""

OBJECT_ID_MAX: Final = (1 << 31) - 1
"""The highest id of any object: cryptsetup reads ids into an ``int``."""

KEYSLOTS_AREA_MAX: Final = 128 << 20
"""The largest keyslots area (cryptsetup ``lib/luks2/luks2.h``)."""

AREA_ALIGNMENT: Final = 4096
"""``keyslots_size`` is a multiple of this (specification 3.5), and so is each new area's size.

cryptsetup: ``lib/luks2/luks2_json_format.c`` LUKS2_find_area_gap.
"""

SECTOR_SIZES: Final = (512, 1024, 2048, 4096)
"""The sector sizes of an encrypted segment (specification 3.3.2)."""

JSON_DEPTH_MAX: Final = 31
"""How many objects and arrays may lie around a value.

cryptsetup reads with json-c's default tokener, whose depth limit of 32 counts the value itself.
"""

JSON_VALUES_MAX: Final = 1 << 17
"""How many values a JSON area may hold, counted by commas and opening brackets.

Ours: an area of up to 128 KiB cannot have more, and 32 keyslots have some 600. An area of 4 MiB has
room for 2 million; 1.4 million empty objects took 3 s and 180 MB to read and to validate.
"""

OBJECTS_MAX: Final = 256
"""How many keyslots, tokens, segments or digests a document may have.

Ours: cryptsetup reads any number and makes at most ``KEYSLOTS_MAX`` of a kind. To find each
segment's digest takes as many steps as there are segments, digests, and references in a digest,
multiplied: a dump at this limit took 0.5 s.
"""

STRINGS_MAX: Final = 256
"""How many strings an array of references, flags or requirements may have; see ``OBJECTS_MAX``."""

VIOLATIONS_MAX: Final = 1000
"""How many violations of one document are kept, 0.5 KiB each; more tell nobody anything."""

DIGEST_SIZE_MIN: Final = 20
"""The digest size that goes with every hash (cryptsetup ``lib/luks2/luks2_digest_pbkdf2.c``)."""

KEY_SALT_SIZE: Final = 32
"""The salt of a KDF and of a digest (cryptsetup ``lib/luks1/luks.h`` LUKS_SALTSIZE)."""

KNOWN_FLAGS: Final = (
    "allow-discards",
    "same-cpu-crypt",
    "submit-from-crypt-cpus",
    "no-journal",
    "no-read-workqueue",
    "no-write-workqueue",
    "high_priority",
)
"""The persistent flags that cryptsetup 2.8 knows (``lib/luks2/luks2_json_metadata.c``)."""

KNOWN_REQUIREMENTS: Final = (
    "offline-reencrypt",
    "online-reencrypt",
    "online-reencrypt-v2",
    "online-reencrypt-v3",
    "inline-hw-tags",
    "opal",
    "opal-v2",
)
"""The mandatory requirements that it knows (the same file)."""
