"""The numbers and layouts of the NBD protocol.

Source: doc/proto.md of the NetworkBlockDevice project. All numbers are big-endian.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final, NamedTuple

INIT_MAGIC: Final = b"NBDMAGICIHAVEOPT"
OPTION_MAGIC: Final = b"IHAVEOPT"
OPTION_REPLY_MAGIC: Final = 0x3E889045565A9
REQUEST_MAGIC: Final = 0x25609513
SIMPLE_REPLY_MAGIC: Final = 0x67446698
STRUCTURED_REPLY_MAGIC: Final = 0x668E33EF

GREETING: Final = Struct(">16sH")  # magic, handshake flags
CLIENT_FLAGS: Final = Struct(">I")
OPTION: Final = Struct(">8sII")  # magic, option, length of its data
OPTION_REPLY: Final = Struct(">QIII")  # magic, option, reply type, length of its data
OLD_EXPORT: Final = Struct(">QH")  # size, transmission flags: the answer to EXPORT_NAME
OLD_EXPORT_PADDING: Final = bytes(124)
REQUEST: Final = Struct(">IHHQQI")  # magic, flags, command, cookie, offset, length
SIMPLE_REPLY: Final = Struct(">IIQ")  # magic, error, cookie
CHUNK: Final = Struct(">IHHQI")  # magic, flags, type, cookie, length
OFFSET: Final = Struct(">Q")
CHUNK_ERROR: Final = Struct(">IH")  # error, length of the message
CONTEXT_ID: Final = Struct(">I")
EXTENT: Final = Struct(">II")  # length, state

ALLOCATION: Final = "base:allocation"
LENGTH_MAX: Final = 32 << 20  # bytes of a payload, as every client has it
NAME_MAX: Final = 4096  # bytes of an export's name


class HandshakeFlag(IntFlag):
    """What a side can do in the handshake."""

    FIXED_NEWSTYLE = 1 << 0
    NO_ZEROES = 1 << 1


class TransmissionFlag(IntFlag):
    """What an export can do."""

    HAS_FLAGS = 1 << 0
    READ_ONLY = 1 << 1
    SEND_FLUSH = 1 << 2
    SEND_FUA = 1 << 3
    SEND_TRIM = 1 << 5
    SEND_WRITE_ZEROES = 1 << 6
    SEND_DF = 1 << 7
    CAN_MULTI_CONN = 1 << 8


class Option(IntEnum):
    """What a client asks in the handshake."""

    EXPORT_NAME = 1
    ABORT = 2
    LIST = 3
    STARTTLS = 5
    INFO = 6
    GO = 7
    STRUCTURED_REPLY = 8
    LIST_META_CONTEXT = 9
    SET_META_CONTEXT = 10


_ERROR: Final = 1 << 31


class OptionReply(IntEnum):
    """What it is answered."""

    ACK = 1
    SERVER = 2
    INFO = 3
    META_CONTEXT = 4
    ERR_UNSUP = _ERROR + 1
    ERR_POLICY = _ERROR + 2
    ERR_INVALID = _ERROR + 3
    ERR_TLS_REQD = _ERROR + 5
    ERR_UNKNOWN = _ERROR + 6
    ERR_TOO_BIG = _ERROR + 9


class Info(IntEnum):
    """What INFO and GO tell of an export."""

    EXPORT = 0
    NAME = 1
    DESCRIPTION = 2
    BLOCK_SIZE = 3


EXPORT_INFO: Final = Struct(">HQH")  # Info.EXPORT, size, transmission flags
BLOCK_SIZE_INFO: Final = Struct(">HIII")  # Info.BLOCK_SIZE, minimum, preferred, maximum


class Command(IntEnum):
    """What a client asks of an export."""

    READ = 0
    WRITE = 1
    DISC = 2
    FLUSH = 3
    TRIM = 4
    WRITE_ZEROES = 6
    BLOCK_STATUS = 7


class CommandFlag(IntFlag):
    """And how."""

    FUA = 1 << 0
    NO_HOLE = 1 << 1
    DF = 1 << 2
    REQ_ONE = 1 << 3


class ChunkType(IntEnum):
    """What a chunk of a structured reply holds."""

    NONE = 0
    OFFSET_DATA = 1
    BLOCK_STATUS = 5
    ERROR = 0x8001


CHUNK_DONE: Final = 1


class State(IntFlag):
    """What ``base:allocation`` says of bytes."""

    HOLE = 1 << 0
    ZERO = 1 << 1


class ErrorNumber(IntEnum):
    """The errors that the protocol knows; others are EINVAL to a client."""

    EPERM = 1
    EIO = 5
    ENOMEM = 12
    EINVAL = 22
    ENOSPC = 28
    EOVERFLOW = 75
    ENOTSUP = 95
    ESHUTDOWN = 108


class Request(NamedTuple):
    """One request of the transmission phase; ``offset`` and ``length`` are in bytes."""

    flags: int
    command: int
    cookie: int
    offset: int
    length: int


class ProtocolError(Exception):
    """A client that breaks the protocol: its connection ends, and nothing else."""


class RequestError(Exception):
    """A request that fails, with the number that its reply has."""

    def __init__(self, number: ErrorNumber, text: str) -> None:
        super().__init__(text)
        self.number = number
