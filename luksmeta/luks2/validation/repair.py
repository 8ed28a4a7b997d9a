"""Old faults that are put right when a header is read, before it is validated again."""

from __future__ import annotations

from collections.abc import Mapping

from luksmeta.luks2.validation.shapes import KDF
from luksmeta.model import JsonObject, JsonValue


def repair_known_faults(document: JsonObject) -> JsonObject:
    """The document without the kdf members that cryptsetup 2.0.0 to 2.0.2 left over.

    Changing a keyslot's PBKDF kept the old one's members beside the new one's. The document given
    is not changed; of any other form it is returned as it is (cryptsetup
    ``lib/luks2/luks2_json_metadata.c`` does the same before it gives a header up).
    """
    keyslots = document.get("keyslots")
    if not isinstance(keyslots, Mapping):
        return document
    return {**document, "keyslots": {key: _repaired(value) for key, value in keyslots.items()}}


def _repaired(keyslot: JsonValue) -> JsonValue:
    if not isinstance(keyslot, Mapping) or keyslot.get("type") != "luks2":
        return keyslot
    kdf = keyslot.get("kdf")
    if not isinstance(kdf, Mapping) or not KDF.knows(kdf):
        return keyslot
    known = KDF.members_of(kdf)
    return {**keyslot, "kdf": {name: kdf[name] for name in kdf if name in known}}
