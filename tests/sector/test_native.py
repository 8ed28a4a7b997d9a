from __future__ import annotations

import gc
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luksmeta.errors import AlgorithmError
from luksmeta.kdf import hashes
from luksmeta.sector import engine, native, threads
from luksmeta.sector.cipher_spec import CipherSpec
from tests.corpus import PROJECT, CipherVector, stream
from tests.requirement import missing
from tests.sector.passes import (
    VECTORS,
    decrypted,
    encrypted,
    native_cipher,
    portable_cipher,
)

if TYPE_CHECKING or native.is_built():
    from luksmeta.sector import _native

# What the native part is to do: cipher, modes, IVs.
CIPHERS = ("aes", "camellia")
MODES = ("xts", "cbc", "ctr", "ecb")
IVS = ("plain", "plain64", "plain64be", "null", "benbi", "essiv")
SPECS = [
    *((f"aes-xts-{iv}", size) for iv in ("plain", "plain64be", "null") for size in (32, 64)),
    *(("aes-xts-plain64", 48), ("aes-xts-benbi", 64), ("aes-xts-essiv:sha256", 64)),
    *((f"aes-cbc-{iv}", 32) for iv in ("plain", "plain64", "plain64be", "null", "benbi")),
    *(("aes-cbc-essiv:sha256", 32), ("aes-cbc-essiv:md5", 16), ("aes-cbc-eboiv", 24)),
    *(("aes-ctr-plain64", 32), ("aes-ecb", 24)),
    *(("camellia-xts-plain64", 64), ("camellia-cbc-essiv:sha256", 32)),
]
TURNS = ("encrypt_into", "decrypt_into")


@pytest.fixture(autouse=True)
def _built() -> None:
    if not native.is_built():
        missing("the native part of the engine was not built")


def is_native(vector: CipherVector) -> bool:
    spec = CipherSpec.parse(vector.cipher)
    if spec.cipher not in CIPHERS or spec.key_count != 1:
        return False
    if spec.iv == "eboiv":
        return spec.mode == "cbc"
    return spec.mode == "ecb" or (spec.mode in MODES and spec.iv in IVS)


NATIVE = [vector for vector in VECTORS if is_native(vector)]
EVERY_NATIVE_VECTOR = pytest.mark.parametrize("vector", NATIVE, ids=lambda vector: vector.id)


# --- the results ------------------------------------------------------------------------------


@EVERY_NATIVE_VECTOR
def test_the_native_part_gives_what_the_kernel_wrote(vector: CipherVector) -> None:
    with native_cipher(
        vector.cipher, vector.key, vector.sector_size, large_iv=vector.iv_large_sectors
    ) as cipher:
        assert encrypted(cipher, vector.iv_offset, vector.plaintext) == vector.ciphertext
        assert decrypted(cipher, vector.iv_offset, vector.ciphertext) == vector.plaintext


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if v not in NATIVE], ids=lambda vector: vector.id
)
def test_the_native_part_leaves_the_rest_to_the_portable_one(vector: CipherVector) -> None:
    with pytest.raises(LookupError):
        native_cipher(vector.cipher, vector.key, vector.sector_size)


@pytest.mark.parametrize(
    ("text", "key_size"),
    [
        *(("aes-xts-plain64", 33), ("aes-cbc-plain64", 64), ("aes-ecb", 0)),
        *(("aes-cbc-essiv:sha1", 32), ("aes-cbc-essiv:md4711", 32), ("aes-zzz-plain64", 32)),
    ],
)
def test_what_is_unfit_is_left_to_the_portable_part(text: str, key_size: int) -> None:
    with pytest.raises(LookupError):
        native_cipher(text, stream("key", key_size))
    with pytest.raises(AlgorithmError):
        portable_cipher(text, stream("key", key_size))


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize(("text", "key_size"), SPECS)
@settings(deadline=None, max_examples=30)
@given(st.data())
def test_both_parts_give_the_same(text: str, key_size: int, turn: str, data: st.DataObject) -> None:
    sector_size = data.draw(st.sampled_from(engine.SECTOR_SIZES))
    large_iv = data.draw(st.booleans())
    count = data.draw(st.integers(0, 40))
    edge = data.draw(st.sampled_from([0, 1 << 32, 1 << 59, 1 << 63, 1 << 64]))
    first = max(0, edge + 8 * data.draw(st.integers(-40, 40)))
    shift = data.draw(st.integers(0, 17))  # buffers at any address
    source = bytearray(stream(f"{text} {first}", shift + count * sector_size))
    in_place = data.draw(st.booleans())
    target = source if in_place else bytearray(len(source))
    key = stream(text, key_size)

    expected = bytearray(count * sector_size)
    with portable_cipher(text, key, sector_size, large_iv=large_iv) as cipher:
        getattr(cipher, turn)(first, bytes(source[shift:]), expected)
    with native_cipher(text, key, sector_size, large_iv=large_iv) as cipher:
        getattr(cipher, turn)(first, memoryview(source)[shift:], memoryview(target)[shift:])
    assert target[shift:] == expected


