"""Images of other makers, inspected and taken apart: by the programs that make them, for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lib.keys.signing_keys import Keys
from tests.lib.tools.cli import MIB, cut, real_assets, run, tool
from tests.lib.tools.trixie import run_mkosi

pytestmark = pytest.mark.oracle

OS_RELEASE = 'NAME="Fedora Linux"\nID=fedora\nPRETTY_NAME="Fedora Linux 41"\n'


def asset(name: str) -> Path:
    return real_assets() / "amd64" / name


def objcopied(folder: Path) -> Path:
    """Return a UKI as mkosi made them with objcopy."""
    (folder / "osrel").write_text(OS_RELEASE)
    (folder / "cmdline").write_text("root=PARTLABEL=root-x86-64 rw")
    added = (
        ("osrel", folder / "osrel", 0x2000000),
        ("cmdline", folder / "cmdline", 0x2030000),
        ("linux", asset("vmlinuz"), 0x3000000),
        ("initrd", asset("initramfs.xz"), 0x5000000),
    )
    options = [
        word
        for name, path, address in added
        for word in (
            *("--add-section", f".{name}={path}"),
            *("--change-section-vma", f".{name}={address:#x}"),
        )
    ]
    target = folder / "fedora.efi"
    tool("objcopy", *options, asset("systemd-stub.efi"), target)
    return target


def inspected(source: Path) -> dict[str, Any]:
    done = run("inspect", source, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def extracted(source: Path, path: str, target: Path) -> Path:
    done = run("extract", source, path, target)
    assert done.returncode == 0, done.stderr
    return target


def same(ours: Path, wanted: Path, *options: str) -> bool:
    """Return whether two folders have the same files and links."""
    return tool("diff", "-r", "--no-dereference", *options, ours, wanted, status=None) == ""


def is_whole(source: Path) -> bool:
    report = json.loads(run("verify", source, "--json").stdout)
    assert report["problems"] == []
    return bool(report["files"])


def write_files(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files by path; text is where a link points."""
    for path, data in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, str):
            place.symlink_to(data)
        else:
            place.write_bytes(data)
    return folder


def kernel_version() -> str:
    return tool("file", asset("vmlinuz")).partition("version ")[2].split()[0]


MKOSI = """
[Distribution]
Distribution=custom
[Output]
Format=disk
ImageId=tiny
[Content]
Bootable=yes
Bootloader=none
KernelCommandLine=console=ttyS0 quiet
"""
REPART = {
    # mtools takes a FAT32 of fewer clusters for a FAT16.
    "00-esp": "Type=esp\nFormat=vfat\nSizeMinBytes=300M\nCopyFiles=/boot:/",
    "10-root": "Type=root\nFormat=squashfs\nCopyFiles=/\nExcludeFiles=/boot/\nMinimize=best",
    "20-var": "Type=var\nFormat=ext4\nCopyFiles=/opt:/\nSizeMinBytes=32M",
    "30-swap": "Type=swap\nFormat=swap\nSizeMinBytes=4M\nSizeMaxBytes=4M",
    "40-home": "Type=home\nFormat=btrfs\nSizeMinBytes=128M\nSizeMaxBytes=256M",
}


def mkosi_project(folder: Path, version: str) -> Path:
    """Return the folder of an image whose root file system is busybox and a kernel."""
    (folder / "mkosi.conf").write_text(f"{MKOSI}Initrds={asset('initramfs.xz')}\n")
    (folder / "mkosi.repart").mkdir()
    for name, lines in REPART.items():
        (folder / f"mkosi.repart/{name}.conf").write_text(f"[Partition]\n{lines}\n")
    skeleton = write_files(
        folder / "mkosi.skeleton",
        {
            "usr/lib/os-release": OS_RELEASE.encode(),
            "etc/os-release": "../usr/lib/os-release",
            f"usr/lib/modules/{version}/vmlinuz": (asset("vmlinuz")).read_bytes(),
            "usr/bin/busybox": Path("/bin/busybox").read_bytes(),
            "usr/bin/sh": "busybox",
            # mkosi runs it in the image.
            "usr/bin/depmod": b"#!/usr/bin/sh\n",
            "opt/data": os.urandom(300_000),
        },
    )
    for name in ("busybox", "depmod"):
        (skeleton / "usr/bin" / name).chmod(0o755)
    return skeleton


