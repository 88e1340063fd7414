"""SecureBoot's last judge: firmware that holds our keys starts what they signed, and nothing else.

Keys come into the firmware by virt-firmware, and by systemd-boot from the files on our media.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from imager.extents import Content, FileRange
from imager.media.gpt import ESP
from imager.media.gpt_read import read_gpt
from imager.pe import read_headers
from imager.signing.authenticode import sign_pe
from imager.signing.signer import FileSigner
from tests.boot.outputs import counts, make_image
from tests.lib.caches.caches import CacheFixture, flip, make_flat
from tests.lib.keys.chains import basic, new_key, owner
from tests.lib.keys.signing_keys import generated, issued, pss_keys, pss_signer, self_signed
from tests.lib.machines.boot_matrix import DISK_ROOT, MEDIUM_ROOT
from tests.lib.machines.qemu import (
    BootError,
    Device,
    SecureFirmware,
    boot,
    firmware_line,
    witness_line,
)
from tests.lib.tools.cli import partitions, real_assets, run, tool
from tests.lib.tools.support import write_content
from tests.lib.volumes.fat_oracle import read_fat

pytestmark = pytest.mark.boot

EMPTY_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
OWNER = UUID("11111111-2222-3333-4444-555566667777")
LOADER, UKI = "EFI/BOOT/BOOTX64.EFI", "EFI/Linux/Talos-v1.9.0.efi"
REFUSED = r"Access [dD]enied"
MEDIA = {
    "iso": ("secureboot-iso", Device.CD, MEDIUM_ROOT, "/dev/sr0"),
    "disk": ("secureboot-metal", Device.VIRTIO, DISK_ROOT, "/dev/vda3"),
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated(tmp_path_factory.mktemp("site") / "keys")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    return make_flat(tmp_path_factory.mktemp("cache") / "flat", images=1, blob_size=100_000)


@pytest.fixture(scope="module")
def images(
    keys: Path, cache: CacheFixture, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Return a signed ISO and a signed disk, which enrol their keys by themselves."""
    folder = tmp_path_factory.mktemp("images")
    more = ("--secureboot-dir", keys, "--secureboot-enroll-keys", "force")
    return {
        name: make_image(profile, folder, *more, "--image-cache", cache.folder)
        for name, (profile, *_) in MEDIA.items()
    }


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image("iso", tmp_path_factory.mktemp("unsigned"), "--bootloader", "sd-boot")


@pytest.fixture
def enrolled(keys: Path, tmp_path: Path) -> SecureFirmware:
    """Return firmware with the certificate in PK, KEK and db."""
    certificate = keys / "uki-signing-cert.pem"
    return with_db(certificate, pk=certificate, folder=tmp_path)


def with_db(certificate: Path, *, pk: Path, folder: Path) -> SecureFirmware:
    """Return firmware with `certificate` in db and `pk` above it, put there by virt-firmware."""
    found = {"--set-pk": pk, "--add-kek": pk, "--add-db": certificate}
    words = [str(word) for option, path in found.items() for word in (option, OWNER, path)]
    virt_fw_vars("-i", EMPTY_VARIABLES, "-o", folder / "vars", *words, "--sb")
    return SecureFirmware(folder / "vars")


def virt_fw_vars(*arguments: str | Path) -> str:
    return tool(Path(sys.executable).with_name("virt-fw-vars"), *arguments)


def place_of(image: Path, name: str) -> tuple[int, int]:
    """Return where the file `name` of the ESP begins in `image`, and its size."""
    (esp,) = (part for part in read_gpt(image).partitions if part.type_guid == ESP)
    files = read_fat(image, offset=esp.offset, size=esp.size)
    (file,) = (file for file in files if file.path == name)
    (extent,) = file.content.extents
    assert isinstance(extent.source, FileRange)
    return extent.source.offset, file.content.size


@contextmanager
def changed(image: Path, offset: int) -> Iterator[None]:
    """Have the byte at `offset` of the image inverted meanwhile."""
    flip(image, offset)
    try:
        yield
    finally:
        flip(image, offset)


@pytest.mark.parametrize("name", MEDIA)
def test_what_is_signed_starts(
    name: str, images: dict[str, Path], cache: CacheFixture, enrolled: SecureFirmware
) -> None:
    _, device, root, seen_as = MEDIA[name]
    console = boot(images[name], device, firmware=enrolled)
    assert firmware_line(console).startswith("firmware: uefi secureboot=1 ")
    assert "lockdown=confidentiality" in console
    assert witness_line(console) == counts(cache).ready(root, seen_as)


def test_what_is_not_signed_does_not_start(unsigned: Path, enrolled: SecureFirmware) -> None:
    with pytest.raises(BootError, match=REFUSED):
        boot(unsigned, Device.CD, firmware=enrolled)