@pytest.mark.parametrize("sector_size", engine.SECTOR_SIZES)
@pytest.mark.parametrize("turn", ["encrypt", "decrypt"])
@pytest.mark.parametrize("key_size", [32, 64])
def test_both_makings_of_xts_agree(sector_size: int, turn: str, key_size: int) -> None:
    key, data = stream("xts", key_size), stream("data", 21 * sector_size)
    out = {}
    for mode in ("xts", "xts-of-ecb"):
        cipher = _native.Cipher(mode, f"AES-{4 * key_size}", sector_size, key)
        out[mode] = bytearray(len(data))
        getattr(cipher, turn)(_native.PLAIN64, 5, 1, data, out[mode])
    assert out["xts"] == out["xts-of-ecb"]


@pytest.mark.parametrize("turn", ["encrypt", "decrypt"])
@pytest.mark.parametrize("mode", ["xts", "xts-of-ecb", "cbc", "ctr"])
def test_ready_ivs_take_the_place_of_numbers(mode: str, turn: str) -> None:
    key, data = stream("key", 64 if "xts" in mode else 32), stream("data", 40 * 512)
    ivs = b"".join((7 + 3 * n).to_bytes(16, "little") for n in range(40))
    by_number, by_iv = bytearray(len(data)), bytearray(len(data))
    cipher = _native.Cipher(mode, "AES-256", 512, key)
    getattr(cipher, turn)(_native.PLAIN64, 7, 3, data, by_number)
    getattr(cipher, turn)(_native.PLAIN64, 0, 0, data, by_iv, ivs)
    assert by_iv == by_number


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("text", ["aes-xts-plain64", "aes-xts-benbi", "aes-xts-null"])
def test_a_run_split_over_threads_is_the_run_in_one(
    monkeypatch: pytest.MonkeyPatch, text: str, sector_size: int, turn: str
) -> None:
    monkeypatch.setattr(threads, "available", lambda: 4)
    monkeypatch.setattr(threads, "PIECE_SIZE", 1 << 14)
    monkeypatch.setattr(threads, "SPLIT_SIZE", 1 << 16)
    data = stream("data", 1 << 18) + stream("rest", sector_size)
    first = (1 << 64) - 256  # the numbers wrap in the middle
    results = []
    for thread_count in (1, 4):
        out = bytearray(len(data))
        key = stream("key", 64)
        with native_cipher(text, key, sector_size, thread_count=thread_count) as cipher:
            getattr(cipher, turn)(first, data, out)
        results.append(out)
    assert results[0] == results[1]


def test_a_cipher_closed_during_a_run_ends_the_run_well(monkeypatch: pytest.MonkeyPatch) -> None:
    data, key = stream("data", 512) * (threads.SPLIT_SIZE // 512), stream("key", 64)
    with native_cipher("aes-xts-plain64", key) as cipher:
        expected = encrypted(cipher, 0, data)

    def close_first(task: threads.Task, size: int, count: int | None = None) -> None:
        cipher.close()
        task(0, size)

    monkeypatch.setattr(threads, "each_piece", close_first)
    cipher = native_cipher("aes-xts-plain64", key)
    assert encrypted(cipher, 0, data) == expected
    with pytest.raises(ValueError, match="closed"):
        encrypted(cipher, 0, data)


@pytest.mark.parametrize("text", ["aes-xts-plain64", "aes-cbc-plain64"])
def test_threads_share_a_cipher_during_long_runs(text: str) -> None:
    data = stream("data", 1 << 18)
    with native_cipher(text, stream("key", 32), thread_count=1) as cipher:
        alone = [encrypted(cipher, sector, data) for sector in range(8)]
        with ThreadPoolExecutor(8) as pool:  # these do run at the same time
            for _ in range(5):
                together = pool.map(lambda sector: encrypted(cipher, sector, data), range(8))
                assert list(together) == alone


@pytest.mark.parametrize("name", hashes.NAMES)
def test_a_digest_goes_where_it_is_told_to(name: str) -> None:
    function, data = hashes.get(name), stream("digest", 1000)
    out = bytearray(function.digest_size)
    function.digest_into(memoryview(data), memoryview(out))
    assert out == function.digest(data)


# --- wrong arguments: an error, never a crash ----------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("xts",),
        (b"xts", "AES-256", 512, bytes(64)),
        ("xts", "AES-256", "512", bytes(64)),
        ("xts", "AES-256", 512, "key"),
        ("xts", "AES-256", 512, None),
        ("xts", "AES-256", 512, bytes(64), "AES-256", 0),
    ],
)
def test_wrong_types_of_a_key_are_type_errors(arguments: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        _native.Cipher(*arguments)  # type: ignore[arg-type]  # that is the test
    with pytest.raises(TypeError):
        _native.Cipher("ecb", "AES-256", 512, key=bytes(32))  # type: ignore[call-arg]


@pytest.mark.parametrize("sector_size", [-512, -1, 0, 1, 15, 24, 4112, sys.maxsize])
def test_a_sector_size_that_is_none_is_a_value_error(sector_size: int) -> None:
    with pytest.raises(ValueError, match=f"sector size {sector_size}"):
        _native.Cipher("ecb", "AES-256", sector_size, bytes(32))


def test_a_mode_that_is_none_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="mode gcm"):
        _native.Cipher("gcm", "AES-256", 512, bytes(32))


