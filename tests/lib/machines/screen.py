"""The terminal at the other end of a machine's serial line, emulated by pyte.

Firmware and bootloaders draw: a word comes in pieces, with commands for the cursor between them.
"""

from __future__ import annotations

import re

import pyte
import pyte.modes

# Wider than all that is written in lines, which therefore are never wrapped, and as high as the
# highest text mode of UEFI firmware.
_COLUMNS, _LINES = 4000, 50
_CLEARS = (2, 3)
# SeaBIOS and OVMF choose a mode of the screen by it, pyte takes the letter behind = for the end.
_UNKNOWN = re.compile(rb"\x1b\[=[0-9]*h")
_BEGUN = re.compile(rb"\x1b(\[(=[0-9]*)?)?\Z")


class Screen:
    """A screen that remembers what is no longer on it."""

    def __init__(self) -> None:
        self._screen = _Remembering(_COLUMNS, _LINES)
        self._screen.set_mode(pyte.modes.LNM)
        self._stream = pyte.ByteStream(self._screen)
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Draw what came over the line."""
        data = _UNKNOWN.sub(b"", self._rest + data)
        begun = _BEGUN.search(data)
        self._rest = begun[0] if begun else b""
        self._stream.feed(data[: len(data) - len(self._rest)])

    @property
    def now(self) -> str:
        """What is on the screen, without blanks at the end of lines."""
        return "\n".join(self._screen.rows())

    @property
    def text(self) -> str:
        """All that was ever on the screen, and is on it now."""
        return "\n".join((*self._screen.gone, *self._screen.rows()))

    @property
    def highlighted(self) -> list[str]:
        """The texts that stand out, as the chosen entry of a menu does."""
        return [text for text in map(str.strip, self._screen.highlighted()) if text]


class _Remembering(pyte.Screen):
    """pyte's screen, with the lines that were scrolled off it or cleared."""

    def __init__(self, columns: int, lines: int) -> None:
        self.gone: list[str] = []
        self._is_made = False
        super().__init__(columns, lines)
        self._is_made = True

    def rows(self) -> list[str]:
        found = [self._row(number) for number in range(self.lines)]
        while found and not found[-1]:
            found.pop()
        return found

    def highlighted(self) -> list[str]:
        return [
            "".join(cell.data for cell in map(line.__getitem__, sorted(line)) if _stands_out(cell))
            for line in (self.buffer[number] for number in range(self.lines))
        ]

    def index(self) -> None:
        if self.cursor.y == self.lines - 1:
            self.gone.append(self._row(0))
        super().index()

    def erase_in_display(self, how: int = 0, *args: object, **kwargs: object) -> None:
        # GRUB goes to the first cell and erases all behind it.
        if how in _CLEARS or (how == 0 and (self.cursor.x, self.cursor.y) == (0, 0)):
            self.gone += self.rows()
            self.buffer.clear()
        super().erase_in_display(how, *args, **kwargs)

    def reset(self) -> None:
        if self._is_made:
            self.gone += self.rows()
        super().reset()

    def _row(self, number: int) -> str:
        line = self.buffer[number]
        return "".join(line[x].data for x in range(max(line, default=-1) + 1)).rstrip()


def _stands_out(cell: pyte.screens.Char) -> bool:
    return cell.reverse or cell.bg == "white"
