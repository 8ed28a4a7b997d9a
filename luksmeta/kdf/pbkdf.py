"""The password-based key derivation functions of LUKS, their costs, and the limits on these.

A header says what it costs to try a passphrase, and a hostile one may say anything: ``derive``
holds the costs against ``Limits`` before it spends time or memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar, Self, TypeAlias

from luksmeta.errors import AlgorithmError, ResourceLimitError
from luksmeta.kdf import _libargon2, hashes, machine
from luksmeta.secret import BytesLike, SecretBytes

UINT32_MAX = (1 << 32) - 1

# What new keyslots may have; cryptsetup: lib/crypto_backend/pbkdf_check.c.
MIN_ITERATIONS = 1000
MIN_TIME = 4
MIN_MEMORY = 32  # KiB
MAX_MEMORY = 4 << 20  # KiB
MAX_CPUS = 4

_NEW = {
    "iterations": (MIN_ITERATIONS, hashes.MAX_ITERATIONS),
    "time": (MIN_TIME, UINT32_MAX),
    "memory": (MIN_MEMORY, MAX_MEMORY),
    "cpus": (1, MAX_CPUS),
}

_DEFINED = {
    "iterations": hashes.MAX_ITERATIONS,
    "time": UINT32_MAX,
    "memory": UINT32_MAX,
    "cpus": (1 << 24) - 1,
}
_UNITS = {"iterations": "", "time": " passes", "memory": " KiB", "cpus": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pbkdf2:
    """PBKDF2 with HMAC of ``hash`` (RFC 8018 section 5.2)."""

    name: ClassVar[str] = "pbkdf2"
    hash: str
    iterations: int

    @classmethod
    def calibrate(
        cls, milliseconds: int = 2000, hash: str = "sha256", *, key_size: int = 64
    ) -> Pbkdf2:
        """The iterations that take ``milliseconds`` here for a key of ``key_size`` bytes.

        Runs for about a second. Raises AlgorithmError for an unknown hash.
        """
        from luksmeta.kdf import calibrate

        return calibrate.pbkdf2(milliseconds, hash, key_size=key_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Argon2:
    """What both kinds of Argon2 take."""

    name: ClassVar[str]
    time: int  # passes over the memory
    memory: int  # KiB
    cpus: int  # lanes

    @classmethod
    def calibrate(
        cls, milliseconds: int = 2000, *, max_memory: int = 1 << 20, max_cpus: int = 4
    ) -> Self:
        """The costs that take ``milliseconds`` here, with at most ``max_memory`` KiB.

        Memory stays below half of the machine's (calibrate.memory_budget). Runs for one to five
        times ``milliseconds``. Raises ValueError for a maximum that no keyslot may have.
        """
        from luksmeta.kdf import calibrate

        return calibrate.argon2(  # type: ignore[type-var]  # only the two below derive from this
            cls, milliseconds, max_memory=max_memory, max_cpus=max_cpus
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Argon2i(_Argon2):
    """Argon2i version 1.3 (RFC 9106): ``time`` passes over ``memory`` KiB in ``cpus`` lanes."""

    name: ClassVar[str] = "argon2i"


@dataclass(frozen=True, slots=True, kw_only=True)
class Argon2id(_Argon2):
    """Argon2id version 1.3 (RFC 9106): ``time`` passes over ``memory`` KiB in ``cpus`` lanes."""

    name: ClassVar[str] = "argon2id"


Pbkdf: TypeAlias = Pbkdf2 | Argon2i | Argon2id

NAMES: dict[str, type[Pbkdf]] = {kind.name: kind for kind in (Pbkdf2, Argon2i, Argon2id)}
"""The KDF types by the names they have in LUKS2 JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that an existing keyslot may ask of this machine; each field is a cost's maximum.

    By default all that cryptsetup reads and the libraries here can do, as far as it fits into
    this machine's memory. cryptsetup itself writes at most 4 GiB and 4 cpus. ``milliseconds`` is
    what one derivation may take here, by an estimate; None is no limit, as in cryptsetup: waiting
    can be broken off, and a volume from a faster machine must not be out of reach on a slower one.
    """

    iterations: int = hashes.MAX_ITERATIONS
    time: int = UINT32_MAX
    memory: int = field(default_factory=lambda: min(MAX_MEMORY, machine.physical_memory()))  # KiB
    cpus: int = 64  # what cryptsetup allows its OpenSSL backend (MAX_THREADS)
    milliseconds: int | None = None

    def check(self, kdf: Pbkdf, key_size: int) -> None:
        """Raises ResourceLimitError, with both numbers, where ``kdf`` asks for more.

        ``key_size`` is what is to be derived, in bytes. Nothing is estimated without a limit.
        """
        for cost, asked in _costs(kdf).items():
            limit = getattr(self, cost)
            if asked > limit:
                raise ResourceLimitError(
                    f"{kdf.name}: {cost} is {asked}{_UNITS[cost]}, the limit {limit}{_UNITS[cost]}",
                    asked=asked,
                    limit=limit,
                    cost=cost,
                )
        if self.milliseconds is not None:
            _check_time(kdf, key_size, self.milliseconds)


def check_new(kdf: Pbkdf) -> None:
    """Raises ValueError, with both numbers, for costs that no new keyslot should have."""
    for cost, asked in _costs(kdf).items():
        least, most = _NEW[cost]
        if asked < least:
            raise ValueError(f"{kdf.name}: {cost} is {asked}, the minimum is {least}")
        if asked > most:
            raise ValueError(f"{kdf.name}: {cost} is {asked}, the maximum is {most}")


def derive(
    kdf: Pbkdf,
    passphrase: BytesLike | SecretBytes,
    salt: bytes,
    size: int,
    *,
    limits: Limits | None = None,
) -> SecretBytes:
    """``size`` bytes derived from ``passphrase``, in a buffer that the libraries write directly.

    The GIL is released while it runs. ``limits`` of None are the defaults. Raises
    ResourceLimitError for costs above the limits or memory that is not to be had, AlgorithmError
    for an unknown hash and for costs with which the function is not defined.
    """
    if size < 1:
        raise ValueError(f"{kdf.name}: a key of {size} bytes")
    (limits or Limits()).check(kdf, size)
    _check_defined(kdf)
    secret = passphrase.view() if isinstance(passphrase, SecretBytes) else passphrase
    return SecretBytes.filled(size, lambda key: _fill(kdf, secret, salt, key))


def _fill(kdf: Pbkdf, passphrase: BytesLike, salt: bytes, key: memoryview) -> None:
    match kdf:
        case Pbkdf2():
            hashes.get(kdf.hash).pbkdf2(passphrase, salt, kdf.iterations, key)
        case _:
            _libargon2.derive(
                kdf.name,
                passphrase,
                salt,
                key,
                time=kdf.time,
                memory=kdf.memory,
                lanes=kdf.cpus,
            )


def _costs(kdf: Pbkdf) -> dict[str, int]:
    return {f.name: getattr(kdf, f.name) for f in fields(kdf) if f.name in _UNITS}


def _check_time(kdf: Pbkdf, key_size: int, limit: int) -> None:
    from luksmeta.kdf import estimate

    asked = estimate.milliseconds(kdf, key_size)
    if asked > limit:
        raise ResourceLimitError(
            f"{kdf.name}: would take about {asked} ms here, the limit is {limit} ms",
            asked=asked,
            limit=limit,
            cost="milliseconds",
        )


def _check_defined(kdf: Pbkdf) -> None:
    """RFC 8018 and RFC 9106 section 3.1: costs are positive, each lane has its 8 KiB at least."""
    for cost, asked in _costs(kdf).items():
        least = 8 * kdf.cpus if cost == "memory" and not isinstance(kdf, Pbkdf2) else 1
        most = _DEFINED[cost]
        if not least <= asked <= most:
            raise AlgorithmError(
                f"{kdf.name}: {cost} is {asked}{_UNITS[cost]}, possible are {least}..{most}",
                kind="kdf",
                name=kdf.name,
            )