@pytest.mark.parametrize(
    ("mode", "cipher", "key_size"),
    [
        *(("xts", "AES-192", 48), ("xts-of-ecb", "AES-256", 65), ("cbc", "AES-256", 31)),
        *(("ecb", "ROT-13", 32), ("ecb", "", 0), ("ecb", "A" * 1000, 32), ("ctr", "AES-128", 0)),
        ("cbc", "DES-EDE3", 24),  # it has 8-byte blocks
    ],
)
def test_what_openssl_lacks_is_a_lookup_error(mode: str, cipher: str, key_size: int) -> None:
    with pytest.raises(LookupError):
        _native.Cipher(mode, cipher, 512, stream("key", key_size))
    with pytest.raises(LookupError):
        _native.Cipher("cbc", "AES-256", 512, bytes(32), cipher, bytes(5))


def test_openssl_refuses_equal_halves_and_ours_does_not() -> None:
    with pytest.raises(LookupError):
        _native.Cipher("xts", "AES-256", 512, bytes(64))
    _native.Cipher("xts-of-ecb", "AES-256", 512, bytes(64))


@pytest.mark.parametrize("turn", ["encrypt", "decrypt"])
def test_wrong_buffers_are_refused(turn: str) -> None:
    run = getattr(_native.Cipher("cbc", "AES-256", 512, bytes(32)), turn)
    plain64, data = _native.PLAIN64, bytes(1024)
    with pytest.raises(TypeError):  # read-only
        run(plain64, 0, 1, data, bytes(1024))
    with pytest.raises(TypeError):
        run(plain64, 0, 1, "x" * 1024, bytearray(1024))
    with pytest.raises(TypeError):
        run(plain64, 0, 1, data)
    with pytest.raises(TypeError):
        run(plain64, "0", 1, data, bytearray(1024))
    with pytest.raises(BufferError):  # not contiguous
        run(plain64, 0, 1, memoryview(bytes(2048))[::2], bytearray(1024))
    with pytest.raises(ValueError, match="data has 1000 bytes, sectors have 512"):
        run(plain64, 0, 1, data[:1000], bytearray(1024))
    with pytest.raises(ValueError, match="out has 1023 bytes, data has 1024"):
        run(plain64, 0, 1, data, bytearray(1023))
    with pytest.raises(ValueError, match="ivs has 31 bytes, 2 sectors take 16 each"):
        run(plain64, 0, 1, data, bytearray(1024), bytes(31))
    with pytest.raises(ValueError, match="IV layout 3 is not known"):
        run(3, 0, 1, data, bytearray(1024))
    both = bytearray(1536)
    with pytest.raises(ValueError, match="overlaps"):
        run(plain64, 0, 1, memoryview(both)[:1024], memoryview(both)[512:])
    assert not any(both)


@pytest.mark.parametrize("size", [threads.SPLIT_SIZE, 4096])
def test_lengths_are_checked_before_anything_is_written(size: int) -> None:
    out = bytearray(size)
    with native_cipher("aes-xts-plain64", stream("key", 64), 4096) as cipher:
        with pytest.raises(ValueError, match=f"data has {size + 512} bytes, sectors have 4096"):
            cipher.encrypt_into(0, bytes(size + 512), out)
        with pytest.raises(ValueError, match=f"out has {size} bytes, data has {size + 4096}"):
            cipher.encrypt_into(0, bytes(size + 4096), out)
    assert not any(out)


