"""The kernel command line of a Talos version, as data, and the user's changes to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from imager.arch import AMD64, ARM64, Arch
from imager.profile.version import TalosVersion

_OVERWRITING = ("console", "talos.platform")


@dataclass(frozen=True, slots=True)
class _Argument:
    """An argument, from version `since` on and before version `before`, on `arch` if given."""

    text: str
    since: tuple[int, int] = (0, 0)
    before: tuple[int, int] | None = None
    arch: Arch | None = None
    iso_only: bool = False

    def applies(self, version: TalosVersion, arch: Arch, *, iso: bool) -> bool:
        return (
            version.at_least(*self.since)
            and (self.before is None or not version.at_least(*self.before))
            and self.arch in (None, arch)
            and (iso or not self.iso_only)
        )


_ARGUMENTS = (
    _Argument("talos.platform=metal"),
    _Argument("console=ttyS0", before=(1, 8), arch=AMD64),
    _Argument("console=ttyAMA0", arch=ARM64),
    _Argument("console=tty0"),
    _Argument("talos.halt_if_installed=1", since=(1, 8), iso_only=True),
    _Argument("init_on_alloc=1", before=(1, 14)),
    _Argument("slab_nomerge"),
    _Argument("pti=on"),
    _Argument("consoleblank=0"),
    _Argument("nvme_core.io_timeout=4294967295", before=(1, 14)),
    _Argument("printk.devkmsg=on"),
    _Argument("ima_template=ima-ng", before=(1, 11)),
    _Argument("ima_appraise=fix", before=(1, 11)),
    _Argument("ima_hash=sha512", before=(1, 11)),
    _Argument("selinux=1", since=(1, 10)),
    _Argument("module.sig_enforce=1", since=(1, 12)),
    _Argument("proc_mem.force_override=never", since=(1, 13)),
)


def kernel_cmdline(
    version: TalosVersion, arch: Arch, *, iso: bool, extra: Iterable[str] = ()
) -> str:
    """Return the kernel command line of `version` on `arch`, changed by `extra`.

    Of the extra arguments `-name` and `-name=value` delete, `console` and `talos.platform`
    take the place of the default ones, and all others are appended.
    """
    arguments = [item.text for item in _ARGUMENTS if item.applies(version, arch, iso=iso)]
    replaced: set[str] = set()
    for text in extra:
        name = _name(text)
        if text.startswith("-"):
            arguments = [item for item in arguments if text[1:] not in (item, _name(item))]
        elif name in _OVERWRITING and name not in replaced:
            replaced.add(name)
            arguments = _overwritten(arguments, text)
        elif name in replaced:
            places = (index for index, item in enumerate(arguments) if _name(item) == name)
            last = max(places, default=len(arguments) - 1)
            arguments.insert(last + 1, text)
        else:
            arguments.append(text)
    return " ".join(arguments)


def _name(argument: str) -> str:
    return argument.partition("=")[0]


def _overwritten(arguments: list[str], text: str) -> list[str]:
    name = _name(text)
    places = [index for index, item in enumerate(arguments) if _name(item) == name]
    place = places[0] if places else len(arguments)
    kept = [item for item in arguments if _name(item) != name]
    return [*kept[:place], text, *kept[place:]]
