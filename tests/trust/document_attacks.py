"""Attacks that alter the JSON document; see :mod:`tests.trust.attacks`."""

from __future__ import annotations

import base64
from typing import Final

from luksmeta.kdf import antiforensic
from luksmeta.secret import SecretBytes
from tests.trust.attack import (
    ATTACKER_KEY,
    SALT,
    attacker_digest,
    free_id,
    on_document,
    on_image,
)
from tests.trust.images import Document, document_of, overwritten, with_document

_NULL: Final = "cipher_null-ecb"


def _attacker_material(image: bytes, document: Document, keyslot: str) -> bytes:
    """The image with the attacker's key, split and in the clear, in a keyslot's area."""
    with SecretBytes(ATTACKER_KEY) as key, antiforensic.split(key, 4000, "sha256") as split:
        offset = int(document["keyslots"][keyslot]["area"]["offset"])
        return overwritten(image, offset, bytes(split.view()))


# --- ciphers -------------------------------------------------------------------------------------


@on_document(silent=True)
def null_cipher_in_segment(document: Document) -> None:
    document["segments"]["0"]["encryption"] = _NULL


@on_document(silent=True)
def null_cipher_in_segment_otherwise_spelled(document: Document) -> None:
    document["segments"]["0"]["encryption"] = "capi:ecb(cipher_null)-plain64"


@on_document(silent=False)
def null_cipher_in_keyslot(document: Document) -> None:
    document["keyslots"]["0"]["area"]["encryption"] = _NULL


def _own_volume_key(image: bytes, segment_cipher: str | None) -> bytes:
    document = document_of(image)
    document["keyslots"]["0"]["area"]["encryption"] = _NULL
    document["digests"] = {"0": attacker_digest(["0"], ["0"])}
    if segment_cipher is not None:
        document["segments"]["0"]["encryption"] = segment_cipher
    return _attacker_material(with_document(image, document), document, "0")


@on_image(silent=False)
def own_volume_key_in_null_keyslot(image: bytes) -> bytes:
    """Any passphrase opens it, the victim's too, with a volume key that the attacker knows."""
    return _own_volume_key(image, None)


@on_image(silent=False)
def null_cipher_in_both_with_own_volume_key(image: bytes) -> bytes:
    """CVE-2025-59054: what the victim writes lies on the disk in the clear."""
    return _own_volume_key(image, _NULL)


@on_document(silent=True)
def ecb_in_segment(document: Document) -> None:
    document["segments"]["0"]["encryption"] = "aes-ecb"


@on_document(silent=True)
def cbc_with_predictable_iv_in_segment(document: Document) -> None:
    document["segments"]["0"]["encryption"] = "aes-cbc-plain64"


@on_document(silent=True)
def iv_generator_null_in_segment(document: Document) -> None:
    document["segments"]["0"]["encryption"] = "aes-xts-null"


@on_document(silent=True)
def iv_tweak_moved(document: Document) -> None:
    document["segments"]["0"]["iv_tweak"] = "8"


@on_document(silent=True)
def sector_size_changed(document: Document) -> None:
    document["segments"]["0"]["sector_size"] = 2048


@on_document(silent=True)
def integrity_added(document: Document) -> None:
    document["segments"]["0"]["integrity"] = {
        "type": "none",
        "journal_encryption": "none",
        "journal_integrity": "none",
    }


# --- segments ------------------------------------------------------------------------------------


@on_document(silent=True)
def segment_moved(document: Document) -> None:
    segment = document["segments"]["0"]
    segment["offset"] = str(int(segment["offset"]) + (512 << 10))


@on_document(silent=True)
def segment_moved_over_header(document: Document) -> None:
    """An offset of 0 passes for a detached header."""
    document["segments"]["0"]["offset"] = "0"


@on_document(silent=True)
def segment_shortened(document: Document) -> None:
    document["segments"]["0"]["size"] = str(512 << 10)