def test_a_disk_of_mkosi(tmp_path: Path, keys: Keys) -> None:
    """mkosi 25, with a boot entry of its own, and beside it a UKI of objcopy and sbsign."""
    version = kernel_version()
    project, tools = tmp_path / "project", tmp_path / "tools"
    project.mkdir()
    tools.mkdir()
    skeleton = mkosi_project(project, version)
    (skeleton / "boot/EFI/Linux").mkdir(parents=True)
    signed = skeleton / "boot/EFI/Linux/fedora.efi"
    uki = objcopied(tmp_path)
    tool("sbsign", "--key", keys.key, "--cert", keys.certificate, "--output", signed, uki)
    run_mkosi(project, tools)
    image = project / "tiny.raw"

    found = inspected(image)
    assert (found["kind"], found["talos"], found["findings"]) == ("disk", "", [])
    types = [each["typeName"] for each in found["partitions"]]
    assert types == [
        "EFI system", "Linux root (x86-64)", "Linux /var", "Linux swap", "Linux /home"
    ]  # fmt: skip
    kinds = [each["kind"] for each in found["volumes"]]
    assert kinds == ["fat32", "squashfs", "ext4", "swap", "btrfs"]
    assert [each["reason"] for each in found["unknown"]] == [
        f"its files are not listed: {kind} is not read" for kind in ("swap", "btrfs")
    ]
    entries = {each["path"]: each for each in found["boot"] if each["by"] == "systemd-boot"}
    own = entries[f"loader/entries/tiny-{version}.conf"]
    assert (own["cmdline"], own["kernel"]) == (
        "console=ttyS0 quiet",
        f"/tiny/{version}/vmlinuz",
    )
    assert entries["EFI/Linux/fedora.efi"]["title"] == "Fedora Linux 41"
    assert entries["EFI/Linux/fedora.efi"]["cmdline"] == "root=PARTLABEL=root-x86-64 rw"
    assert {each["version"] for each in found["kernels"]} == {version}
    (binary,) = [each for each in found["efi"] if each["path"] == "EFI/Linux/fedora.efi"]
    (signature,) = binary["signatures"]
    assert (signature["subject"], signature["problem"]) == ("CN=signing", "")

    parts = {each["label"]: each for each in found["partitions"]}
    place = parts["root-x86-64"]
    raw = cut(image, place["offset"], place["size"], tmp_path / "raw")
    tool("unsquashfs", "-q", "-n", "-d", tmp_path / "unpacked", raw)
    root = extracted(image, "root-x86-64", tmp_path / "root")
    assert same(root, tmp_path / "unpacked")
    assert (root / "etc/os-release").read_text().startswith(OS_RELEASE)
    assert (root / "usr/bin/busybox").stat().st_mode & 0o777 == 0o755
    assert same(extracted(image, "var", tmp_path / "var"), skeleton / "opt", "-x", "lost+found")
    got = extracted(image, f"esp/tiny/{version}/vmlinuz", tmp_path / "kernel")
    assert got.read_bytes() == (asset("vmlinuz")).read_bytes()
    got = extracted(image, "esp/EFI/Linux/fedora.efi", tmp_path / "x")
    assert got.read_bytes() == signed.read_bytes()
    assert is_whole(image)


