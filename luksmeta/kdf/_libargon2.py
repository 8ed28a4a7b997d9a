"""The bridge to libargon2, as argon2-cffi builds it.

argon2-cffi's own functions take and give immutable bytes; its C interface takes our buffers. That
interface has been the same in argon2-cffi-bindings from 21.2 to 26.2. ``cryptography`` has Argon2
as well, but plain C where libargon2 uses vector instructions: it took 0.26 s where this takes
0.20 s (one lane, 64 MiB, 4 passes), and it cannot run many lanes on few threads.
"""

from __future__ import annotations

from contextlib import ExitStack

from luksmeta.errors import AlgorithmError, ResourceLimitError
from luksmeta.kdf import machine
from luksmeta.secret import BytesLike
from luksmeta.sizes import counted

_VERSION = 0x13
_TYPES = {"argon2i": 1, "argon2id": 2}


def derive(
    name: str,
    passphrase: BytesLike,
    salt: bytes,
    key: memoryview,
    *,
    time: int,
    memory: int,
    lanes: int,
) -> None:
    """Fill ``key``; ``time`` in passes, ``memory`` in KiB. The GIL is released.

    Raises ResourceLimitError where the system gives no memory or threads, AlgorithmError for
    whatever else the library refuses, such as a salt of less than 8 bytes.
    """
    from _argon2_cffi_bindings import ffi, lib  # type: ignore[import-untyped]  # it has no types

    context = ffi.new("argon2_context *")
    context.version = _VERSION
    context.t_cost, context.m_cost, context.lanes = time, memory, lanes
    # The lanes make the result, the threads only the time: a disk that asks for thousands of
    # lanes gets no more threads than there are processors.
    context.threads = min(lanes, machine.online_cpus())
    # Released before an error can keep them: a collector that clears a view before what was made
    # of it crashes the interpreter (3.11).
    with ExitStack() as stack:
        buffers = [
            stack.enter_context(ffi.from_buffer("uint8_t[]", each))
            for each in (key, passphrase, salt)
        ]
        context.out, context.pwd, context.salt = buffers
        context.outlen, context.pwdlen, context.saltlen = map(len, buffers)
        status = lib.argon2_ctx(context, _TYPES[name])
    if status == lib.ARGON2_OK:
        return
    problem = ffi.string(lib.argon2_error_message(status)).decode().lower()
    if status == lib.ARGON2_MEMORY_ALLOCATION_ERROR:
        raise ResourceLimitError(
            f"{name}: {memory} KiB of memory could not be had, {machine.free_memory()} are free",
            asked=memory,
            limit=machine.free_memory(),
        )
    if status == lib.ARGON2_THREAD_FAIL:
        raise ResourceLimitError(
            f"{name}: {counted(context.threads, 'thread')} could not be had",
            asked=context.threads,
            limit=1,
        )
    raise AlgorithmError(f"{name}: {problem}", kind="kdf", name=name)