def _second_segment(document: Document, second: Document, *, overlap: int = 0) -> None:
    first = document["segments"]["0"]
    size = 512 << 10
    first["size"] = str(size)
    document["segments"]["1"] = {
        **second,
        "offset": str(int(first["offset"]) + size - overlap),
        "size": "dynamic",
    }


@on_document(silent=True)
def segment_split_in_two(document: Document) -> None:
    _second_segment(document, document["segments"]["0"])
    document["digests"]["0"]["segments"] = ["0", "1"]


@on_document(silent=False)
def segments_overlapped(document: Document) -> None:
    _second_segment(document, document["segments"]["0"], overlap=4096)
    document["digests"]["0"]["segments"] = ["0", "1"]


@on_document(silent=True)
def linear_segment_appended(document: Document) -> None:
    _second_segment(document, {"type": "linear"})


@on_document(silent=True)
def segment_made_linear(document: Document) -> None:
    segment = document["segments"]["0"]
    document["segments"]["0"] = {
        "type": "linear",
        "offset": segment["offset"],
        "size": segment["size"],
    }


@on_document(silent=True)
def segment_of_unknown_type_appended(document: Document) -> None:
    _second_segment(document, {"type": "x-verbatim"})


@on_document(silent=True)
def segment_made_hardware_encrypted(document: Document) -> None:
    """The drive is said to encrypt; a disk image does not."""
    offset = document["segments"]["0"]["offset"]
    document["segments"]["0"] = {
        "type": "hw-opal",
        "offset": offset,
        "size": str(512 << 10),
        "opal_segment_number": 1,
        "opal_key_size": 32,
        "opal_segment_size": str(512 << 10),
    }


@on_document(silent=True)
def segment_flagged_in_reencryption(document: Document) -> None:
    document["segments"]["0"]["flags"] = ["in-reencryption"]


@on_document(silent=True)
def backup_segment_appended(document: Document) -> None:
    first = document["segments"]["0"]
    document["segments"]["1"] = {**first, "flags": ["backup-final"]}
    document["digests"]["0"]["segments"] = ["0", "1"]


# --- reencryption --------------------------------------------------------------------------------


def _fake_decryption(document: Document, requirement: str) -> None:
    """CVE-2021-4122: the victim's own unlocking goes on decrypting the disk."""
    first = document["segments"]["0"]
    offset = int(first["offset"])
    crypt, linear = first, {"type": "linear", "offset": str(offset), "size": "dynamic"}
    document["segments"] = {
        "0": {**crypt, "size": str(512 << 10)},
        "1": {**linear, "offset": str(offset + (512 << 10))},
        "2": {**crypt, "flags": ["backup-previous"]},
        "3": {**linear, "flags": ["backup-final"]},
    }
    document["keyslots"]["9"] = {
        "type": "reencrypt",
        "key_size": 1,
        "mode": "decrypt",
        "direction": "backward",
        "area": {"type": "none", "offset": str(8 << 20), "size": "4096"},
    }
    digests = document["digests"]
    digests["0"]["segments"] = ["0", "2"]
    digests["1"] = attacker_digest(["9"], [])
    document["config"]["requirements"] = {"mandatory": [requirement]}


@on_document(silent=False)
def decryption_faked(document: Document) -> None:
    _fake_decryption(document, "online-reencrypt-v2")


@on_document(silent=False)
def decryption_faked_without_version(document: Document) -> None:
    _fake_decryption(document, "online-reencrypt")


@on_document(silent=False)
def reencryption_announced_without_keyslot(document: Document) -> None:
    document["config"]["requirements"] = {"mandatory": ["online-reencrypt-v2"]}


# --- key derivation ------------------------------------------------------------------------------


def _kdf(document: Document, **members: object) -> None:
    kdf = document["keyslots"]["0"]["kdf"]
    document["keyslots"]["0"]["kdf"] = {**members, "salt": kdf["salt"]}


@on_document(silent=False)
def kdf_downgraded_to_pbkdf2(document: Document) -> None:
    _kdf(document, type="pbkdf2", hash="sha256", iterations=1000)


