"""Cipher specifications in dm-crypt's notation, such as ``aes-xts-plain64``.

A specification names a cipher, a mode and an IV generator. The kernel reads it in
drivers/md/dm-crypt.c (``crypt_ctr_cipher_old`` and ``crypt_ctr_cipher_new``); cryptsetup's own
short forms are in lib/utils_crypt.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from luksmeta.errors import AlgorithmError
from luksmeta.sector.block_ciphers import ALGORITHMS, spell_sizes
from luksmeta.sizes import counted

TEXT_MAX: Final = 256  # bytes; a bound of ours: the kernel's names end at 128 (CRYPTO_MAX_ALG_NAME)

_CAPI: Final = "capi:"
_PRINTABLE: Final = re.compile(r"[!-~]+")
_DM_CRYPT: Final = re.compile(
    r"(?P<cipher>[^-:()]+)(?::(?P<key_count>[0-9]{1,9}))?"
    r"(?:-(?P<mode>[^-:()]+)(?:-(?P<iv>[^:()]+)(?::(?P<iv_option>[^()]+))?)?)?"
)
_TEMPLATE: Final = re.compile(r"(?P<mode>[^(),]+)\((?P<cipher>.+)\)")
_ESSIV: Final = re.compile(r"essiv\((?P<api>.+),(?P<hash>[^(),]+)\)")

ADIANTUM_CIPHERS: Final = {"xchacha12,aes": 12, "xchacha20,aes": 20}  # and their rounds
_ADIANTUM_KEY_SIZE: Final = 32  # bytes
_LRW_TWEAK_KEY_SIZE: Final = 16
_TCW_WHITENING_SIZE: Final = 16
_BLOCK_16_MODES: Final = frozenset({"xts", "lrw", "hctr2"})  # they compute in GF(2^128)
_MODES: Final = frozenset({"cbc", "ctr", "ecb", *_BLOCK_16_MODES})


@dataclass(frozen=True, slots=True)
class CipherSpec:
    """A parsed cipher specification; ``str()`` gives back the text as it was.

    ``cipher``, ``mode``, ``iv`` and ``iv_option`` are dm-crypt's words, the same for the
    ``capi:`` spelling and the plain one. ``mode`` is None for a bare crypto API name,
    ``iv`` where the specification names no IV generator.
    """

    text: str
    cipher: str
    key_count: int
    mode: str | None
    iv: str | None
    iv_option: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read dm-crypt's notation; names unknown here are kept and fail when a cipher is created.

        Raises AlgorithmError where the text is no cipher specification at all.
        """
        if len(text) > TEXT_MAX or not _PRINTABLE.fullmatch(text):
            raise _malformed(text)
        if text in ("null", "cipher_null"):  # cryptsetup's short forms
            return cls(text, "cipher_null", 1, "ecb", None, None)
        if text.startswith(_CAPI):
            return cls._parse_capi(text)
        return cls._parse_dm_crypt(text)

    @classmethod
    def _parse_dm_crypt(cls, text: str) -> Self:
        match = _DM_CRYPT.fullmatch(text)
        if match is None:
            raise _malformed(text)
        cipher, count, mode, iv, iv_option = match.groups()
        key_count = 1 if count is None else int(count)
        if key_count.bit_count() != 1:
            raise AlgorithmError(
                f"cipher {text}: key count {key_count} is no power of two",
                kind="cipher",
                name=text,
            )
        if mode is None or (mode == "plain" and iv is None):  # what dm-crypt knew before modes
            mode, iv = "cbc", "plain"
        return cls(text, cipher, key_count, mode, iv, iv_option)

    @classmethod
    def _parse_capi(cls, text: str) -> Self:
        # From the right, as the kernel does: the names of drivers and hashes may hold a "-".
        rest = text.removeprefix(_CAPI)
        rest, colon, iv_option = rest.rpartition(":") if ":" in rest else (rest, "", "")
        api, dash, iv = rest.rpartition("-") if "-" in rest else (rest, "", "")
        if not api or bool(colon) != bool(iv_option) or bool(dash) != bool(iv):
            raise _malformed(text)
        if not _balanced(api) or not _balanced(iv) or (colon and not dash):
            raise _malformed(text)
        essiv = _ESSIV.fullmatch(api)
        if essiv and iv == "plain64":  # how "-essiv:HASH" reads inside the kernel
            api, iv, iv_option = essiv["api"], "essiv", essiv["hash"]
        template = _TEMPLATE.fullmatch(api)
        cipher, mode = (template["cipher"], template["mode"]) if template else (api, None)
        key_count = 64 if iv == "lmk" else 1
        return cls(text, cipher, key_count, mode, iv or None, iv_option or None)

    @property
    def is_null(self) -> bool:
        """Whether the cipher is the null one, in any mode (cryptsetup: ``crypt_is_cipher_null``).

        Only ``cipher_null-ecb`` leaves the data as they are; CBC still adds its IV.
        """
        return "cipher_null" in self.cipher

    @property
    def key_sizes(self) -> tuple[int, ...] | None:
        """The key sizes that fit, in bytes, smallest first; None where they are not known here."""
        sizes = self._cipher_key_sizes()
        if sizes is None:
            return None
        sizes = tuple(self.key_count * size for size in sizes)
        match self.iv:
            case "elephant":  # as much again for the diffuser, which uses AES
                fitting = (size for size in sizes if size in ALGORITHMS["aes"].key_sizes)
                return tuple(2 * size for size in fitting) or None
            case "tcw":  # behind the cipher's key the IV's seed and the whitening
                extra = ALGORITHMS[self.cipher].block_size + _TCW_WHITENING_SIZE
                return tuple(size + extra for size in sizes)
            case "lmk" if self.key_count > 1:  # a seed as one key more, or none
                seeded = (size + size // self.key_count for size in sizes)
                return tuple(sorted({*sizes, *seeded}))
        return sizes

    def _cipher_key_sizes(self) -> tuple[int, ...] | None:
        """Those of one key of the cipher in its mode."""
        if self.mode == "adiantum":
            return (_ADIANTUM_KEY_SIZE,) if self.cipher in ADIANTUM_CIPHERS else None
        algorithm = ALGORITHMS.get(self.cipher)
        if algorithm is None or self.mode not in _MODES:
            return None
        if self.mode in _BLOCK_16_MODES and algorithm.block_size != 16:
            return None
        match self.mode:
            case "xts":  # two keys at once (crypto/xts.c)
                return tuple(2 * size for size in algorithm.key_sizes)
            case "lrw":  # and the tweak key (crypto/lrw.c)
                return tuple(size + _LRW_TWEAK_KEY_SIZE for size in algorithm.key_sizes)
        return algorithm.key_sizes

    def __str__(self) -> str:
        return self.text


def check_key_size(spec: CipherSpec, key_size: int) -> None:
    """Refuse a volume key of ``key_size`` bytes that the cipher cannot take.

    A cipher that is not known here passes, and so does every size for the null cipher. Raises
    AlgorithmError that names the sizes that fit.
    """
    sizes = spec.key_sizes
    if sizes is None or key_size in sizes:
        return
    raise AlgorithmError(
        f"cipher {spec}: key has {counted(key_size, 'byte')}, takes {spell_sizes(sizes)}",
        kind="cipher",
        name=spec.text,
    )


def _balanced(api: str) -> bool:
    depth = 0
    for character in api:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0


def _malformed(text: str) -> AlgorithmError:
    shown = text[:64]  # it may come from a damaged header
    return AlgorithmError(
        f"cipher {shown!r}: not a cipher specification", kind="cipher", name=shown
    )
