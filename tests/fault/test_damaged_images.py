"""Damaged images: whatever bytes change, no reader crashes, takes long or much memory."""

from __future__ import annotations

import gzip
import lzma
import os
import random
import tarfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import zstandard

from imager.app.diff import compare_images
from imager.app.files import FilesOf, list_files
from imager.app.inspect import inspect_image
from imager.app.lock.inputs import BuildInput, InputKind
from imager.app.lock.model import Lock, lock_text
from imager.app.verify import verify_image
from imager.cli.inspect_html import inspection_html
from imager.cli.inspect_text import inspection_text
from imager.content.random_access import file_content
from imager.content.reading import Sources
from imager.oci.digest import Digest
from imager.support.errors import ImagerError
from imager.support.units import MIB
from tests.lib.caches.caches import make_flat, make_layout
from tests.lib.caches.tars import make_archive
from tests.lib.tools.examples import edit_count
from tests.lib.tools.support import bounded
from tests.lib.volumes.sample_images import disk_formats, sample_images

Place = tuple[Path, int]
_STEP = 64
_SECONDS = 10
_PINNED = (
    (InputKind.BOOT_ASSET, "vmlinuz"),
    (InputKind.CERTIFICATE, "secureBootSigner"),
    (InputKind.IMAGE_CACHE, "input.imageCache"),
)
LOCK = Lock(
    imager="0",
    profile={"output": {"kind": "iso"}},
    inputs=tuple(BuildInput(kind, name, "", Digest("1" * 64)) for kind, name in _PINNED),
)
_MEMORY = 256 * MIB
# The tables of disk image formats: what is behind them is the disk, which is damaged on its own.
_TABLES = {"qcow2": 0x60000, "vhd": 0x60000, "ova": 0x60000, "vmdk": 0x60000}


@pytest.fixture(scope="module", name="images")
def written_images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return one image of each kind."""
    folder = tmp_path_factory.mktemp("images")
    cache = make_flat(folder / "flat", images=2, blob_size=5000)
    images = sample_images(folder, cache)
    # Around a smaller image, which takes less time.
    images |= disk_formats(file_content(images["iso"]), folder)
    with tarfile.open(images["ova"]) as ova:
        (vmdk,) = (name for name in ova.getnames() if name.endswith(".vmdk"))
        ova.extract(vmdk, folder, filter="data")
    images["vmdk"] = folder / vmdk
    images["lock"] = folder / "imager.lock"
    images["lock"].write_text(lock_text(LOCK))
    iso = images["iso"].read_bytes()
    images["layout"] = make_layout(cache, folder / "layout", codec="gzip")
    images["archive"] = make_archive(cache, folder / "archive", layout=True, codec="zstd")
    for name, packed in (
        ("gz", gzip.compress(iso, mtime=0)),
        ("xz", lzma.compress(iso)),
        ("zst", zstandard.compress(iso)),
    ):
        images[name] = folder / f"iso.{name}"
        images[name].write_bytes(packed)
    return images


@pytest.mark.fuzz
@pytest.mark.parametrize(
    "kind",
    (
        *("disk", "iso", "uki", "initramfs", "qcow2", "vhd", "vmdk", "ova"),
        *("gz", "xz", "zst", "layout", "archive"),
    ),
)
def test_damage_is_neither_an_error_nor_slow(images: dict[str, Path], kind: str) -> None:
    """Edits at random places that are not zero; their number alone decides what they are."""
    path, lock = images[kind], images["lock"]
    places = list(used_places(path, kind))
    faults: dict[str, str] = {}
    for number in range(edit_count(200)):
        choice = random.Random(f"{kind} {number}")
        edits = [
            (choice.choice(places), choice.randbytes(choice.choice((1, 2, 4))))
            for _ in range(choice.randint(1, 3))
        ]
        try:
            with edited(edits), bounded(_SECONDS, _MEMORY):
                inspect(path)
                if number % 4 == 0:
                    read_files(path, lock)
        except Exception as error:  # each kind of fault once, with the edit that shows it
            *_, last = traceback.extract_tb(error.__traceback__)
            where = f"{last.filename}:{last.lineno}"
            shown = "".join(traceback.format_exception(error))
            faults.setdefault(where, f"edit {number}: {edits}\n{shown}")
    assert not faults, "\n".join(faults.values())


def inspect(path: Path) -> None:
    """Inspect an image, and show what is found."""
    try:
        found = inspect_image(str(path))
    except ImagerError as error:
        assert error.message
        return
    assert "".join(inspection_text(found))
    if found.findings:
        assert inspection_html(found).encode()


def read_files(path: Path, lock: Path) -> None:
    """Read all that can be read of a damaged image: no error but those of damage may come."""
    for read in (
        lambda: list_files(FilesOf(str(path)), recursive=True),
        lambda: verify_image(str(path), lock),
        lambda: compare_images(str(path), str(path), structure=True),
    ):
        with suppress(ImagerError):
            assert read() is not None


@contextmanager
def edited(edits: list[tuple[Place, bytes]]) -> Iterator[None]:
    """Overwrite places of files, none beyond its end, and undo it."""
    undo: list[tuple[Place, bytes]] = []
    for place, data in edits:
        undo.append((place, overwrite(place, data)))
    try:
        yield
    finally:
        for place, old in reversed(undo):
            overwrite(place, old)


def overwrite(place: Place, data: bytes) -> bytes:
    """Overwrite bytes of a file up to its end, and return the old ones."""
    path, at = place
    with path.open("r+b", buffering=0) as file:
        old = os.pread(file.fileno(), len(data), at)
        os.pwrite(file.fileno(), data[: len(old)], at)
    return old


def used_places(path: Path, kind: str) -> Iterator[Place]:
    """Yield some bytes of sparse files in pieces that are not zeros."""
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            yield from ((file, at) for at in _used(file, _TABLES.get(kind)))


def _used(path: Path, head: int | None) -> Iterator[int]:
    end = path.stat().st_size
    with Sources() as sources, path.open("rb") as file:
        for start, length in sources.data_ranges(path, 0, end):
            file.seek(start)
            data = file.read(length)
            for at in range(0, length, _STEP):
                if any(data[at : at + _STEP]):
                    places = range(start + at, start + min(at + _STEP, length), 3)
                    yield from (
                        each for each in places if head is None or not head <= each <= end - 512
                    )
