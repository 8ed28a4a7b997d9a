"""Named defects of LUKS2 documents, each with the rule that must report it.

``peer_accepts`` says why cryptsetup takes a document all the same: a rule of our own, or one newer
than the cryptsetup 2.6.1 that Debian 12 has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.defects.documents import (
    DATA_OFFSET,
    Document,
    crypt,
    opal,
    plain,
    reencrypting,
    two_segments,
)

_OURS = "stricter than cryptsetup, which would misread the value"
_BOUNDED = "cryptsetup takes any number of objects and references"
NEWER = "cryptsetup 2.6.1 knows no hw-opal segments"


@dataclass(frozen=True)
class Defect:
    """A way to spoil a good document."""

    name: str
    rule: str
    base: Callable[[], Document]
    spoil: Callable[[Document], None]
    peer_accepts: str | None

    def document(self) -> Document:
        """The spoiled document."""
        document = self.base()
        self.spoil(document)
        return document


DEFECTS: list[Defect] = []


def defect(
    rule: str, *, base: Callable[[], Document] = plain, peer_accepts: str | None = None
) -> Callable[[Callable[[Document], None]], Callable[[Document], None]]:
    """Register a function that spoils the document ``base()``."""

    def register(spoil: Callable[[Document], None]) -> Callable[[Document], None]:
        DEFECTS.append(Defect(spoil.__name__, rule, base, spoil, peer_accepts))
        return spoil

    return register


@defect("document-config")
def no_config_section(document: Document) -> None:
    del document["config"]


@defect("document-keyslots")
def no_keyslots_section(document: Document) -> None:
    del document["keyslots"]


@defect("document-segments")
def no_segments_section(document: Document) -> None:
    del document["segments"]


@defect("document-digests")
def no_digests_section(document: Document) -> None:
    del document["digests"]


@defect("document-tokens")
def no_tokens_section(document: Document) -> None:
    del document["tokens"]


@defect("document-keyslots")
def keyslots_is_an_array(document: Document) -> None:
    document["keyslots"] = []


@defect("document-size")
def text_longer_than_the_area(document: Document) -> None:
    document["tokens"]["0"]["key_description"] = "\x01" * 2100


@defect("config-json-size")
def json_size_is_an_integer(document: Document) -> None:
    document["config"]["json_size"] = 12288


@defect("config-json-size", peer_accepts=_OURS)
def json_size_has_a_space(document: Document) -> None:
    document["config"]["json_size"] = " 12288"


@defect("config-json-size-legal")
def json_size_is_none_of_the_nine(document: Document) -> None:
    document["config"]["json_size"] = "20480"


@defect("config-json-size-match")
def json_size_is_not_that_of_the_binary_header(document: Document) -> None:
    document["config"]["json_size"] = "28672"


@defect("config-keyslots-size")
def keyslots_size_missing(document: Document) -> None:
    del document["config"]["keyslots_size"]


@defect("config-keyslots-size-legal")
def keyslots_size_unaligned(document: Document) -> None:
    document["config"]["keyslots_size"] = "4161535"


@defect("config-keyslots-size-legal")
def keyslots_size_above_128_mib(document: Document) -> None:
    document["config"]["keyslots_size"] = str((128 << 20) + 4096)
    document["segments"]["0"]["offset"] = "0"


@defect("keyslots-area-end")
def keyslots_area_reaches_into_data(document: Document) -> None:
    document["segments"]["0"]["offset"] = str(DATA_OFFSET - 4096)


@defect("config-flags")
def config_flags_hold_a_number(document: Document) -> None:
    document["config"]["flags"] = ["allow-discards", 1]


@defect("config-requirements")
def requirements_is_an_array(document: Document) -> None:
    document["config"]["requirements"] = ["opal"]


@defect("requirements-mandatory")
def mandatory_requirements_hold_a_number(document: Document) -> None:
    document["config"]["requirements"] = {"mandatory": [1]}


@defect("requirements-reencrypt-once", base=reencrypting)
def two_reencryptions_announced(document: Document) -> None:
    document["config"]["requirements"]["mandatory"].append("online-reencrypt-v3")


@defect("keyslot-id")
def keyslot_id_is_no_number(document: Document) -> None:
    document["keyslots"]["x1"] = document["keyslots"].pop("0")


@defect("keyslot-object")
def keyslot_is_no_object(document: Document) -> None:
    document["keyslots"]["0"] = "nothing"


@defect("segment-id")
def segment_id_is_no_number(document: Document) -> None:
    document["segments"]["-1"] = document["segments"].pop("0")


@defect("segment-object")
def segment_is_no_object(document: Document) -> None:
    document["segments"]["0"] = "nothing"


@defect("digest-id")
def digest_id_is_no_number(document: Document) -> None:
    document["digests"]["0x2"] = document["digests"].pop("0")


@defect("digest-object")
def digest_is_no_object(document: Document) -> None:
    document["digests"]["0"] = "nothing"


@defect("token-id")
def token_id_is_no_number(document: Document) -> None:
    document["tokens"]["1a"] = document["tokens"].pop("0")


@defect("token-object")
def token_is_no_object(document: Document) -> None:
    document["tokens"]["0"] = "nothing"


@defect("token-id", peer_accepts=_OURS)
def token_id_with_leading_zero(document: Document) -> None:
    document["tokens"]["01"] = document["tokens"].pop("0")


@defect("token-id", peer_accepts=_OURS)
def token_id_empty(document: Document) -> None:
    document["tokens"][""] = document["tokens"].pop("0")


@defect("token-id", peer_accepts=_OURS)
def token_id_beyond_an_int(document: Document) -> None:
    document["tokens"]["4294967296"] = document["tokens"].pop("0")


def _many(value: object) -> Document:
    """One object more than a section may have."""
    return {str(number): value for number in range(257)}


@defect("keyslot-count")
def keyslots_without_number(document: Document) -> None:
    document["keyslots"] = _many({})


@defect("segment-count")
def segments_without_number(document: Document) -> None:
    document["segments"] = _many({})


@defect("digest-count")
def digests_without_number(document: Document) -> None:
    document["digests"] = _many({})


@defect("token-count", peer_accepts=_BOUNDED)
def tokens_without_number(document: Document) -> None:
    document["tokens"] = _many({"type": "x", "keyslots": []})


@defect("digest-keyslots", peer_accepts=_BOUNDED)
def digest_names_a_keyslot_257_times(document: Document) -> None:
    document["digests"]["0"]["keyslots"] += ["0"] * 255


@defect("digest-segments", peer_accepts=_BOUNDED)
def digest_names_a_segment_257_times(document: Document) -> None:
    document["digests"]["0"]["segments"] *= 257


@defect("token-keyslots", peer_accepts=_BOUNDED)
def token_names_a_keyslot_257_times(document: Document) -> None:
    document["tokens"]["0"]["keyslots"] *= 257


@defect("keyslot-type")
def keyslot_without_type(document: Document) -> None:
    del document["keyslots"]["0"]["type"]


@defect("keyslot-type")
def keyslot_type_empty(document: Document) -> None:
    document["keyslots"]["0"]["type"] = ""


@defect("keyslot-key-size")
def keyslot_key_size_is_a_string(document: Document) -> None:
    document["keyslots"]["0"]["key_size"] = "32"


@defect("keyslot-key-size")
def keyslot_key_size_is_true(document: Document) -> None:
    document["keyslots"]["0"]["key_size"] = True


@defect("keyslot-key-size")
def keyslot_key_size_beyond_32_bits(document: Document) -> None:
    document["keyslots"]["0"]["key_size"] = 1 << 32


@defect("keyslot-key-size")
def keyslot_key_size_negative(document: Document) -> None:
    document["keyslots"]["0"]["key_size"] = -1


@defect("keyslot-area")
def keyslot_without_area(document: Document) -> None:
    del document["keyslots"]["0"]["area"]


@defect("keyslot-kdf")
def keyslot_without_kdf(document: Document) -> None:
    del document["keyslots"]["0"]["kdf"]


@defect("keyslot-af")
def keyslot_af_is_an_array(document: Document) -> None:
    document["keyslots"]["0"]["af"] = []


@defect("area-type")
def area_of_another_type(document: Document) -> None:
    document["keyslots"]["0"]["area"]["type"] = "journal"


@defect("area-offset")
def area_offset_negative(document: Document) -> None:
    document["keyslots"]["0"]["area"]["offset"] = "-1"


@defect("area-offset")
def area_offset_is_an_integer(document: Document) -> None:
    document["keyslots"]["0"]["area"]["offset"] = 32768


@defect("area-size")
def area_size_zero(document: Document) -> None:
    document["keyslots"]["0"]["area"]["size"] = "0"


@defect("area-size")
def area_size_beyond_64_bits(document: Document) -> None:
    document["keyslots"]["0"]["area"]["size"] = "18446744073709551616"


@defect("area-encryption")
def area_without_encryption(document: Document) -> None:
    del document["keyslots"]["0"]["area"]["encryption"]


@defect("area-key-size")
def area_without_key_size(document: Document) -> None:
    del document["keyslots"]["0"]["area"]["key_size"]


@defect("area-begin")
def area_inside_the_headers(document: Document) -> None:
    document["keyslots"]["0"]["area"]["offset"] = "28672"


@defect("area-end")
def area_behind_the_keyslots_area(document: Document) -> None:
    document["keyslots"]["0"]["area"]["offset"] = str(DATA_OFFSET - 4096)


@defect("area-end")
def area_end_overflows(document: Document) -> None:
    document["keyslots"]["0"]["area"]["size"] = "18446744073709551615"


@defect("area-overlap")
def areas_equal(document: Document) -> None:
    document["keyslots"]["0"]["area"]["offset"] = document["keyslots"]["1"]["area"]["offset"]


@defect("area-overlap")
def areas_share_a_byte(document: Document) -> None:
    document["keyslots"]["0"]["area"]["size"] = "131073"


@defect("kdf-type")
def kdf_without_type(document: Document) -> None:
    del document["keyslots"]["0"]["kdf"]["type"]


@defect("kdf-salt")
def kdf_without_salt(document: Document) -> None:
    del document["keyslots"]["0"]["kdf"]["salt"]


@defect("kdf-time")
def argon2_time_is_a_string(document: Document) -> None:
    document["keyslots"]["0"]["kdf"]["time"] = "4"


@defect("kdf-memory")
def argon2_memory_is_a_string(document: Document) -> None:
    document["keyslots"]["0"]["kdf"]["memory"] = "4"


@defect("kdf-cpus")
def argon2_cpus_is_a_string(document: Document) -> None:
    document["keyslots"]["0"]["kdf"]["cpus"] = "4"


@defect("kdf-hash")
def pbkdf2_without_hash(document: Document) -> None:
    del document["keyslots"]["1"]["kdf"]["hash"]


@defect("kdf-iterations")
def pbkdf2_iterations_is_a_fraction(document: Document) -> None:
    document["keyslots"]["1"]["kdf"]["iterations"] = 1000.5


@defect("kdf-members", peer_accepts="repaired when read; the document as it stands is refused")
def kdf_with_members_of_another(document: Document) -> None:
    document["keyslots"]["1"]["kdf"]["memory"] = 32


@defect("af-type")
def af_of_another_type(document: Document) -> None:
    document["keyslots"]["0"]["af"]["type"] = "luks2"


@defect("af-stripes")
def af_without_stripes(document: Document) -> None:
    del document["keyslots"]["0"]["af"]["stripes"]


@defect("af-hash")
def af_hash_empty(document: Document) -> None:
    document["keyslots"]["0"]["af"]["hash"] = ""


@defect("keyslot-digest")
def keyslot_in_no_digest(document: Document) -> None:
    document["digests"]["0"]["keyslots"] = ["0"]


@defect("keyslot-digest")
def keyslot_in_two_digests(document: Document) -> None:
    document["digests"]["1"] = {**document["digests"]["0"], "segments": []}


@defect("token-type")
def token_without_type(document: Document) -> None:
    del document["tokens"]["0"]["type"]


@defect("token-keyslots")
def token_keyslots_hold_numbers(document: Document) -> None:
    document["tokens"]["0"]["keyslots"] = [1]


@defect("token-keyslot")
def token_of_a_missing_keyslot(document: Document) -> None:
    document["tokens"]["0"]["keyslots"] = ["7"]


@defect("digest-type")
def digest_without_type(document: Document) -> None:
    del document["digests"]["0"]["type"]


@defect("digest-keyslots")
def digest_without_keyslots(document: Document) -> None:
    del document["digests"]["0"]["keyslots"]


@defect("digest-segments")
def digest_segments_is_a_string(document: Document) -> None:
    document["digests"]["0"]["segments"] = "0"


@defect("digest-keyslot")
def digest_of_a_missing_keyslot(document: Document) -> None:
    document["digests"]["0"]["keyslots"].append("5")


@defect("digest-segment")
def digest_of_a_missing_segment(document: Document) -> None:
    document["digests"]["0"]["segments"].append("1")


@defect("segments-empty")
def no_segment(document: Document) -> None:
    document["segments"] = {}
    document["digests"]["0"]["segments"] = []


@defect("segment-type")
def segment_without_type(document: Document) -> None:
    del document["segments"]["0"]["type"]


@defect("segment-offset")
def segment_offset_with_a_sign(document: Document) -> None:
    document["segments"]["0"]["offset"] = "+16777216"


@defect("segment-offset")
def segment_offset_unaligned(document: Document) -> None:
    document["segments"]["0"]["offset"] = str(DATA_OFFSET + 256)


@defect("segment-size")
def segment_size_zero(document: Document) -> None:
    document["segments"]["0"]["size"] = "0"


@defect("segment-size")
def segment_size_automatic(document: Document) -> None:
    document["segments"]["0"]["size"] = "automatic"


@defect("segment-size")
def segment_size_unaligned(document: Document) -> None:
    document["segments"]["0"]["size"] = "4097"


@defect("segment-flags")
def segment_flags_hold_a_number(document: Document) -> None:
    document["segments"]["0"]["flags"] = [1]


@defect("segment-iv-tweak")
def segment_without_iv_tweak(document: Document) -> None:
    del document["segments"]["0"]["iv_tweak"]


@defect("segment-encryption")
def segment_encryption_empty(document: Document) -> None:
    document["segments"]["0"]["encryption"] = ""


@defect("segment-sector-size")
def segment_sector_size_is_a_string(document: Document) -> None:
    document["segments"]["0"]["sector_size"] = "4096"


@defect("segment-sector-size")
def segment_sector_size_zero(document: Document) -> None:
    document["segments"]["0"]["sector_size"] = 0


@defect("segment-sector-size")
def segment_sector_size_unaligned(document: Document) -> None:
    document["segments"]["0"]["sector_size"] = 513


@defect("segment-whole-sectors")
def segment_size_in_half_sectors(document: Document) -> None:
    document["segments"]["0"]["size"] = "6144"


@defect("segment-integrity")
def segment_integrity_is_a_string(document: Document) -> None:
    document["segments"]["0"]["integrity"] = "hmac(sha256)"


@defect("integrity-type")
def integrity_without_type(document: Document) -> None:
    document["segments"]["0"]["integrity"] = {
        "journal_encryption": "none",
        "journal_integrity": "none",
    }


@defect("integrity-journal-encryption")
def integrity_without_journal_encryption(document: Document) -> None:
    document["segments"]["0"]["integrity"] = {"type": "aead", "journal_integrity": "none"}


@defect("integrity-journal-integrity")
def integrity_without_journal_integrity(document: Document) -> None:
    document["segments"]["0"]["integrity"] = {"type": "aead", "journal_encryption": "none"}


@defect("segment-digest")
def segment_in_no_digest(document: Document) -> None:
    document["digests"]["0"]["segments"] = []


@defect("segments-gap", base=two_segments)
def segment_ids_with_a_gap(document: Document) -> None:
    document["segments"]["2"] = document["segments"].pop("1")
    document["digests"]["0"]["segments"] = ["0", "2"]


@defect("segments-backup-last", base=two_segments)
def regular_segment_behind_a_backup(document: Document) -> None:
    document["segments"]["0"]["flags"] = ["backup-final"]


@defect("segments-backup-only")
def every_segment_a_backup(document: Document) -> None:
    document["segments"]["0"]["flags"] = ["backup-final"]


@defect("segment-dynamic-last", base=two_segments)
def dynamic_segment_before_another(document: Document) -> None:
    document["segments"]["0"]["size"] = "dynamic"


@defect("segment-end", base=two_segments)
def segment_end_beyond_64_bits(document: Document) -> None:
    document["segments"]["1"]["size"] = "18446744073709547520"


@defect("segment-overlap", base=two_segments)
def segments_overlap(document: Document) -> None:
    document["segments"]["1"]["offset"] = str(DATA_OFFSET + 4096)


@defect("segment-overlap", base=two_segments)
def later_segment_first_on_the_device(document: Document) -> None:
    document["segments"]["1"] = crypt(DATA_OFFSET - 4096)
    document["config"]["keyslots_size"] = "4194304"


@defect("segment-size", base=opal, peer_accepts=NEWER)
def opal_segment_dynamic(document: Document) -> None:
    document["segments"]["0"]["size"] = "dynamic"


@defect("segment-opal-segment-number", base=opal, peer_accepts=NEWER)
def opal_segment_without_number(document: Document) -> None:
    del document["segments"]["0"]["opal_segment_number"]


@defect("segment-opal-key-size", base=opal, peer_accepts=NEWER)
def opal_segment_without_key_size(document: Document) -> None:
    del document["segments"]["0"]["opal_key_size"]


@defect("segment-opal-segment-size", base=opal, peer_accepts=NEWER)
def opal_segment_size_zero(document: Document) -> None:
    document["segments"]["0"]["opal_segment_size"] = "0"


@defect("segment-locking-range", base=opal, peer_accepts=NEWER)
def opal_segment_larger_than_its_locking_range(document: Document) -> None:
    document["segments"]["0"]["opal_segment_size"] = "524288"


@defect("keyslot-key-size", base=reencrypting)
def reencrypt_keyslot_key_size_two(document: Document) -> None:
    document["keyslots"]["2"]["key_size"] = 2


@defect("keyslot-mode", base=reencrypting)
def reencrypt_mode_unknown(document: Document) -> None:
    document["keyslots"]["2"]["mode"] = "crypt"


@defect("keyslot-direction", base=reencrypting)
def reencrypt_direction_missing(document: Document) -> None:
    del document["keyslots"]["2"]["direction"]


@defect("area-type", base=reencrypting)
def reencrypt_area_without_type(document: Document) -> None:
    del document["keyslots"]["2"]["area"]["type"]


@defect("area-hash", base=reencrypting)
def checksum_area_without_hash(document: Document) -> None:
    del document["keyslots"]["2"]["area"]["hash"]


@defect("area-sector-size", base=reencrypting)
def checksum_area_sector_size_no_power_of_two(document: Document) -> None:
    document["keyslots"]["2"]["area"]["sector_size"] = 1536


@defect("area-shift-size", base=reencrypting)
def datashift_area_without_shift_size(document: Document) -> None:
    document["keyslots"]["2"]["area"]["type"] = "datashift"


@defect("area-shift-size", base=reencrypting)
def datashift_area_shift_size_unaligned(document: Document) -> None:
    document["keyslots"]["2"]["area"].update(type="datashift", shift_size="513")


@defect("reencrypt-keyslot-missing", base=reencrypting)
def reencryption_without_keyslot(document: Document) -> None:
    del document["keyslots"]["2"], document["digests"]["2"]


@defect("reencrypt-requirement-missing", base=reencrypting)
def reencryption_without_requirement(document: Document) -> None:
    del document["config"]["requirements"]


@defect("reencrypt-keyslot-once", base=reencrypting)
def two_reencrypt_keyslots(document: Document) -> None:
    area = {**document["keyslots"]["2"]["area"], "offset": "425984"}
    document["keyslots"]["3"] = {**document["keyslots"]["2"], "area": area}
    document["digests"]["2"]["keyslots"].append("3")


@defect("reencrypt-backup-missing", base=reencrypting)
def reencryption_without_backup_previous(document: Document) -> None:
    document["segments"]["2"]["flags"] = ["backup-final"]


@defect("reencrypt-hot-segment", base=reencrypting)
def segment_in_reencryption_unlike_the_final_one(document: Document) -> None:
    document["segments"]["1"]["encryption"] = "aes-cbc-plain64"


@defect("reencrypt-segment", base=reencrypting)
def segment_like_no_backup(document: Document) -> None:
    document["segments"]["0"]["sector_size"] = 512
