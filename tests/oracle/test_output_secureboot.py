"""What is built for SecureBoot, judged by sbverify, mtools and xorriso; and keys that cannot be."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, flip, make_flat
from tests.lib.keys.signing_keys import generated, issued, pss_keys, self_signed
from tests.lib.tools.cli import (
    build,
    cut,
    data_of,
    partitions,
    real_assets,
    run,
    synthetic_assets,
    tool,
)

pytestmark = pytest.mark.oracle

INPUT, UNSUPPORTED = 2, 3
BINARIES = {
    "metal-amd64-secureboot.iso": (
        *("EFI/BOOT/BOOTX64.EFI", "EFI/Linux/Talos-v1.9.0.efi"),
        "EFI/Linux/reset-Talos-v1.9.0.efi",
    ),
    "metal-amd64-secureboot.raw": (
        *("EFI/boot/BOOTX64.efi", "EFI/Linux/Talos-v1.9.0.efi"),
        "EFI/Linux/reset-maintenance-Talos-v1.9.0.efi",
    ),
}
PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated(tmp_path_factory.mktemp("site") / "keys")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    return make_flat(tmp_path_factory.mktemp("cache") / "flat", images=1, blob_size=5_000)


@pytest.fixture(scope="module")
def outputs(keys: Path, cache: CacheFixture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    common = ("--assets", real_assets(), "--secureboot-dir", keys, "--output", folder)
    build("secureboot-iso", *common, "--image-cache", cache.folder)
    build("secureboot-metal", *common, "--image-cache", cache.folder, "--out-format", "raw")
    build("secureboot-metal-uki", *common)
    return folder


def esp_file(image: Path, name: str, folder: Path) -> Path:
    (entry, *_) = partitions(image)[1]
    esp = cut(image, entry.start, entry.size, folder / "esp.img")
    tool("mcopy", "-n", "-i", esp, f"::/{name}", folder / "file")
    return folder / "file"


def test_names_are_those_of_talos(outputs: Path) -> None:
    assert sorted(path.name for path in outputs.iterdir()) == [
        "metal-amd64-secureboot-uki.efi",
        "metal-amd64-secureboot.iso",
        "metal-amd64-secureboot.raw",
    ]


@pytest.mark.parametrize(
    ("image", "name"), [(image, name) for image, names in BINARIES.items() for name in names]
)
def test_sbverify_takes_every_binary(
    outputs: Path, keys: Path, tmp_path: Path, image: str, name: str
) -> None:
    binary = esp_file(outputs / image, name, tmp_path)
    certificate = keys / "uki-signing-cert.pem"
    tool("sbverify", "--cert", certificate, binary)
    flip(binary, binary.stat().st_size // 2)
    tool("sbverify", "--cert", certificate, binary, status=1)


def test_sbverify_takes_the_uki(outputs: Path, keys: Path, tmp_path: Path) -> None:
    uki = outputs / "metal-amd64-secureboot-uki.efi"
    tool("sbverify", "--cert", keys / "uki-signing-cert.pem", uki)
    other = self_signed(tmp_path / "other")
    tool("sbverify", "--cert", other.certificate, uki, status=1)
    names = re.findall(r"^ +\d+ (\.\w+)", tool("objdump", "-h", uki), re.MULTILINE)
    expected = [".sbat", ".osrel", ".cmdline", ".uname", ".pcrpkey", ".linux", ".initrd", ".pcrsig"]
    assert [name for name in names if name in expected] == expected


def test_a_stub_and_a_loader_without_symbols(keys: Path, tmp_path: Path) -> None:
    """As Talos has them: stripped of COFF's symbols."""
    assets = synthetic_assets(tmp_path / "assets")
    for name in ("systemd-stub.efi", "systemd-boot.efi"):
        source = real_assets() / "amd64" / name
        tool("strip", source, "-o", assets / "amd64" / name)
        assert "no symbols" in tool("objdump", "-t", assets / "amd64" / name)
    common = ("--assets", assets, "--secureboot-dir", keys, "--output", tmp_path)
    iso = Path(build("secureboot-iso", *common)["output"])
    binaries = BINARIES[iso.name]
    certificate = keys / "uki-signing-cert.pem"
    for name in binaries:
        tool("sbverify", "--cert", certificate, esp_file(iso, name, tmp_path))
    done = run("secureboot", "verify", iso, "--cert", certificate, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert sorted(each["path"] for each in report["binaries"]) == sorted(binaries)
    assert [bool(each["uki"]) for each in report["binaries"]].count(True) == 2


def test_virt_firmware_reads_who_signed(outputs: Path) -> None:
    program = Path(sys.executable).with_name("pe-inspect")
    said = tool(program, outputs / "metal-amd64-secureboot-uki.efi")
    assert re.search(r"subject +CN: Talos SecureBoot$", said, re.MULTILINE), said


def test_the_iso_has_what_a_firmwares_menu_enrols(
    outputs: Path, keys: Path, tmp_path: Path
) -> None:
    iso = outputs / "metal-amd64-secureboot.iso"
    tool("xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/", tmp_path / "tree")
    tree = tmp_path / "tree"
    certificate = (tree / "EFI/keys/uki-signing-cert.der").read_bytes()
    assert certificate == (keys / "uki-signing-cert.der").read_bytes()
    for name in ("PK", "KEK", "db"):
        made = (tree / f"loader/keys/auto/{name}.auth").read_bytes()
        assert made == (keys / f"{name}.auth").read_bytes()


@pytest.mark.parametrize(
    ("asked", "enrolled"), [((), "if-safe"), (("manual",), "manual"), (("off",), None)]
)
def test_a_disk_enrolls_its_keys_unless_it_is_told_not_to(
    keys: Path, tmp_path: Path, asked: tuple[str, ...], enrolled: str | None
) -> None:
    assets = synthetic_assets(tmp_path / "assets")
    options = [word for value in asked for word in ("--secureboot-enroll-keys", value)]
    common = ("--assets", assets, "--secureboot-dir", keys, "--output", tmp_path)
    which = ("--talos-version", "v1.14.0", "--out-format", "raw")
    build("secureboot-metal", *common, *which, *options)
    disk = tmp_path / "metal-amd64-secureboot.raw"
    (entry, *_) = partitions(disk)[1]
    esp = cut(disk, entry.start, entry.size, tmp_path / "esp.img")
    conf = tool("mtype", "-i", esp, "::/loader/loader.conf")
    enroll = f"\nsecure-boot-enroll {enrolled}\n" if enrolled else ""
    assert conf == f"# systemd-boot configuration\n\ntimeout 10\n{enroll}"
    listed = tool("mdir", "-/", "-b", "-i", esp, "::/loader").split()
    auth = [name.rpartition("/")[2] for name in listed if name.endswith(".auth")]
    assert sorted(auth) == (["KEK.auth", "PK.auth", "db.auth"] if enrolled else [])
    for name in auth:
        found = esp_file(disk, f"loader/keys/auto/{name}", tmp_path).read_bytes()
        assert found == (keys / name).read_bytes()


def test_the_command_line_locks_the_kernel_down(outputs: Path) -> None:
    uki = (outputs / "metal-amd64-secureboot-uki.efi").read_bytes()
    assert b"ima_hash=sha512 lockdown=confidentiality" in uki


@pytest.mark.parametrize(
    ("asked", "loader", "written"),
    [
        ((), 252, "manual"),
        ((), 257, "if-safe"),
        (("off",), 252, "off"),
        (("force",), 252, "force"),
        (("manual",), 257, "manual"),
    ],
)
def test_enrolling_is_written_in_words_that_the_loader_knows(
    keys: Path, tmp_path: Path, asked: tuple[str, ...], loader: int, written: str
) -> None:
    assets = synthetic_assets(tmp_path / "assets")
    path = assets / "amd64/systemd-boot.efi"
    path.write_bytes(path.read_bytes().replace(b" 257.1 ", f" {loader}.1 ".encode()))
    options = [word for value in asked for word in ("--secureboot-enroll-keys", value)]
    common = ("--assets", assets, "--secureboot-dir", keys, "--output", tmp_path)
    done = build("secureboot-iso", *common, *options)
    conf = esp_file(tmp_path / "metal-amd64-secureboot.iso", "loader/loader.conf", tmp_path)
    assert f"secure-boot-enroll {written}\n" in conf.read_text()
    noted = any("does not support secure-boot-enroll if-safe" in note for note in done["notes"])
    assert noted == (not asked and written == "manual")


def test_the_same_keys_give_the_same_bytes(assets: Path, keys: Path, tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        copy = Path(shutil.copytree(keys, folder / "keys"))
        common = ("--assets", assets, "--secureboot-dir", copy, "--output", folder)
        build("secureboot-iso", *common)
        iso = folder / "metal-amd64-secureboot.iso"
        digests.add(hashlib.sha256(iso.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_profile_names_its_own_keys(assets: Path, tmp_path: Path) -> None:
    """The certificate is issued by a CA, and there are no .auth files: they are made."""
    authority = self_signed(tmp_path / "ca", "authority")
    signing = issued(tmp_path, authority)
    pcr = self_signed(tmp_path / "pcr", "pcr")
    profile = tmp_path / "edge.yaml"
    profile.write_text(
        "baseProfileName: secureboot-metal-uki\n"
        "input:\n"
        "  secureboot:\n"
        f"    secureBootSigner: {{keyPath: {signing.key}, certPath: {signing.certificate}}}\n"
        f"    pcrSigner: {{keyPath: {pcr.key}}}\n"
    )
    common = ("--assets", assets, "--secureboot-dir", tmp_path / "none", "--output", tmp_path)
    build(str(profile), *common)
    uki = tmp_path / "metal-amd64-secureboot-uki.efi"
    tool("sbverify", "--cert", signing.certificate, uki)


def refused(keys: Path, assets: Path, out: Path, *more: str, code: int = INPUT) -> str:
    common = ("--assets", assets, "--secureboot-dir", keys, "--output", out)
    done = run("secureboot-iso", *common, *more)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(out.glob("*.iso"))
    return done.stderr


@pytest.mark.parametrize(
    "name", ["uki-signing-key.pem", "uki-signing-cert.pem", "pcr-signing-key.pem", "KEK.auth"]
)
def test_a_file_that_is_missing(keys: Path, assets: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(keys, tmp_path / "keys"))
    (copy / name).unlink()
    assert str(copy / name) in refused(copy, assets, tmp_path)


def test_a_key_of_another_certificate(keys: Path, assets: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(keys, tmp_path / "keys"))
    other = self_signed(tmp_path / "other")
    shutil.copy(other.key, copy / "uki-signing-key.pem")
    assert "does not belong to the key" in refused(copy, assets, tmp_path)


def test_a_key_for_pss_is_refused(keys: Path, assets: Path, tmp_path: Path) -> None:
    """Both where it signs what boots and where it signs policies, before anything is written."""
    pss = pss_keys(tmp_path)
    for name, certificate in (("uki-signing", pss.certificate), ("pcr-signing", None)):
        copy = Path(shutil.copytree(keys, tmp_path / name))
        shutil.copy(pss.key, copy / f"{name}-key.pem")
        if certificate:
            shutil.copy(certificate, copy / f"{name}-cert.pem")
        said = refused(copy, assets, tmp_path, code=UNSUPPORTED)
        assert f"{name}-key.pem: the private key is for RSA-PSS signatures only" in said
        assert "gen-keys" in said


def test_variables_that_lock_us_out(keys: Path, assets: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(keys, tmp_path / "keys"))
    other = self_signed(tmp_path / "other")
    shutil.copy(other.key, copy / "uki-signing-key.pem")
    shutil.copy(other.certificate, copy / "uki-signing-cert.pem")
    assert "db does not contain the certificate" in refused(copy, assets, tmp_path)


def test_well_known_certificates(keys: Path, assets: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(keys, tmp_path / "keys"))
    flag = "--secureboot-include-well-known-certs"
    assert "used unchanged" in refused(copy, assets, tmp_path, flag)
    for name in ("PK", "KEK", "db"):
        (copy / f"{name}.auth").unlink()
    assert "well-known" in refused(copy, assets, tmp_path, flag)
    vendor = self_signed(tmp_path / "vendor", "vendor")
    (copy / "well-known/db").mkdir(parents=True)
    shutil.copy(vendor.certificate, copy / "well-known/db")
    common = ("--assets", assets, "--secureboot-dir", copy, "--output", tmp_path)
    build("secureboot-iso", *common, flag)
    iso = tmp_path / "metal-amd64-secureboot.iso"
    db = esp_file(iso, "loader/keys/auto/db.auth", tmp_path).read_bytes()
    tool("openssl", "x509", "-in", vendor.certificate, "-outform", "der", "-out", tmp_path / "der")
    assert (tmp_path / "der").read_bytes() in db


def test_grub_is_not_signed(keys: Path, assets: Path, tmp_path: Path) -> None:
    said = refused(keys, assets, tmp_path, "--bootloader", "grub", code=UNSUPPORTED)
    assert "which needs systemd-boot" in said


@pytest.mark.parametrize(
    "more",
    [
        ("--secureboot-enroll-keys", "force"),
        ("--secureboot-include-well-known-certs",),
    ],
)
def test_keys_without_secureboot(assets: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    done = run("iso", "--assets", assets, "--output", tmp_path, *more)
    assert done.returncode == INPUT
    assert "secureboot-iso" in done.stderr


def test_an_unknown_way_to_enrol(keys: Path, assets: Path, tmp_path: Path) -> None:
    said = refused(keys, assets, tmp_path, "--secureboot-enroll-keys", "maybe")
    assert "--secureboot-enroll-keys" in said
    assert "if-safe" in said


def test_keys_that_others_can_read_are_warned_of(keys: Path, assets: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(keys, tmp_path / "keys"))
    (copy / "pcr-signing-key.pem").chmod(0o644)
    common = ("--assets", assets, "--secureboot-dir", copy, "--output", tmp_path)
    done = run("secureboot-iso", *common)
    assert done.returncode == 0
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("warning: "))
    assert "pcr-signing-key.pem" in line


def test_no_secret_is_said_or_written(assets: Path, cache: CacheFixture, tmp_path: Path) -> None:
    """Keys under a passphrase: neither is in logs, plans, reports and outputs."""
    keys, out = tmp_path / "keys", tmp_path / "out"
    out.mkdir()
    env = {"IMAGER_KEY_PASSPHRASE": PASSPHRASE}
    made = run("secureboot", "gen-keys", keys, env=env)
    assert made.returncode == 0, made.stderr
    common = ("--assets", assets, "--secureboot-dir", keys, "--output", out)
    cached = ("--image-cache", cache.folder, "--progress", "json")
    runs = [
        made,
        run("secureboot-iso", *common, *cached, "--dry-run", "--json", env=env),
        run("secureboot-iso", *common, *cached, "--json", env=env),
        run("secureboot-metal", *common, "--out-format", "raw", env=env),
        run("secureboot-iso", *common, "--bootloader", "grub", env=env),
        run("secureboot", "verify", out / "metal-amd64-secureboot.iso", "--json", env=env),
    ]
    said = "".join(done.stdout + done.stderr for done in runs).encode()
    written = b"".join(map(data_of, out.iterdir()))
    wrong = run("secureboot-iso", *common, env={"IMAGER_KEY_PASSPHRASE": "guess"})
    assert wrong.returncode == INPUT
    assert [done.returncode for done in runs] == [0, 0, 0, 0, UNSUPPORTED, 0]
    secrets = [PASSPHRASE.encode(), *map(private_numbers, keys.glob("*[!c]-key.pem"))]
    assert len(secrets) == 4
    for secret in secrets:
        assert secret not in said + wrong.stderr.encode()
        assert secret not in written
    assert b"PRIVATE KEY" not in said + written


def private_numbers(key: Path) -> bytes:
    """Return the first prime of the key, as it would stand in any unencrypted form of it."""
    text = tool("openssl", "rsa", "-in", key, "-passin", f"pass:{PASSPHRASE}", "-noout", "-text")
    found = re.search(r"prime1:\n((?: +[0-9a-f:]+\n)+)", text)
    assert found
    return bytes.fromhex(re.sub(r"[\s:]", "", found[1])).lstrip(b"\0")
