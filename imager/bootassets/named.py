"""Boot assets that a profile names individually."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imager.bootassets.find import FIELDS, INSTALLED, Asset
from imager.profile.inputs import Input
from imager.support.arch import Arch
from imager.support.fields import setting


@dataclass(frozen=True, slots=True)
class NamedAssets:
    """The boot assets that a profile names, and notes on those whose paths do not exist.

    Talos prints the paths of its own container, which count as unset if missing.
    """

    files: Mapping[Asset, Path]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, boot: Input, arch: Arch) -> NamedAssets:
        """Return the boot assets for `arch` in a profile's `input`."""
        named = {
            Asset.KERNEL: boot.kernel,
            Asset.INITRAMFS: boot.initramfs,
            Asset.SD_BOOT: boot.sd_boot,
            Asset.SD_STUB: boot.sd_stub,
        }
        given = {asset: Path(file.path) for asset, file in named.items() if file}
        absent = [
            asset
            for asset, path in given.items()
            if path == INSTALLED / arch.name / asset.value and not path.is_file()
        ]
        names = ", ".join(setting(FIELDS[asset]) for asset in absent)
        reason = f"not in {INSTALLED / arch.name}, so boot assets are searched for"
        notes = (f"{names} left out: {reason}",) if absent else ()
        files = {asset: path for asset, path in given.items() if asset not in absent}
        return cls(files, notes)
