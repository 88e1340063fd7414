"""The default kernel arguments of Talos, and the conditions under which each one applies."""

from __future__ import annotations

from dataclasses import dataclass

from imager.support.arch import Arch
from imager.talos.version import TalosVersion

_ALWAYS = (0, 0)


@dataclass(frozen=True, slots=True)
class KernelTarget:
    """What a kernel command line is for; `iso` is true for an ISO and a stick."""

    version: TalosVersion
    arch: Arch
    platform: str = "metal"
    iso: bool = False
    secure_boot: bool = False


@dataclass(frozen=True, slots=True)
class KernelArgument:
    """A default kernel argument, since version `since` and before version `before`.

    With `arch`, only for that architecture.
    """

    text: str
    since: tuple[int, int] = _ALWAYS
    before: tuple[int, int] | None = None
    arch: str | None = None
    iso_only: bool = False
    secure_boot_only: bool = False

    def applies(self, target: KernelTarget) -> bool:
        """Whether the command line for `target` has this argument."""
        return (
            target.version.at_least(*self.since)
            and not (self.before and target.version.at_least(*self.before))
            and self.arch in (None, target.arch.name)
            and (target.iso or not self.iso_only)
            and (target.secure_boot or not self.secure_boot_only)
        )


# Of an ISO on every platform; it follows the platform's own arguments.
HALT_IF_INSTALLED = KernelArgument("talos.halt_if_installed=1", since=(1, 8), iso_only=True)
# The arguments of every platform, in command line order; they follow those of a board.
DEFAULT_ARGUMENTS = (
    KernelArgument("init_on_alloc=1", before=(1, 14)),
    KernelArgument("slab_nomerge"),
    KernelArgument("pti=on"),
    KernelArgument("consoleblank=0"),
    KernelArgument("nvme_core.io_timeout=4294967295", before=(1, 14)),
    KernelArgument("printk.devkmsg=on"),
    KernelArgument("ima_template=ima-ng", before=(1, 11)),
    KernelArgument("ima_appraise=fix", before=(1, 11)),
    KernelArgument("ima_hash=sha512", before=(1, 11)),
    KernelArgument("selinux=1", since=(1, 10)),
    KernelArgument("module.sig_enforce=1", since=(1, 12)),
    KernelArgument("proc_mem.force_override=never", since=(1, 13)),
    KernelArgument("lockdown=confidentiality", before=(1, 14), secure_boot_only=True),
)
