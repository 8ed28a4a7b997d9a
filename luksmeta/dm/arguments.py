"""The arguments of a target, taken one after the other, as its constructor in the kernel does."""

from __future__ import annotations

from luksmeta.dm.table import SECTORS_MAX, TableError, TableLine


class Arguments:
    """The words of a line that are still to be taken; TableError where one is missing or wrong."""

    def __init__(self, line: TableLine) -> None:
        self._line = line
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
            raise self.error(f"{what} {text[:40]!r} is no number")
        number = int(text)
        if not least <= number <= most:
            raise self.error(f"{what} {number}, possible are {least} to {most}")
        return number

    def group(self, what: str, most: int) -> list[str]:
        """The words behind their count; none where the line ends."""
        if not self._left:
            return []
        count = self.number(f"the number of {what}", most=most)
        return [self.word(f"one of {count} {what}") for _ in range(count)]

    def end(self) -> None:
        """Refuse what nobody has taken."""
        if self._left:
            raise self.error(f"{len(self._left)} arguments too many, from {self._left[-1][:40]!r}")

    def error(self, text: str) -> TableError:
        """An error about the line."""
        return self._line.error(text)
