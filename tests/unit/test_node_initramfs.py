"""What the node's root file system is made of: the lists, names, bytecode, ELF files, wheels."""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import re
import struct
import subprocess
import sys
import tomllib
import zipfile
from functools import partial
from pathlib import Path

import pytest

from imager.content.elf import Elf, elf_bits
from imager.content.extents import Content
from imager.content.tree import File, Link, Tree
from imager.distro import noderoot, wheels
from imager.distro.bytecode import compiled
from imager.distro.flavors import NODE, WITNESS, find_flavor
from imager.distro.noderoot import own_root, read_file_list
from imager.distro.packages import FetchContext
from imager.distro.wheels import Wheel, get_wheels, locked_wheels, wheel_files
from imager.formats.squashfs import Compression, cached_squashfs_image
from imager.support.arch import AMD64, ARM64
from imager.support.errors import DependencyError, InputError
from tests.lib.tools.cli import REPOSITORY

PACKAGES = "usr/lib/python3/dist-packages"


def make_wheel(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), name)
    return path


def context(tmp_path: Path) -> FetchContext:
    return FetchContext(tmp_path / "cache", tmp_path)


def test_both_architectures_have_the_same_wheels() -> None:
    pins = [[(each.name, each.version) for each in locked_wheels(arch)] for arch in (AMD64, ARM64)]
    assert pins[0] == pins[1]


def test_the_wheels_are_what_the_project_asks_for() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = {re.split(r"[<>=!~]", line)[0].lower(): line for line in project["dependencies"]}
    packaging = pytest.importorskip("packaging.requirements")
    judged = 0
    for wheel in locked_wheels(AMD64):
        if wheel.name in asked:
            judged += 1
            assert wheel.version in packaging.Requirement(asked[wheel.name]).specifier, wheel
    assert judged >= 5


def test_a_line_of_the_lock_without_a_digest_is_refused() -> None:
    with pytest.raises(ValueError, match="pins no wheel"):
        wheels._parse("aiohttp==3.14.5")


def test_wheels_in_the_cache_are_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "run_tool", None)
    data = make_wheel(tmp_path / "a.whl", "a.py").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    place = tmp_path / "cache" / f"{digest}.whl"
    place.parent.mkdir()
    place.write_bytes(data)
    assert get_wheels([Wheel("a", "1", digest)], AMD64, context(tmp_path)) == (place,)


def test_a_damaged_wheel_in_the_cache_is_downloaded_again_and_pips_failure_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    wheel = Wheel("a", "1", "0" * 64)
    place = tmp_path / "cache" / f"{wheel.sha256}.whl"
    place.parent.mkdir()
    place.write_bytes(b"other bytes")
    with pytest.raises(DependencyError, match=r"Python packages: .* failed") as caught:
        get_wheels([wheel], AMD64, context(tmp_path))
    assert "PIP_INDEX_URL" in caught.value.hint


@pytest.mark.parametrize(
    "name", ["../a.py", "/a.py", "a/../../b.py", "a//b.py", "a\\b.py", "a-1.data/scripts/a"]
)
def test_a_wheel_whose_names_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DependencyError, match="not a usable wheel"):
        list(wheel_files(make_wheel(tmp_path / "a.whl", "a.py", name)))


def test_what_is_no_zip_is_no_wheel(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"PK?")
    with pytest.raises(DependencyError, match="not a usable wheel"):
        list(wheel_files(tmp_path / "a.whl"))


def test_a_module_is_compiled_without_a_check_of_its_source() -> None:
    name, data = compiled("lib/a.py", b"x = ('s', 1)\n")
    assert name == "lib/a.pyc"
    assert data[:4] == importlib.util.MAGIC_NUMBER
    # PEP 552: bit 0 is that it goes by a hash, bit 1 that it is checked.
    assert struct.unpack("<I", data[4:8]) == (1,)
    assert marshal.loads(data[16:]).co_filename == "/lib/a.py"