# --- memory -------------------------------------------------------------------------------------


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_does_not_grow_in_a_hundred_thousand_calls() -> None:
    data, out, key = bytes(1024), bytearray(1024), bytes(range(32))
    cipher = _native.Cipher("cbc", "AES-256", 512, key, "AES-256", key)

    def calls(count: int) -> None:
        for _ in range(count):
            cipher.encrypt(_native.PLAIN64, 0, 1, data, out)
            cipher.decrypt(_native.PLAIN64, 0, 1, out, out)

    calls(1000)
    gc.collect()
    references, before = [sys.getrefcount(one) for one in (data, out, key)], resident()
    calls(50_000)
    assert resident() - before < 1 << 18
    assert [sys.getrefcount(one) for one in (data, out, key)] == references


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_does_not_grow_by_ciphers_and_errors() -> None:
    def rounds(count: int) -> None:
        for _ in range(count):
            cipher = _native.Cipher("xts-of-ecb", "AES-256", 512, bytes(range(64)))
            cipher.encrypt(_native.PLAIN64, 0, 1, bytes(512), bytearray(512))
            with pytest.raises(ValueError, match="sectors have"):
                cipher.encrypt(_native.PLAIN64, 0, 1, bytes(511), bytearray(512))
            with pytest.raises(LookupError):
                _native.Cipher("cbc", "AES-256", 512, bytes(32), "AES-256", bytes(7))

    rounds(200)
    gc.collect()
    before = resident()
    rounds(3000)  # each would lose some 10 KiB
    assert resident() - before < 1 << 20


def test_wrong_arguments_of_a_digest_are_errors() -> None:
    with pytest.raises(LookupError, match="no hash md4711"):
        _native.digest("md4711", b"", bytearray(16))
    with pytest.raises(ValueError, match="out has 31 bytes, a digest by sha256 32"):
        _native.digest("sha256", b"", bytearray(31))
    with pytest.raises(TypeError):
        _native.digest("sha256", b"", bytes(32))  # type: ignore[arg-type]  # that is the test


def test_a_key_that_is_changed_where_it_lies_is_the_key_of_the_next_call() -> None:
    first, second = stream("first", 32), stream("second", 32)
    key, data = bytearray(first), stream("data", 512)
    cipher = _native.Cipher("cbc", "AES-256", 512, key)
    for content in (first, second):
        key[:] = content
        out, expected = bytearray(512), bytearray(512)
        cipher.encrypt(_native.PLAIN64, 0, 1, data, out)
        with portable_cipher("aes-cbc-plain64", content) as other:
            other.encrypt_into(0, data, expected)
        assert out == expected


HOLDER = """
import os, sys
from luksmeta.secret import SecretBytes
from tests.sector.passes import native_cipher
text, key = sys.argv[1], SecretBytes(int(sys.argv[2]))
os.readv(0, [key.view()])
cipher = native_cipher(text, key.view())
key.wipe()
cipher.encrypt_into(0, bytes(512), out := bytearray(512))
cipher.decrypt_into(0, out, out)
os.write(1, b"o"); os.read(0, 1)
cipher.close()
os.write(1, b"c"); os.read(0, 1)
"""


def holds(pid: int, secret: bytes) -> bool:
    """Whether a process has ``secret`` anywhere in its writable memory."""
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps.splitlines():
            place, rights, *_ = line.split()
            if rights.startswith("rw"):
                start, stop = (int(edge, 16) for edge in place.split("-"))
                memory.seek(start)
                if secret in memory.read(stop - start):
                    return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(("text", "key_size"), [("aes-xts-plain64", 64), ("aes-cbc-eboiv", 32)])
def test_a_closed_cipher_leaves_no_key_in_memory(text: str, key_size: int) -> None:
    key = os.urandom(key_size)
    command = [sys.executable, "-c", HOLDER, text, str(key_size)]
    with subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        halves = (key[:16], key[-16:])  # a key schedule begins with the key
        holder.stdin.write(key)
        assert holder.stdout.read(1) == b"o"
        assert all(holds(holder.pid, half) for half in halves)
        holder.stdin.write(b".")
        assert holder.stdout.read(1) == b"c"
        assert not any(holds(holder.pid, half) for half in halves)
        holder.stdin.write(b".")
