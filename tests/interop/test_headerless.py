"""Volumes without a header, made by a real kernel in one boot.

The kernel's answers are kept in spec/vectors/headerless.json for the tests that need no kernel;
``python -m tests.interop.test_headerless`` writes that file anew.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from tests.headerless import CASES, DISK_SIZE, REFUSED, VECTORS, Case, Made, made
from tests.interop.peers import kernel
from tests.interop.peers.process import scratch

# All drivers first: dm-crypt sizes its requests by the first of many keys.
_GUEST = f"""
modprobe -aq aesni-intel serpent-avx2 twofish-avx-x86_64
attempt() {{
    name=$1 plaintext=$2 secret=$3; shift 3
    head -c {DISK_SIZE} /dev/zero >/dev/vda
    cryptsetup open --batch-mode "$@" /dev/vda m <"$secret" 2>/dev/null || {{
        echo "refused $name"
        return
    }}
    table=$(dmsetup table --showkeys m)
    head -c "$(blockdev --getsize64 /dev/mapper/m)" "$plaintext" >/dev/mapper/m
    cryptsetup close m
    blockdev --flushbufs /dev/vda
    digest=$(sha256sum </dev/vda)
    echo "made $name ${{digest%% *}} $table"
}}
"""
_CASES = (*CASES, *REFUSED)


def _attempt(number: int, case: Case) -> str:
    key_file = {"typed": (), "key file": (f"secret{number}",), "stdin": ("-",)}[case.how]
    words = [case.name, f"plaintext{number}", f"secret{number}", "--type", case.type]
    words += [word for name in key_file for word in ("--key-file", name)]
    return shlex.join(["attempt", *words, *case.options])


def _boot() -> tuple[dict[str, Made], set[str]]:
    """What the kernel makes of every case, and which it, or cryptsetup, refuses."""
    files = {f"plaintext{number}": case.plaintext for number, case in enumerate(_CASES)}
    for number, case in enumerate(_CASES):
        files[f"secret{number}"] = case.secret + (b"\n" if case.how == "typed" else b"")
    script = _GUEST + "\n".join(_attempt(number, case) for number, case in enumerate(_CASES))
    with scratch(disk=bytes(DISK_SIZE), **files) as folder:
        disk = folder / "disk"
        job_files = [path for path in sorted(folder.iterdir()) if path != disk]
        result = kernel.run(script, [f"{disk}:snapshot"], job_files)
    if result.returncode != 0:
        raise RuntimeError(result.stderr.decode())
    lines = [line.split(maxsplit=3) for line in result.stdout.decode().splitlines()]
    return (
        {line[1]: Made(line[2], line[3]) for line in lines if line[0] == "made"},
        {line[1] for line in lines if line[0] == "refused"},
    )


def test_the_kernel_makes_of_every_case_what_the_vectors_hold() -> None:
    kernel.require()
    now, refused = _boot()
    assert refused == {case.name for case in REFUSED}
    assert now == made()


def write_vectors(path: Path = VECTORS) -> None:
    """Ask the kernel, and keep what it says."""
    vectors = {name: vars(each) for name, each in _boot()[0].items()}
    document = {"made_by": "python -m tests.interop.test_headerless", "vectors": vectors}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_vectors()
