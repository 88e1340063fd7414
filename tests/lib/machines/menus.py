"""A person at a boot menu: presses keys when the screen shows what they are for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tests.lib.machines.screen import Screen

ENTER = b"\r"
GRUB_NEXT = b"\x0e"
SD_BOOT_NEXT = b"j"
# Behind these words systemd-boot and GRUB count their timeout down.
_MENUS = ("Boot in ", "will be executed automatically in ")


class Person(Protocol):
    """Who looks at the screen and hits keys."""

    def keys(self, screen: Screen) -> bytes:
        """Return what is hit now."""


class Impatient:
    """Ends the wait of each menu, whose first entry then starts; too late it would, too."""

    def __init__(self) -> None:
        self._seen = False

    def keys(self, screen: Screen) -> bytes:
        now = screen.now
        seen, self._seen = self._seen, any(words in now for words in _MENUS)
        return ENTER if self._seen and not seen else b""


@dataclass
class Chooser:
    """Goes from the entry `first` to `wanted` by the key `next`, and starts it when it is there.

    That takes a menu that does not end by itself.
    """

    first: str
    wanted: str
    next: bytes
    _is_moved: bool = False
    _is_done: bool = False

    def keys(self, screen: Screen) -> bytes:
        chosen = [text.removeprefix("*").strip() for text in screen.highlighted]
        if self.wanted in chosen and not self._is_done:
            self._is_done = True
            return ENTER
        if self.first in chosen and not self._is_moved:
            self._is_moved = True
            return self.next
        return b""
