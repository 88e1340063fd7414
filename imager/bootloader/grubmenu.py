"""GRUB's menu, and the files of an EFI system partition that GRUB boots from.

GRUB manual, "Shell-like scripting" and "Commands":
https://www.gnu.org/software/grub/manual/grub/html_node/
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from imager.arch import Arch
from imager.bootloader.boot import MenuEntry
from imager.errors import InputError, UnsupportedError
from imager.extents import Content
from imager.media.fat import FatFile

_TIMEOUT = 3
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# The `linux` command puts a backslash before each of these, which Linux takes for its own.
_CHANGED_BY_GRUB = re.compile(r"""["'\\]""")
# An EFI's console is the serial line already where the firmware uses one.
_SERIAL = """\
if [ "$grub_platform" = pc ]; then
  serial --unit=0 --speed=115200
  terminal_input console serial
  terminal_output console serial
fi
"""


def grub_cfg(
    entries: Sequence[MenuEntry], *, kernel: str, initramfs: str, serial: bool = False
) -> bytes:
    """Return the menu of `entries`, the first of which is started after three seconds.

    `kernel` and `initramfs` are absolute paths on the file system that GRUB's `root` names: the
    one that the menu is on. With `serial` the menu is on the first serial line too, at 115200
    baud. Raises InputError for control characters, UnsupportedError for a command line that GRUB
    would change.
    """
    console = _SERIAL if serial else ""
    head = f"set default=0\nset timeout={_TIMEOUT}\n{console}"
    blocks = (_entry(entry, kernel=kernel, initramfs=initramfs) for entry in entries)
    return (head + "".join(blocks)).encode()


def _entry(entry: MenuEntry, *, kernel: str, initramfs: str) -> str:
    words = [kernel, *map(_argument, entry.cmdline.split())]
    return (
        f"menuentry {_quoted(entry.title)} {{\n"
        f"  linux {' '.join(map(_quoted, words))}\n"
        f"  initrd {_quoted(initramfs)}\n"
        "}\n"
    )


def _argument(word: str) -> str:
    if _CHANGED_BY_GRUB.search(word):
        raise UnsupportedError(
            f"kernel argument {word!r}: GRUB cannot hand on quotes and backslashes as they are",
            hint="leave them out, or boot by systemd-boot",
        )
    return word


def _quoted(text: str) -> str:
    """Return `text` as one word in which nothing is special, by quotes as the shell has them."""
    if _CONTROL.search(text):
        raise InputError(f"{text!r} has a control character and cannot be in GRUB's menu")
    return shlex.quote(text)


def efi_files(arch: Arch, *, loader: Content, config: bytes) -> tuple[FatFile, ...]:
    """Return the ESP's files: GRUB as removable-media default, and its configuration.

    `loader` is Debian's image for CDs. Its `prefix` is /boot/grub on the file system that it was
    started from; without that folder it would take the one of any medium that has /.disk/info.
    """
    return (
        FatFile(f"EFI/BOOT/{arch.efi_boot_file}", loader),
        FatFile("boot/grub/grub.cfg", Content.of_bytes(config)),
    )


def other_partition_cfg(partition: int, *, menu: str) -> bytes:
    """Return the configuration of an ESP whose menu, the absolute path `menu`, is elsewhere.

    It is on the GPT partition with number `partition` (the first is 1) of the same disk.
    """
    return (
        "regexp --set=1:disk '^([^,]+)' \"$root\"\n"
        f'set root="$disk,gpt{partition}"\n'
        f"configfile {_quoted(menu)}\n"
    ).encode()
