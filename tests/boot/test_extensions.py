"""An initramfs with twelve extensions in a virtual machine, which overlays them as Talos does.

The kernel is Debian's, and so are the modules; the init is made here.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from imager.bootassets.kernelversion import kernel_version
from imager.image.extensions.extension import read_extensions
from imager.image.extensions.initramfs import Rebuild, extended_initramfs
from imager.talos.version import TalosVersion
from tests.lib.machines.booting import boot
from tests.lib.machines.kernels import direct
from tests.lib.machines.node_machine import node_assets
from tests.lib.tools.support import write_content
from tests.lib.volumes.extension_images import EPOCH, Image, base_initramfs, extension_image

pytestmark = pytest.mark.boot

_ZSTD = b"\x28\xb5\x2f\xfd"
# What init needs, and what is behind the modules of the extensions.
_OF_INIT = ("loop", "squashfs", "overlay")
_OF_BASE = ("usb-common", "usbcore", "scsi_common", "scsi_mod")
_INIT = b"""#!/bin/busybox sh
PATH=/bin
export PATH
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /bin
dmesg -n 3
while read -r module; do insmod "/modules/$module"; done </modules/load
lower=
count=0
# The last one of the list is on top.
for image in $(sed -n 's/^- image: //p' /extensions.yaml) ; do
    mkdir -p "/lower/$image"
    mount -t squashfs -o ro,loop "/$image" "/lower/$image" && count=$((count + 1))
    lower=/lower/$image${lower:+:$lower}
done
mkdir -p /lower/base /root
mount -t squashfs -o ro,loop /rootfs.sqsh /lower/base
mount -t overlay -o "lowerdir=$lower:/lower/base" overlay /root
mount -t proc proc /root/proc
echo "layers: $count"
echo "name: $(cat /root/usr/local/etc/name)"
echo "system: $(cat /root/etc/os-release)"
echo "tools: $(ls /root/usr/local/bin | sort | tr '\\n' ' ')"
echo "firmware: $(cat /usr/lib/firmware/net/link.bin)"
cd /kernel/x86/microcode && echo "microcode: $(cat GenuineIntel.bin AuthenticAMD.bin)"
# Where busybox looks for modules.
mount --bind /root/usr/lib /root/lib
chroot /root /bin/busybox modprobe uas
echo "modules: $(cut -d' ' -f1 /proc/modules | sort | tr '\\n' ' ')"
echo "driver: $(ls -d /sys/bus/usb/drivers/uas)"
poweroff -f
"""


def node_files() -> Mapping[str, bytes]:
    """Return the modules and busybox of the node, whose kernel has what an overlay needs."""
    data = (node_assets() / "amd64/initramfs.xz").read_bytes()
    packed = data[data.index(_ZSTD, data.index(b"TRAILER!!!")) :]
    zstd = ["zstd", "-dcq"]
    archive = subprocess.run(zstd, input=packed, check=True, capture_output=True).stdout
    listed = _bsdtar(archive, "-tf", "-").decode().split()
    wanted = [path for path in listed if path.startswith("modules/") or path == "bin/busybox"]
    return {path: _bsdtar(archive, "-xOf", "-", path) for path in wanted}


def _bsdtar(archive: bytes, *argv: str) -> bytes:
    done = subprocess.run(["bsdtar", *argv], input=archive, check=True, capture_output=True)
    return done.stdout


def twelve(modules: Mapping[str, bytes], kernel: str) -> list[Image]:
    """Return twelve extensions; nine of them have a file of the same name."""
    place = f"usr/lib/modules/{kernel}/extras"
    plain = [
        extension_image(
            f"plain-{number}",
            {
                "usr/local/etc/name": f"plain-{number}".encode(),
                f"usr/local/bin/tool-{number}": b"#!/bin/sh\n",
            },
        )
        for number in range(8)
    ]
    return [
        *plain,
        extension_image("storage", {f"{place}/usb-storage.ko": modules["usb_storage"]}),
        extension_image("attached", {f"{place}/uas.ko": modules["uas"]}),
        extension_image(
            "firmware",
            {
                "usr/lib/firmware/net/card.bin": b"card",
                "usr/lib/firmware/net/link.bin": "card.bin",
                "usr/lib/firmware/intel-ucode/06-01-02": b"INTEL",
                "usr/lib/firmware/amd-ucode/microcode_amd.bin": b"AMD",
            },
        ),
        extension_image("last", {"usr/local/etc/name": b"the last"}),
    ]


def make_base(path: Path, files: Mapping[str, bytes], kernel: str) -> Path:
    """Make an initramfs whose init has the modules it needs, and whose system has others."""
    modules = {
        name.removeprefix("modules/").removesuffix(".ko"): data for name, data in files.items()
    }
    order = modules["load"].decode().split()
    needed = {f"{name}.ko" for name in (*_OF_INIT, *_needs(files, _OF_INIT))}
    load = [name for name in order if name in needed]
    busybox = files["bin/busybox"]
    return base_initramfs(
        path,
        {f"kernel/{name}.ko": modules[name.replace("-", "_")] for name in _OF_BASE},
        kernel=kernel,
        root={"bin/busybox": busybox, "proc/.keep": b"", "lib/.keep": b""},
        started={
            "init": _INIT,
            "bin/busybox": busybox,
            "modules/load": "".join(f"{name}\n" for name in load).encode(),
            **{f"modules/{name}": files[f"modules/{name}"] for name in load},
            **{f"{folder}/.keep": b"" for folder in ("proc", "sys", "dev")},
        },
    )


def _needs(files: Mapping[str, bytes], names: tuple[str, ...]) -> set[str]:
    """Return the modules that modules need, and so on."""
    found: set[str] = set()
    for name in names:
        match = re.search(rb"\0depends=([^\0]*)\0", files[f"modules/{name}.ko"])
        direct_needs = [each for each in match[1].decode().split(",") if each] if match else []
        found |= {*direct_needs, *_needs(files, tuple(direct_needs))}
    return found


def test_twelve_extensions_boot_in_the_order_of_the_profile(tmp_path: Path) -> None:
    assets = tmp_path / "amd64"
    assets.mkdir()
    (assets / "vmlinuz").symlink_to(node_assets() / "amd64/vmlinuz")
    kernel = kernel_version(assets / "vmlinuz")
    files = node_files()
    base = make_base(tmp_path / "base", files, kernel)
    version = TalosVersion.parse("v1.12.0")
    modules = {
        path.removeprefix("modules/").removesuffix(".ko"): data for path, data in files.items()
    }
    extensions = read_extensions(twelve(modules, kernel), version)
    job = Rebuild(version, EPOCH, tmp_path, tmp_path)
    write_content(extended_initramfs(base, extensions, job), assets / "initramfs.xz")
    text = boot(by=direct(assets, "console=ttyS0 quiet"))
    told = dict(re.findall(r"^([a-z]+): (.*?)\s*$", text, re.MULTILINE))
    loaded = told.pop("modules", "").split()
    assert told == {
        "layers": "13",
        "name": "the last",
        "system": "ID=talos",
        "tools": " ".join(f"tool-{number}" for number in range(8)),
        "firmware": "card",
        "microcode": "INTELAMD",
        "driver": "/sys/bus/usb/drivers/uas",
    }, text
    assert {"uas", "usb_storage", "usbcore", "scsi_mod"} <= {*loaded}