@on_document(silent=False)
def kdf_downgraded_to_one_iteration_of_sha1(document: Document) -> None:
    _kdf(document, type="pbkdf2", hash="sha1", iterations=1)


@on_document(silent=False)
def kdf_downgraded_to_argon2i(document: Document) -> None:
    document["keyslots"]["0"]["kdf"]["type"] = "argon2i"


@on_document(silent=False)
def kdf_memory_lowered(document: Document) -> None:
    document["keyslots"]["0"]["kdf"]["memory"] = 32


@on_document(silent=False)
def kdf_passes_lowered(document: Document) -> None:
    document["keyslots"]["0"]["kdf"]["time"] = 1


@on_document(silent=False)
def kdf_memory_huge(document: Document) -> None:
    document["keyslots"]["0"]["kdf"]["memory"] = (1 << 31) - 1


@on_document(silent=False)
def kdf_passes_huge(document: Document) -> None:
    document["keyslots"]["0"]["kdf"]["time"] = (1 << 31) - 1


@on_document(silent=False)
def kdf_iterations_huge(document: Document) -> None:
    _kdf(document, type="pbkdf2", hash="sha512", iterations=(1 << 31) - 1)


@on_document(silent=False)
def kdf_lanes_many(document: Document) -> None:
    document["keyslots"]["0"]["kdf"]["cpus"] = 64


@on_document(silent=False)
def kdf_unknown(document: Document) -> None:
    document["keyslots"]["0"]["kdf"]["type"] = "x-identity"


@on_document(silent=False)
def kdf_salt_shortened(document: Document) -> None:
    document["keyslots"]["0"]["kdf"]["salt"] = base64.b64encode(bytes(8)).decode()


@on_document(silent=False, by_policy=False)
def kdf_salt_replaced(document: Document) -> None:
    document["keyslots"]["0"]["kdf"]["salt"] = SALT


# --- anti-forensic splitter and key material -----------------------------------------------------


@on_document(silent=True)
def af_stripes_lowered(document: Document) -> None:
    document["keyslots"]["0"]["af"]["stripes"] = 1


@on_document(silent=False)
def af_hash_weakened(document: Document) -> None:
    document["keyslots"]["0"]["af"]["hash"] = "sha1"


@on_document(silent=False)
def area_moved_off_its_boundary(document: Document) -> None:
    area = document["keyslots"]["0"]["area"]
    area["offset"] = str(int(area["offset"]) + 512)


@on_document(silent=True)
def area_shortened(document: Document) -> None:
    document["keyslots"]["0"]["area"]["size"] = "4096"


@on_document(silent=True)
def area_enlarged(document: Document) -> None:
    area = document["keyslots"]["0"]["area"]
    area["size"] = str(int(area["size"]) + (1 << 20))


@on_image(silent=False, by_policy=False)
def key_material_altered(image: bytes) -> bytes:
    offset = int(document_of(image)["keyslots"]["0"]["area"]["offset"])
    return overwritten(image, offset + 1000, bytes(16))


# --- keyslots ------------------------------------------------------------------------------------


