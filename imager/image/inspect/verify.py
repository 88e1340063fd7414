"""Verify an image as far as it can be without a reference: tables, file systems, streams, blobs.

The inspection finds what is damaged in tables, EFI binaries and their signatures. On top of it, all
folders of all file systems are read, compressed files are decompressed, and blobs hashed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from imager.cache.opened import CacheKind, OpenedCache
from imager.cache.verify import Verification, verify_opened
from imager.content.compression import stream_codec
from imager.content.digests import Check, failed_checks
from imager.content.extents import Content
from imager.content.random_access import ContentReader
from imager.content.tree import File
from imager.formats.initramfs import is_initramfs
from imager.formats.xfs.read import check_xfs
from imager.image.inspect.caches import find_image_cache
from imager.image.inspect.inspection import Inspected
from imager.image.inspect.model import Finding, Unknown
from imager.image.inspect.notes import Notes
from imager.image.inspect.source import OpenedSource
from imager.image.inspect.verify_streams import squashfs_streams, streams_in, verify_streams
from imager.image.inspect.volumes import Volume, whole_tree
from imager.support.reporter import Reporter
from imager.talos.constants import CACHE_FOLDER

_HEAD = 1 << 10
_IMAGECACHE_FOLDERS = ("blob/", "manifests/", f"{CACHE_FOLDER}/")


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of a verification; `problems` are what is damaged.

    `files` were listed with their metadata, of which `streams` were decompressed; `blobs` were
    hashed, and `signatures` compared with the bytes that they are of. `sha256` is set if it was
    compared with the one in a file.
    """

    source: str
    files: int = 0
    streams: int = 0
    blobs: int = 0
    signatures: int = 0
    sha256: str = ""
    problems: tuple[Finding, ...] = ()
    unknown: tuple[Unknown, ...] = ()


def verify_source(
    opened: OpenedSource, inspected: Inspected, *, scratch: Path, reporter: Reporter
) -> Verified:
    """Verify an inspected image; `scratch` is a folder for temporary files.

    What is damaged is in the result. Raises OutputError or OSError if the source cannot be read.
    """
    inspection = inspected.inspection
    notes = Notes()
    content = opened.content
    with ContentReader(content) as reader:
        head = reader.read(0, _HEAD)
    found = Verified(
        opened.name, signatures=sum(len(binary.signatures) for binary in inspection.efi)
    )
    if head.startswith(b"MZ") or is_initramfs(head) or stream_codec(head):
        files = [File(opened.short_name, content)]
        streams = verify_streams(streams_in("", files, notes), notes, scratch, reporter)
        found = replace(found, files=1, streams=streams)
    else:
        found = _verify_volumes(found, inspected.volumes, notes, scratch, reporter)
    problems = dict.fromkeys((*inspection.findings, *notes.findings))
    unknown = dict.fromkeys((*inspection.unknown, *notes.unknown))
    return replace(found, problems=tuple(problems), unknown=tuple(unknown))


def _verify_volumes(
    found: Verified,
    volumes: tuple[Volume, ...],
    notes: Notes,
    scratch: Path,
    reporter: Reporter,
) -> Verified:
    files, streams, blobs = 0, 0, 0
    for volume in volumes:
        with notes.reading(volume.place):
            if volume.file_system.kind == "xfs":
                check_xfs(volume.content, name=volume.place)
            tree = whole_tree(volume)
            files += len(tree.files)
            others = [file for file in tree.files if not file.path.startswith(_IMAGECACHE_FOLDERS)]
            found_streams = (
                squashfs_streams(volume.place, tree, notes)
                if volume.file_system.kind == "squashfs"
                else streams_in(volume.place, others, notes)
            )
            streams += verify_streams(found_streams, notes, scratch, reporter)
    if _has_cache(volumes) and (cache := find_image_cache(volumes, Notes())):
        place, contents = cache
        result = verify_opened(OpenedCache(contents, CacheKind.IMAGE), reporter=reporter)
        for problem in result.problems:
            notes.damaged(place, problem.removeprefix(f"{place}: "))
        blobs = result.blobs
    return replace(found, files=files, streams=streams, blobs=blobs)


def _has_cache(volumes: Iterable[Volume]) -> bool:
    return any("manifests" in path for volume in volumes for path in volume.tree.folders)


def verified_bytes(
    name: str, content: Content, sha256: str, reporter: Reporter
) -> Callable[[], tuple[Finding, ...]]:
    """Return a function that compares a file with its SHA-256, and returns what is wrong."""

    def check() -> tuple[Finding, ...]:
        checks = [Check("the file", content, sha256)]
        with reporter.transfer("hashing", content.size) as advance:
            failed = failed_checks(checks, jobs=1, progress=advance)
        return tuple(Finding(name, error.message) for error in failed)

    return check


def of_cache(source: str, found: Verification) -> Verified:
    """Return the verification of an image cache as that of a source."""
    problems = tuple(Finding(source, problem) for problem in found.problems)
    return Verified(source, blobs=found.blobs, signatures=found.signatures, problems=problems)
