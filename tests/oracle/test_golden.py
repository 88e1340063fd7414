"""Whole outputs against files written by hand from the formats' description.

Foreign tools say what is in an output; the plan's JSON must say the same.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lib.caches.caches import CacheFixture, make_flat
from tests.lib.tools.cli import (
    MIB,
    REPOSITORY,
    build,
    cut,
    partitions,
    run,
    tool,
)

pytestmark = pytest.mark.oracle

pytestmark = pytest.mark.oracle

GOLDEN = REPOSITORY / "tests" / "golden"
STUB_SECTIONS = [".text"]
WITH_SD_BOOT = pytest.mark.parametrize("golden", ["v1.13.9"], indirect=True)


@pytest.fixture(scope="module", params=["v1.9.0", "v1.13.9"])
def golden(request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((GOLDEN / f"{request.param}.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    return make_flat(tmp_path_factory.mktemp("cache") / "flat", images=1, blob_size=5_000)


@pytest.fixture(scope="module")
def outputs(
    golden: dict[str, Any],
    assets: Path,
    cache: CacheFixture,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return a folder with the ISO, the stick, the disk and the UKI of the golden version."""
    folder = tmp_path_factory.mktemp("out")
    common = ("--assets", assets, "--output", folder, "--talos-version", golden["version"])
    build("iso", *common, "--image-cache", cache.folder)
    build("iso", *common, "--image-cache", cache.folder, "--output-kind", "usb")
    size = f"--image-disk-size={golden['metal']['diskSize']}MiB"
    build("metal", *common, size, "--image-cache", cache.folder, "--out-format", "raw")
    build("metal", *common, "--output-kind", "uki", "--out-format", "raw")
    build("metal", *common, "--output-kind", "cmdline", "--out-format", "raw")
    return folder


@pytest.fixture
def iso(outputs: Path) -> Path:
    return outputs / "metal-amd64.iso"


@pytest.fixture
def disk(outputs: Path) -> Path:
    return outputs / "metal-amd64.raw"


def esp_of(image: Path, folder: Path) -> Path:
    entry = partitions(image)[1][0]
    return cut(image, entry.start, entry.size, folder / "esp.img")


def listed(esp: Path) -> list[str]:
    lines = tool("mdir", "-/", "-b", "-i", esp, "::").splitlines()
    return sorted(line for line in lines if not line.endswith("/"))


def sections(uki: Path) -> list[str]:
    return re.findall(r"^ +\d+ (\.\w+)", tool("objdump", "-h", uki), re.MULTILINE)


def all_sections(uki: Path, name: str) -> list[str]:
    """Return the text of every section called `name`."""
    said = tool("objdump", "-h", uki)
    row = rf"^ +\d+ \{name} +([0-9a-f]+)  \S+  \S+  ([0-9a-f]+)"
    places = [(int(at, 16), int(size, 16)) for size, at in re.findall(row, said, re.MULTILINE)]
    return [uki.read_bytes()[at : at + size].rstrip(b"\0").decode() for at, size in places]


def section(uki: Path, name: str) -> str:
    target = uki.with_suffix(f".section{name}")
    tool("objcopy", f"--dump-section={name}={target}", uki, uki.with_suffix(".copy"))
    return target.read_text()


def test_disk_size_and_partitions(golden: dict[str, Any], disk: Path) -> None:
    expected = golden["metal"]
    guid, entries = partitions(disk)
    assert disk.stat().st_size == expected["diskSize"] * MIB
    assert guid == expected["diskGuid"]
    assert [
        {
            "label": entry.label,
            "type": entry.type_guid,
            "guid": entry.guid,
            "start": entry.start / MIB,
            "size": entry.size / MIB,
        }
        for entry in entries
    ] == expected["partitions"]


def test_disk_without_a_cache_ends_after_meta(
    golden: dict[str, Any], assets: Path, tmp_path: Path
) -> None:
    common = ("--assets", assets, "--output", tmp_path, "--talos-version", golden["version"])
    build("metal", *common, "--out-format", "raw")
    labels = [entry.label for entry in partitions(tmp_path / "metal-amd64.raw")[1]]
    assert labels == ["EFI", "BIOS", "BOOT", "META"]


def test_plan_tells_the_partitions(
    golden: dict[str, Any], assets: Path, cache: CacheFixture, tmp_path: Path
) -> None:
    common = ("--assets", assets, "--output", tmp_path, "--talos-version", golden["version"])
    size = f"--image-disk-size={golden['metal']['diskSize']}MiB"
    plan = build("metal", *common, size, "--image-cache", cache.folder, "--dry-run")
    assert plan["size"] == golden["metal"]["diskSize"] * MIB
    assert plan["version"] == golden["version"]
    assert [
        (region["name"], region["offset"] / MIB, region["length"] / MIB)
        for region in plan["regions"]
        if region["kind"] == "partition"
    ] == [(part["label"], part["start"], part["size"]) for part in golden["metal"]["partitions"]]


@pytest.mark.parametrize(
    ("name", "kind"), [("metal-amd64.iso", "iso"), ("metal-amd64.raw", "metal")]
)
def test_esp_holds_exactly_the_boot_files(
    golden: dict[str, Any], outputs: Path, tmp_path: Path, name: str, kind: str
) -> None:
    esp = esp_of(outputs / name, tmp_path)
    assert listed(esp) == sorted(golden["esp"][kind])


@WITH_SD_BOOT
@pytest.mark.parametrize(
    ("name", "kind"), [("metal-amd64.iso", "iso"), ("metal-amd64.raw", "metal")]
)
def test_systemd_boots_configuration(
    golden: dict[str, Any], outputs: Path, tmp_path: Path, name: str, kind: str
) -> None:
    esp = esp_of(outputs / name, tmp_path)
    assert tool("mtype", "-i", esp, "::/loader/loader.conf") == golden["loaderConf"][kind]


