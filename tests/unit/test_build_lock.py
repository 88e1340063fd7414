"""Lock files as untrusted input, and the differences between two locks."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imager.app.lock.changes import changes
from imager.app.lock.errors import InvalidLockError
from imager.app.lock.inputs import BuildInput, InputKind
from imager.app.lock.model import Lock, lock_schema, lock_text, read_lock
from imager.oci.digest import Digest
from imager.oci.reference import Reference
from imager.support.errors import InputError
from tests.lib.tools.cli import invoke
from tests.lib.tools.examples import edit_count

ONE, TWO = Digest("1" * 64), Digest("2" * 64)
CACHE = BuildInput(InputKind.IMAGE_CACHE, "input.imageCache", "registry.local/cache:v1", ONE)
KERNEL = BuildInput(InputKind.BOOT_ASSET, "vmlinuz", "/assets/vmlinuz", ONE)
LOCK = Lock(
    imager="0.1.0",
    sourceDateEpoch=1,
    profile={"output": {"kind": "iso"}},
    inputs=(KERNEL, CACHE),
    programs={"mksquashfs": "4.5"},
    packages={"pycdlib": "1.22"},
)


def written(folder: Path, data: bytes) -> Path:
    path = folder / "imager.lock"
    path.write_bytes(data)
    return path


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    path = written(tmp_path, lock_text(LOCK).encode())
    assert read_lock(path) == LOCK
    assert lock_text(read_lock(path)) == path.read_text()
    assert LOCK.pins.digests == {Reference.parse("registry.local/cache:v1"): ONE}


def test_only_pinned_tags_become_digests() -> None:
    pins = LOCK.pins
    tagged, other = (Reference.parse(f"registry.local/cache:{tag}") for tag in ("v1", "v2"))
    assert pins.pinned(tagged) == replace(tagged, digest=ONE)
    assert pins.pinned(other) == other
    own = replace(tagged, digest=TWO)
    assert pins.pinned(own) == own
    assert [pins.leaves_out(each) for each in (tagged, other, ONE, TWO)] == [False, True] * 2
    assert not Lock(imager="0.1.0").pins.leaves_out(other)


CHANGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "lock": lambda lock: lock.update(lock=2),
    "inputs.0.digest": lambda lock: lock["inputs"][0].update(digest="sha256:1"),
    "inputs.0.kind": lambda lock: lock["inputs"][0].update(kind="x"),
    "inputs.0.more": lambda lock: lock["inputs"][0].update(more="x"),
    "sourceDateEpoch": lambda lock: lock.update(sourceDateEpoch=-1),
    "programs.mksquashfs": lambda lock: lock["programs"].update(mksquashfs="x" * 5000),
    "profile": lambda lock: lock.update(profile={"deep": json.loads("[" * 500 + "]" * 500)}),
    "other": lambda lock: lock.update(other=1),
    "imager": lambda lock: lock.pop("imager"),
}


@pytest.mark.parametrize("where", CHANGED)
def test_what_is_no_lock_is_named(where: str, tmp_path: Path) -> None:
    value = json.loads(lock_text(LOCK))
    CHANGED[where](value)
    with pytest.raises(InvalidLockError, match=f"\n  {where}: "):
        read_lock(written(tmp_path, json.dumps(value).encode()))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{" * 100_000,
        b'{"lock": 1, "lock": 1}',
        b"\xff",
        b"\0",
        b" " * (4 << 20) + b"1",
    ],
    ids=["empty", "list", "deep", "twice", "binary", "nul", "large"],
)
def test_damaged_files_are_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"imager\.lock"):
        read_lock(written(tmp_path, data))


@pytest.mark.fuzz
def test_no_edit_of_a_lock_is_a_crash(tmp_path: Path) -> None:
    text = lock_text(LOCK).encode()
    for seed in range(edit_count(200)):
        edits, data = random.Random(seed), bytearray(text)
        for _ in range(edits.randint(1, 4)):
            place = edits.randrange(len(data))
            data[place : place + edits.randint(0, 3)] = edits.randbytes(edits.randint(0, 3))
        try:
            read_lock(written(tmp_path, bytes(data)))
        except InputError:
            continue


def test_the_schema_describes_what_is_written() -> None:
    schema, value = lock_schema(), json.loads(lock_text(LOCK))
    assert schema["properties"].keys() == value.keys()
    assert schema["additionalProperties"] is False
    one = schema["$defs"]["BuildInput"]
    assert one["properties"].keys() == value["inputs"][0].keys()
    assert one["additionalProperties"] is False


def of(**fields: Any) -> Lock:
    return LOCK.model_copy(update=fields)


@pytest.mark.parametrize(
    ("new", "found"),
    [
        (of(), []),
        (
            of(imager="0.2.0"),
            ["imager: pinned 0.1.0, found 0.2.0; run imager 0.1.0"],
        ),
        (
            of(profile={"output": {"kind": "usb"}}),
            ["profile.output.kind: pinned iso, found usb; correct the profile or the options"],
        ),
        (of(inputs=(replace(KERNEL, place="/elsewhere"), CACHE)), []),
        (
            of(inputs=(replace(KERNEL, digest=TWO), CACHE)),
            [
                f"boot-asset vmlinuz: pinned {ONE}, found {TWO}; put the pinned file at"
                " /assets/vmlinuz back"
            ],
        ),
        (
            of(inputs=(KERNEL, replace(CACHE, place="registry.local/cache:v2"))),
            [
                f"image-cache input.imageCache: pinned registry.local/cache:v1@{ONE}, found"
                f" registry.local/cache:v2@{ONE}; name registry.local/cache:v1 again"
            ],
        ),
        (
            of(inputs=(CACHE,)),
            [
                f"boot-asset vmlinuz: pinned {ONE}, found nothing; put the pinned file at"
                " /assets/vmlinuz back"
            ],
        ),
        (
            of(inputs=(*LOCK.inputs, replace(KERNEL, name="more"))),
            [f"boot-asset more: pinned nothing, found {ONE}; leave it out"],
        ),
        (
            of(packages={"pycdlib": "2"}, programs={}),
            [
                "mksquashfs: pinned 4.5, found nothing; install the version 4.5",
                "pycdlib: pinned 1.22, found 2; install the version 1.22 with pip",
            ],
        ),
    ],
)
def test_differences(new: Lock, found: list[str]) -> None:
    assert [change.difference() for change in changes(LOCK, new)] == found


@pytest.mark.parametrize(
    ("kind", "command", "words"),
    [
        ("none", ("lock", "cmdline", "--update"), "--update: {file} does not exist"),
        ("images", ("lock", "cmdline"), "{file} exists"),
        ("images", ("cmdline", "--dry-run", "--locked"), "{file} locks a list of images, not a"),
        ("build", ("cmdline", "--dry-run", "--no-verify", "--locked"), "--no-verify does not"),
        ("damaged", ("lock", "cmdline", "--update"), "{file} is not valid JSON"),
    ],
)
def test_a_lock_that_does_not_fit(
    kind: str, command: tuple[str, ...], words: str, assets: Path, tmp_path: Path
) -> None:
    file, profile = tmp_path / "imager.lock", tmp_path / "profile.yaml"
    profile.write_text("output: {kind: cmdline}\n")
    texts = {"build": lock_text(LOCK), "images": lock_text(Lock(imager="0.1.0")), "damaged": "{"}
    if kind in texts:
        file.write_text(texts[kind])
    argv = [str(profile) if word == "cmdline" else word for word in command]
    named = () if argv[-1] == "--locked" else ("-o",)
    done = invoke(*argv, *named, file, "--assets", assets)
    assert done.exit_code == 2
    assert words.format(file=file) in done.message
