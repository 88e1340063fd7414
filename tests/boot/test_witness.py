"""The embedded default in a virtual machine: does its witness find a cache on each medium?

The kernel is started directly, so that nothing but the witness is judged. The caches are made by
mkfs.ext4, sgdisk and xorriso.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.boot
ASSETS = Path(os.environ.get("IMAGER_ASSETS", Path(__file__).parents[2] / ".cache/assets"), "amd64")
LAYER = bytes(range(256)) * 8192
SECTOR = 512
QEMU = (
    "qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-m", "512", "-nodefaults",
    "-display", "none", "-serial", "stdio", "-no-reboot", "-net", "none",
)  # fmt: skip
RUN_SECONDS = 120


def run(*argv: str | Path) -> None:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    subprocess.run(argv, check=True, capture_output=True, env={"PATH": path})


def put(folder: Path, name: str, data: bytes) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return name.replace("-", ":")


def digest_name(data: bytes) -> str:
    return f"sha256-{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a cache of one image: a config of 2 bytes and a layer of 2 MiB."""
    root = tmp_path / "tree/imagecache"
    config = put(root / "blob", digest_name(b"{}"), b"{}")
    layer = put(root / "blob", digest_name(LAYER), LAYER)
    image = json.dumps({"config": {"digest": config}, "layers": [{"digest": layer}]}).encode()
    repository = root / "manifests/registry.example_5000_/team/app"
    put(repository / "digest", digest_name(image), image)
    put(repository / "reference", "v1", image)
    return root


def make_iso(tree: Path) -> Path:
    iso = tree.parent.parent / "cache.iso"
    argv = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", "TALOS_V1_9_0", "-o"]
    run(*argv, iso, tree.parent)
    return iso


def make_disk(tree: Path) -> Path:
    disk, part = tree.parent.parent / "disk.raw", tree.parent.parent / "part.ext4"
    run("mkfs.ext4", "-q", "-d", tree, part, "32M")
    with disk.open("wb") as file:
        file.truncate(40 << 20)
        file.seek(2048 * SECTOR)
        file.write(part.read_bytes())
    run("sgdisk", "-n", "1:2048:+32M", "-c", "1:IMAGECACHE", disk)
    return disk


def boot(*devices: str, arguments: str = "console=ttyS0 quiet imager.poweroff") -> str:
    """Return the one line that the witness says on the serial console."""
    argv: list[str | Path] = [
        *QEMU, "-kernel", ASSETS / "vmlinuz", "-initrd", ASSETS / "initramfs.xz",
        "-append", arguments, *devices,
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, timeout=RUN_SECONDS, check=True)
    lines = re.findall(r"^imagecache: .*?$", done.stdout.decode(errors="replace"), re.MULTILINE)
    assert len(lines) == 1, done.stdout
    return str(lines[0]).strip()


def drive(path: Path, interface: str) -> str:
    return f"if={interface},id=d,file={path},format=raw,snapshot=on"


def ready(root: str, device: str) -> str:
    size = len(LAYER) + 2
    return f"imagecache: ready root={root} device={device} blobs=2 bytes={size} images=1"


def test_a_partition_is_found_by_its_label(tree: Path) -> None:
    line = boot("-drive", drive(make_disk(tree), "virtio"))
    assert line == ready("/system/imagecache/disk", "/dev/vda1")


def test_a_cd_is_found_by_its_volume_id_and_said_on_every_console(tree: Path) -> None:
    line = boot(
        "-cdrom",
        str(make_iso(tree)),
        arguments="console=ttyS0 console=tty0 imager.poweroff",
    )
    assert line == ready("/system/imagecache/iso/imagecache", "/dev/sr0")


def test_a_usb_stick_that_shows_up_late_is_waited_for(tree: Path) -> None:
    stick = ("-device", "usb-storage,drive=d", "-drive", drive(make_iso(tree), "none"))
    line = boot("-device", "qemu-xhci", *stick)
    assert line == ready("/system/imagecache/iso/imagecache", "/dev/sda")


def test_a_damaged_blob_fails(tree: Path) -> None:
    layer = tree / "blob" / digest_name(LAYER)
    layer.write_bytes(LAYER[:-1] + b"?")
    line = boot("-cdrom", str(make_iso(tree)))
    assert line.startswith("imagecache: failed root=/system/imagecache/iso/imagecache device=/dev/")
    assert line.endswith(f'reason="blob {layer.name} is damaged"')


def test_without_a_cache_the_reason_says_what_was_looked_for() -> None:
    assert boot() == (
        'imagecache: failed root=- device=- blobs=0 bytes=0 reason="no image cache found: no'
        ' partition labelled IMAGECACHE and no TALOS_ volume with imagecache/"'
    )