@WITH_SD_BOOT
def test_no_random_seed_is_written_to_a_medium(iso: Path, tmp_path: Path) -> None:
    esp = esp_of(iso, tmp_path)
    tool("mcopy", "-i", esp, "::/loader/random-seed", tmp_path / "seed")
    assert (tmp_path / "seed").read_bytes() == bytes(32)
    assert re.search(r"^ +A? +R ", tool("mattrib", "-i", esp, "::/loader/random-seed"))


@WITH_SD_BOOT
@pytest.mark.parametrize(
    ("name", "kind"), [("metal-amd64.iso", "iso"), ("metal-amd64.raw", "metal")]
)
def test_uki_in_the_esp(
    golden: dict[str, Any], outputs: Path, tmp_path: Path, name: str, kind: str
) -> None:
    esp = esp_of(outputs / name, tmp_path)
    uki = tmp_path / "uki.efi"
    tool("mcopy", "-i", esp, f"::/EFI/Linux/Talos-{golden['version']}.efi", uki)
    profile = [".profile", ".cmdline"]
    assert sections(uki) == STUB_SECTIONS + golden["uki"]["sections"] + profile
    assert section(uki, ".cmdline") == golden[kind]["cmdline"]
    assert section(uki, ".uname") == golden["uki"]["uname"]
    assert section(uki, ".osrel").replace('"', "").splitlines() == [
        "NAME=Talos",
        "ID=talos",
        f"VERSION_ID={golden['version']}",
        f"PRETTY_NAME=Talos ({golden['version']})",
        "HOME_URL=https://www.talos.dev/",
        "BUG_REPORT_URL=https://github.com/siderolabs/talos/issues",
        "VENDOR_NAME=Sidero Labs",
        "VENDOR_URL=https://www.siderolabs.com/",
    ]
    assert all_sections(uki, ".profile") == golden["uki"]["profiles"][kind]
    argument = f"talos.experimental.wipe={golden['uki']['wiped'][kind]}"
    assert all_sections(uki, ".cmdline")[1] == f"{golden[kind]['cmdline']} {argument}"


def test_uki_output(golden: dict[str, Any], outputs: Path) -> None:
    uki = outputs / "metal-amd64-uki.efi"
    assert sections(uki) == STUB_SECTIONS + golden["uki"]["sections"]
    assert section(uki, ".cmdline") == golden["metal"]["cmdline"]


def test_cmdline_output(golden: dict[str, Any], outputs: Path) -> None:
    assert (outputs / "cmdline-metal-amd64").read_text() == golden["metal"]["cmdline"]


def test_iso_tree(golden: dict[str, Any], iso: Path, cache: CacheFixture) -> None:
    found = tool("xorriso", "-indev", iso, "-find", "/", "-type", "f", "-exec", "echo", "--")
    paths = {line.strip("'") for line in found.splitlines() if line.startswith("'/")}
    cached = {f"/imagecache/{path}" for path in cache.files}
    assert paths >= set(golden["iso"]["tree"]) | cached
    # Besides these there is only what El Torito needs: its catalog, and an image for each firmware.
    assert len(paths - set(golden["iso"]["tree"]) - cached) <= 3


def test_iso_volume_id_and_boot_entries(golden: dict[str, Any], iso: Path) -> None:
    said = tool("xorriso", "-indev", iso, "-pvd_info", "-report_el_torito", "plain")
    assert f"Volume Id    : {golden['iso']['volumeId']}\n" in said
    assert re.findall(r"boot img : +\d+ +(\w+)", said) == golden["iso"]["elTorito"]


def test_stick(golden: dict[str, Any], outputs: Path, cache: CacheFixture, tmp_path: Path) -> None:
    stick = outputs / "metal-amd64-usb.img"
    guid, (entry,) = partitions(stick)
    expected = golden["usb"]["partition"]
    assert guid == golden["usb"]["diskGuid"]
    assert (entry.label, entry.type_guid, entry.guid, entry.start / MIB) == (
        golden["usb"]["label"],
        *(expected[key] for key in ("type", "guid", "start")),
    )
    volume = esp_of(stick, tmp_path)
    cached = [f"::/imagecache/{path}" for path in cache.files]
    assert listed(volume) == sorted(golden["esp"]["iso"] + cached)
    assert f"is {golden['usb']['label']}" in tool("mlabel", "-s", "-i", volume)


def test_extra_kernel_arguments_change_the_golden_line(
    golden: dict[str, Any], assets: Path, tmp_path: Path
) -> None:
    extra = ("--extra-kernel-arg", "-pti", "--extra-kernel-arg", "console=ttyS1,115200")
    kind = ("--output-kind", "cmdline", "--out-format", "raw")
    common = ("--assets", assets, "--output", tmp_path, "--talos-version", golden["version"])
    build("metal", *common, *kind, *extra, "--extra-kernel-arg", "net.ifnames=0")
    expected = golden["metal"]["cmdline"].replace(" pti=on", "")
    expected = expected.replace("console=tty0", "console=ttyS1,115200") + " net.ifnames=0"
    assert (tmp_path / "cmdline-metal-amd64").read_text() == expected


def test_plan_without_json_is_for_people(assets: Path, tmp_path: Path) -> None:
    done = run("iso", "--assets", assets, "--output", tmp_path, "--dry-run")
    assert done.returncode == 0
    with pytest.raises(json.JSONDecodeError):
        json.loads(done.stdout)
