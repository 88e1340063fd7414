"""Verify container images: every manifest and every blob of a layout, an archive or a registry."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from imager.content.digests import Check, failed_checks
from imager.content.extents import Content
from imager.image.inspect.model import Finding
from imager.image.inspect.notes import Notes
from imager.image.inspect.verify import Verified
from imager.oci.layout import Layout, LayoutImage
from imager.oci.manifest import Descriptor, ImageManifest, Index, RawManifest
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.settings import RegistrySettings
from imager.oci.source import ImageSource
from imager.support.errors import InputError, UnsupportedError
from imager.support.reporter import Reporter
from imager.support.workers import Work

_MOST_MANIFESTS = 10_000
_BLOBS = "blobs/sha256"
_NAME = re.compile("[0-9a-f]{64}")
_FETCHES = 4


class _Nowhere:
    """Takes fetched bytes, whose digest the source has checked."""

    def write(self, data: bytes, /) -> object:
        """Forget `data`."""
        return len(data)


def is_layout(path: Path) -> bool:
    """Return whether there is a layout of images, or an archive with one."""
    try:
        _opened(path)
    except (InputError, UnsupportedError):
        return False
    return True


def _opened(path: Path) -> Layout:
    return Layout.open(path) if path.is_dir() else Layout.open_archive(path)


def verify_layout(path: Path, reporter: Reporter) -> Verified:
    """Verify a layout or an archive: what its index names, and all of a folder's blobs.

    Raises InputError if it is neither.
    """
    layout = _opened(path)
    notes = Notes()
    checks: dict[str, Check] = {}
    for entry in layout.index.images:
        with notes.reading(str(entry.digest)):
            image = LayoutImage(layout, entry)
            for blob in _blobs(image, image.root(), notes):
                with notes.reading(f"blob {blob.digest}"):
                    checks[blob.digest.hex] = Check(
                        f"blob {blob.digest}", image.blob_content(blob), blob.digest.hex
                    )
    for file in sorted((path / _BLOBS).iterdir()) if (path / _BLOBS).is_dir() else ():
        if _NAME.fullmatch(file.name) and file.is_file() and file.name not in checks:
            what = f"blob sha256:{file.name}"
            checks[file.name] = Check(what, Content.of_file(file.resolve()), file.name)
    total = sum(check.content.size for check in checks.values())
    with reporter.transfer("verifying", total) as advance:
        jobs = os.cpu_count() or 1
        failed = failed_checks([*checks.values()], jobs=jobs, progress=advance)
    for error in failed:
        notes.damaged(str(path), error.message)
    return _result(str(path), len(checks), notes)


def verify_reference(
    reference: Reference, settings: RegistrySettings, reporter: Reporter
) -> Verified:
    """Fetch and verify all that a registry has at a reference, and keep nothing of it.

    Raises InputError if it has nothing there, DependencyError if it fails or sends other bytes.
    """
    source = RegistryClient.from_settings(settings).image(reference)
    notes = Notes()
    blobs = {blob.digest: blob for blob in _blobs(source, source.root(), notes)}
    with reporter.transfer("verifying", sum(blob.size for blob in blobs.values())) as advance:
        work = Work(advance)

        def fetch(blob: Descriptor) -> None:
            source.fetch_blob(blob, _Nowhere())
            work.advance(blob.size)

        work.run(fetch, [*blobs.values()], jobs=_FETCHES, what=str(reference))
    return _result(str(reference), len(blobs), notes)


def _blobs(source: ImageSource, root: RawManifest, notes: Notes) -> Iterator[Descriptor]:
    """Yield the blobs of a manifest, or of all manifests of an index."""
    pending, seen = [root], {root.digest}
    while pending:
        document = pending.pop().document
        if isinstance(document, ImageManifest):
            yield from document.blobs
        elif isinstance(document, Index):
            for entry in document.manifests:
                if entry.digest not in seen and len(seen) < _MOST_MANIFESTS:
                    seen.add(entry.digest)
                    with notes.reading(f"manifest {entry.digest}"):
                        pending.append(source.manifest(entry.digest))


def _result(source: str, blobs: int, notes: Notes) -> Verified:
    findings: tuple[Finding, ...] = tuple(notes.findings)
    return Verified(source, blobs=blobs, problems=findings, unknown=tuple(notes.unknown))
