"""The keyboard layouts of ``luksmeta/forensics/guessing/keyboards.json``, from xkeyboard-config.

Run as ``python -m tests.keyboards`` where libxkbcommon and xkeyboard-config are installed: it
compiles each layout with libxkbcommon and writes which character every key gives on each of its
four levels (plain, Shift, AltGr, AltGr with Shift). That is all that is taken.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
from typing import Any, Final

from luksmeta.forensics.guessing import keyboards

# Name in xkeyboard-config, its variant, and what people call it.
LAYOUTS: Final = {
    "us": ("us", "", "US"),
    "gb": ("gb", "", "British"),
    "de": ("de", "", "German"),
    "fr": ("fr", "", "French (AZERTY)"),
    "es": ("es", "", "Spanish"),
    "it": ("it", "", "Italian"),
    "pt": ("pt", "", "Portuguese"),
    "br": ("br", "", "Brazilian"),
    "ch": ("ch", "", "Swiss German"),
    "ch-fr": ("ch", "fr", "Swiss French"),
    "be": ("be", "", "Belgian"),
    "se": ("se", "", "Swedish"),
    "no": ("no", "", "Norwegian"),
    "dk": ("dk", "", "Danish"),
    "fi": ("fi", "", "Finnish"),
    "pl": ("pl", "", "Polish"),
    "cz": ("cz", "", "Czech"),
    "cz-qwerty": ("cz", "qwerty", "Czech (QWERTY)"),
    "hu": ("hu", "", "Hungarian"),
    "tr": ("tr", "", "Turkish"),
    "ru": ("ru", "", "Russian"),
    "ua": ("ua", "", "Ukrainian"),
    "gr": ("gr", "", "Greek"),
    "il": ("il", "", "Hebrew"),
    "latam": ("latam", "", "Latin American"),
    "us-intl": ("us", "intl", "US international"),
    "dvorak": ("us", "dvorak", "Dvorak"),
    "colemak": ("us", "colemak", "Colemak"),
}
# Key codes of evdev plus 8: the number row, the rows of letters; 94 and 97 lie beside the Shifts.
KEYS: Final = (49, *range(10, 22), *range(24, 36), 51, *range(38, 49), 94, *range(52, 62), 97)
LEVELS: Final = 4
DEAD: Final = {  # dead keys, by the character that they give with the space bar
    "dead_grave": "`",
    "dead_acute": "\u00b4",
    "dead_circumflex": "^",
    "dead_tilde": "~",
    "dead_diaeresis": "¨",
    "dead_cedilla": "\u00b8",
    "dead_abovering": "°",
    "dead_caron": "ˇ",
    "dead_breve": "˘",
    "dead_abovedot": "˙",
    "dead_ogonek": "\u02db",
    "dead_doubleacute": "˝",
    "dead_macron": "¯",
}


class _RuleNames(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_char_p) for name in ("rules", "model", "layout", "variant", "options")
    )


class Compiler:
    """libxkbcommon, as far as it is needed here; OSError when it is not installed."""

    def __init__(self) -> None:
        self._library: Any = ctypes.CDLL(ctypes.util.find_library("xkbcommon"))
        for name in ("xkb_context_new", "xkb_keymap_new_from_names"):
            getattr(self._library, name).restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.xkb_context_new(0))

    def levels(self, layout: str, variant: str) -> list[str]:
        """What the keys give on each level; a space where they give nothing."""
        names = _RuleNames(b"evdev", b"pc105", layout.encode(), variant.encode(), b"")
        keymap = ctypes.c_void_p(
            self._library.xkb_keymap_new_from_names(self._context, ctypes.byref(names), 0)
        )
        return [
            "".join(self._character(keymap, key, level) for key in KEYS) for level in range(LEVELS)
        ]

    def _character(self, keymap: ctypes.c_void_p, key: int, level: int) -> str:
        symbols = ctypes.POINTER(ctypes.c_uint32)()
        get = self._library.xkb_keymap_key_get_syms_by_level
        if get(keymap, key, 0, level, ctypes.byref(symbols)) != 1:
            return keyboards.NOTHING
        name = ctypes.create_string_buffer(64)
        self._library.xkb_keysym_get_name(symbols[0], name, len(name))
        code = self._library.xkb_keysym_to_utf32(symbols[0])
        character = DEAD.get(name.value.decode()) or chr(code)
        return character if character.isprintable() else keyboards.NOTHING


def compiled() -> dict[str, Any]:
    """The content of the file."""
    compiler = Compiler()
    return {
        name: {"title": title, "levels": compiler.levels(layout, variant)}
        for name, (layout, variant, title) in LAYOUTS.items()
    }


if __name__ == "__main__":
    text = json.dumps(compiled(), ensure_ascii=False, indent=1)
    keyboards.DATA.write_text(text + "\n", encoding="utf-8")
