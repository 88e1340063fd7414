"""Boot assets, profiles and options that are wrong: all told, with what to do next."""

from __future__ import annotations

import pytest

from tests.lib.keys.pe_stub import MACHINE, patched, pe_stub
from tests.lib.tools.cli import MIB, run
from tests.lib.tools.fault_site import INPUT, UNSUPPORTED, Site, check_error, refused


def test_assets_folder_missing(site: Site) -> None:
    done = run("iso", "--assets", site.folder / "none", "--output", site.out, cwd=site.folder)
    check_error(done, INPUT, "--assets", str(site.folder / "none"), "is not a folder")


@pytest.mark.parametrize(
    "name", ["vmlinuz", "initramfs.xz", "systemd-boot.efi", "systemd-stub.efi"]
)
def test_asset_missing(site: Site, name: str) -> None:
    (site.assets / "amd64" / name).unlink()
    done = refused(site, "iso", "--bootloader", "sd-boot")
    check_error(done, INPUT, name, "amd64", str(site.assets), hint="imager assets fetch")


NO_EFI_BINARIES = {
    "empty": b"",
    "script": b"#!/bin/sh\n",
    "cut headers": pe_stub()[:300],
    "cut section": pe_stub()[:1500],
    "wild header": patched(pe_stub(), 0x3C, b"\xff" * 4),
}
KERNEL, LOADER, STUB = "vmlinuz", "systemd-boot.efi", "systemd-stub.efi"


@pytest.mark.parametrize(
    ("kind", "name", "what", "fault"),
    [
        *(("iso", KERNEL, "kernel", fault) for fault in NO_EFI_BINARIES),
        ("metal", KERNEL, "kernel", "empty"),
        ("iso", LOADER, "systemd-boot", "script"),
        ("metal", LOADER, "systemd-boot", "cut section"),
        ("iso", STUB, "systemd-stub", "wild header"),
        ("metal", STUB, "systemd-stub", "cut headers"),
    ],
)
def test_asset_is_no_efi_binary(site: Site, kind: str, name: str, what: str, fault: str) -> None:
    path = site.assets / "amd64" / name
    path.write_bytes(NO_EFI_BINARIES[fault])
    done = refused(site, kind, "--bootloader", "sd-boot")
    check_error(done, INPUT, str(path), what, hint=what)


def test_asset_of_the_wrong_machine_names_both(site: Site) -> None:
    path = site.assets / "amd64/vmlinuz"
    path.write_bytes(patched(pe_stub(), MACHINE, b"\x64\xaa"))
    check_error(refused(site, "iso"), INPUT, "is for arm64, not amd64")


@pytest.mark.parametrize("bootloader", ["sd-boot", "grub", "dual-boot"])
def test_empty_initramfs(site: Site, bootloader: str) -> None:
    (site.assets / "amd64/initramfs.xz").write_bytes(b"")
    done = refused(site, "iso", "--bootloader", bootloader)
    check_error(done, INPUT, "initramfs.xz is empty", hint="imager assets fetch")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("iso", "--arch", "arm64", "--bootloader", "dual-boot"), ("dual-boot", "have no BIOS")),
        (
            ("metal-4k", "--bootloader", "grub", "--talos-version", "v1.10.0"),
            ("grub", "4096-byte sectors"),
        ),
    ],
)
def test_bootloader_that_cannot_be(
    site: Site, command: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = refused(site, *command, code=UNSUPPORTED)
    check_error(done, UNSUPPORTED, *words, hint="sd-boot")


def test_unknown_bootloader(site: Site) -> None:
    check_error(refused(site, "iso", "--bootloader", "lilo"), INPUT, "lilo", "sd-boot")


def test_image_cache_on_a_disk_of_an_older_talos(site: Site) -> None:
    cache = site.flat()
    older = ("--talos-version", "v1.7.0")
    done = refused(site, "metal", *older, "--image-cache", cache.folder, code=UNSUPPORTED)
    check_error(done, UNSUPPORTED, "v1.7.0 has no image cache", hint="Talos v1.9.0 or later")


def test_assets_of_another_architecture_alone(site: Site) -> None:
    done = refused(site, "iso", "--arch", "arm64")
    check_error(done, INPUT, "arm64", hint="imager assets fetch --arch arm64")


TEN_MISTAKES = """\
arch: riscv
platform: vmwear
overlay: {nam: rpi}
versoin: v1.9.0
customization:
  extraKernelArgs: [""]
  metaContents: [{key: 999, value: x}]
input:
  imageCache: {imageRef: a, ociPath: b}
  kernel: {}
output:
  kind: image
  imageOptions: {diskSize: big, diskFormat: qcow}
"""
MISTAKEN = (
    *("arch", "platform", "overlay.nam", "versoin", "customization.extraKernelArgs.0"),
    *("customization.metaContents.0.key", "input.imageCache", "input.kernel.path"),
    *("output.imageOptions.diskSize", "output.imageOptions.diskFormat"),
)


def test_all_mistakes_of_a_profile_at_once(site: Site) -> None:
    done = refused(site, "-", stdin=TEN_MISTAKES)
    check_error(done, INPUT, "standard input: 10 problems", "did you mean version?")
    for path in MISTAKEN:
        assert f"\n  {path}: " in done.stderr, done.stderr


def test_mistakes_of_a_profile_file_name_the_file(site: Site) -> None:
    path = site.folder / "edge.yaml"
    path.write_text(TEN_MISTAKES)
    check_error(refused(site, path), INPUT, f"{path}: 10 problems")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n- list\n",
        "a: b: c",
        "\x00\x01\x02",
        "a: &a [x]\nb: *a\n",
        "[" * 5000,
        "output: !!python/object/apply:os.system [id]\n",
        "baseProfileName: nothing\n",
    ],
)
def test_garbage_on_standard_input(site: Site, text: str) -> None:
    done = refused(site, "-", stdin=text)
    check_error(done, INPUT)


