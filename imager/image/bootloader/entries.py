"""The entries of Talos's boot menus.

A node parses the menu of its disk when it reboots, upgrades and rolls back, so the titles on disks
must match Talos's exactly.
"""

from __future__ import annotations

from dataclasses import replace

from imager.image.bootloader.boot import MenuEntry
from imager.talos.version import TalosVersion
from imager.talos.versions import quirks

_MAIN = "main"


# Entries that wipe partitions of the system disk, with the argument to add to the command line.
# An installed disk keeps its bootloader, META and IMAGECACHE.
_RESET_DISK = MenuEntry(
    "reset-maintenance",
    "Reset to maintenance mode",
    "talos.experimental.wipe=system:EPHEMERAL,STATE",
    "Reset Talos installation and return to maintenance mode",
)
_RESET_MEDIUM = MenuEntry(
    "reset", "Reset system disk", "talos.experimental.wipe=system", "Reset Talos installation"
)


def disk_entries(version: TalosVersion, cmdline: str) -> tuple[MenuEntry, ...]:
    """Return the entries of a disk: boot slot A, and since Talos 1.4 the reset entry."""
    return _with_reset(version, cmdline, f"A - Talos {version.text}", _RESET_DISK)


def medium_entries(version: TalosVersion, cmdline: str) -> tuple[MenuEntry, ...]:
    """Return the entries of an ISO or stick; the reset entry wipes the machine's system disk."""
    return _with_reset(version, cmdline, "Talos ISO", _RESET_MEDIUM)


def single_entry(version: TalosVersion, cmdline: str) -> tuple[MenuEntry, ...]:
    """Return the only entry of a stand-alone UKI."""
    return (MenuEntry(_MAIN, _title(version), cmdline),)


def _with_reset(
    version: TalosVersion, cmdline: str, grub_title: str, reset: MenuEntry
) -> tuple[MenuEntry, ...]:
    main = MenuEntry(_MAIN, _title(version), cmdline, grub_title)
    if not quirks(version).reset_entry:
        return (main,)
    return (main, replace(reset, cmdline=f"{cmdline} {reset.cmdline}"))


def _title(version: TalosVersion) -> str:
    return f"Talos ({version.text})"