MENU = """
label install
	menu label ^Install
	kernel /install.amd/vmlinuz
	append vga=788 initrd=/install.amd/initrd.gz --- quiet
"""
GRUB = """
menuentry --hotkey=i 'Install' {
    set background_color=black
    linux    /install.amd/vmlinuz vga=788 --- quiet
    initrd   /install.amd/initrd.gz
}
"""
ISOLINUX = Path("/usr/lib/ISOLINUX")
XORRISO = ("xorriso", "-as", "mkisofs", "-r", "-J", "-joliet-long", "-V", "Debian 12.9.0 amd64 n")
HYBRID = ("-isohybrid-mbr", ISOLINUX / "isohdpfx.bin")
BIOS = (
    "-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-boot-load-size", "4",
    "-boot-info-table", "-no-emul-boot", "-eltorito-alt-boot",
)  # fmt: skip
NETINSTS: Mapping[str, tuple[str | Path, ...]] = {
    # As debian-cd calls it for netinst images of Debian 12
    "basdat": (
        *HYBRID, *BIOS, "-e", "boot/grub/efi.img", "-no-emul-boot",
        "-isohybrid-gpt-basdat", "-isohybrid-apm-hfsplus",
    ),
    # The EFI image is behind the file system, as on live images
    "appended": (
        *HYBRID, "-append_partition", "2", "0xef", "EFI", *BIOS,
        "-e", "--interval:appended_partition_2:all::", "-no-emul-boot",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def netinst(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the files of a netinst image: menus, the installer, packages and their checksums."""
    folder = tmp_path_factory.mktemp("netinst")
    root = folder / "root"
    initramfs = folder / "initramfs"
    (initramfs / "bin").mkdir(parents=True)
    (initramfs / "init").write_text("#!/bin/sh\n")
    pack = "find . | cpio -o -H newc --quiet | gzip -9"
    packed = subprocess.run(pack, shell=True, cwd=initramfs, capture_output=True, check=True)
    write_files(
        root,
        {
            ".disk/info": b'Debian GNU/Linux 12.9.0 "Bookworm" - Official amd64 NETINST',
            "isolinux/isolinux.bin": (ISOLINUX / "isolinux.bin").read_bytes(),
            "isolinux/txt.cfg": MENU.encode(),
            "install.amd/vmlinuz": (asset("vmlinuz")).read_bytes(),
            "install.amd/initrd.gz": packed.stdout,
            "boot/grub/grub.cfg": GRUB.encode(),
            "dists/bookworm/Release": b"Suite: stable\n",
            "dists/stable": "bookworm",
            "pool/main/b/base-files/base-files_12.4+deb12u9_amd64.deb": os.urandom(70_000),
            "firmware/a.deb": "../pool/main/b/base-files/base-files_12.4+deb12u9_amd64.deb",
            "debian": ".",
        },
    )
    efi = root / "boot/grub/efi.img"
    with efi.open("wb") as file:
        file.truncate(4 * MIB)
    tool("mkfs.fat", "-F", "12", "-n", "ESP", efi)
    tool("mmd", "-i", efi, "::/EFI", "::/EFI/BOOT")
    tool("mcopy", "-i", efi, asset("systemd-boot.efi"), "::/EFI/BOOT/BOOTX64.EFI")
    sums = (
        "find . -type f ! -name isolinux.bin -exec md5sum {} + > ../sums && mv ../sums md5sum.txt"
    )
    subprocess.run(sums, shell=True, cwd=root, check=True)
    return root


@pytest.mark.parametrize("kind", NETINSTS)
def test_a_netinst_image_as_debian_cd_makes_it(kind: str, netinst: Path, tmp_path: Path) -> None:
    image = tmp_path / "netinst.iso"
    efi = netinst / "boot/grub/efi.img"
    options = [efi if each == "EFI" else each for each in NETINSTS[kind]]
    tool(*XORRISO, "-o", image, *options, netinst)

    found = inspected(image)
    assert (found["kind"], found["talos"], found["findings"]) == ("iso", "", [])
    assert [each["place"] for each in found["unknown"]] == ["GPT"] * (kind == "basdat")
    kernel, initramfs = "/install.amd/vmlinuz", ["/install.amd/initrd.gz"]
    menus = {each["by"]: each for each in found["boot"] if each["kernel"]}
    assert menus.keys() == {"isolinux", "GRUB"}
    for entry in menus.values():
        assert (entry["title"], entry["kernel"]) == ("Install", kernel)
        assert (entry["cmdline"], entry["initramfs"]) == ("vga=788 --- quiet", initramfs)
    assert [each["archives"] for each in found["initramfs"]] == [["gzip"]]
    torito = [
        (each["firmware"], each["path"]) for each in found["boot"] if each["by"] == "El Torito"
    ]
    of_efi = "boot/grub/efi.img" if kind == "basdat" else ""
    assert torito == [("bios", "isolinux/isolinux.bin"), ("uefi", of_efi)]
    assert [each["label"] for each in found["volumes"] if each["kind"] == "fat12"] == ["ESP"]
    assert {each["path"] for each in found["efi"]} >= {"EFI/BOOT/BOOTX64.EFI"}
    table = json.loads(tool("sfdisk", "--json", image))["partitiontable"]["partitions"]
    # The first begins with the ISO itself.
    assert [(each["offset"], each["size"]) for each in found["partitions"]] == [
        (each["start"] * 512, each["size"] * 512) for each in table if each["start"]
    ]

    tool("osirrox", "-indev", image, "-extract", "/", tmp_path / "wanted")
    whole = extracted(image, "/", tmp_path / "whole")
    for place in whole.glob(":*"):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert same(whole, tmp_path / "wanted")
    # xorriso writes a table into isolinux.bin, which has no checksum there.
    assert "FAILED" not in tool("md5sum", "-c", "--quiet", "md5sum.txt", cwd=whole)
    listed = json.loads(run("ls", image, "--json").stdout)["entries"]
    numbers = [each["path"] for each in listed if each["path"].startswith(":")]
    loaders = [
        extracted(image, f"{number}/EFI/BOOT/BOOTX64.EFI", tmp_path / number.removeprefix(":"))
        for number in numbers
        if run("ls", image, f"{number}/EFI/BOOT").returncode == 0
    ]
    assert [each.read_bytes() for each in loaders] == [(asset("systemd-boot.efi")).read_bytes()]
    linked = extracted(image, "debian/dists/stable/Release", tmp_path / "release")
    assert linked.read_bytes() == b"Suite: stable\n"
    assert run("extract", image, "install.amd/initrd.gz/init", "-").stdout == "#!/bin/sh\n"
    assert is_whole(image)


def test_a_rescue_image_of_grub(tmp_path: Path) -> None:
    root = write_files(
        tmp_path / "root",
        {
            "boot/vmlinuz": (asset("vmlinuz")).read_bytes(),
            "boot/grub/grub.cfg": b"set timeout=1\n"
            b"menuentry 'One' --class x {\n  linux /boot/vmlinuz a=1 b\n}\n"
            b'submenu "More" {\n  menuentry "Two" {\n    chainloader /efi/x.efi\n  }\n}\n',
        },
    )
    image = tmp_path / "rescue.iso"
    tool("grub-mkrescue", "-o", image, root)
    found = inspected(image)
    assert (found["kind"], found["talos"], found["findings"]) == ("iso", "", [])
    titles = [(each["title"], each["cmdline"]) for each in found["boot"] if each["by"] == "GRUB"]
    assert ("One", "a=1 b") in titles
    assert ("Two", "") in titles
    assert found["kernels"][0]["path"] == "boot/vmlinuz"
    tool("osirrox", "-indev", image, "-extract", "/", tmp_path / "wanted")
    for folder in ("boot", ".disk"):
        if (tmp_path / "wanted" / folder).exists():
            assert same(extracted(image, folder, tmp_path / folder), tmp_path / "wanted" / folder)
    assert is_whole(image)


GENIMAGE = """
image boot.vfat {
    vfat {
        label = "BOOT"
        files = { "kernel", "config.txt" }
    }
    size = 40M
}
image root.ext4 {
    ext4 {
        label = "root"
        use-mke2fs = true
    }
    size = 40M
}
image app.squashfs {
    squashfs {
        compression = "xz"
    }
}
image sdcard.img {
    hdimage {
        partition-table-type = "hybrid"
    }
    partition boot {
        partition-type = 0xC
        bootable = "true"
        image = "boot.vfat"
    }
    partition root {
        partition-type = 0x83
        image = "root.ext4"
    }
    partition app {
        partition-type = 0x83
        image = "app.squashfs"
        size = 4M
    }
}
"""


def test_a_card_of_genimage(tmp_path: Path) -> None:
    """As Buildroot and others make them for boards: with a GPT, and its partitions in the MBR."""
    root = write_files(
        tmp_path / "root",
        {"etc/hostname": b"board\n", "bin/sh": "busybox", "bin/busybox": os.urandom(300_000)},
    )
    inputs = {"kernel": (asset("vmlinuz")).read_bytes(), "config.txt": b"kernel=kernel\n"}
    write_files(tmp_path / "input", inputs)
    config = tmp_path / "genimage.cfg"
    config.write_text(GENIMAGE)
    tool(
        "genimage", "--config", config, "--rootpath", root, "--tmppath", tmp_path / "tmp",
        "--inputpath", tmp_path / "input", "--outputpath", tmp_path,
    )  # fmt: skip
    image = tmp_path / "sdcard.img"
    found = inspected(image)
    assert (found["kind"], found["findings"], found["unknown"]) == ("disk", [], [])
    assert [each["kind"] for each in found["volumes"]] == ["fat16", "ext4", "squashfs"]
    boot = extracted(image, "boot", tmp_path / "boot")
    assert {path.name: path.read_bytes() for path in boot.iterdir()} == inputs
    for name in ("root", "app"):
        assert same(extracted(image, name, tmp_path / f"x{name}"), root, "-x", "lost+found")
    assert is_whole(image)
