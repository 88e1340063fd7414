"""The files that come with an output: made while it is written, and put in place with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imager.app.release.bill import Bill, Contents
from imager.app.release.bundle import message_bundle, statement_bundle
from imager.app.release.cyclonedx import cyclonedx_json
from imager.app.release.options import (
    Release,
    SbomFormat,
    bill_path,
    provenance_path,
    signature_path,
)
from imager.app.release.provenance import Provenance
from imager.app.release.spdx import spdx_json
from imager.app.release.sums import folder_lock, merged_sums
from imager.formats.bmap import bmap_and_sha256
from imager.image.write import Beside, Written, bmap_path
from imager.oci.digest import Digest
from imager.support.sums import SUMS
from imager.support.workers import Cancel

if TYPE_CHECKING:
    from imager.content.extents import Content
    from imager.efi.detached import DetachedKey


_MAKERS: Mapping[SbomFormat, Callable[[Bill], bytes]] = {
    SbomFormat.SPDX: spdx_json,
    SbomFormat.CYCLONEDX: cyclonedx_json,
}


@dataclass(frozen=True, slots=True)
class Sources:
    """What the files are made of: the disk that a bmap describes, and functions for the rest.

    `contents` returns what the output contains; it and `provenance` are called if they are needed.
    """

    disk: Content
    contents: Callable[[Cancel], Contents]
    provenance: Callable[[Contents], Provenance]
    created: int
    tool: str


@contextmanager
def making(
    release: Release, output: Path, sources: Sources, key: DetachedKey | None, *, with_bmap: bool
) -> Iterator[Beside | None]:
    """Make the files of a release beside `output` while the block writes it.

    Yields what `write_output` puts in place with the output; None if that is nothing. Raises as
    `contents_of`, `DetachedKey.sign` and `merged_sums`, in the block.
    """
    paths = release.paths(output, with_bmap=with_bmap)
    if not paths:
        yield None
        return
    # Both read the sources; their hashes run on other cores than the copy.
    with ThreadPoolExecutor(2, "release") as pool, Cancel() as cancel:
        described = pool.submit(bmap_and_sha256, sources.disk, cancel) if with_bmap else None
        needed = release.lists_inputs
        contents = pool.submit(_prepared, release, sources, cancel) if needed else None

        def made(written: Written) -> Mapping[Path, bytes]:
            files: dict[Path, bytes] = {}
            if described:
                files[bmap_path(output)], _ = described.result()
            if contents:
                files |= _documents(release, written, sources, contents.result(), files)
            files |= _signatures(release, written, files, key)
            if release.checksums:
                sums = output.with_name(SUMS)
                digests = {path.name: Digest.of(data) for path, data in files.items()}
                files[sums] = merged_sums(sums, {**digests, output.name: _digest(written)})
            return files

        lock = folder_lock(output.parent) if release.checksums else None
        sha256 = (lambda: described.result()[1]) if described else None
        yield Beside(paths, made, lock, sha256)


def _prepared(release: Release, sources: Sources, cancel: Cancel) -> Contents:
    """Return what the output contains, and load the libraries, which takes as long as a copy."""
    if SbomFormat.SPDX in release.sboms:
        import spdx_tools.spdx.jsonschema.document_converter  # noqa: F401
    if SbomFormat.CYCLONEDX in release.sboms:
        import cyclonedx.output.json  # noqa: F401
    return sources.contents(cancel)


def _documents(
    release: Release,
    written: Written,
    sources: Sources,
    contents: Contents,
    others: Mapping[Path, bytes],
) -> dict[Path, bytes]:
    """Return the bills of an output and its provenance, of which `others` are byproducts too."""
    output, digest = written.path, _digest(written)
    bill = Bill(output.name, written.size, digest, contents, sources.created, sources.tool)
    files = {bill_path(output, each): _MAKERS[each](bill) for each in release.sboms}
    if release.provenance:
        byproducts = {path.name: Digest.of(data) for path, data in {**others, **files}.items()}
        provenance = sources.provenance(contents)
        statement = provenance.statement(output.name, digest, byproducts)
        files[provenance_path(output)] = statement
    return files


def _signatures(
    release: Release, written: Written, files: Mapping[Path, bytes], key: DetachedKey | None
) -> dict[Path, bytes]:
    """Return a bundle for the output and for each of the files; the statement is in its own."""
    if key is None:
        return {}
    bundles = {written.path: message_bundle(_digest(written), key)}
    for path, data in files.items():
        is_statement = release.provenance and path == provenance_path(written.path)
        bundles[path] = (
            statement_bundle(data, key) if is_statement else message_bundle(Digest.of(data), key)
        )
    return {signature_path(path): bundle for path, bundle in bundles.items()}


def _digest(written: Written) -> Digest:
    return Digest(written.sha256 or "")
