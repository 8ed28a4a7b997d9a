"""Pages as trees of elements: text in them is text, whatever it holds.

There is no way to put markup into a tree as text, so nothing that evidence says can become markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias
from xml.etree.ElementTree import Element, tostring

Child: TypeAlias = "str | Element | Iterable[Child] | None"
Attribute: TypeAlias = "str | float | None"

_DOCTYPE: Final = "<!DOCTYPE html>\n"


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Element:
    """An element; of attributes those that are None are left out.

    ``class_`` is ``class``, and underscores within a name are hyphens.
    """
    element = Element(name)
    for key, value in attributes.items():
        if value is not None:
            text = value if isinstance(value, str) else number(value)
            element.set(key.rstrip("_").replace("_", "-"), shown(text))
    _append(element, children)
    return element


def shown(text: str) -> str:
    """Text as it is shown: controls, what turns the direction, and lone surrogates as escapes."""
    return "".join(
        character if character.isprintable() or character == "\n" else _escape(character)
        for character in text
    )


def number(value: float) -> str:
    """A number in as few digits as a hundredth needs."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def html(element: Element) -> str:
    """The element as HTML."""
    return tostring(element, encoding="unicode", method="html")


def document(element: Element) -> str:
    """A whole page as HTML."""
    return f"{_DOCTYPE}{html(element)}\n"


def _append(element: Element, children: Iterable[Child]) -> None:
    for child in children:
        match child:
            case None:
                continue
            case str():
                _append_text(element, shown(child))
            case Element():
                element.append(child)
            case _:
                _append(element, child)


def _append_text(element: Element, text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
