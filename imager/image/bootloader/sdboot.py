"""systemd-boot: the files of an EFI system partition that boots unified kernel images.

https://uapi-group.org/specifications/specs/boot_loader_specification/ (type 2 entries), and
loader.conf(5).
"""

from __future__ import annotations

from collections.abc import Iterator

from imager.bootassets.find import Asset
from imager.bootassets.kernelimage import efi_asset
from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.efi.systemd import version_number
from imager.image.bootloader.boot import BootTarget, DiskBoot, IsoBoot, PlannedPartition
from imager.image.bootloader.esp import disk_loader, esp_partition, medium_loader
from imager.image.bootloader.unified import unified_images
from imager.talos.choices import EnrollKeys

_HOW = "boots by UEFI with systemd-boot"
_SIGNED = "boots by UEFI with systemd-boot, signed for SecureBoot"
_CONFIGURATION = "# systemd-boot configuration\n\ntimeout 10\n"
# The EFI variable of an upgraded node overrides this, but may be lost; then the newest version
# starts, and never another entry. A fixed file name would always start the first version.
_DEFAULT = "default Talos-*.efi\n"
_SEED_SIZE = 32
_CERTIFICATE = "EFI/keys/uki-signing-cert.der"
# systemd's release notes; older releases ignore the word.
_IF_SAFE_SINCE = 253


def disk_files(target: BootTarget) -> tuple[File, ...]:
    """Return the files of a disk's ESP: the loader, UKIs, the configuration.

    If the version and the stub support profiles, the menu entries are profiles of one UKI, else
    each entry is a UKI. For SecureBoot every EFI binary is signed, and `loader/keys/auto` contains
    the variables that firmware in setup mode can enroll, unless enrolling is off. Raises InputError
    if a boot asset is missing or invalid.
    """
    enroll = _enroll_keys(target)
    enrolls = target.build.secure_boot is not None and enroll is not EnrollKeys.OFF
    files = _files(target, disk_loader(target), enroll=enroll if enrolls else None)
    return (*files, *(_keys(target) if enrolls else ()))


def medium_files(target: BootTarget) -> tuple[File, ...]:
    """Return the files of the ESP of an ISO or stick; see `disk_files`.

    `loader/random-seed` is 32 zero bytes and read-only: systemd-boot 261 and later would otherwise
    try to create the file on a read-only medium.
    """
    return (
        *_files(target, medium_loader(target), enroll=_enroll_keys(target)),
        File("loader/random-seed", Content.of_bytes(bytes(_SEED_SIZE)), mode=0o444),
        *_keys(target),
    )


def _files(target: BootTarget, path: str, *, enroll: EnrollKeys | None) -> tuple[File, ...]:
    images = unified_images(target)
    conf = _loader_conf(several=len(images) > 1, enroll=enroll)
    return (
        File(path, loader(target)),
        *images,
        File("loader/loader.conf", Content.of_bytes(conf.encode())),
    )


def loader(target: BootTarget) -> Content:
    """Return systemd-boot, signed for SecureBoot; raises InputError if it is invalid."""
    binary = efi_asset(target.build.assets, Asset.SD_BOOT)
    if target.build.secure_boot is None:
        return binary
    from imager.efi.authenticode import sign_pe

    return sign_pe(binary, target.build.secure_boot.signer, name=Asset.SD_BOOT.value)


def _keys(target: BootTarget) -> Iterator[File]:
    if target.build.secure_boot:
        for name, data in target.build.secure_boot.variables.items():
            yield File(f"loader/keys/auto/{name}.auth", Content.of_bytes(data))


def esp_on_disk(target: BootTarget, offset: int) -> PlannedPartition:
    """Return the partition EFI at byte `offset`, as large as GRUB's EFI, BIOS and BOOT together.

    Raises InputError for boot assets as `disk_files` does, and if they do not fit.
    """
    size = target.build.quirks.unified_efi_size
    return esp_partition(target, Tree.of(disk_files(target)), size=size, offset=offset)


def plan_disk_boot(target: BootTarget, offset: int) -> DiskBoot:
    """Return the only partition that UEFI boots from, at byte `offset`."""
    return DiskBoot((esp_on_disk(target, offset),), _how(target), notes=_notes(target))


def plan_iso_boot(target: BootTarget) -> IsoBoot:
    """Return an ISO's ESP, for SecureBoot with the signer's certificate."""
    files = medium_files(target)
    if target.build.secure_boot:
        from imager.efi.certificates import der

        certificate = der(target.build.secure_boot.signer.certificate)
        files = (*files, File(_CERTIFICATE, Content.of_bytes(certificate)))
    return IsoBoot(Tree.of(files), _how(target), notes=_notes(target))


def _how(target: BootTarget) -> str:
    return _SIGNED if target.build.secure_boot else _HOW


def _loader_conf(*, several: bool, enroll: EnrollKeys | None) -> str:
    """Return loader.conf as Talos writes it; with several UKIs, set the default."""
    lines = [_CONFIGURATION]
    if several:
        lines.append(_DEFAULT)
    if enroll is not None:
        lines.append(f"secure-boot-enroll {enroll.value}\n")
    return "\n".join(lines)


def _enroll_keys(target: BootTarget) -> EnrollKeys:
    """Return the user's choice, as a value that this systemd-boot supports."""
    asked = target.build.enroll_keys
    if asked is not EnrollKeys.IF_SAFE:
        return asked
    loader = Content.of_file(target.build.assets.path(Asset.SD_BOOT))
    is_known = version_number(loader, "boot") >= _IF_SAFE_SINCE
    return asked if is_known else EnrollKeys.MANUAL


def _notes(target: BootTarget) -> tuple[str, ...]:
    written = _enroll_keys(target)
    if written is target.build.enroll_keys:
        return ()
    return (
        f"this systemd-boot does not support secure-boot-enroll {target.build.enroll_keys.value}:"
        f" {written.value} is used instead, so keys are enrolled from its menu",
    )
