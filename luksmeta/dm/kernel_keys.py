"""A volume key in a kernel keyring, where no process can read it back (man 7 keyrings: logon).

cryptsetup does so for LUKS2 (lib/utils_keyring.c): the table then holds the key's name alone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from luksmeta.dm.crypt_table import KEY_TYPE
from luksmeta.secret import SecretBytes

if TYPE_CHECKING:
    import ctypes

_CALLS: Final = {"x86_64": (248, 250), "aarch64": (217, 219), "riscv64": (217, 219)}  # add, keyctl
_SESSION_KEYRING: Final = -3  # linux/keyctl.h
_JOIN_SESSION_KEYRING: Final = 1
_REVOKE: Final = 3


def with_keyring(keys: Mapping[str, SecretBytes], action: Callable[[], None]) -> None:
    """Do something while these keys, by their descriptions, are in a keyring of its own.

    A thread gets a session keyring that nobody else has, which the programs that it starts
    inherit, and which goes when it ends. Raises OSError where the kernel takes no keys, and what
    the action raises.
    """
    failed: list[BaseException] = []

    def run() -> None:
        try:
            keyring = _Keyring()
            try:
                for description, key in keys.items():
                    keyring.add(description, key)
                action()
            finally:
                keyring.revoke()
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            failed.append(error)

    thread = threading.Thread(target=run, name="keyring")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


class _Keyring:
    """A new session keyring of the running thread."""

    def __init__(self) -> None:
        import ctypes

        if os.uname().machine not in _CALLS:
            raise OSError(f"the numbers of key calls on {os.uname().machine} are not known")
        self._add, self._keyctl = _CALLS[os.uname().machine]
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._serials: list[int] = []
        self._call(self._keyctl, ctypes.c_long(_JOIN_SESSION_KEYRING), None)

    def _call(self, number: int, *arguments: ctypes._CDataType | bytes | None) -> int:
        import ctypes

        answer: int = self._libc.syscall(ctypes.c_long(number), *arguments)
        if answer < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return answer

    def add(self, description: str, key: SecretBytes) -> None:
        """Copy a key into it."""
        import ctypes

        payload = (ctypes.c_char * len(key)).from_buffer(key.view())
        keyring = ctypes.c_long(_SESSION_KEYRING)
        words = (KEY_TYPE.encode(), description.encode())
        size = ctypes.c_size_t(len(key))
        self._serials.append(self._call(self._add, *words, payload, size, keyring))

    def revoke(self) -> None:
        """Have every key wiped; its name stays until the kernel collects what nobody uses."""
        import ctypes

        while self._serials:
            serial = ctypes.c_long(self._serials.pop())
            self._call(self._keyctl, ctypes.c_long(_REVOKE), serial)