def test_bytecode_does_not_depend_on_what_ran_before() -> None:
    program = (
        "import sys, hashlib\nfrom imager.distro.bytecode import compiled\n"
        "source = open(sys.argv[1], 'rb').read()\nkeep = [sys.intern('self'), 'x' * 3]\n"
        "kept = compile(source, 'other', 'exec') if sys.argv[2] == 'used' else None\n"
        "print(hashlib.sha256(compiled('a.py', source)[1]).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program, REPOSITORY / "imager/distro/apt.py", state],
            env={"PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        for state, seed in (("used", "1"), ("new", "2"))
    }
    assert len(digests) == 1


def test_what_cannot_be_compiled_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled("a.txt", b"x") == ("a.txt", b"x")
    assert compiled("a.py", b"print 1") == ("a.py", b"print 1")
    monkeypatch.setattr("imager.distro.bytecode.MAGIC_NUMBER", b"other")
    assert compiled("a.py", b"x = 1") == ("a.py", b"x = 1")


def test_a_program_runs_without_its_sections(tmp_path: Path) -> None:
    whole = Path(sys.executable).resolve().read_bytes()
    debugged = whole + b"debug" * 100_000
    part = Elf.parse(debugged).loaded_part()
    assert elf_bits(part) == 64
    assert len(part) <= len(whole)
    program = tmp_path / "true"
    program.write_bytes(Elf.parse(Path("/bin/true").read_bytes()).loaded_part())
    program.chmod(0o755)
    assert subprocess.run([program], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("size", [0, 20, 64, 100, 3000])
def test_a_cut_off_program_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=r"ELF|damaged|cut off"):
        Elf.parse(Path("/bin/true").read_bytes()[:size]).loaded_part()


def test_the_files_of_this_package_are_in_it_and_its_profiles() -> None:
    paths = {file.path.removesuffix("c") for file in own_root().files}
    for path in ("__main__.py", "registry/serve.py", "profile/builtin/metal.yaml"):
        assert f"{PACKAGES}/imager/{path}" in paths
    assert not [path for path in paths if "__pycache__" in path]
    assert {"usr/lib/node/start", "usr/lib/node/volume"} <= paths


def test_libraries_have_the_names_that_programs_ask_for() -> None:
    places = {
        "lib/x86_64-linux-gnu/libz.so.1.2.13": "usr/lib/libz.so.1",
        "usr/lib/aarch64-linux-gnu/libcrypto.so.3": "usr/lib/libcrypto.so.3",
        "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2": "usr/lib/ld-linux-x86-64.so.2",
        "sbin/mke2fs": "usr/sbin/mke2fs",
        "usr/bin/ctr": "usr/bin/ctr",
    }
    assert {path: noderoot._place(path) for path in places} == places


def test_idle_parts_are_left_out() -> None:
    listed = read_file_list()
    assert listed.keeps("containerd", "usr/bin/ctr")
    assert not listed.keeps("containerd", "usr/bin/containerd-shim")
    for path in ("test/test_os.py", "idlelib/a.py", "lib2to3/a.py", "tkinter/__init__.py"):
        assert listed.leaves_out(f"usr/lib/python3.11/{path}")
    assert not listed.leaves_out("usr/lib/python3.11/os.py")


def test_flavors_are_found_by_name() -> None:
    assert (find_flavor("node"), find_flavor("witness")) == (NODE, WITNESS)
    with pytest.raises(InputError, match=r"unknown flavor .* 'talos'"):
        find_flavor("talos")


def test_an_image_is_packed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree.of([File("a/b", Content.of_bytes(b"data"), mode=0o755)], nodes=[Link("a/c", "b")])
    image = partial(
        cached_squashfs_image,
        timestamp=1,
        compression=Compression(1, 1 << 17),
        cache=tmp_path,
    )
    first = image(tree)
    monkeypatch.setattr("imager.formats.squashfs._Job.write", None)
    assert image(tree) == first
    with pytest.raises(TypeError):
        image(tree.joined(Tree.of(folders=["d"])))
    assert [path.suffix for path in tmp_path.iterdir()] == [".squashfs"]
