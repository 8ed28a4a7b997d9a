"""MD5's compression function (RFC 1321, section 3.4), over many messages at once.

loop-AES takes the state after the last block for its IVs, without MD5's padding; libraries give
nothing but the padded digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import floor, sin
from typing import Final, TypeAlias

from luksmeta.sector.lanes import Lanes

BLOCK_SIZE: Final = 64  # bytes
_ROTATIONS: Final = ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21))
_ORDERS: Final = ((1, 0), (5, 1), (3, 5), (7, 0))  # of a round's words: step times, plus

State: TypeAlias = tuple[int, int, int, int]


def initial_state(lanes: Lanes) -> State:
    """The state before the first block."""
    a, b, c, d = (lanes.fill(w) for w in (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476))
    return a, b, c, d


def compress(lanes: Lanes, state: State, words: Sequence[int]) -> State:
    """The state after a block of 16 ``words``, each of them (and of the state) all the lanes."""
    a, b, c, d = state
    for step, constant in enumerate(_constants(lanes)):
        index, place = divmod(step, 16)
        times, plus = _ORDERS[index]
        word = words[(times * place + plus) % 16]
        mixed = lanes.add(a + _mix(lanes, index, b, c, d), word + constant)  # a lane has the room
        rotated = lanes.rotate(mixed, _ROTATIONS[index][step % 4])
        a, b, c, d = d, lanes.add(b, rotated), b, c
    return (
        lanes.add(a, state[0]),
        lanes.add(b, state[1]),
        lanes.add(c, state[2]),
        lanes.add(d, state[3]),
    )


def _mix(lanes: Lanes, index: int, x: int, y: int, z: int) -> int:
    """RFC 1321's F, G, H or I."""
    match index:
        case 0:
            return x & y | lanes.invert(x) & z
        case 1:
            return x & z | y & lanes.invert(z)
        case 2:
            return x ^ y ^ z
        case _:
            return y ^ (x | lanes.invert(z))


@lru_cache(16)
def _constants(lanes: Lanes) -> tuple[int, ...]:
    return tuple(lanes.fill(floor(abs(sin(step + 1)) * (1 << 32))) for step in range(64))