def with_foreign_keyslot(document: Document) -> str:
    """Add a keyslot, which is still in no digest; its id."""
    keyslots = document["keyslots"]
    added = free_id(keyslots)
    area = {**keyslots["0"]["area"], "offset": str(4 << 20)}
    kdf = {"type": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": SALT}
    keyslots[added] = {**keyslots["0"], "area": area, "kdf": kdf}
    return added


@on_document(silent=True)
def keyslot_added(document: Document) -> None:
    """For the volume's own key, as the digest says."""
    added = with_foreign_keyslot(document)
    document["digests"]["0"]["keyslots"].append(added)


@on_document(silent=True)
def keyslot_added_with_own_digest(document: Document) -> None:
    added = with_foreign_keyslot(document)
    document["digests"]["1"] = attacker_digest([added], [])


@on_document(silent=True)
def keyslot_added_for_the_same_segment(document: Document) -> None:
    added = with_foreign_keyslot(document)
    document["digests"]["1"] = attacker_digest([added], ["0"])


@on_document(silent=True)
def keyslot_of_unknown_type_added(document: Document) -> None:
    area = {"type": "raw", "offset": str(4 << 20), "size": "4096"}
    added = free_id(document["keyslots"])
    document["keyslots"][added] = {"type": "x-plain", "key_size": 64, "area": area}


@on_document(silent=False)
def keyslot_key_size_lowered(document: Document) -> None:
    document["keyslots"]["0"]["key_size"] = 16


@on_document(silent=False)
def keyslot_area_key_size_lowered(document: Document) -> None:
    document["keyslots"]["0"]["area"]["key_size"] = 32


@on_document(silent=False)
def keyslot_hidden_by_priority(document: Document) -> None:
    document["keyslots"]["0"]["priority"] = 0


@on_document(silent=False)
def keyslots_removed(document: Document) -> None:
    document["keyslots"] = {}
    document["digests"]["0"]["keyslots"] = []
    for token in document["tokens"].values():
        token["keyslots"] = []


@on_document(silent=True)
def unknown_member_in_keyslot(document: Document) -> None:
    document["keyslots"]["0"]["x-note"] = "anything"


# --- digests -------------------------------------------------------------------------------------


@on_document(silent=True)
def digest_added_for_the_same_segment(document: Document) -> None:
    document["digests"]["1"] = attacker_digest([], ["0"])


@on_document(silent=True)
def digest_of_unknown_type_added(document: Document) -> None:
    document["digests"]["1"] = {"type": "x-any", "keyslots": [], "segments": ["0"]}


@on_document(silent=False)
def digest_replaced_by_one_iteration(document: Document) -> None:
    document["digests"]["0"] = attacker_digest(["0"], ["0"], iterations=1)


@on_document(silent=True)
def digest_shortened(document: Document) -> None:
    digest = document["digests"]["0"]
    short = base64.b64decode(digest["digest"])[:8]
    digest["digest"] = base64.b64encode(short).decode()


@on_document(silent=False, by_policy=False)
def digest_replaced(document: Document) -> None:
    iterations = document["digests"]["0"]["iterations"]
    document["digests"]["0"] = attacker_digest(["0"], ["0"], iterations)


# --- tokens --------------------------------------------------------------------------------------


def _add_token(document: Document, token: Document) -> None:
    document["tokens"][free_id(document["tokens"])] = token


@on_document(silent=True)
def keyring_token_injected(document: Document) -> None:
    keyring = {"type": "luks2-keyring", "keyslots": ["0"], "key_description": "attacker:key"}
    _add_token(document, keyring)


@on_document(silent=True)
def foreign_token_injected(document: Document) -> None:
    _add_token(document, {"type": "x-url", "keyslots": ["0"], "url": "http://192.0.2.1/key"})


# --- flags, requirements, sections ---------------------------------------------------------------


@on_document(silent=True)
def discards_allowed(document: Document) -> None:
    document["config"]["flags"] = ["allow-discards"]


@on_document(silent=True)
def unknown_flag(document: Document) -> None:
    document["config"]["flags"] = ["x-verbatim"]


@on_document(silent=True)
def unknown_requirement(document: Document) -> None:
    document["config"]["requirements"] = {"mandatory": ["x-future"]}


@on_document(silent=True)
def old_offline_reencryption(document: Document) -> None:
    document["config"]["requirements"] = {"mandatory": ["offline-reencrypt"]}


@on_document(silent=True)
def unknown_section(document: Document) -> None:
    document["x-hidden"] = {"0": "anything"}


@on_document(silent=True)
def keyslots_area_cut_short(document: Document) -> None:
    """What lies behind it belongs to nothing then."""
    size = int(document["config"]["keyslots_size"])
    document["config"]["keyslots_size"] = str(size - (4 << 20))
