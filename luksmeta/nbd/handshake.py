"""The first phase of a connection: what the client wants of which export, and how it is answered.

Source: doc/proto.md of the NetworkBlockDevice project, "Handshake phase", fixed newstyle.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from struct import Struct
from typing import Final

from luksmeta.nbd.channel import Channel
from luksmeta.nbd.export import Export
from luksmeta.nbd.protocol import (
    ALLOCATION,
    BLOCK_SIZE_INFO,
    CLIENT_FLAGS,
    CONTEXT_ID,
    EXPORT_INFO,
    GREETING,
    INIT_MAGIC,
    NAME_MAX,
    OLD_EXPORT,
    OLD_EXPORT_PADDING,
    OPTION,
    OPTION_MAGIC,
    OPTION_REPLY,
    OPTION_REPLY_MAGIC,
    HandshakeFlag,
    Info,
    Option,
    OptionReply,
    ProtocolError,
)
from luksmeta.sizes import counted

CONTEXT: Final = 1  # the id of base:allocation on every connection
_DATA_MAX: Final = 64 << 10  # bytes of an option; the longest sensible one has some names
_OPTIONS_MAX: Final = 64  # of one handshake
_QUERIES_MAX: Final = 64  # of one option
_ALL: Final = HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES
_SHORT, _LONG = Struct(">H"), Struct(">I")


@dataclass(frozen=True, slots=True)
class Offer:
    """What clients can have: one export under its name and the empty one, and TLS or not.

    With a ``tls`` context nothing is said without TLS.
    """

    export: Export
    name: str = ""
    description: str = ""
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """What holds for the second phase of the connection."""

    structured: bool
    has_context: bool


class _Refused(Exception):  # noqa: N818  # an answer, not an error of this program
    """An option that is answered with an error."""

    def __init__(self, reply: OptionReply, text: str) -> None:
        super().__init__(text)
        self.reply = reply


class Handshake:
    """The handshake on one channel."""

    def __init__(self, channel: Channel, offer: Offer) -> None:
        self._channel = channel
        self._offer = offer
        self._structured = False
        self._context_of: str | None = None  # the export for which base:allocation was chosen
        self._agreed: Agreement | None = None
        self._zeroes = True

    def run(self) -> Agreement | None:
        """What was agreed on; None where the client took its leave.

        Raises ProtocolError, ConnectionEndedError.
        """
        self._channel.send(GREETING.pack(INIT_MAGIC, _ALL))
        flags = CLIENT_FLAGS.unpack(self._channel.receive(CLIENT_FLAGS.size))[0]
        if flags & ~int(_ALL) or not flags & HandshakeFlag.FIXED_NEWSTYLE:
            raise ProtocolError(f"client flags {flags:#x}")
        self._zeroes = not flags & HandshakeFlag.NO_ZEROES
        for _ in range(_OPTIONS_MAX):
            if not self._answer_next():
                return self._agreed
        raise ProtocolError(f"more than {_OPTIONS_MAX} options")

    def _answer_next(self) -> bool:
        """Answer one option; whether others may follow."""
        magic, option, length = OPTION.unpack(self._channel.receive(OPTION.size))
        if magic != OPTION_MAGIC or length > _DATA_MAX:
            raise ProtocolError(
                f"option {option} with magic {magic!r} and {counted(length, 'byte')}"
            )
        data = self._channel.receive(length)
        if option == Option.EXPORT_NAME:
            self._old_export(bytes(data))
            return False
        try:
            self._answer(option, _Fields(option, bytes(data)))
        except _Refused as refused:
            self._reply(option, refused.reply, str(refused).encode())
        return option != Option.ABORT and self._agreed is None

    def _answer(self, option: int, fields: _Fields) -> None:
        is_open = self._offer.tls is not None and not self._channel.is_private
        if is_open and option not in (Option.STARTTLS, Option.ABORT):
            raise _Refused(OptionReply.ERR_TLS_REQD, "TLS is required")
        match option:
            case Option.ABORT:
                self._reply(option, OptionReply.ACK)
            case Option.STARTTLS:
                self._start_tls(fields)
            case Option.LIST:
                fields.end()
                name = self._offer.name.encode()
                self._reply(option, OptionReply.SERVER, _LONG.pack(len(name)) + name)
                self._reply(option, OptionReply.ACK)
            case Option.STRUCTURED_REPLY:
                fields.end()
                self._structured = True
                self._reply(option, OptionReply.ACK)
            case Option.INFO | Option.GO:
                self._tell_export(option, fields)
            case Option.LIST_META_CONTEXT | Option.SET_META_CONTEXT:
                self._choose_context(option, fields)
            case _:
                raise _Refused(OptionReply.ERR_UNSUP, f"option {option} is not known here")

    def _reply(self, option: int, reply: OptionReply, data: bytes = b"") -> None:
        self._channel.send(OPTION_REPLY.pack(OPTION_REPLY_MAGIC, option, reply, len(data)) + data)

    def _start_tls(self, fields: _Fields) -> None:
        fields.end()
        if self._offer.tls is None:
            raise _Refused(OptionReply.ERR_POLICY, "there are no certificates")
        if self._channel.is_private:
            raise _Refused(OptionReply.ERR_INVALID, "TLS has been started")
        self._reply(Option.STARTTLS, OptionReply.ACK)
        self._channel.start_tls(self._offer.tls)

    def _old_export(self, data: bytes) -> None:
        """The option that cannot be refused: the connection ends instead."""
        if self._offer.tls and not self._channel.is_private:
            raise ProtocolError("no TLS, which is required")
        if not self._is_known(_text(data)):
            raise ProtocolError(f"no export {_text(data)[:80]!r}")
        export = self._offer.export
        padding = OLD_EXPORT_PADDING if self._zeroes else b""
        self._channel.send(OLD_EXPORT.pack(export.size, export.flags) + padding)
        self._agree(_text(data))

    def _tell_export(self, option: int, fields: _Fields) -> None:
        name = fields.text()
        wanted = [fields.short() for _ in range(fields.short())]
        fields.end()
        if not self._is_known(name):
            raise _Refused(OptionReply.ERR_UNKNOWN, f"no export {name[:80]!r}")
        export = self._offer.export
        infos = {Info.EXPORT: EXPORT_INFO.pack(Info.EXPORT, export.size, export.flags)}
        texts = {Info.NAME: self._offer.name, Info.DESCRIPTION: self._offer.description}
        for info, said in texts.items():
            infos[info] = _SHORT.pack(info) + said.encode(errors="replace")
        sizes = export.minimum_block, export.preferred_block, export.maximum_block
        infos[Info.BLOCK_SIZE] = BLOCK_SIZE_INFO.pack(Info.BLOCK_SIZE, *sizes)
        for info, data in infos.items():
            if info == Info.EXPORT or info in wanted:
                self._reply(option, OptionReply.INFO, data)
        self._reply(option, OptionReply.ACK)
        if option == Option.GO:
            self._agree(name)

    def _choose_context(self, option: int, fields: _Fields) -> None:
        name = fields.text()
        count = fields.long()
        if count > _QUERIES_MAX:
            raise _Refused(OptionReply.ERR_TOO_BIG, f"{count} queries, {_QUERIES_MAX} at most")
        queries = [fields.text() for _ in range(count)]
        fields.end()
        if not self._structured:
            raise _Refused(OptionReply.ERR_INVALID, "structured replies come first")
        if not self._is_known(name):
            raise _Refused(OptionReply.ERR_UNKNOWN, f"no export {name[:80]!r}")
        is_list = option == Option.LIST_META_CONTEXT
        is_meant = ALLOCATION in queries or (is_list and (not queries or "base:" in queries))
        if is_meant:
            number = CONTEXT_ID.pack(0 if is_list else CONTEXT)
            self._reply(option, OptionReply.META_CONTEXT, number + ALLOCATION.encode())
        if not is_list:
            self._context_of = name if is_meant else None
        self._reply(option, OptionReply.ACK)

    def _is_known(self, name: str) -> bool:
        return name in ("", self._offer.name)

    def _agree(self, name: str) -> None:
        self._agreed = Agreement(self._structured, has_context=self._context_of == name)


class _Fields:
    """The data of an option, field by field."""

    def __init__(self, option: int, data: bytes) -> None:
        self._option = option
        self._data = data

    def short(self) -> int:
        """A number of 16 bits."""
        number: int = _SHORT.unpack(self._take(2))[0]
        return number

    def long(self) -> int:
        """A number of 32 bits."""
        number: int = _LONG.unpack(self._take(4))[0]
        return number

    def text(self) -> str:
        """A text behind its length."""
        length = self.long()
        if length > NAME_MAX:
            raise _Refused(OptionReply.ERR_TOO_BIG, f"{length} bytes, {NAME_MAX} at most")
        return _text(self._take(length))

    def end(self) -> None:
        """Refuse what is left."""
        if self._data:
            raise self._odd(f"{counted(len(self._data), 'byte')} too many")

    def _take(self, size: int) -> bytes:
        taken, self._data = self._data[:size], self._data[size:]
        if len(taken) < size:
            raise self._odd(f"{counted(size - len(taken), 'byte')} too few")
        return taken

    def _odd(self, text: str) -> _Refused:
        return _Refused(OptionReply.ERR_INVALID, f"option {self._option}: {text}")


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")
