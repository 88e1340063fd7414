"""The manifest of an OVA: every digest in it is checked, and hostile ones are bounded."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from imager.app.verify import verify_image
from imager.content.random_access import file_content
from imager.formats.ova_manifest import manifest_problems

FILES = {"d.ovf": b"<Envelope/>", "d-disk1.vmdk": b"disk" * 900}


def ova(path: Path, manifest: str | None, files: dict[str, bytes] = FILES) -> Path:
    parts = [*files.items()]
    if manifest is not None:
        parts.insert(1, ("d.mf", manifest.encode()))
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in parts:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def lines(kind: str, form: str = "{}({})= {}\n") -> str:
    return "".join(
        form.format(kind, name, hashlib.new(kind.lower(), data).hexdigest())
        for name, data in FILES.items()
    )


@pytest.mark.parametrize(
    "manifest",
    [
        None,
        "",
        lines("SHA1"),
        lines("SHA256"),
        lines("SHA512"),
        lines("SHA256", "{} ({}) = {}\r\n"),
    ],
    ids=["none", "empty", "1", "256", "512", "spaces"],
)
def test_files_that_are_as_listed(manifest: str | None, tmp_path: Path) -> None:
    assert manifest_problems(file_content(ova(tmp_path / "x", manifest)), name="x") == ()


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (lines("SHA256").replace("disk1", "disk2"), "'d-disk2.vmdk', which is missing"),
        (lines("SHA256") * 2, "lists 'd.ovf' twice"),
        ("MD5(d.ovf)= 00\n", "not a digest"),
        ("\0" * 100, "not a digest"),
        ("SHA1(d.ovf)= " + "0" * 40, "'d.ovf' does not match its SHA1 in d.mf"),
        ("x" * (1 << 21), "larger than 1 MiB"),
    ],
)
def test_what_differs_is_named(manifest: str, problem: str, tmp_path: Path) -> None:
    (found,) = manifest_problems(file_content(ova(tmp_path / "x", manifest)), name="x")
    assert problem in found


def test_a_changed_disk_of_an_ova_is_a_problem(tmp_path: Path) -> None:
    changed = {**FILES, "d-disk1.vmdk": b"disc" * 900}
    found = verify_image(str(ova(tmp_path / "x.ova", lines("SHA256"), changed)))
    assert "'d-disk1.vmdk' does not match its SHA256 in d.mf" in [
        each.problem for each in found.problems
    ]
    found = verify_image(str(ova(tmp_path / "x.ova", lines("SHA256"))))
    assert not [each for each in found.problems if "d.mf" in each.problem]
