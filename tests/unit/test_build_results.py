"""What a build says: its boot assets, what it replaces, its plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imager.bootassets.sources import RECORD
from imager.support.folders import temporary_place
from tests.lib.caches.caches import CacheFixture, make_flat, make_layout
from tests.lib.tools.cli import Invoked, invoke, synthetic_assets

TRIAL = "trial default of `imager assets fetch`, not Talos: kernel 6.12.6-talos"
VERSIONS = "kernel 6.12.6-talos, systemd-boot 257.1, systemd-stub 257.1"
SD_BOOT = ("--bootloader", "sd-boot")


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    return synthetic_assets(tmp_path / "assets")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    return make_flat(tmp_path_factory.mktemp("cache") / "flat", images=12, blob_size=20_000)


def build(assets: Path, out: Path, *options: str | Path, profile: str = "iso") -> Invoked:
    return invoke(profile, "--assets", assets, "-o", out, *options)


def printed(done: Invoked) -> Any:
    assert done.exit_code == 0, done.message
    return json.loads(done.stdout)


def test_the_trial_default_is_called_that(assets: Path, tmp_path: Path) -> None:
    (assets / "amd64" / RECORD).write_text("{}")
    assert f"boot assets: {TRIAL}" in build(assets, tmp_path / "out").stdout
    plan = build(assets, tmp_path / "out", "--dry-run").stdout
    assert TRIAL in plan
    for options in ((), ("--dry-run",)):
        told = printed(build(assets, tmp_path / "out", "--json", *options))["bootAssets"]
        assert told["trialDefault"] is True


def test_boot_assets_of_talos_are_told_by_their_versions(assets: Path, tmp_path: Path) -> None:
    (assets / "version").write_text("v1.9.3\n")
    assert f"boot assets: Talos v1.9.3: {VERSIONS}\n" in build(assets, tmp_path).stdout
    assert printed(build(assets, tmp_path, "--json"))["bootAssets"] == {
        "folder": str(assets / "amd64"),
        "trialDefault": False,
        "talosVersion": "v1.9.3",
        "kernel": "6.12.6-talos",
        "systemdBoot": "257.1",
        "systemdStub": "257.1",
    }


def test_a_kernel_out_of_the_trial_default_is_told(assets: Path, tmp_path: Path) -> None:
    trial = synthetic_assets(tmp_path / "trial")
    (trial / "amd64" / RECORD).write_text("{}")
    profile = tmp_path / "edge.yaml"
    profile.write_text(
        f"baseProfileName: iso\ninput: {{kernel: {{path: {trial / 'amd64' / 'vmlinuz'}}}}}\n"
    )
    assert TRIAL in build(assets, tmp_path / "out", profile=str(profile)).stdout


def test_assets_that_are_missing_or_damaged_have_no_version(assets: Path, tmp_path: Path) -> None:
    (assets / "amd64" / "vmlinuz").write_bytes(b"no kernel")
    (assets / "amd64" / "systemd-stub.efi").unlink()
    told = printed(build(assets, tmp_path, "--json", "--output-kind=cmdline"))["bootAssets"]
    assert (told["kernel"], told["systemdBoot"], told["systemdStub"]) == (None, "257.1", None)


def test_a_version_file_without_a_version(assets: Path, tmp_path: Path) -> None:
    (assets / "version").write_text("latest\n")
    done = build(assets, tmp_path)
    assert done.exit_code == 2
    assert (
        f"the version file beside the boot assets in {assets / 'amd64'}: 'latest'" in done.message
    )
    assert "`--talos-version`" in done.message
    assert build(assets, tmp_path, "--talos-version=v1.9.0").exit_code == 0


def test_what_is_replaced_is_said(assets: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    first = build(assets, out, *SD_BOOT, profile="metal")
    assert "  replaced " not in first.stdout
    plan = build(assets, out, "--dry-run", profile="metal-4k").stdout
    assert "\nreplaces         a file of " in plan
    second = build(assets, out, profile="metal-4k").stdout
    assert "\n  replaced a file of " in second
    assert ", with sectors of 512 bytes, written 20" in second
    third = printed(build(assets, out, "--json", *SD_BOOT, profile="metal"))
    assert third["replaced"]["sectorSize"] == 4096
    assert third["replaced"]["modified"].endswith("+00:00")
    assert [path.name for path in out.iterdir()] == ["metal-amd64.raw.zst"]


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_no_clobber_leaves_a_file_as_it_is(
    assets: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    file = tmp_path / "out" / "edge.iso"
    assert build(assets, file, "--no-clobber").exit_code == 0
    file.write_text("mine")
    done = build(assets, file, "--no-clobber", *options)
    assert done.exit_code == 2
    assert f"{file} exists already" in done.message
    assert file.read_text() == "mine"


def test_a_plan_shows_partitions_and_what_is_large_first(
    assets: Path, tmp_path: Path, cache: CacheFixture
) -> None:
    done = build(
        assets, tmp_path, "--dry-run", *SD_BOOT, "--image-cache", cache.folder, profile="metal"
    )
    tables = done.stdout.split("\n\n")
    assert [line.split() for line in tables[0].split("\n")[:3]] == [
        ["OFFSET", "SIZE", "PARTITION"],
        ["1.0", "MiB", "1101.0", "MiB", "EFI", "(FAT32)"],
        ["1102.0", "MiB", "1.0", "MiB", "META", "(raw)"],
    ]
    files = tables[1].split("\n")
    assert files[0].split() == ["SIZE", "FILE"]
    assert files[1].endswith("EFI/EFI/Linux/Talos-v1.9.0.efi")
    assert len(files) == 12
    assert files[-1].startswith("and ")
    assert files[-1].endswith(" in all: see --files")
    assert "bytes" not in done.stdout


def test_files_has_every_one_to_the_byte(assets: Path, tmp_path: Path, cache: CacheFixture) -> None:
    options = ("--dry-run", *SD_BOOT, "--image-cache", cache.folder)
    done = build(assets, tmp_path, *options, "--files", profile="metal")
    plan = printed(build(assets, tmp_path, *options, "--json", profile="metal"))
    rows = [line.split() for line in done.stdout.split("\n\n")[0].split("\n")[1:]]
    assert [(int(row[0]), int(row[1])) for row in rows] == [
        (region["offset"], region["length"]) for region in plan["regions"]
    ]


def test_insecure_is_for_registries_and_needs_no_cache(assets: Path, tmp_path: Path) -> None:
    assert build(assets, tmp_path, "--insecure=true", "--dry-run").exit_code == 0


def test_an_empty_image_cache_is_no_cache_left_out(assets: Path, tmp_path: Path) -> None:
    assert "--image-cache is empty" in build(assets, tmp_path, "--image-cache=").message


def test_files_are_for_plans(assets: Path, tmp_path: Path) -> None:
    assert "--files needs --dry-run" in build(assets, tmp_path, "--files").message


def test_required_images_of_all_options_are_required(
    assets: Path, tmp_path: Path, cache: CacheFixture
) -> None:
    first, second = cache.references[:2]
    options = ("--image-cache", cache.folder, "--dry-run", f"--require-images={first}")
    assert build(assets, tmp_path, *options, f"--require-images={second}").exit_code == 0
    done = build(assets, tmp_path, *options, "--require-images=quay.io/no/such:v1")
    assert "lacks 1 required image" in done.message
    assert "quay.io/no/such:v1" in done.message


def test_a_cache_that_does_not_fit_is_told_in_a_dry_run(
    tmp_path: Path, cache: CacheFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = make_layout(cache, tmp_path / "layout")
    entry = f"registry.local/cache:v1=oci:{layout}"
    options = ("--dry-run", "--images", entry, "--image-cache-path", tmp_path / "new")
    done = invoke("images", "cache-create", *options)
    assert done.exit_code == 0, done.message
    monkeypatch.setattr("imager.support.folders.free_space", lambda _: 4096)
    done = invoke("images", "cache-create", *options)
    assert done.exit_code == 4
    assert "space needed" in done.stdout
    assert "4 KiB free" in done.message


def test_a_disk_that_no_device_takes(assets: Path, tmp_path: Path) -> None:
    for profile, words in (
        ("azure", "this is a disk image in the format vhd"),
        ("metal-uki", "this is the output uki"),
    ):
        done = invoke(profile, "--assets", assets, "--output-device", tmp_path, "--yes")
        assert done.exit_code == 3
        assert words in done.message
        assert "such as metal, or write to a file with --output" in done.message
        assert "output." not in done.message


def test_the_plan_of_what_is_sent_needs_no_space(assets: Path, tmp_path: Path) -> None:
    def plan(*options: str) -> tuple[str, Any]:
        given: tuple[str | Path, ...] = ("iso", "--assets", assets, "--dry-run", *options)
        return invoke(*given).stdout, json.loads(invoke(*given, "--json").stdout)

    text, values = plan("--output=-", "--out-format=.zst")
    assert "\noutput           standard output (.zst)\n" in text
    assert "space " not in text
    assert (values["spaceNeeded"], values["spaceFree"], values["device"]) == (0, None, None)
    text, values = plan("--tar-to-stdout", "--out-format=.zst")
    place = f"{temporary_place()}\n"
    assert "\noutput           metal-amd64.iso.zst in a tar.gz on standard output (.zst)\n" in text
    assert place in text.partition("space free")[2]
    assert values["spaceNeeded"] > 0
    assert values["output"] == "metal-amd64.iso.zst"
