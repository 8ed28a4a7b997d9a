"""What guessing a keyslot's passphrase costs: guesses a second, and years of a machine.

The figures are bounds in favour of who guesses: everything that a guess must do beside the KDF and
the merging of the split key is left out. Source of the reference machine's speed: the minimum
password settings of tobtu.com (December 2022), which state it as the costs at which an RTX 4090
makes 15,000 guesses a second; Argon2 is bounded there by the memory that it moves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from luksmeta.errors import AlgorithmError, LuksError
from luksmeta.kdf import estimate, hashes, machine
from luksmeta.kdf.pbkdf import Argon2i, Argon2id, Pbkdf2
from luksmeta.model import STRIPES, ForeignKdf, Keyslot
from luksmeta.sizes import counted

REFERENCE: Final = "one NVIDIA RTX 4090"
ENTROPIES: Final = (40, 50, 60, 70)
"""Bits, where the caller names none: eight random letters and digits have 41, words of a list of
7776 have 12.9 each."""

_ITERATIONS: Final = {  # a second of PBKDF2 on the reference machine, each of one block
    "sha512": 210_000 * 15_000,
    "sha384": 210_000 * 15_000,
    "sha256": 600_000 * 15_000,
    "sha224": 600_000 * 15_000,
    "sha1": 1_300_000 * 15_000,
}
_FASTEST: Final = max(_ITERATIONS.values())
_BANDWIDTH: Final = 1_008_000_000_000  # bytes a second, by the maker's data sheet
_SECONDS_A_YEAR: Final = 365.25 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast one machine guesses; ``basis`` is ``reference`` or ``measured``."""

    machine: str
    basis: str
    guesses_per_second: float

    def years(self, bits: float) -> float:
        """Years in which it finds a passphrase of this entropy, on average: half of all."""
        return float(2.0 ** (bits - 1)) / self.guesses_per_second / _SECONDS_A_YEAR


@dataclass(frozen=True, slots=True)
class Strength:
    """What a guess at one keyslot costs; ``remark`` says what bounds it, or why nothing does."""

    speeds: tuple[Speed, ...]
    entropies: tuple[float, ...]
    remark: str

    def describe(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "remark": self.remark,
            "speeds": [
                {
                    "machine": each.machine,
                    "basis": each.basis,
                    "guesses_per_second": float(f"{each.guesses_per_second:.3g}"),
                    "machine_years": {
                        f"{bits:g}": float(f"{each.years(bits):.3g}") for bits in self.entropies
                    },
                }
                for each in self.speeds
            ],
        }


def strength_of(keyslot: Keyslot, entropies: Iterable[float], *, is_measured: bool) -> Strength:
    """The strength of a keyslot; ``is_measured`` adds this machine, at a cost of 0.1 s.

    Nothing is raised for what a keyslot says: where that makes no sense, ``remark`` tells it.
    """
    bits = tuple(entropies)
    if keyslot.area.encryption.startswith("cipher_null"):
        return Strength((), bits, "none: the area is not encrypted, no passphrase is needed")
    if isinstance(keyslot.kdf, ForeignKdf):
        return Strength((), bits, f"unknown: nothing is known of the KDF {keyslot.kdf.type[:40]!r}")
    try:
        speeds = [Speed(REFERENCE, "reference", _reference_speed(keyslot))]
        if is_measured:
            speeds.append(_measured_speed(keyslot))
    except (LuksError, ZeroDivisionError, ValueError, OverflowError) as error:
        return Strength((), bits, f"unknown: {error}")
    return Strength(tuple(speeds), bits, _remark(keyslot))


def _reference_speed(keyslot: Keyslot) -> float:
    match keyslot.kdf:
        case Pbkdf2() as kdf:
            if kdf.iterations < 1:
                raise ValueError(f"{kdf.name} with {kdf.iterations} iterations")
            seconds = kdf.iterations * _blocks(kdf.hash, keyslot.area.key_size) / _rate(kdf.hash)
            return 1 / (seconds + _merging(keyslot))
        case Argon2i() | Argon2id() as kdf:
            if min(kdf.time, kdf.memory) < 1:
                raise ValueError(f"{kdf.name} with {kdf.time} passes over {kdf.memory} KiB")
            moved = (3 * kdf.time - 1) * (kdf.memory << 10)
            return 1 / (moved / _BANDWIDTH + _merging(keyslot))
        case _:
            raise ValueError("no such KDF")


def _merging(keyslot: Keyslot) -> float:
    """Seconds to merge the split key: for each stripe one hash per block, half of an iteration."""
    halves = STRIPES * _blocks(keyslot.af.hash, keyslot.key_size)
    return halves / 2 / _rate(keyslot.af.hash)


def _blocks(hash_name: str, key_size: int) -> int:
    return -(-key_size // hashes.get(hash_name).digest_size)


def _rate(hash_name: str) -> int:
    """Iterations a second; for a hash without a figure that of the fastest one."""
    return _ITERATIONS.get(hashes.get(hash_name).name, _FASTEST)


def _measured_speed(keyslot: Keyslot) -> Speed:
    kdf = keyslot.kdf
    if isinstance(kdf, ForeignKdf):
        raise AlgorithmError("unknown KDF", kind="kdf", name=kdf.type)
    processors = machine.online_cpus()
    lanes = 1 if isinstance(kdf, Pbkdf2) else min(max(kdf.cpus, 1), processors)
    milliseconds = max(estimate.milliseconds(kdf, keyslot.area.key_size), 1)
    name = f"this machine, {processors} processors"
    return Speed(name, "measured", 1000 / milliseconds * max(processors // lanes, 1))


def _remark(keyslot: Keyslot) -> str:
    match keyslot.kdf:
        case Pbkdf2(hash=name, iterations=count):
            blocks = _blocks(name, keyslot.area.key_size)
            bound = (
                "" if hashes.get(name).name in _ITERATIONS else "; bounded by the speed of SHA-1"
            )
            times = f"{counted(count, 'iteration')} of {name} times {counted(blocks, 'block')}"
            return f"{times} of the key{bound}"
        case Argon2i() | Argon2id() as kdf:
            moved = (3 * kdf.time - 1) * kdf.memory / (1 << 10)
            passes = counted(kdf.time, "pass", "passes")
            move = "moves" if kdf.time == 1 else "move"
            return f"{passes} over {kdf.memory} KiB {move} {moved:,.1f} MiB of memory"
        case _:
            return ""
