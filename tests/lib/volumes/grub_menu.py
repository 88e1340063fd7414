"""A grub.cfg as a Talos node reads it: what the formats' description allows, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NAME = r'"((?:A|B|Reset)[^"]*)"'
_DEFAULT = re.compile(rf"set default={_NAME}")
_FALLBACK = re.compile(rf"set fallback={_NAME}")
_ENTRY = re.compile(rf"menuentry {_NAME} \{{")
_LINUX = re.compile(r" +linux (/\S+) (.*)")
_INITRD = re.compile(r" +initrd (/\S+)")
_IN_ENTRY = {"  set gfxmode=auto", "  set gfxpayload=text"}
# Lines that the node does not look at, and that GRUB needs.
_OTHER = re.compile(
    r"(set timeout=\d+| *insmod all_video|terminal_(in|out)put console"
    r'|if \[ "\$grub_platform" = (pc|efi) \]; then|fi'
    r"|  serial --unit=0 --speed=115200|  terminal_(in|out)put console serial|)"
)
_SPECIAL = r'\\{}&$|;<>"'


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry: its name, the paths of kernel and initramfs, the kernel's command line."""

    name: str
    kernel: str
    cmdline: str
    initramfs: str


@dataclass(frozen=True, slots=True)
class Menu:
    """The whole menu; `default` is the name of one of the entries."""

    default: str
    entries: tuple[Entry, ...]


def parse_menu(text: str) -> Menu:
    """Return the menu in `text`; raises ValueError where a node could misread a line."""
    assert text.endswith("\n")
    lines = iter(text.splitlines())
    defaults: list[str] = []
    fallbacks: list[str] = []
    entries: list[Entry] = []
    for line in lines:
        if found := _DEFAULT.fullmatch(line):
            defaults.append(found[1])
        elif found := _FALLBACK.fullmatch(line):
            fallbacks.append(found[1])
        elif found := _ENTRY.fullmatch(line):
            entries.append(_entry(found[1], lines))
        elif not _OTHER.fullmatch(line):
            raise ValueError(f"no node and no GRUB needs the line {line!r}")
    names = [entry.name for entry in entries]
    if len(defaults) != 1 or len(fallbacks) > 1 or len(set(names)) != len(names):
        raise ValueError(f"defaults {defaults}, fallbacks {fallbacks}, entries {names}")
    if not {*defaults, *fallbacks} <= set(names):
        raise ValueError(f"there is no entry {defaults[0]!r}")
    return Menu(defaults[0], tuple(entries))


def _entry(name: str, lines: Iterator[str]) -> Entry:
    kernels: list[tuple[str, str]] = []
    initrds: list[str] = []
    for line in lines:
        if line == "}":
            break
        if found := _LINUX.fullmatch(line):
            kernels.append((found[1], unescaped(found[2])))
        elif found := _INITRD.fullmatch(line):
            initrds.append(found[1])
        elif line not in _IN_ENTRY:
            raise ValueError(f"in an entry: {line!r}")
    else:
        raise ValueError(f"the entry {name!r} does not end")
    ((kernel, cmdline),), (initramfs,) = kernels, initrds
    return Entry(name, kernel, cmdline, initramfs)


def unescaped(text: str) -> str:
    """Return kernel arguments without the backslashes that protect them from GRUB."""
    rest = re.sub(rf"\\[{_SPECIAL}]", "", text)
    if re.search(rf"[{_SPECIAL}]", rest):
        raise ValueError(f"not escaped as Talos does it: {text!r}")
    return re.sub(rf"\\([{_SPECIAL}])", r"\1", text)
