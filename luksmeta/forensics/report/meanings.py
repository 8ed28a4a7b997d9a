"""What findings mean, in short: spec/forensics.md has all of it, under the same numbers."""

from __future__ import annotations

from typing import Final

MEANINGS: Final = {
    "L6.1.1": "An inspection goes by the header that every reader gets. Where no copy is believed, "
    "it goes by what is legible of the copies, whatever else is wrong with them.",
    "L6.1.2": "A checksum is right when it is that of the copy's bytes with the magic in its "
    "place. One that is wrong says that a byte of the copy changed, not which.",
    "L6.1.3": "A LUKS1 header has one copy and no checksum. One that is refused is shown as it "
    "lies there; without its magic it is a guess, and the source says so.",
    "L6.1.5": "A signature is the magic of another format at its place. It proves that somebody "
    "wrote it there, not that what it belongs to is whole.",
    "L6.1.6": "Key material is the key, split so that every bit is needed, and encrypted: all "
    "of it looks random. One step of 512 bytes that does not, and no passphrase opens the keyslot. "
    "Material that looks whole may still be wrong: only a passphrase proves it.",
    "L6.1.8": "A leftover is a run of random bytes, as long as the split key of 128 bits, that no "
    "keyslot claims. It may be a keyslot that was removed from the header, or filling.",
    "L6.1.9": "Hidden is what the JSON text holds and cryptsetup luksDump does not print.",
    "L6.1.10": "Hints of the past are stated by the header, likely by what cryptsetup does, or "
    "weak: one explanation among others. None is a proof; no field of a header is a time.",
    "L6.1.11": "Of each segment the first 64 KiB are looked at. Random is ciphertext, zero was "
    "never written, all else is data that this segment's cipher did not make.",
    "L6.2.1": "Bytes are judged in steps of 512: zero, a pattern, random, unreadable, or other. "
    "Random bytes fail the tests in one step of 2·10¹⁰; other ciphertext in its place is not "
    "seen.",
    "L6.3.5": "An area under a null cipher is not encrypted: no passphrase is needed for it.",
}
"""By clause."""
