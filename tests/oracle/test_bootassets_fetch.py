"""Boot assets made from packages that dpkg-deb built, found in the cache by a lock: no network."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard

from imager.arch import AMD64, ARM64
from imager.bootassets.deb import deb_files
from imager.bootassets.fetch import fetch_assets
from imager.bootassets.initramfs import wanted_modules
from imager.bootassets.packages import Workshop
from imager.errors import DependencyError, InputError

pytestmark = pytest.mark.oracle
EPOCH = 1_704_067_200


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
    def workshop(self) -> Workshop:
        return Workshop(self.root / "cache", self.root, mirror="http://127.0.0.1:9/debian/")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    names = "".join(f"kernel/fs/{name.removesuffix('?')}.ko\n" for name in wanted_modules())
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
    records = []
    for name, files in packages.items():
        data = build_deb(tmp_path, name, files).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        (tmp_path / "cache" / f"{digest}.deb").write_bytes(data)
        version = {"name": name, "version": "1:1.0-1", "size": len(data), "sha256": digest}
        records.append(version)
    lock = tmp_path / "lock.json"
    lock.write_text(json.dumps({"schema": 1, "arch": "amd64", "packages": records}))
    return Bench(tmp_path, lock)


def fetch(bench: Bench, folder: str = "assets") -> Path:
    target = bench.root / folder
    return fetch_assets(
        AMD64, folder=target, workshop=bench.workshop, epoch=EPOCH, lock=bench.lock
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


def test_an_older_set_is_replaced_and_nothing_left_beside(bench: Bench) -> None:
    folder = fetch(bench)
    (folder / "vmlinuz").write_bytes(b"old")
    fetch(bench)
    assert (folder / "vmlinuz").read_bytes() == b"MZ kernel"
    assert [path.name for path in folder.parent.iterdir()] == ["amd64"]


def test_files_of_others_are_never_replaced(bench: Bench) -> None:
    (bench.root / "assets/amd64").mkdir(parents=True)
    (bench.root / "assets/amd64/vmlinuz").write_bytes(b"of a Talos installer")
    with pytest.raises(InputError, match="did not put there"):
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


def test_a_missing_lock_is_refused(bench: Bench) -> None:
    with pytest.raises(InputError, match="No such file"):
        fetch(Bench(bench.root, bench.root / "none.json"))
    with pytest.raises(InputError, match="not for arm64"):
        fetch_assets(
            ARM64, folder=bench.root, workshop=bench.workshop, epoch=EPOCH, lock=bench.lock
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
