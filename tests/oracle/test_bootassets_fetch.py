"""Boot assets made from packages that dpkg-deb built, found in the cache by a lock: no network."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard

from imager.bootassets import grub
from imager.bootassets.grub import MODULES, find_bios_grub, find_efi_grub
from imager.distro.deb import deb_files
from imager.distro.fetch import SetRequest, fetch_assets
from imager.distro.initramfs import witness_modules
from imager.distro.packages import FetchContext
from imager.support.arch import AMD64, ARM64
from imager.support.errors import DependencyError, InputError

pytestmark = pytest.mark.oracle
EPOCH = 1_704_067_200
GrubFiles = dict[str, dict[str, bytes]]


def build_deb(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    control = f"Package: {name}\nVersion: 1:1.0-1\nArchitecture: amd64\n"
    control += "Maintainer: Nobody <nobody@example.org>\nDescription: test\n"
    tree = folder / name
    for path, data in {**files, "DEBIAN/control": control.encode()}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
    deb = folder / f"{name}.deb"
    argv: list[str | Path] = ["dpkg-deb", "-Zxz", "--root-owner-group", "--build", tree, deb]
    subprocess.run(argv, check=True, capture_output=True)
    return deb


@dataclass(frozen=True)
class Bench:
    """A folder for assets, a cache that holds three packages, and a lock that names them."""

    root: Path
    lock: Path

    @property
    def context(self) -> FetchContext:
        return FetchContext(self.root / "cache", self.root, mirror="http://127.0.0.1:9/debian/")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    names = "".join(f"kernel/fs/{name.removesuffix('?')}.ko\n" for name in witness_modules())
    efi = "usr/lib/systemd/boot/efi"
    packages = {
        "linux-image-6.1.0-1-amd64": {
            "boot/vmlinuz-6.1.0-1-amd64": b"MZ kernel",
            "lib/modules/6.1.0-1-amd64/modules.builtin": names.encode(),
        },
        "systemd-boot-efi": {
            f"{efi}/systemd-bootx64.efi": b"MZ boot",
            f"{efi}/linuxx64.efi.stub": b"MZ stub",
        },
        "busybox-static": {"bin/busybox": b"\x7fELF busybox"},
    }
    (tmp_path / "cache").mkdir()
    lock = tmp_path / "lock.json"
    lock.write_text(json.dumps({"schema": 1, "arch": "amd64", "packages": []}))
    made = Bench(tmp_path, lock)
    add_packages(made, packages)
    return made


def add_packages(bench: Bench, packages: dict[str, dict[str, bytes]]) -> None:
    """Build `packages`, files by name, into the cache, and name them in the lock."""
    lock = json.loads(bench.lock.read_text())
    for name, files in packages.items():
        data = build_deb(bench.root, name, files).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        (bench.root / "cache" / f"{digest}.deb").write_bytes(data)
        version = {"name": name, "version": "1:1.0-1", "size": len(data), "sha256": digest}
        lock["packages"].append(version)
    bench.lock.write_text(json.dumps(lock))


def grub_packages(*, without: str = "", modules: tuple[str, ...] = MODULES) -> GrubFiles:
    """Return Debian's two packages of GRUB, with more than is needed of each."""
    names = ["unused", *modules]
    images = ("kernel", "lzma_decompress", "boot", "diskboot", "boot_hybrid", "cdboot", "pxeboot")
    bios = {
        "moddep.lst": "".join(f"{name}:\n" for name in names).encode(),
        **{f"{name}.mod": name.encode() for name in names},
        **{f"{name}.img": name.encode() for name in images},
    }
    efi = {"monolithic/gcdx64.efi": b"gcd", "monolithic/grubx64.efi": b"no", "xfs.mod": b"no"}
    return {
        "grub-pc-bin": {
            f"usr/lib/grub/i386-pc/{name}": data for name, data in bios.items() if name != without
        },
        "grub-efi-amd64-bin": {
            f"usr/lib/grub/x86_64-efi/{name}": data for name, data in efi.items() if name != without
        },
    }


def fetch(bench: Bench, folder: str = "assets") -> Path:
    target = bench.root / folder
    return fetch_assets(
        SetRequest(AMD64, lock=bench.lock), folder=target, context=bench.context, epoch=EPOCH
    ).folder


def test_a_lock_gives_the_set_with_its_record(bench: Bench) -> None:
    folder = fetch(bench)
    assert (folder / "vmlinuz").read_bytes() == b"MZ kernel"
    assert (folder / "systemd-boot.efi").read_bytes() == b"MZ boot"
    assert (folder / "systemd-stub.efi").read_bytes() == b"MZ stub"
    archive = zstandard.ZstdDecompressor().decompress((folder / "initramfs.xz").read_bytes())
    assert archive.startswith(b"070701")
    assert b"\x7fELF busybox" in archive
    record = json.loads((folder / "sources.json").read_text())
    assert record["packages"] == json.loads(bench.lock.read_text())["packages"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*record["assets"], "sources.json"]
    )
    for name, asset in record["assets"].items():
        data = (folder / name).read_bytes()
        assert asset == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_a_record_is_a_lock_that_gives_the_same_bytes(bench: Bench) -> None:
    first = fetch(bench)
    second = fetch(Bench(bench.root, first / "sources.json"), "again")
    for path in first.iterdir():
        assert (second / path.name).read_bytes() == path.read_bytes()


