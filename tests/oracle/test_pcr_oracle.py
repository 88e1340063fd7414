"""PCR policies held against those of systemd-measure, the one of Debian 12 and that of 13."""

from __future__ import annotations

import base64
import json
import random
import subprocess
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from imager.bootassets.find import Asset, BootAssets, find_assets
from imager.bootassets.kernelimage import unified_kernel_image
from imager.content.extents import Content
from imager.content.reading import hash_content
from imager.efi.measured import check_pcr_policy
from imager.efi.pcr import (
    after_phases,
    measured_sections,
    pcr_policy,
    pcr_value,
    public_key_pem,
    sign_policies,
)
from imager.efi.systemd import version_number
from imager.efi.uki_sections import UkiProfile
from imager.support.arch import AMD64
from tests.lib.keys.pcr_keys import PcrKey
from tests.lib.machines.tpm import tpm_of_the_host
from tests.lib.tools.cli import environment, real_assets, tool
from tests.lib.tools.support import write_content
from tests.lib.tools.trixie import make_trixie_assets, unpack_measure

pytestmark = pytest.mark.oracle

OLD_MEASURE = ("/usr/lib/systemd/systemd-measure",)
# In the order in which systemd-measure sorts them.
PHASES = ("a:b", "enter-initrd", "enter-initrd:leave-initrd:enter-machined")
NAMES = ("linux", "osrel", "cmdline", "initrd", "splash", "dtb", "pcrpkey")
NEW_NAMES = (*NAMES, "ucode", "uname", "sbat", "profile")


@pytest.fixture(scope="module")
def new_measure(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str | Path]:
    return unpack_measure(tmp_path_factory.mktemp("trixie"))


@pytest.fixture(scope="module")
def trixie(tmp_path_factory: pytest.TempPathFactory) -> BootAssets:
    folder = make_trixie_assets(tmp_path_factory.mktemp("assets") / "new", default=real_assets())
    return find_assets(AMD64, given=folder)


def make_contents(names: Sequence[str], pcr_key: PcrKey) -> dict[str, bytes]:
    randomness = random.Random(5)
    contents = {name: randomness.randbytes(randomness.randrange(1, 9000)) for name in names}
    return {
        **contents,
        "linux": randomness.randbytes(3_000_001),
        "pcrpkey": public_key_pem(pcr_key),
    }


def measured(
    program: Sequence[str | Path],
    verb: str,
    contents: Mapping[str, bytes],
    folder: Path,
    *options: str | Path,
    phases: Sequence[str] = PHASES,
) -> list[dict[str, str]]:
    """Return what systemd-measure says of the bank of SHA-256."""
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    sections = [f"--{name}={folder / name}" for name in contents]
    paths = [f"--phase={path}" for path in phases]
    argv = [*program, verb, "--bank=sha256", "--json=short", *sections, *paths, *options]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, str]] = json.loads(done.stdout)["sha256"]
    return found


def value_of(contents: Mapping[str, bytes], stub: int) -> bytes:
    digests = {f".{n}": hash_content(Content.of_bytes(data)) for n, data in contents.items()}
    return pcr_value(digests, stub=stub)


def test_the_old_systemd_measure_has_the_same_values(pcr_key: PcrKey, tmp_path: Path) -> None:
    contents = make_contents(NAMES, pcr_key)
    said = measured(OLD_MEASURE, "calculate", contents, tmp_path)
    value = value_of(contents, 252)
    assert {each["phase"]: each["hash"] for each in said} == {
        path: after_phases(value, path).hex() for path in PHASES
    }
    changed = {**contents, "cmdline": contents["cmdline"] + b" "}
    others = {each["hash"] for each in measured(OLD_MEASURE, "calculate", changed, tmp_path)}
    assert not others & {each["hash"] for each in said}


def test_the_new_systemd_measure_has_the_same_values(
    pcr_key: PcrKey, new_measure: Sequence[str | Path], tmp_path: Path
) -> None:
    contents = make_contents(NEW_NAMES, pcr_key)
    said = measured(new_measure, "calculate", contents, tmp_path)
    value = value_of(contents, 257)
    assert {each["phase"]: each["hash"] for each in said} == {
        path: after_phases(value, path).hex() for path in PHASES
    }


