"""The portable part of the engine: every cipher specification that is known here, in Python.

It makes the modes out of the libraries that have them and does the rest itself; the native part
does some of the same faster, with the same results.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from luksmeta.errors import AlgorithmError
from luksmeta.secret import SecretBytes
from luksmeta.sector import block_ciphers, iv, libgcrypt, openssl
from luksmeta.sector.adiantum import TWEAK_SIZE as ADIANTUM_TWEAK_SIZE
from luksmeta.sector.adiantum import Adiantum
from luksmeta.sector.cipher_spec import ADIANTUM_CIPHERS, CipherSpec, check_key_size
from luksmeta.sector.eboiv import Eboiv
from luksmeta.sector.elephant import Elephant
from luksmeta.sector.hctr2 import TWEAK_SIZE as HCTR2_TWEAK_SIZE
from luksmeta.sector.hctr2 import Hctr2Sectors
from luksmeta.sector.lmk import Lmk
from luksmeta.sector.lrw import TWEAK_KEY_SIZE, Lrw
from luksmeta.sector.modes import Cbc, Ctr, Ecb, MultiKey, NullCipher
from luksmeta.sector.parts import IvGenerator, SectorMode
from luksmeta.sector.runs import SECTOR_SIZE, RunCipher
from luksmeta.sector.tcw import WHITENING_SIZE, Tcw, TcwIvs
from luksmeta.sector.xts import Xts

_Maker: TypeAlias = Callable[[CipherSpec, SecretBytes, IvGenerator, int], SectorMode]


def create(spec: CipherSpec, key: SecretBytes, sector_size: int, *, large_iv: bool) -> RunCipher:
    """A cipher for ``spec`` under the volume key ``key``, of which it keeps a copy.

    ``sector_size`` is in bytes. Raises AlgorithmError where the cipher is not available here or
    the key's size does not fit.
    """
    if (spec.cipher, spec.mode) == ("cipher_null", "ecb"):
        return RunCipher(NullCipher(), sector_size, large_iv=large_iv)
    if spec.key_sizes is None:
        raise _not_available(spec)
    check_key_size(spec, len(key))
    # A cipher without IVs ignores the generator, and so does the kernel (crypt_ctr_ivmode).
    around = None if spec.mode == "ecb" else _AROUND_CBC.get(spec.iv or "")
    if around is not None:
        mode = around(spec, key, sector_size)
    else:
        subkeys = _split(key, spec.key_count)
        mode = _by_turns(spec, subkeys, sector_size, large_iv=large_iv)
    return RunCipher(mode, sector_size, large_iv=large_iv)


def _not_available(spec: CipherSpec) -> AlgorithmError:
    modes = [mode for mode in _MODES if mode != "adiantum"]
    return AlgorithmError(
        f"cipher {spec}: not available; known are {', '.join(block_ciphers.ALGORITHMS)} in "
        f"{', '.join(modes)} mode, {' and '.join(ADIANTUM_CIPHERS)} in adiantum mode, "
        "and cipher_null-ecb",
        kind="cipher",
        name=spec.text,
    )


def _by_turns(
    spec: CipherSpec,
    subkeys: list[SecretBytes],
    sector_size: int,
    ivs: IvGenerator | None = None,
    *,
    large_iv: bool = False,
) -> SectorMode:
    """The mode under each key; with the IVs that ``spec`` names, unless others are given."""
    modes = []
    for key in subkeys:
        own = ivs or _ivs(spec, key, subkeys[0], sector_size)
        modes.append(_MODES[spec.mode or ""](spec, key, own, sector_size))
    return modes[0] if len(modes) == 1 else MultiKey(modes, sector_size, large_iv=large_iv)


def _ivs(
    spec: CipherSpec, key: SecretBytes, first_key: SecretBytes, sector_size: int
) -> IvGenerator:
    """The IVs that ``spec`` names; eboiv takes the first of several keys."""
    if spec.mode == "ecb":
        return iv.Null()
    if spec.iv == "eboiv" and spec.mode in _EBOIV_MODES:
        size = _iv_size(spec)
        offsets = iv.Counter(size=size, factor=sector_size)
        return Eboiv(_MODES[spec.mode](spec, first_key, offsets, size), size)
    return iv.create(spec, key, _iv_size(spec))


def _iv_size(spec: CipherSpec) -> int:
    """In bytes: a block of the cipher, or the tweak of a wide-block mode."""
    tweak_size = _TWEAK_SIZES.get(spec.mode or "")
    return tweak_size or block_ciphers.find(spec.cipher).block_size


def _split(key: SecretBytes, count: int) -> list[SecretBytes]:
    view, size = key.view(), len(key) // count
    return [SecretBytes(view[n * size : (n + 1) * size]) for n in range(count)]


# --- the modes -----------------------------------------------------------------------------------


def _ecb(spec: CipherSpec, key: SecretBytes, ivs: IvGenerator, sector_size: int) -> SectorMode:
    return Ecb(block_ciphers.create(spec.cipher, key.view()))


def _cbc(spec: CipherSpec, key: SecretBytes, ivs: IvGenerator, sector_size: int) -> SectorMode:
    algorithm = block_ciphers.find(spec.cipher)
    if algorithm.openssl and openssl.is_available(algorithm.openssl, len(key)):
        return openssl.OpenSslCbc(
            algorithm.openssl, algorithm.block_size, key.view(), ivs, sector_size
        )
    if len(key) in algorithm.libgcrypt:
        number = block_ciphers.libgcrypt_number(algorithm, len(key))
        return libgcrypt.LibgcryptMode(number, libgcrypt.CBC, key.view(), ivs, sector_size)
    return Cbc(block_ciphers.create(spec.cipher, key.view()), ivs, sector_size)


def _ctr(spec: CipherSpec, key: SecretBytes, ivs: IvGenerator, sector_size: int) -> SectorMode:
    if spec.cipher == "aes":
        return openssl.AesPerSector("ctr", key.view(), ivs, sector_size)
    return Ctr(block_ciphers.create(spec.cipher, key.view()), ivs, sector_size)


def _xts(spec: CipherSpec, key: SecretBytes, ivs: IvGenerator, sector_size: int) -> SectorMode:
    algorithm = block_ciphers.find(spec.cipher)
    if spec.cipher == "aes" and _openssl_takes(key):
        return openssl.AesPerSector("xts", key.view(), ivs, sector_size)
    if len(key) // 2 in algorithm.libgcrypt and not algorithm.openssl:
        number = block_ciphers.libgcrypt_number(algorithm, len(key) // 2)
        return libgcrypt.LibgcryptMode(number, libgcrypt.XTS, key.view(), ivs, sector_size)
    first, second = (block_ciphers.create(spec.cipher, half.view()) for half in _split(key, 2))
    return Xts(first, second, ivs, sector_size)


def _openssl_takes(key: SecretBytes) -> bool:
    """Whether OpenSSL has this XTS key size, and the halves differ as it demands."""
    half = len(key) // 2
    view = key.view()
    return half != 24 and not hmac.compare_digest(view[:half], view[half:])


def _lrw(spec: CipherSpec, key: SecretBytes, ivs: IvGenerator, sector_size: int) -> SectorMode:
    view = key.view()
    cipher = block_ciphers.create(spec.cipher, view[:-TWEAK_KEY_SIZE])
    return Lrw(cipher, view[-TWEAK_KEY_SIZE:], ivs, sector_size)


def _hctr2(spec: CipherSpec, key: SecretBytes, ivs: IvGenerator, sector_size: int) -> SectorMode:
    return Hctr2Sectors(block_ciphers.create(spec.cipher, key.view()), ivs, sector_size)


def _adiantum(spec: CipherSpec, key: SecretBytes, ivs: IvGenerator, sector_size: int) -> SectorMode:
    return Adiantum(ADIANTUM_CIPHERS[spec.cipher], key.view(), ivs, sector_size)


_MODES: Final[dict[str, _Maker]] = {
    "xts": _xts,
    "cbc": _cbc,
    "ctr": _ctr,
    "ecb": _ecb,
    "lrw": _lrw,
    "hctr2": _hctr2,
    "adiantum": _adiantum,
}
_EBOIV_MODES: Final = ("cbc", "xts", "lrw")  # whose IVs are as long as a block
_TWEAK_SIZES: Final = {"adiantum": ADIANTUM_TWEAK_SIZE, "hctr2": HCTR2_TWEAK_SIZE}


# --- what goes around CBC ------------------------------------------------------------------------


def _lmk(spec: CipherSpec, key: SecretBytes, sector_size: int) -> SectorMode:
    _require(spec, sector_size, (SECTOR_SIZE,))
    algorithm = block_ciphers.find(spec.cipher)
    seeded = len(key) not in {spec.key_count * size for size in algorithm.key_sizes}
    subkeys = _split(key, spec.key_count + seeded)
    ivs = iv.Null(algorithm.block_size)
    cbc = _by_turns(spec, subkeys[: spec.key_count], sector_size, ivs)
    return Lmk(cbc, subkeys[-1].view() if seeded else b"", algorithm.block_size)


def _tcw(spec: CipherSpec, key: SecretBytes, sector_size: int) -> SectorMode:
    _require(spec, sector_size, (SECTOR_SIZE,))
    view, whitening = key.view(), len(key) - WHITENING_SIZE
    seed = whitening - _iv_size(spec)
    subkeys = _split(SecretBytes(view[:seed]), spec.key_count)
    cbc = _by_turns(spec, subkeys, sector_size, TcwIvs(view[seed:whitening]))
    return Tcw(cbc, view[whitening:])


def _elephant(spec: CipherSpec, key: SecretBytes, sector_size: int) -> SectorMode:
    _require(spec, sector_size)
    of_data, of_elephant = _split(key, 2)
    with_eboiv = replace(spec, iv="eboiv")
    cbc = _by_turns(with_eboiv, _split(of_data, spec.key_count), sector_size)
    return Elephant(cbc, block_ciphers.create("aes", of_elephant.view()), sector_size)


def _require(
    spec: CipherSpec, sector_size: int, sector_sizes: tuple[int, ...] | None = None
) -> None:
    """Refuse what the kernel refuses for these IVs, and modes that nobody has used them with."""
    if spec.mode != "cbc":
        reason = f"IV {spec.iv} goes with cbc mode"
    elif sector_sizes is not None and sector_size not in sector_sizes:
        reason = f"IV {spec.iv} goes with sectors of 512 bytes, these have {sector_size}"
    else:
        return
    raise AlgorithmError(f"cipher {spec}: {reason}", kind="cipher", name=spec.text)


_AROUND_CBC: Final = {"lmk": _lmk, "tcw": _tcw, "elephant": _elephant}
