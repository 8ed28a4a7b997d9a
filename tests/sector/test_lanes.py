"""Words of many sectors in one integer, and what is built of them."""

from __future__ import annotations

import hashlib
import struct

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from hypothesis import given
from hypothesis import strategies as st

from luksmeta.sector import md5
from luksmeta.sector.chacha import xchacha
from luksmeta.sector.lanes import Lanes, lanes, xor
from tests.corpus import stream

words = st.integers(0, 0xFFFFFFFF)
pairs = st.lists(st.tuples(words, words), min_size=1, max_size=5)


def packed(values: list[int]) -> memoryview:
    return memoryview(bytearray(struct.pack(f"<{len(values)}I", *values)))


def unpacked(every: Lanes, value: int) -> list[int]:
    out = memoryview(bytearray(4 * every.count))
    every.store(value, out, 0, 1)
    return list(struct.unpack(f"<{every.count}I", out))


@given(pairs, st.integers(1, 31))
def test_lanes_compute_as_single_words_do(values: list[tuple[int, int]], bits: int) -> None:
    every = lanes(len(values))
    lefts, rights = ([pair[side] for pair in values] for side in range(2))
    left, right = (every.load(packed(side), 0, 1) for side in (lefts, rights))
    mask = 0xFFFFFFFF
    assert unpacked(every, left) == lefts
    assert unpacked(every, every.add(left, right)) == [a + b & mask for a, b in values]
    assert unpacked(every, every.subtract(left, right)) == [a - b & mask for a, b in values]
    assert unpacked(every, every.invert(left)) == [~a & mask for a in lefts]
    rotated = [(a << bits | a >> 32 - bits) & mask for a in lefts]
    assert unpacked(every, every.rotate(left, bits)) == rotated
    assert unpacked(every, every.fill(rights[0])) == [rights[0]] * len(values)


def test_words_are_loaded_and_stored_with_a_stride() -> None:
    every, data = Lanes(3), packed(list(range(12)))
    loaded = every.load(data, 1, 4)
    assert unpacked(every, loaded) == [1, 5, 9]
    out = packed([0] * 12)
    every.store(loaded, out, 2, 4)
    assert list(struct.unpack("<12I", out)) == [0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 9, 0]


@given(st.binary(max_size=40))
def test_xor_is_bytewise(data: bytes) -> None:
    other = stream("other", len(data))
    assert xor(data, other) == bytes(a ^ b for a, b in zip(data, other, strict=True))


# --- MD5 ----------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=150), min_size=1, max_size=4))
def test_md5_of_padded_messages_is_that_of_hashlib(messages: list[bytes]) -> None:
    """All messages at once, each padded as RFC 1321 says, to the length of the longest."""
    length = max(map(len, messages))
    messages = [message.ljust(length, b"\0") for message in messages]
    padding = b"\x80" + bytes((55 - length) % 64) + struct.pack("<Q", 8 * length)
    inputs = memoryview(bytearray(b"".join(message + padding for message in messages)))
    every, stride = lanes(len(messages)), (length + len(padding)) // 4
    state = md5.initial_state(every)
    for start in range(0, stride, 16):
        block = [every.load(inputs, start + n, stride) for n in range(16)]
        state = md5.compress(every, state, block)
    columns = [unpacked(every, word) for word in state]
    digests = [struct.pack("<4I", *row) for row in zip(*columns, strict=True)]
    assert digests == [hashlib.md5(message).digest() for message in messages]


# --- XChaCha ------------------------------------------------------------------------------------


def test_xchacha20_has_the_subkey_of_the_draft() -> None:
    """draft-irtf-cfrg-xchacha-03, section 2.2.1: then it is ChaCha20, which a library has."""
    key, nonce = bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927")
    subkey = bytes.fromhex("82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc")
    rest = stream("nonce", 8)
    library = Cipher(ChaCha20(subkey, bytes(8) + rest), None).encryptor().update(bytes(256))
    assert xchacha(key, nonce + rest, 4, 20) == library


@pytest.mark.parametrize("rounds", [12, 20])
def test_many_nonces_at_once_are_the_single_ones_in_a_row(rounds: int) -> None:
    key, nonces = stream("key", 32), stream("nonces", 5 * 24)
    single = [xchacha(key, nonces[start : start + 24], 8, rounds) for start in range(0, 120, 24)]
    assert xchacha(key, nonces, 8, rounds) == b"".join(single)
