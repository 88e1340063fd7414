"""SecureBoot's last judge: firmware that holds our keys starts what they signed, and nothing else.

Keys come into the firmware by systemd-boot from the files on our media, and by virt-firmware. What
firmware refuses it passes over, so that one machine refuses several disks and starts the last.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from imager.content.extents import Content, FileRange
from imager.efi.authenticode import sign_pe
from imager.efi.measured import check_pcr_policy
from imager.efi.pe import content_headers
from imager.efi.signer import FileSigner
from tests.boot.outputs import counts, make_image
from tests.lib.caches.caches import CacheFixture, flip, make_flat
from tests.lib.keys.chains import basic, new_key, owner
from tests.lib.keys.signing_keys import generated, issued, pss_keys, pss_signer, self_signed
from tests.lib.machines.booting import boot
from tests.lib.machines.hardware import Device, Drive, SecureFirmware
from tests.lib.machines.tpm import tpm_of_a_machine
from tests.lib.machines.witness import DISK_ROOT, MEDIUM_ROOT, firmware_line, witness_line
from tests.lib.tools.cli import cut, partitions, real_assets, run, tool
from tests.lib.tools.support import write_content
from tests.lib.volumes.fat_oracle import read_fat

pytestmark = pytest.mark.boot

EMPTY_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
OWNER = UUID("11111111-2222-3333-4444-555566667777")
LOADER, UKI = "EFI/BOOT/BOOTX64.EFI", "EFI/Linux/Talos-v1.9.0.efi"
REFUSED = r"Access [dD]enied"
PARTS = (".linux", ".initrd", ".cmdline")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated(tmp_path_factory.mktemp("site") / "keys")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    return make_flat(tmp_path_factory.mktemp("cache") / "flat", images=1, blob_size=100_000)


def signed_image(profile: str, keys: Path, cache: CacheFixture, folder: Path) -> Path:
    """Make an image whose loader and UKI are signed, and which enrols its keys by itself."""
    more = ("--secureboot-dir", keys, "--secureboot-enroll-keys", "force")
    return make_image(profile, folder, *more, "--image-cache", cache.folder)


def esp_of(image: Path, target: Path) -> Path:
    """Copy the EFI system partition of `image` to a disk of its own."""
    (esp, *_) = (part for part in partitions(image)[1] if part.type_guid.startswith("c12a7328"))
    return cut(image, esp.start, esp.size, target)


def enrol(drive: Drive, keys: Path, folder: Path) -> SecureFirmware:
    """Boot a machine in setup mode, which takes the keys and starts again: it is off."""
    firmware = SecureFirmware(Path(shutil.copy(EMPTY_VARIABLES, folder / "vars")))
    boot(drive, by=firmware)
    said = virt_fw_vars("-i", firmware.variables, "-p")
    for variable in ("PK", "KEK", "db"):
        size = (keys / f"{variable}.esl").stat().st_size
        assert re.search(rf"^{variable} +: blob: {size} bytes$", said, re.MULTILINE), said
    return firmware


def virt_fw_vars(*arguments: str | Path) -> str:
    return tool(Path(sys.executable).with_name("virt-fw-vars"), *arguments)


def starts(console: str) -> list[str]:
    """Return what was said of each thing that firmware tried to start."""
    return console.split("BdsDxe: loading Boot")[1:]


@pytest.mark.smoke
def test_an_iso_enrols_its_keys_and_starts_where_nothing_else_does(
    keys: Path, cache: CacheFixture, tmp_path: Path
) -> None:
    drive = Drive(signed_image("secureboot-iso", keys, cache, tmp_path), Device.CD)
    firmware = enrol(drive, keys, tmp_path)
    console = boot(drive, by=firmware)
    assert firmware_line(console).startswith("firmware: uefi secureboot=1 ")
    assert "lockdown=confidentiality" in console
    assert witness_line(console) == counts(cache).ready(MEDIUM_ROOT, "/dev/sr0")
    unsigned = make_image("iso", tmp_path / "unsigned", "--bootloader=sd-boot")
    boot(Drive(unsigned, Device.CD), by=firmware, until=REFUSED)


def place_of(esp: Path, name: str) -> int:
    """Return where the file `name` begins in an ESP."""
    (file,) = (
        file for file in read_fat(esp, offset=0, size=esp.stat().st_size) if file.path == name
    )
    (extent,) = file.content.extents
    assert isinstance(extent.source, FileRange)
    return extent.source.offset


def changed(esp: Path, keys: Path) -> Iterator[Path]:
    """Yield copies of an ESP, each with one byte of its UKI inverted, which `verify` objects to."""
    start = place_of(esp, UKI)
    rest = Content.of_file(esp).slice(start, esp.stat().st_size - start)
    headers = content_headers(rest, name=UKI)
    places = {
        section.name: start + section.offset + section.virtual_size // 2
        for section in headers.sections
    }
    # Where the last section's line numbers are, of which there are none: still a sound file.
    table = start + headers.table_end - 40 + 28
    for name, place in [*((part, places[part]) for part in PARTS), ("table", table)]:
        copy = sparse_copy(esp, esp.with_name(f"{esp.name}{name}"))
        flip(copy, place)
        done = run("secureboot", "verify", copy, "--cert", keys / "uki-signing-cert.pem")
        assert done.returncode == 2, done.stderr
        yield copy


def mixed(esp: Path, unsigned: Path) -> Iterator[Path]:
    """Yield copies of an ESP with the loader and the UKI of an unsigned one."""
    for name in (LOADER, UKI):
        file, copy = unsigned.with_name("other.efi"), unsigned.with_name(Path(name).name)
        tool("mcopy", "-n", "-o", "-i", unsigned, f"::/{name}", file)
        sparse_copy(esp, copy)
        tool("mcopy", "-n", "-o", "-i", copy, file, f"::/{name}")
        yield copy


def sparse_copy(source: Path, target: Path) -> Path:
    return cut(source, 0, source.stat().st_size, target)


def test_a_disk_enrols_its_keys_and_starts_where_nothing_that_was_changed_does(
    keys: Path, cache: CacheFixture, tmp_path: Path
) -> None:
    """With a loader or UKI that is not signed, or a byte of the UKI changed, it is passed over."""
    disk = signed_image("secureboot-metal", keys, cache, tmp_path)
    firmware = enrol(Drive(disk), keys, tmp_path)
    esp = esp_of(disk, tmp_path / "esp")
    other = make_image("metal", tmp_path / "unsigned", "--bootloader=sd-boot")
    bad = [*changed(esp, keys), *mixed(esp, esp_of(other, tmp_path / "unsigned/esp"))]

    with tpm_of_a_machine() as tpm:
        console = boot(*map(Drive, [*bad, disk]), by=firmware, tpm=tpm)
    *refused, started = starts(console)
    assert len(refused) == len(bad)
    assert all(re.search(REFUSED, said) and "Linux version" not in said for said in refused)
    tool("mcopy", "-i", esp, f"::/{UKI}", tmp_path / "uki")
    (policy,) = check_pcr_policy(Content.of_file(tmp_path / "uki"))
    assert firmware_line(started) == f"firmware: uefi secureboot=1 pcr11={policy.value.hex()}"
    assert "lockdown=confidentiality" in started
    letter = "abcdefghijk"[len(bad)]
    assert witness_line(started) == counts(cache).ready(DISK_ROOT, f"/dev/vd{letter}3")


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


# The last one is started.
SIGNERS = (of_a_key_for_pss, below_an_elliptic_curve, below_an_authority)


def loader_disk(loader: Path, disk: Path) -> Path:
    """Make a disk that is one FAT volume with a loader."""
    tool("mkfs.fat", "-C", disk, "40960")
    tool("mmd", "-i", disk, "::/EFI", "::/EFI/BOOT")
    tool("mcopy", "-i", disk, loader, f"::/{LOADER}")
    return disk


def with_db(certificates: Sequence[Path], *, pk: Path, folder: Path) -> SecureFirmware:
    """Return firmware with `certificates` in db and `pk` above it, put there by virt-firmware."""
    found = [("--set-pk", pk), ("--add-kek", pk), *(("--add-db", each) for each in certificates)]
    words = [str(word) for option, path in found for word in (option, OWNER, path)]
    virt_fw_vars("-i", EMPTY_VARIABLES, "-o", folder / "vars", *words, "--sb")
    return SecureFirmware(folder / "vars")


def test_firmware_and_verify_agree(keys: Path, tmp_path: Path) -> None:
    """On loaders whose signatures are right by the numbers; db has the certificates to trust."""
    loader = Content.of_file(real_assets() / "amd64/systemd-boot.efi")
    disks, certificates, verified = [], [], []
    for made in SIGNERS:
        folder = tmp_path / made.__name__
        folder.mkdir()
        signer, trusted = made(folder)
        signed = write_content(sign_pe(loader, signer), folder / "loader.efi")
        disks.append(loader_disk(signed, folder / "disk"))
        certificates.append(trusted)
        done = run("secureboot", "verify", disks[-1], "--cert", trusted)
        verified.append(done.returncode == 0)
    assert verified == [False, False, True]
    firmware = with_db(certificates, pk=keys / "uki-signing-cert.pem", folder=tmp_path)
    console = boot(*map(Drive, disks), by=firmware, until="BdsDxe: starting Boot")
    assert [not re.search(REFUSED, said) for said in starts(console)] == verified
