"""System extensions in an initramfs, judged by cpio, zstd, xz, unsquashfs, depmod and Talos."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from imager.bootassets.errors import BootAssetError
from imager.image.extensions.embedded import embedded_config
from imager.image.extensions.extension import Extension, read_extensions
from imager.image.extensions.initramfs import Rebuild, extended_initramfs
from imager.support.errors import ImagerError, InvalidExtensionsError
from imager.talos.version import TalosVersion
from tests.lib.tools.cli import REPOSITORY, tool
from tests.lib.tools.support import content_bytes
from tests.lib.tools.talos_modules import TalosModules
from tests.lib.volumes.extension_images import (
    EPOCH,
    KERNEL,
    Image,
    base_initramfs,
    extension_image,
    real_modules,
    root_files,
    split_initramfs,
    squashfs_files,
    unpacked_cpio,
)

pytestmark = pytest.mark.oracle

LABEL = "system_u:object_r:bin_exec_t:s0"
MODULES = f"usr/lib/modules/{KERNEL}"


def in_base() -> Mapping[str, bytes]:
    """Return the modules that Talos would have, by path: those of USB without storage."""
    modules = real_modules()
    names = ("usb_common", "usbcore", "xhci_hcd", "scsi_common", "scsi_mod")
    found = {f"kernel/drivers/{name}.ko": modules[name] for name in names}
    order = "".join(f"{path}\n" for path in reversed(found)).encode()
    return found | {"modules.order": order, "modules.builtin": b"kernel/fs/fuse.ko\n"}


def twelve() -> list[Image]:
    """Return twelve extensions: files, links, labels, modules of two, firmware and microcode."""
    modules = real_modules()
    plain = [
        extension_image(
            f"plain-{number}",
            {
                "usr/local/etc/name": f"{number}\n".encode(),
                f"usr/local/bin/tool-{number}": b"#!/bin/sh\n" * 999,
                "usr/local/lib/latest": f"../bin/tool-{number}",
            },
            labels={f"usr/local/bin/tool-{number}": LABEL, "usr/local/lib/latest": "lib_t"},
        )
        for number in range(8)
    ]
    storage = {f"{MODULES}/extras/usb_storage.ko": modules["usb_storage"]}
    attached = {f"{MODULES}/extras/usb/uas.ko": modules["uas"]}
    # Talos prefers what is in extras/.
    replaced = {f"{MODULES}/extras/xhci_hcd.ko": modules["xhci_hcd"]}
    firmware: dict[str, bytes | str] = {
        "usr/lib/firmware/net/card.bin": bytes(1 << 20) + b"card",
        "usr/lib/firmware/net/link.bin": "card.bin",
        "usr/lib/firmware/amd-ucode/microcode_amd.bin": b"AMD1",
    }
    intel = {
        "usr/lib/firmware/intel-ucode/06-9e-0d": b"INTEL2",
        "usr/lib/firmware/intel-ucode/06-01-02": b"INTEL1",
        "usr/lib/firmware/amd-ucode/microcode_amd_fam19h.bin": b"AMD2",
    }
    return [
        *plain,
        extension_image("storage", storage | replaced),
        extension_image("attached", attached),
        extension_image("firmware", firmware),
        extension_image("intel", intel, extraInfo="1.5: x\n"),
    ]


class Bench:
    """A folder with an initramfs, to which extensions are added."""

    def __init__(self, folder: Path, version: str = "v1.12.0") -> None:
        self.folder = folder
        self.version = TalosVersion.parse(version)
        self.base = folder / "initramfs.xz"
        for name in ("cache", "scratch"):
            (folder / name).mkdir()

    def extended(self, extensions: Sequence[Extension]) -> bytes:
        job = Rebuild(self.version, EPOCH, self.folder / "cache", self.folder / "scratch")
        return content_bytes(extended_initramfs(self.base, extensions, job))

    def made(self, images: Sequence[Image]) -> bytes:
        return self.extended(read_extensions(images, self.version))

    def unpacked(self, data: bytes) -> Path:
        """Unpack what was added, before and after the untouched initramfs."""
        before, after = split_initramfs(data, self.base.read_bytes())
        if before:
            unpacked_cpio(before, self.folder / "before")
        argv = ["zstd", "-dcq"] if self.version.at_least(1, 8) else ["xz", "-dcq"]
        plain = subprocess.run(argv, input=after, check=True, capture_output=True).stdout
        unpacked_cpio(plain, self.folder / "after")
        return self.folder / "after"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("extensions"))
    base_initramfs(bench.base, in_base())
    return bench


@pytest.fixture(scope="module")
def data(bench: Bench) -> bytes:
    return bench.made(twelve())


@pytest.fixture(scope="module")
def added(bench: Bench, data: bytes) -> Path:
    return bench.unpacked(data)


# --- twelve extensions ------------------------------------------------------------------------


def test_the_machine_lists_extensions_in_the_order_of_the_profile(
    added: Path, talos: TalosModules
) -> None:
    said = talos.ask("layers", path=str(added / "extensions.yaml"))
    assert said.is_right, said.error
    names = [
        *(f"plain-{number}" for number in range(8)),
        "storage",
        "attached",
        "firmware",
        "intel",
    ]
    assert [(each["Image"], each["Metadata"]["Name"]) for each in said.result] == [
        *((f"{number:02}.sqsh", name) for number, name in enumerate(names)),
        ("modules.dep.sqsh", "modules.dep"),
    ]
    assert said.result[11]["Metadata"] == {
        "Name": "intel",
        "Version": "1.0.5",
        "Author": "Tests",
        "Description": "The extension intel.",
        "Compatibility": {"Talos": {"Version": ">= v1.0.0"}},
        "ExtraInfo": "1.5: x\n",
    }
    assert said.result[12]["Metadata"] == {
        "Name": "modules.dep",
        "Version": KERNEL,
        "Author": "Talos Machinery",
        "Description": "Combined modules.dep for all extensions",
        "Compatibility": {"Talos": {"Version": ""}},
        "ExtraInfo": "",
    }


def test_microcode_comes_before_everything(bench: Bench, data: bytes) -> None:
    assert data.startswith(b"070701")
    assert data.index(b"GenuineIntel.bin") < data.index(bench.base.read_bytes())


def test_microcode_is_that_of_all_extensions(bench: Bench, data: bytes, added: Path) -> None:
    place = added.parent / "before/kernel/x86/microcode"
    found = {path.name: path.read_bytes() for path in place.iterdir()}
    assert found == {"GenuineIntel.bin": b"INTEL1INTEL2", "AuthenticAMD.bin": b"AMD1AMD2"}
    # Debian's own tool finds the microcode, and the initramfs behind it.
    path = bench.folder / "out"
    path.write_bytes(data)
    listed = tool("lsinitramfs", path).splitlines()
    assert "kernel/x86/microcode/GenuineIntel.bin" in listed
    assert "rootfs.sqsh" in listed


def test_firmware_is_in_the_initramfs(added: Path) -> None:
    firmware = added / "usr/lib/firmware"
    assert (firmware / "net/card.bin").read_bytes() == bytes(1 << 20) + b"card"
    assert (firmware / "net/link.bin").readlink() == Path("card.bin")
    assert sorted(path.name for path in firmware.iterdir()) == ["net"]


def test_an_image_has_files_links_modes_and_labels(added: Path, tmp_path: Path) -> None:
    files = dict(squashfs_files(added / "03.sqsh", tmp_path / "03"))
    assert [*files] == [
        "usr",
        "usr/local",
        *("usr/local/bin", "usr/local/bin/tool-3"),
        *("usr/local/etc", "usr/local/etc/name"),
        *("usr/local/lib", "usr/local/lib/latest"),
    ]
    assert stat.filemode(files["usr/local/bin/tool-3"].st_mode) == "-rwxr-xr-x"
    assert stat.filemode(files["usr/local/etc/name"].st_mode) == "-rw-r--r--"
    assert (tmp_path / "03/usr/local/lib/latest").readlink() == Path("../bin/tool-3")
    assert {each.st_mtime for each in files.values()} == {EPOCH}
    lines = tool("unsquashfs", "-llnumeric", added / "03.sqsh")
    assert {line.split()[1] for line in lines.splitlines() if "squashfs-root" in line} == {"0/0"}
    if os.geteuid() == 0:  # only root may write such labels
        labelled = {
            path: os.getxattr(tmp_path / "03" / path, "security.selinux", follow_symlinks=False)
            for path in ("usr/local/bin/tool-3", "usr/local/lib/latest")
        }
        assert labelled == {
            "usr/local/bin/tool-3": LABEL.encode(),
            "usr/local/lib/latest": b"lib_t",
        }


def test_an_image_is_of_the_format_of_the_release(added: Path) -> None:
    said = tool("unsquashfs", "-s", added / "08.sqsh")
    assert "Compression zstd" in said
    assert "compression-level 18" in said
    assert "Block size 131072" in said


# --- modules ----------------------------------------------------------------------------------


def by_hand(folder: Path) -> Path:
    """Merge the modules of Talos and of extensions, and run depmod as Talos does."""
    modules = folder / "lib/modules" / KERNEL
    added = {
        path.removeprefix(f"rootfs/{MODULES}/"): file
        for _, image in twelve()
        for path, file in ((file.path, file) for file in image.tree.files)
        if path.startswith(f"rootfs/{MODULES}/")
    }
    merged = {**in_base(), **{path: content_bytes(file.content) for path, file in added.items()}}
    for path, data in merged.items():
        (modules / path).parent.mkdir(parents=True, exist_ok=True)
        (modules / path).write_bytes(data)
    config = folder / "extra-modules.conf"
    config.write_text("search extras built-in\n")
    tool("depmod", "--all", "--basedir", folder, "--config", config, KERNEL)
    return modules


def test_the_lists_of_modules_are_those_of_depmod(added: Path, tmp_path: Path) -> None:
    expected = by_hand(tmp_path)
    found = tmp_path / "found"
    assert [*squashfs_files(added / "modules.dep.sqsh", found)]
    lists = found / MODULES
    names = {path.name for path in expected.iterdir() if path.name.startswith("modules.")}
    assert {path.name for path in lists.iterdir()} == names
    for name in ("modules.dep", "modules.alias", "modules.symbols", "modules.softdep"):
        wanted, got = ((each / name).read_text().splitlines() for each in (expected, lists))
        assert sorted(got) == sorted(wanted)
    for name in ("modules.order", "modules.builtin"):
        assert (lists / name).read_bytes() == in_base()[name]
    dependencies = dict(
        line.split(":", 1) for line in (lists / "modules.dep").read_text().splitlines()
    )
    # Through two extensions, down to Talos's own modules.
    assert set(dependencies["extras/usb/uas.ko"].split()) == {
        "extras/usb_storage.ko",
        *(f"kernel/drivers/{name}.ko" for name in ("usbcore", "usb_common")),
        *(f"kernel/drivers/{name}.ko" for name in ("scsi_mod", "scsi_common")),
    }
    assert "extras/xhci_hcd.ko" in dependencies
    assert "kernel/drivers/xhci_hcd.ko" not in dependencies


@pytest.mark.parametrize("packer", ["xz", "gzip", "none"])
def test_modules_are_merged_from_any_initramfs(tmp_path: Path, packer: str) -> None:
    bench = Bench(tmp_path)
    base_initramfs(bench.base, in_base(), packer=packer)
    if packer == "none":
        # Another archive behind it, as if the initramfs was extended already.
        compress = ["zstd", "-qc"]
        behind = subprocess.run(
            compress, input=bench.base.read_bytes(), check=True, capture_output=True
        )
        bench.base.write_bytes(bench.base.read_bytes() + bytes(508) + behind.stdout)
    data = bench.made(twelve()[8:10])
    assert (bench.unpacked(data) / "modules.dep.sqsh").is_file()


def test_an_old_release_gets_xz_and_other_folders(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "v1.7.6")
    base_initramfs(bench.base, in_base(), folder="lib/modules", packer="xz")
    module = {f"lib/modules/{KERNEL}/extras/uas.ko": real_modules()["uas"]}
    firmware = {
        "lib/firmware/a": b"a",
        "lib/firmware/intel-ucode/1": b"I",
        "usr/lib/firmware/b": b"b",
    }
    data = bench.made([extension_image("module", module), extension_image("firmware", firmware)])
    added = bench.unpacked(data)
    _, after = split_initramfs(data, bench.base.read_bytes())
    (tmp_path / "after.xz").write_bytes(after)
    said = tool("xz", "--robot", "--list", tmp_path / "after.xz")
    assert "\tCRC32\t" in said
    assert sorted(path.name for path in added.iterdir()) == [
        *("0.sqsh", "1.sqsh", "extensions.yaml", "lib", "modules.dep.sqsh")
    ]
    assert (added / "lib/firmware/a").read_bytes() == b"a"
    assert "usr/lib/firmware/b" in dict(squashfs_files(added / "1.sqsh", tmp_path / "1"))
    stated = tool("unsquashfs", "-s", added / "0.sqsh")
    assert "Compression xz" in stated
    # A dictionary of the size of a block is not noted in the image.
    assert "Block size 131072" in stated
    assert "Dictionary" not in stated


def test_modules_of_another_kernel_are_refused(bench: Bench) -> None:
    old = extension_image("old", {"usr/lib/modules/5.15.0-talos/extras/a.ko": b""})
    odd = extension_image("odd", {"usr/lib/modules/readme": b""})
    with pytest.raises(InvalidExtensionsError) as caught:
        bench.made([old, *twelve()[8:9], odd])
    assert caught.value.problems == (
        f"old: it has modules for Linux 5.15.0-talos, but Talos has {KERNEL}",
        f"odd: it has modules for Linux readme, but Talos has {KERNEL}",
    )


@pytest.mark.parametrize(
    ("base", "problem"),
    [
        (b"", "has no rootfs.sqsh"),
        (b"\xfd7zXZ\0cut", "is damaged"),
        (b"BZh9", "neither a cpio archive nor a compression"),
        (b"070701 cut", "damaged"),
    ],
)
def test_an_initramfs_without_modules_is_an_error(
    tmp_path: Path, base: bytes, problem: str
) -> None:
    bench = Bench(tmp_path)
    bench.base.write_bytes(base)
    with pytest.raises(ImagerError, match=problem):
        bench.made(twelve()[8:9])
    # Without modules nothing is read.
    assert bench.made(twelve()[:1]).startswith(base)
    assert [*(tmp_path / "scratch").iterdir()] == []


def test_an_initramfs_of_two_kernels_is_an_error(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    base_initramfs(bench.base, {"../other/a.ko": b"", **in_base()})
    with pytest.raises(BootAssetError, match="not of one kernel version"):
        bench.made(twelve()[8:9])


# --- the embedded configuration ---------------------------------------------------------------


def test_an_embedded_configuration_is_the_last_layer(tmp_path: Path, talos: TalosModules) -> None:
    bench = Bench(tmp_path)
    bench.base.write_bytes(b"base")
    text = "machine: {}\n---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a\n"
    extensions = read_extensions(twelve()[:1], bench.version)
    added = bench.unpacked(bench.extended([*extensions, embedded_config(text, bench.version)]))
    layers = talos.ask("layers", path=str(added / "extensions.yaml")).result
    assert [each["Metadata"]["Name"] for each in layers] == ["plain-0", "embedded-config"]
    files = dict(squashfs_files(added / "1.sqsh", tmp_path / "1"))
    assert [stat.filemode(each.st_mode) for each in files.values()] == [
        *["drwxr-xr-x"] * 4,
        "-r--------",
    ]
    path = tmp_path / "1/usr/local/etc/talos/config.yaml"
    assert path.read_text() == text
    if os.geteuid() == 0:
        label = os.getxattr(path, "security.selinux")
        assert label == b"system_u:object_r:system_state_t:s0"


# --- the same bytes ---------------------------------------------------------------------------

_AGAIN = """
import os, sys
from pathlib import Path
from tests.oracle.test_extensions import Bench, twelve
folder = Path(sys.argv[1])
os.umask(0o077)
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
bench = Bench(folder)
bench.base = Path(sys.argv[2])
sys.stdout.buffer.write(bench.made(twelve()))
"""


def test_other_circumstances_give_the_same_bytes(bench: Bench, data: bytes) -> None:
    env = {
        **os.environ,
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "tr_TR.UTF-8",
        "SOURCE_DATE_EPOCH": "1",
        "HOME": "/nonexistent",
    }
    ids = ("--reuid=65534", "--regid=65534", "--clear-groups")
    prefix = ("setpriv", *ids) if os.geteuid() == 0 else ()
    # pytest's folders are private.
    with tempfile.TemporaryDirectory(prefix="imager-test-") as folder:
        place = Path(folder)
        place.chmod(0o777)
        base = shutil.copy(bench.base, place)
        done = subprocess.run(
            [*prefix, sys.executable, "-c", _AGAIN, place, base],
            env=env,
            cwd=REPOSITORY,
            check=False,
            capture_output=True,
        )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == data


def test_what_is_known_is_not_made_again(
    bench: Bench, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("unsquashfs", "mksquashfs", "depmod"):
        real = subprocess.run(["which", name], check=True, capture_output=True, text=True).stdout
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\ncase "$1" in -version|--version) exec {real.strip()} "$@";; esac\nexit 9\n'
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert bench.made(twelve()) == data
    with pytest.raises(ImagerError, match="mksquashfs failed with exit code 9"):
        bench.made([extension_image("new", {"usr/local/a": b"new"})])


# --- ranges and manifests as Talos reads them -------------------------------------------------

_VERSIONS = ("v1.0.0", "v1.5.0", "v1.6.0-alpha.1", "v1.6.4", "v1.9.0", "v1.10.3", "v2.0.0")
_OPERANDS = ("1.6.0", "v1.6.4", "1.6.4-beta.0", "1.6.x", "1.x", "1.x.x", "1.5.0+build")
_RANGES = (
    *(
        sign + operand
        for sign in ("", "=", "==", "!", "!=", "<", "<=", ">", ">= ")
        for operand in _OPERANDS
    ),
    *(">= v1.5.0", ">=1.6.0 <2.0.0", ">1.0.0 <1.6.0 || >=1.9.0 !1.10.3", " >=1.0.0  <1.9.0 "),
    *(
        "1.0",
        "latest",
        ">=",
        "~1.0.0",
        "^1.0.0",
        ">=1.0.0,<2.0.0",
        "|| 1.0.0",
        "1.0.0 ||",
        "01.0.0",
    ),
)


def accepts(range_: str, version: str) -> bool:
    image = extension_image("a", {"usr/local/a": b""}, compatibility={"talos": {"version": range_}})
    try:
        read_extensions([image], TalosVersion.parse(version))
    except InvalidExtensionsError:
        return False
    return True


@pytest.mark.parametrize("version", _VERSIONS)
def test_talos_accepts_the_same_ranges(tmp_path: Path, talos: TalosModules, version: str) -> None:
    (tmp_path / "rootfs").mkdir()
    said = {}
    for range_ in _RANGES:
        fields = {"name": "a", "compatibility": {"talos": {"version": range_}}}
        text = json.dumps({"version": "v1alpha1", "metadata": fields})
        (tmp_path / "manifest.yaml").write_text(text)
        said[range_] = talos.ask("extension", path=str(tmp_path), version=version).is_right
    assert {range_: accepts(range_, version) for range_ in _RANGES} == said


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("version: v1alpha1\nmetadata: {name: a, version: 1.10, author: 7}", True),
        ("version: v1alpha1\nmetadata: {name: a, unknown: {}}\nother: []", True),
        ("version: v1alpha1\nmetadata: {name: a, description: null}\n---\nmore: 1", True),
        ("version: v1alpha1\nmetadata: {name: [a]}", False),
        ("version: v1alpha1\nmetadata: []", False),
        ("version: v1beta1\nmetadata: {name: a}", False),
        ("version: v1alpha1\nversion: v1alpha1\nmetadata: {name: a}", False),
        ("[]", False),
        ("", False),
    ],
)
def test_talos_reads_the_same_manifests(
    tmp_path: Path, talos: TalosModules, text: str, fits: bool
) -> None:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "manifest.yaml").write_text(text)
    said = talos.ask("extension", path=str(tmp_path), version="v1.12.0")
    assert said.is_right is fits, said.error
    image = root_files({"manifest.yaml": text.encode(), "rootfs/usr/local/a": b""})
    if not fits:
        with pytest.raises(InvalidExtensionsError):
            read_extensions([("a", image)], TalosVersion.parse("v1.12.0"))
        return
    (found,) = read_extensions([("a", image)], TalosVersion.parse("v1.12.0"))
    fields = said.result
    assert (found.metadata.name, found.metadata.version, found.metadata.author) == (
        *(fields["Name"], fields["Version"], fields["Author"]),
    )


def test_the_list_of_the_golden_file(added: Path) -> None:
    """The order of keys is Talos's too."""
    lines = (added / "extensions.yaml").read_text().splitlines()
    keys = [line.strip(" -").partition(":")[0] for line in lines[1:9]]
    assert keys == [
        *("image", "metadata", "name", "version", "author", "description"),
        *("compatibility", "talos"),
    ]
    assert yaml.safe_load("\n".join(lines))["layers"][0]["image"] == "00.sqsh"
