"""Parse the menus of boot loaders: GRUB, systemd-boot's entries, and isolinux.

They are scripts of other makers, so only the usual forms are understood: GRUB's `menuentry` with
`linux` and `initrd`, the Boot Loader Specification (https://uapi-group.org/specifications/specs/
boot_loader_specification/), and isolinux's `LABEL`, `KERNEL` and `APPEND`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

_MOST_ENTRIES = 200
_LONGEST_LINE = 16 << 10
_LINUX = ("linux", "linuxefi", "linux16")
_INITRD = ("initrd", "initrdefi", "initrd16")
_DEFAULT = "set default="
_WITH_VALUE = frozenset(("--class", "--users", "--hotkey", "--id"))
_VARIABLE = re.compile(r"^(?:\([^)]*\)|\$\{?\w+\}?)(?=/)")
_ESCAPE = re.compile(r"\\([{}&$|;<>])")


@dataclass(frozen=True, slots=True)
class MenuItem:
    """An entry of a menu, with paths as they are written, but for devices in front of them."""

    title: str
    kernel: str = ""
    initramfs: tuple[str, ...] = ()
    cmdline: str = ""
    is_default: bool = False
    efi: str = ""


def grub_menu(text: str) -> tuple[MenuItem, ...]:
    """Return the entries of a grub.cfg; in submenus too."""
    lines = _lines(text)
    defaults = (line.removeprefix(_DEFAULT) for line in lines if line.startswith(_DEFAULT))
    default = next(defaults, "0").strip("\"'")
    items: list[MenuItem] = []
    title: str | None = None
    kernel, cmdline, efi = "", "", ""
    initramfs: list[str] = []
    for line in (*lines, "menuentry"):
        word, _, rest = line.partition(" ")
        if word == "menuentry":
            if title is not None and len(items) < _MOST_ENTRIES:
                is_default = default in (title, str(len(items)))
                items.append(MenuItem(title, kernel, tuple(initramfs), cmdline, is_default, efi))
            title = _title(rest)
            kernel, cmdline, initramfs, efi = "", "", [], ""
        elif word in _LINUX and not kernel:
            kernel, _, arguments = rest.strip().partition(" ")
            kernel, cmdline = _path(kernel), _ESCAPE.sub(r"\1", arguments.strip())
        elif word in _INITRD and not initramfs:
            initramfs = [_path(each) for each in rest.split()]
        elif word == "chainloader":
            efi = _path(rest.split()[-1]) if rest.split() else ""
    return tuple(items)


def loader_entry(text: str, name: str) -> MenuItem:
    """Return the entry in a file loader/entries/NAME.conf."""
    fields: dict[str, list[str]] = {}
    for line in _lines(text):
        key, _, value = line.partition(" ")
        fields.setdefault(key, []).append(value.strip())

    def first(key: str) -> str:
        return fields.get(key, [""])[0]

    title = " ".join(filter(None, (first("title") or name, first("version"))))
    return MenuItem(
        title,
        first("linux"),
        tuple(fields.get("initrd", ())),
        " ".join(fields.get("options", ())),
        efi=first("efi") or first("uki"),
    )


def isolinux_menu(text: str) -> tuple[MenuItem, ...]:
    """Return the entries of an isolinux or syslinux configuration."""
    items: list[MenuItem] = []
    default = ""
    for line in _lines(text):
        word, _, rest = line.partition(" ")
        word, rest = word.lower(), rest.strip()
        if word in ("default", "ontimeout"):
            default = default or rest.partition(" ")[0]
        elif word == "label" and len(items) < _MOST_ENTRIES:
            items.append(MenuItem(rest, is_default=rest == default))
        elif not items:
            continue
        elif word == "menu" and rest.lower().startswith("label "):
            items[-1] = replace(items[-1], title=rest[6:].replace("^", ""))
        elif word == "menu" and rest.lower() == "default":
            items[-1] = replace(items[-1], is_default=True)
        elif word in ("kernel", "linux"):
            items[-1] = replace(items[-1], kernel=rest)
        elif word == "initrd":
            items[-1] = replace(items[-1], initramfs=tuple(rest.split(",")))
        elif word == "append":
            items[-1] = _appended(items[-1], rest)
    return tuple(each for each in items if each.kernel)


def _appended(item: MenuItem, arguments: str) -> MenuItem:
    words = arguments.split()
    initramfs = [word[7:] for word in words if word.startswith("initrd=")]
    found = tuple(part for each in initramfs for part in each.split(","))
    cmdline = " ".join(word for word in words if not word.startswith("initrd="))
    return replace(item, cmdline=cmdline, initramfs=found or item.initramfs)


def _lines(text: str) -> Sequence[str]:
    """Return the lines without indentation and comments, and tabs as blanks."""
    return [*_cut(text)]


def _cut(text: str) -> Iterator[str]:
    for line in text.splitlines():
        plain = " ".join(line[:_LONGEST_LINE].split())
        if plain and not plain.startswith("#"):
            yield plain


def _title(text: str) -> str:
    """Return the title of GRUB's `menuentry`: its first argument, options may be before it.

    The arguments are split as a shell does, or if that fails end at a brace.
    """
    try:
        words = iter(shlex.split(text.rpartition("{")[0] or text))
    except ValueError:
        words = iter(())
    for word in words:
        if word in _WITH_VALUE:
            next(words, "")
        elif not word.startswith("--"):
            return word
    return text.partition("{")[0].strip()


def _path(text: str) -> str:
    """Return a path without quotes, and without the device in front of it."""
    return _VARIABLE.sub("", text.strip("\"'"))