@pytest.mark.parametrize("signed", [LOADER, UKI])
def test_one_of_two_signed_does_not_start(
    signed: str, images: dict[str, Path], unsigned: Path, enrolled: SecureFirmware, tmp_path: Path
) -> None:
    """A signed loader with an unsigned UKI, and the reverse: the other file is copied in."""
    other = UKI if signed is LOADER else LOADER
    (entry, *_) = partitions(unsigned)[1]
    name = tmp_path / "other.efi"
    tool("mcopy", "-i", f"{unsigned}@@{entry.start}", f"::/{other}", name)
    image = Path(shutil.copy(images["disk"], tmp_path / "disk"))
    (esp, *_) = partitions(image)[1]
    tool("mcopy", "-o", "-i", f"{image}@@{esp.start}", name, f"::/{other}")
    with pytest.raises(BootError, match=REFUSED):
        boot(image, Device.VIRTIO, firmware=enrolled)


def of_a_key_for_pss(folder: Path) -> tuple[FileSigner, Path]:
    keys = pss_keys(folder)
    return pss_signer(keys), keys.certificate


def below_an_elliptic_curve(folder: Path) -> tuple[FileSigner, Path]:
    authority = owner("curve", ec.generate_private_key(ec.SECP256R1()), basic())
    key = new_key()
    leaf = owner("leaf", key, by=authority)
    return FileSigner(key, leaf.certificate), authority.file(folder)


def below_an_authority(folder: Path) -> tuple[FileSigner, Path]:
    authority = self_signed(folder, "authority")
    return issued(folder, authority).signer, authority.certificate


@pytest.mark.parametrize(
    ("made", "starts"),
    [(of_a_key_for_pss, False), (below_an_elliptic_curve, False), (below_an_authority, True)],
)
def test_firmware_and_verify_agree(
    made: Callable[[Path], tuple[FileSigner, Path]], starts: bool, keys: Path, tmp_path: Path
) -> None:
    """On a loader whose signature is right by the numbers; db has the certificate to trust."""
    signer, trusted = made(tmp_path)
    loader = Content.of_file(real_assets() / "amd64/systemd-boot.efi")
    signed = write_content(sign_pe(loader, signer), tmp_path / "loader.efi")
    disk = tmp_path / "disk"
    tool("mkfs.fat", "-C", disk, "40960")
    tool("mmd", "-i", disk, "::/EFI", "::/EFI/BOOT")
    tool("mcopy", "-i", disk, signed, f"::/{LOADER}")
    done = run("secureboot", "verify", disk, "--cert", trusted)
    assert (done.returncode == 0) is starts, done.stderr
    firmware = with_db(trusted, pk=keys / "uki-signing-cert.pem", folder=tmp_path)
    if starts:  # it finds nothing to boot, and turns the machine off
        assert not re.search(REFUSED, boot(disk, Device.VIRTIO, firmware=firmware))
    else:
        with pytest.raises(BootError, match=REFUSED):
            boot(disk, Device.VIRTIO, firmware=firmware)


def sections(image: Path, start: int) -> dict[str, int]:
    """Return the middle of each section of the UKI, as an offset in the image."""
    return {
        section.name: start + section.offset + section.virtual_size // 2
        for section in read_headers(image, offset=start).sections
    }


@pytest.mark.parametrize("part", [".linux", ".initrd", ".cmdline", "section table"])
def test_a_uki_with_one_byte_changed_does_not_start(
    part: str, images: dict[str, Path], keys: Path, enrolled: SecureFirmware
) -> None:
    image = images["disk"]
    start, _ = place_of(image, UKI)
    # Where the last section's line numbers are, of which there are none: still a sound file.
    table = start + read_headers(image, offset=start).table_end - 40 + 28
    with changed(image, {**sections(image, start), "section table": table}[part]):
        certificate = keys / "uki-signing-cert.pem"
        assert run("secureboot", "verify", image, "--cert", certificate).returncode == 2
        with pytest.raises(BootError, match=REFUSED):
            boot(image, Device.VIRTIO, firmware=enrolled)


@pytest.mark.parametrize("name", MEDIA)
def test_a_machine_in_setup_mode_enrols_the_keys(
    name: str, images: dict[str, Path], keys: Path, unsigned: Path, tmp_path: Path
) -> None:
    device = MEDIA[name][1]
    firmware = SecureFirmware(Path(shutil.copy(EMPTY_VARIABLES, tmp_path / "vars")))
    boot(images[name], device, firmware=firmware)  # enrols, and starts again: off
    said = virt_fw_vars("-i", firmware.variables, "-p")
    for variable in ("PK", "KEK", "db"):
        size = (keys / f"{variable}.esl").stat().st_size
        assert re.search(rf"^{variable} +: blob: {size} bytes$", said, re.MULTILINE), said
    console = boot(images[name], device, firmware=firmware)
    assert firmware_line(console).startswith("firmware: uefi secureboot=1 ")
    with pytest.raises(BootError, match=REFUSED):
        boot(unsigned, Device.CD, firmware=firmware)