def test_profile_of_many_megabytes(site: Site) -> None:
    check_error(refused(site, "-", stdin="#" * (2 * MIB)), INPUT, "standard input", "1 MiB")


def test_profile_that_is_not_there(site: Site) -> None:
    check_error(refused(site, "./nowhere.yaml"), INPUT, "./nowhere.yaml")


def test_profile_in_a_wrong_encoding(site: Site) -> None:
    path = site.folder / "latin.yaml"
    path.write_bytes("arch: amd64 # für\n".encode("latin-1"))
    check_error(refused(site, path), INPUT, str(path))


# Below Linux's 128 KiB for one argument each.
META_OF_300_KB = (
    "metal",
    *(word for key in "abc" for word in ("--meta", f"0x{key}={100_000 * 'v'}")),
)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("isoo",), ("isoo",)),
        (("iso", "--nonsense"), ("--nonsense",)),
        (("iso", "--arch", "mips"), ("'--arch'", "'mips'", "'amd64', 'arm64'")),
        (("iso", "--platform", "clod"), ("'--platform'", "'clod'", "'metal'")),
        (("iso", "--output-kind", "stick"), ("'--output-kind'", "'stick'", "'iso'")),
        (("iso", "--out-format", ".bz2"), ("'--out-format'", "'raw'")),
        (("iso", "--talos-version", "a b"), ("version", "'a b'")),
        (("iso", "--talos-version", "../../x"), ("version", "'../../x'")),
        (("iso", "--meta", "12"), ("'12'",)),
        (("iso", "--meta", "0x100=a"), ("--meta: ", "0x100")),
        (("iso", "--meta", "0xa=a", "--meta", "10=b"), ("--meta: ", "0xa", "twice")),
        (("iso", "--meta", "0xa=a;b"), (";",)),
        (META_OF_300_KB, ("META", "but only 262104 fit")),
        (
            ("iso", "--extra-kernel-arg", "a\nb"),
            (
                "--extra-kernel-arg: ",
                "one printable kernel argument",
            ),
        ),
        (("iso", "--progress", "loud"), ("loud",)),
    ],
)
def test_bad_options(site: Site, args: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = refused(site, *args)
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_required_images_that_are_missing(site: Site) -> None:
    flat = site.flat()
    wanted = site.folder / "images.txt"
    absent = ("docker.io/library/alpine:3.20", "registry.local:5000/team/img9:v1")
    wanted.write_text("\n".join(["# all", flat.references[0], "", *absent]))
    args = ("--image-cache", flat.folder, "--require-images", wanted)
    done = refused(site, "iso", *args)
    check_error(done, INPUT, "lacks 2 required images", *absent, hint="cache-create")
    assert flat.references[0] not in done.stderr
    wanted.write_text("\n".join(flat.references))
    assert site.run("iso", *args).returncode == 0


def test_required_images_without_a_cache(site: Site) -> None:
    wanted = site.folder / "images.txt"
    wanted.write_text("alpine:3\n")
    done = refused(site, "iso", "--require-images", wanted)
    check_error(done, INPUT, "--require-images", hint="--image-cache")


def test_list_of_required_images_is_bad(site: Site) -> None:
    flat = site.flat()
    wanted = site.folder / "images.txt"
    for text in ("", "# nothing\n", "UPPER/case:x\nok:1\nbad image\n"):
        wanted.write_text(text)
        args = ("--image-cache", flat.folder, "--require-images", wanted)
        check_error(refused(site, "iso", *args), INPUT, str(wanted))
