"""The entries of Talos's boot menus.

A node parses the menu of its disk when it reboots, upgrades and rolls back, so the titles on disks
must match Talos's exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

from imager.image.bootloader.boot import MenuEntry
from imager.talos.version import TalosVersion
from imager.talos.versions import quirks

_MAIN = "main"
_WIPE = "talos.experimental.wipe"


@dataclass(frozen=True, slots=True)
class _Reset:
    """An entry that wipes partitions of the system disk: the named ones, or all."""

    name: str
    title: str
    grub_title: str
    wiped: str


# An installed disk keeps its bootloader, META and IMAGECACHE.
_OF_DISK = _Reset(
    "reset-maintenance",
    "Reset to maintenance mode",
    "Reset Talos installation and return to maintenance mode",
    "system:EPHEMERAL,STATE",
)
_OF_MEDIUM = _Reset("reset", "Reset system disk", "Reset Talos installation", "system")


def disk_entries(version: TalosVersion, cmdline: str) -> tuple[MenuEntry, ...]:
    """Return the entries of a disk: boot slot A, and since Talos 1.4 the reset entry."""
    return _with_reset(version, cmdline, f"A - Talos {version.text}", _OF_DISK)


def medium_entries(version: TalosVersion, cmdline: str) -> tuple[MenuEntry, ...]:
    """Return the entries of an ISO or stick; the reset entry wipes the machine's system disk."""
    return _with_reset(version, cmdline, "Talos ISO", _OF_MEDIUM)


def single_entry(version: TalosVersion, cmdline: str) -> tuple[MenuEntry, ...]:
    """Return the only entry of a stand-alone UKI."""
    return (MenuEntry(_MAIN, _title(version), cmdline),)


def _with_reset(
    version: TalosVersion, cmdline: str, grub_title: str, reset: _Reset
) -> tuple[MenuEntry, ...]:
    main = MenuEntry(_MAIN, _title(version), cmdline, grub_title)
    if not quirks(version).reset_entry:
        return (main,)
    wiping = f"{cmdline} {_WIPE}={reset.wiped}"
    return (main, MenuEntry(reset.name, reset.title, wiping, reset.grub_title))


def _title(version: TalosVersion) -> str:
    return f"Talos ({version.text})"
