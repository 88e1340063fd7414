"""Generate GRUB's menu, and the files of an EFI system partition with GRUB.

GRUB manual, "Shell-like scripting" and "Commands":
https://www.gnu.org/software/grub/manual/grub/html_node/

A Talos node parses the grub.cfg of its disk when it reboots, upgrades and rolls back. It expects
exactly one line `set default="NAME"`. An entry starts with `menuentry "NAME" {` at the beginning of
a line, ends with the first `}` that has no backslash before it, and contains exactly one
`linux PATH ARGUMENTS` and one `initrd PATH`. It unescapes arguments by removing a backslash before
the characters that are escaped here, and before no others. It ignores all other lines, and drops
them when it rewrites the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.image.bootloader.boot import MenuEntry
from imager.support.errors import InputError, UnsupportedError

_TIMEOUT = 3
_NAME = re.compile(r"[A-Za-z0-9 ._+-]+", re.ASCII)
# Talos escapes quotes and backslashes too; they are rejected here.
_ESCAPED = re.compile(r"[{}&$|;<>]")
# Observed in GRUB 2.06: its `linux` command adds a backslash before quotes and backslashes, which
# Linux does not remove; a word that begins with # is a comment; with the module regexp, which EFI
# images include, * and ? are expanded in words that begin like paths and devices. More backslashes
# would fix the last two, but Talos would treat them as part of the argument.
_CHANGED = re.compile(r"""["'\\]|^\#|^(?=[*/(]).*[*?]""")
_TERMINALS = """\
if [ "$grub_platform" = efi ]; then
  insmod all_video
fi

terminal_input console
terminal_output console
"""
# With EFI, the console already includes the serial line if the firmware uses one.
_SERIAL = """\
if [ "$grub_platform" = pc ]; then
  serial --unit=0 --speed=115200
  terminal_input console serial
  terminal_output console serial
fi
"""


def grub_cfg(
    entries: Sequence[MenuEntry],
    *,
    default: str,
    kernel: str,
    initramfs: str,
    serial: bool = False,
) -> bytes:
    """Return the menu of `entries`; GRUB starts the default entry after three seconds.

    `default` is an entry's `quoted_name`, or its number; Talos requires the name. `kernel` and
    `initramfs` are absolute paths on the file system that GRUB's `root` refers to: the menu's own.
    With `serial`, the menu also appears on the first serial line, at 115200 baud. Raises InputError
    for a name that Talos cannot parse, UnsupportedError for a kernel argument that GRUB would
    change.
    """
    head = f"set default={default}\nset timeout={_TIMEOUT}\n"
    console = _TERMINALS + (_SERIAL if serial else "")
    blocks = (_entry(entry, kernel=kernel, initramfs=initramfs) for entry in entries)
    return f"{head}\n{console}\n{''.join(blocks)}".encode()


def quoted_name(entry: MenuEntry) -> str:
    """Return the name of an entry, in double quotes.

    Raises InputError for a character that Talos's entries and versions do not contain.
    """
    if not _NAME.fullmatch(entry.grub_title):
        raise InputError(
            f"{entry.grub_title!r} cannot be the name of an entry in GRUB's menu",
            hint="name a Talos version, such as --talos-version v1.9.0",
        )
    return f'"{entry.grub_title}"'


def _entry(entry: MenuEntry, *, kernel: str, initramfs: str) -> str:
    arguments = " ".join(map(_argument, entry.cmdline.split()))
    return (
        f"menuentry {quoted_name(entry)} {{\n"
        "  set gfxmode=auto\n"
        "  set gfxpayload=text\n"
        f"  linux {kernel} {arguments}\n"
        f"  initrd {initramfs}\n"
        "}\n"
    )


def _argument(word: str) -> str:
    if _CHANGED.search(word):
        raise UnsupportedError(
            f"kernel argument {word!r}: GRUB cannot pass it on unchanged",
            hint="GRUB changes quotes and backslashes, treats a leading # as a comment, and expands"
            " * and ? behind a leading *, / or (: use --bootloader sd-boot, or another argument",
        )
    return _ESCAPED.sub(r"\\\g<0>", word)


def efi_files(path: str, *, loader: Content, config: bytes) -> Tree:
    """Return the ESP's files: GRUB at `path`, where firmware looks for it, and its configuration.

    `loader` is Debian's image for CDs. Its `prefix` is /boot/grub on the file system that it was
    started from; without that folder it would use any medium that contains /.disk/info.
    """
    return Tree.of([File(path, loader), File("boot/grub/grub.cfg", Content.of_bytes(config))])


def other_partition_cfg(partition: int, *, menu: str) -> bytes:
    """Return an ESP's configuration that loads the menu at the absolute path `menu`.

    The menu is on the GPT partition `partition` (from 1) of the same disk.
    """
    return (
        "regexp --set=1:disk '^([^,]+)' \"$root\"\n"
        f'set root="$disk,gpt{partition}"\n'
        f"configfile {menu}\n"
    ).encode()
