from typing import Final

from luksmeta.secret import BytesLike

PLAIN: Final[int]
PLAIN64: Final[int]
PLAIN64BE: Final[int]
OPENSSL: Final[str]

def digest(name: str, data: BytesLike, out: bytearray | memoryview, /) -> None: ...

class Cipher:
    def __new__(
        cls,
        mode: str,
        cipher: str,
        sector_size: int,
        key: BytesLike,
        iv_cipher: str = ...,
        iv_key: BytesLike = ...,
        /,
    ) -> Cipher: ...
    def encrypt(
        self,
        layout: int,
        first: int,
        step: int,
        data: BytesLike,
        out: bytearray | memoryview,
        ivs: BytesLike = ...,
        /,
    ) -> None: ...
    def decrypt(
        self,
        layout: int,
        first: int,
        step: int,
        data: BytesLike,
        out: bytearray | memoryview,
        ivs: BytesLike = ...,
        /,
    ) -> None: ...