def test_both_sign_the_same_policies(
    pcr_key: PcrKey, new_measure: Sequence[str | Path], tmp_path: Path
) -> None:
    keys = (f"--private-key={pcr_key.private}", f"--public-key={pcr_key.public}")
    old, new = make_contents(NAMES, pcr_key), make_contents(NEW_NAMES, pcr_key)
    ours = json.loads(sign_policies(value_of(old, 252), pcr_key, phase_paths=PHASES))["sha256"]
    with tpm_of_the_host() as tpm:
        device = f"--tpm2-device={tpm}"
        assert ours == measured(OLD_MEASURE, "sign", old, tmp_path, *keys, device)
    ours = json.loads(sign_policies(value_of(new, 257), pcr_key, phase_paths=PHASES))["sha256"]
    assert ours == measured(new_measure, "sign", new, tmp_path, *keys)


def test_real_stubs_name_the_sections_that_they_measure(trixie: BootAssets) -> None:
    """Each stub looks its sections up by their names, which stand among its strings."""
    for assets in (find_assets(AMD64, given=real_assets()), trixie):
        stub = assets.path(Asset.SD_STUB)
        strings = set(tool("strings", "-n", "4", stub).split())
        version = version_number(Content.of_file(stub), "stub")
        named = {name for name in measured_sections(999) if name in strings}
        assert named == set(measured_sections(version)), version


def test_a_uki_of_real_assets(pcr_key: PcrKey, trixie: BootAssets, tmp_path: Path) -> None:
    """objdump and objcopy see all sections; each .pcrsig is what systemd-measure's would be."""
    profiles = (UkiProfile("reset", "Reset", "quiet wipe"),)
    uki = write_content(
        unified_kernel_image(
            trixie, release="ID=talos\n", cmdline="quiet", profiles=profiles, pcr_signer=pcr_key
        ),
        tmp_path / "uki.efi",
    )
    rows = [line.split() for line in tool("objdump", "-h", uki).splitlines()]
    listed = [row[1] for row in rows if row and row[0].isdigit()]
    assert listed.count(".sbat") == 1
    assert listed[listed.index(".osrel") :] == [
        *(".osrel", ".cmdline", ".uname", ".pcrpkey", ".linux", ".initrd"),
        *(".profile", ".pcrsig", ".profile", ".cmdline", ".pcrsig"),
    ]
    tool("objcopy", "-O", "binary", "-j", ".sbat", uki, tmp_path / "sbat")
    assert (tmp_path / "sbat").read_bytes().startswith(b"sbat,1,SBAT Version,")
    tool("objcopy", "-O", "binary", "-j", ".uname", uki, tmp_path / "uname")
    packages = json.loads((real_assets() / "amd64/sources.json").read_text())["packages"]
    (kernel,) = (each["name"] for each in packages if each["name"].startswith("linux-image-"))
    assert (tmp_path / "uname").read_text() == kernel.removeprefix("linux-image-")
    assert [(each.profile, each.problems) for each in check_pcr_policy(Content.of_file(uki))] == [
        ("main", ()),
        ("reset", ()),
    ]


def test_the_json_has_a_signed_policy_for_each_phase(pcr_key: PcrKey, tmp_path: Path) -> None:
    value = bytes(range(32))
    data = sign_policies(value, pcr_key, phase_paths=("enter-initrd", "enter-initrd:leave-initrd"))
    entries = json.loads(data)["sha256"]
    assert list(json.loads(data)) == ["sha256"]
    assert [list(entry) for entry in entries] == [["pcrs", "pkfp", "pol", "sig"]] * 2
    assert [entry["pcrs"] for entry in entries] == [[11], [11]]
    assert [entry["pol"] for entry in entries] == [
        pcr_policy(after_phases(value, path)).hex()
        for path in ("enter-initrd", "enter-initrd:leave-initrd")
    ]
    der = tool("openssl", "rsa", "-pubin", "-in", pcr_key.public, "-RSAPublicKey_out", "-outform",
               "DER", "-out", tmp_path / "der")  # fmt: skip
    assert "writing" in der
    assert entries[0]["pkfp"] == sha256((tmp_path / "der").read_bytes()).hexdigest()
    (tmp_path / "pol").write_bytes(bytes.fromhex(entries[1]["pol"]))
    (tmp_path / "sig").write_bytes(base64.b64decode(entries[1]["sig"]))
    verify = ("dgst", "-sha256", "-verify", pcr_key.public, "-signature", tmp_path / "sig")
    assert "Verified OK" in tool("openssl", *verify, tmp_path / "pol")
    assert "Verification" in tool("openssl", *verify, tmp_path / "sig", status=1)
