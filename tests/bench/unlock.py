"""What unlocking costs beyond its KDF: ``python -m tests.bench.unlock``.

Each volume's keyslot takes about half a second or more. In turns, in one run: the KDF alone, our
unlocking, and cryptsetup's test of the same passphrase as a whole process.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import luksmeta
from luksmeta.kdf.pbkdf import Argon2id, Pbkdf, Pbkdf2, derive
from luksmeta.model import Keyslot
from luksmeta.new_volume import FormatKeywords
from tests.interop.peers import cryptsetup

PASSPHRASE = b"correct horse battery staple"
ROUNDS = 9
CASES: dict[str, FormatKeywords] = {
    "LUKS2 argon2id": {"pbkdf": Argon2id(time=4, memory=256 << 10, cpus=2)},
    "LUKS2 pbkdf2-sha256": {"pbkdf": Pbkdf2(hash="sha256", iterations=2_000_000)},
    "LUKS1 pbkdf2-sha256": {
        "type": "luks1",
        "pbkdf": Pbkdf2(hash="sha256", iterations=2_000_000),
    },
    "LUKS1 pbkdf2-sha512, essiv": {
        "type": "luks1",
        "hash": "sha512",
        "cipher": "aes-cbc-essiv:sha256",
        "pbkdf": Pbkdf2(hash="sha512", iterations=1_500_000),
    },
}


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def kdf_alone(image: Path) -> Callable[[], object]:
    with luksmeta.open(image) as volume:
        keyslot = volume.keyslots[0]
        if not isinstance(keyslot, Keyslot):
            raise TypeError("not a keyslot")
        kdf: Pbkdf = keyslot.kdf  # type: ignore[assignment]  # we have just made it
        return lambda: derive(kdf, PASSPHRASE, keyslot.salt, keyslot.area.key_size).wipe()


def unlock(image: Path) -> None:
    with luksmeta.open(image) as volume:
        volume.unlock(PASSPHRASE).close()


def main() -> None:
    print(f"medians of {ROUNDS}, in turns, and the ratios of the fastest runs")
    print(f"{'':28} {'KDF':>9} {'luksmeta':>9} {'cryptsetup':>11}  to KDF  to cryptsetup")
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, options) in enumerate(CASES.items()):
            image = Path(folder) / f"{number}.img"
            options["digest_iterations"] = 1000
            luksmeta.format(image, PASSPHRASE, size="24M", **options).close()
            works: list[Callable[[], object]] = [
                kdf_alone(image),
                lambda image=image: unlock(image),  # type: ignore[misc]  # bound now
                lambda image=image: cryptsetup.unlocks(image, PASSPHRASE),  # type: ignore[misc]
            ]
            times = [[seconds(work) for work in works] for _ in range(ROUNDS)]
            columns = list(zip(*times, strict=True))
            alone, ours, theirs = (statistics.median(column) for column in columns)
            best_alone, best_ours, best_theirs = (min(column) for column in columns)
            print(
                f"{name:28} {alone * 1000:6.0f} ms {ours * 1000:6.0f} ms {theirs * 1000:8.0f} ms"
                f"  {best_ours / best_alone:6.3f}  {best_ours / best_theirs:13.3f}"
            )


if __name__ == "__main__":
    main()
