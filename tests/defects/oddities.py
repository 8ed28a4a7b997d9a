"""Documents that look odd and that cryptsetup accepts all the same: so must every reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.defects.documents import DATA_OFFSET, Document, crypt, plain, reencrypting, two_segments


@dataclass(frozen=True)
class Oddity:
    """A change to a good document that leaves it good; ``rules`` warn of it."""

    name: str
    base: Callable[[], Document]
    change: Callable[[Document], None]
    rules: tuple[str, ...] = ()

    def document(self) -> Document:
        """The changed document."""
        document = self.base()
        self.change(document)
        return document


ODDITIES: list[Oddity] = []


def oddity(
    *rules: str, base: Callable[[], Document] = plain
) -> Callable[[Callable[[Document], None]], Callable[[Document], None]]:
    """Register a function that changes the document ``base()``; these rules warn of it."""

    def register(change: Callable[[Document], None]) -> Callable[[Document], None]:
        ODDITIES.append(Oddity(change.__name__, base, change, rules))
        return change

    return register


ODDITIES.extend(
    Oddity(base.__name__, base, lambda document: None)
    for base in (plain, two_segments, reencrypting)
)


@oddity("section-known")
def unknown_section(document: Document) -> None:
    document["extension"] = {"deep": [None, 1.5, {"": True}]}


@oddity()
def unknown_members_everywhere(document: Document) -> None:
    for section in ("keyslots", "segments", "digests", "tokens"):
        document[section]["0"]["extension"] = [1]
    document["config"]["extension"] = {}


@oddity("type-known", "id-usable")
def keyslot_of_unknown_type(document: Document) -> None:
    area = {"type": "x", "offset": "294912", "size": "1"}
    document["keyslots"]["40"] = {"type": "x", "key_size": 0, "area": area}


@oddity("type-known", "segment-adjacent")
def segment_of_unknown_type(document: Document) -> None:
    document["segments"]["0"]["size"] = "4096"
    document["segments"]["1"] = {"type": "x", "offset": str(2 * DATA_OFFSET), "size": "512"}


@oddity("kdf-known")
def kdf_of_unknown_type(document: Document) -> None:
    document["keyslots"]["0"]["kdf"] = {"type": "scrypt"}


@oddity("kdf-cost", "af-stripes-4000", "priority-known")
def numbers_that_make_no_sense(document: Document) -> None:
    document["keyslots"]["1"]["kdf"]["iterations"] = -1
    document["keyslots"]["1"]["af"]["stripes"] = 0
    document["keyslots"]["1"]["priority"] = "often"


@oddity("kdf-salt-size", "digest-proves")
def binary_that_is_no_base64(document: Document) -> None:
    document["keyslots"]["0"]["kdf"]["salt"] = "*"
    document["digests"]["0"]["digest"] = 7


@oddity()
def numbers_with_leading_zeroes(document: Document) -> None:
    document["segments"]["0"]["offset"] = "00" + str(DATA_OFFSET)


@oddity("segment-sector-usable")
def sector_size_that_is_no_power_of_two(document: Document) -> None:
    document["segments"]["0"]["sector_size"] = 1536


@oddity()
def segment_that_ends_beyond_64_bits(document: Document) -> None:
    document["segments"]["0"]["size"] = "18446744073709547520"


@oddity()
def detached_data(document: Document) -> None:
    document["segments"]["0"]["offset"] = "0"


@oddity("flag-known")
def empty_requirements(document: Document) -> None:
    document["config"]["requirements"] = {}
    document["config"]["flags"] = ["unheard-of"]


@oddity("requirement-known")
def unknown_requirement(document: Document) -> None:
    document["config"]["requirements"] = {"mandatory": ["unheard-of"]}


@oddity("requirement-known")
def reencryption_of_unknown_version(document: Document) -> None:
    document["config"]["requirements"] = {"mandatory": ["online-reencrypt-v4"]}


@oddity("digest-named-once")
def keyslot_named_twice_in_its_digest(document: Document) -> None:
    document["digests"]["0"]["keyslots"] = ["0", "1", "0"]


@oddity()
def no_keyslots(document: Document) -> None:
    document["keyslots"] = {}
    document["tokens"] = {}
    document["digests"]["0"]["keyslots"] = []


@oddity("segment-hot")
def hot_segment_without_reencryption(document: Document) -> None:
    document["segments"]["0"]["flags"] = ["in-reencryption"]


@oddity(base=two_segments)
def segments_in_reverse_order(document: Document) -> None:
    document["segments"] = dict(reversed(document["segments"].items()))


@oddity("segment-adjacent", base=two_segments)
def gap_between_segments(document: Document) -> None:
    document["segments"]["1"] = crypt(2 * DATA_OFFSET)


@oddity("reencrypt-digest", base=reencrypting)
def reencrypt_keyslot_without_digest(document: Document) -> None:
    document["digests"]["2"]["keyslots"] = []


@oddity(base=reencrypting)
def reencrypt_area_of_unknown_type(document: Document) -> None:
    document["keyslots"]["2"]["area"]["type"] = "x"


@oddity(base=reencrypting)
def backups_anywhere_on_the_device(document: Document) -> None:
    document["segments"]["3"]["offset"] = "0"


@oddity("area-aligned")
def area_at_no_multiple_of_4096(document: Document) -> None:
    document["keyslots"]["1"]["area"]["offset"] = str(32768 + 131072 + 512)


@oddity("area-holds-key")
def area_smaller_than_its_split_key(document: Document) -> None:
    document["keyslots"]["1"]["area"]["size"] = "4096"


@oddity("area-encrypted")
def area_without_encryption(document: Document) -> None:
    document["keyslots"]["1"]["area"]["encryption"] = "cipher_null-ecb"


@oddity("reencrypt-version", base=reencrypting)
def reencryption_without_version(document: Document) -> None:
    document["config"]["requirements"] = {"mandatory": ["online-reencrypt"]}
