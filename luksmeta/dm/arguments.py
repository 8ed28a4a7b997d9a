"""The arguments of a target, taken one after the other, as its constructor in the kernel does."""

from __future__ import annotations

from luksmeta.dm.table import SECTORS_MAX, TableError, TableLine


class Arguments:
    """The words of a line that are still to be taken; TableError where one is missing or wrong.

    ``has_key`` says that a word, and where the line is wrong any word, may be a key: then errors
    say which argument is wrong, and not what it is.
    """

    def __init__(self, line: TableLine, *, has_key: bool = False) -> None:
        self._line = line
        self._has_key = has_key
        self._left = list(reversed(line.arguments))

    def word(self, what: str) -> str:
        """The next word."""
        if not self._left:
            raise self.error(f"{what} is missing, there are {len(self._line.arguments)} arguments")
        return self._left.pop()

    def number(self, what: str, least: int = 0, most: int = SECTORS_MAX) -> int:
        """The next word as a decimal number."""
        text = self.word(what)
        if not (text.isascii() and text.isdecimal() and len(text) <= 20):
            raise self.error(f"{self.shown(what, repr(text[:40]))} is no number")
        number = int(text)
        if not least <= number <= most:
            raise self.error(f"{self.shown(what, text)} is not within {least} to {most}")
        return number

    def shown(self, what: str, text: str) -> str:
        """What the word that was taken last is called in an error."""
        if self._has_key:
            return f"argument {len(self._line.arguments) - len(self._left)}, {what},"
        return f"{what} {text}"

    def group(self, what: str, most: int) -> list[str]:
        """The words behind their count; none where the line ends."""
        if not self._left:
            return []
        count = self.number(f"the number of {what}", most=most)
        return [self.word(f"one of {count} {what}") for _ in range(count)]

    def end(self) -> None:
        """Refuse what nobody has taken."""
        if self._left:
            first = "" if self._has_key else f", from {self._left[-1][:40]!r}"
            raise self.error(f"{len(self._left)} arguments too many{first}")

    def error(self, text: str) -> TableError:
        """An error about the line."""
        return self._line.error(text)