def test_grub_is_in_a_set_as_in_its_own_folder(bench: Bench) -> None:
    add_packages(bench, grub_packages())
    folder = fetch(bench) / "grub"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "x86_64-efi/monolithic/gcdx64.efi",
        "i386-pc/moddep.lst",
        *(f"i386-pc/{name}.mod" for name in MODULES),
        *(f"i386-pc/{name}.img" for name in ("kernel", "lzma_decompress", "boot", "diskboot")),
        *(f"i386-pc/{name}.img" for name in ("boot_hybrid", "cdboot")),
    }
    assert (folder / "i386-pc/linux.mod").read_bytes() == b"linux"
    record = json.loads((folder.parent / "sources.json").read_text())
    assert {f"grub/{name}" for name in files} <= set(record["assets"])
    assert len(record["packages"]) == 5
    assert find_bios_grub(AMD64, given=bench.root / "assets") == folder / "i386-pc"


def test_a_lock_from_before_grub_makes_a_set_without(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IMAGER_ASSETS", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(bench.root / "none"))
    monkeypatch.setattr(grub, "INSTALLED", bench.root / "none")
    folder = fetch(bench)
    assert not (folder / "grub").exists()
    with pytest.raises(InputError, match=r"GRUB for amd64: .* was not found") as caught:
        find_efi_grub(AMD64, given=folder)
    assert "imager assets fetch" in caught.value.hint


@pytest.mark.parametrize(
    ("without", "modules", "reason"),
    [
        ("cdboot.img", MODULES, "no grub/i386-pc/cdboot.img"),
        ("moddep.lst", MODULES, "no grub/i386-pc/moddep.lst"),
        ("linux.mod", MODULES, "no grub/i386-pc/linux.mod"),
        ("monolithic/gcdx64.efi", MODULES, "no grub/x86_64-efi/monolithic/gcdx64.efi"),
        ("", MODULES[1:], "no module 'biosdisk'"),
    ],
)
def test_a_package_of_grub_that_lacks_something(
    bench: Bench, without: str, modules: tuple[str, ...], reason: str
) -> None:
    add_packages(bench, grub_packages(without=without, modules=modules))
    with pytest.raises(DependencyError, match=reason):
        fetch(bench)
    assert not (bench.root / "assets").exists()


def test_an_older_set_is_replaced_and_nothing_left_beside(bench: Bench) -> None:
    folder = fetch(bench)
    (folder / "vmlinuz").write_bytes(b"old")
    fetch(bench)
    assert (folder / "vmlinuz").read_bytes() == b"MZ kernel"
    assert [path.name for path in folder.parent.iterdir()] == ["amd64"]


def test_files_of_others_are_never_replaced(bench: Bench) -> None:
    (bench.root / "assets/amd64").mkdir(parents=True)
    (bench.root / "assets/amd64/vmlinuz").write_bytes(b"of a Talos installer")
    with pytest.raises(InputError, match="did not create"):
        fetch(bench)


def test_a_damaged_package_in_the_cache_is_not_used(bench: Bench) -> None:
    for deb in (bench.root / "cache").iterdir():
        deb.write_bytes(deb.read_bytes()[:-1] + b"?")
    with pytest.raises(DependencyError, match="Debian's package index"):
        fetch(bench)
    assert not (bench.root / "assets").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"arch": "arm64"},
        {"packages": [{"name": "x"}]},
        {"packages": [{"name": "-o", "version": "1", "size": 1, "sha256": "0" * 64}]},
        {"packages": [{"name": "x", "version": "1/../2", "size": 1, "sha256": "0" * 64}]},
        {"packages": [{"name": "x", "version": "1", "size": 1, "sha256": "../../etc/passwd"}]},
    ],
)
def test_a_bad_lock_is_refused(bench: Bench, change: dict[str, object]) -> None:
    bench.lock.write_text(json.dumps({**json.loads(bench.lock.read_text()), **change}))
    with pytest.raises(InputError, match="not a lock of boot assets"):
        fetch(bench)


def test_a_lock_without_a_kernel_is_refused(bench: Bench) -> None:
    record = json.loads(bench.lock.read_text())
    kept = [each for each in record["packages"] if not each["name"].startswith("linux-image")]
    bench.lock.write_text(json.dumps({**record, "packages": kept}))
    with pytest.raises(InputError, match="the lock must contain one kernel"):
        fetch(bench)


def test_a_missing_lock_is_refused(bench: Bench) -> None:
    with pytest.raises(InputError, match="No such file"):
        fetch(Bench(bench.root, bench.root / "none.json"))
    with pytest.raises(InputError, match="not for arm64"):
        fetch_assets(
            SetRequest(ARM64, lock=bench.lock),
            folder=bench.root,
            context=bench.context,
            epoch=EPOCH,
        )


def test_a_package_is_read_as_dpkg_built_it_and_damage_is_noticed(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096
    deb = build_deb(tmp_path, "thing", {"usr/share/odd": data, "etc/other": b"x"})
    assert dict(deb_files(deb, folders=("usr/",))) == {"usr/share/odd": data}
    whole = deb.read_bytes()
    for damaged in (whole[:4], whole[:100], whole[:-200], b"?" + whole[1:], b""):
        deb.write_bytes(damaged)
        with pytest.raises(DependencyError, match="not a readable Debian package"):
            list(deb_files(deb, folders=("usr/",)))
