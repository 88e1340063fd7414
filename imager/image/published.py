"""How outputs are stored in a registry, and what lies beside them.

Media types are those that IANA registers, or else those of shared-mime-info. What lies beside an
output is named after it (`metal-amd64.iso.spdx.json`), and has the artifact type under which other
tools look for it: docs/reference/artifacts.md lists all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from imager.content.reading import read_start
from imager.oci.documents import MAX_DOCUMENT, load_fields
from imager.support.errors import InputError
from imager.support.sums import SUMS, name_and_sum
from imager.support.units import format_size

ARTIFACT_TYPE = "application/vnd.imager.output.v1"

_OTHER = "application/octet-stream"
# The first suffix that fits: compressed files have the type of their compression.
_OUTPUTS = {
    ".gz": "application/gzip",
    ".zst": "application/zstd",
    ".xz": "application/x-xz",
    ".iso": "application/vnd.efi.iso",
    ".raw": "application/vnd.efi.img",
    ".img": "application/vnd.efi.img",
    ".qcow2": "application/x-qemu-disk",
    ".vhd": "application/x-virtualbox-vhd",
    ".ova": "application/x-virtualbox-ova",
    ".efi": "application/efi",
    ".tar": "application/x-tar",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file beside an output: its artifact type, and the media type of its layer."""

    artifact_type: str
    media_type: str


_BUNDLE = ".sigstore.json"
_BUNDLE_TYPE = re.compile(r"application/vnd\.dev\.sigstore\.bundle[a-z0-9.+;=]*", re.ASCII)
_SUMS_KIND = Kind("application/vnd.imager.sha256sums.v1", "text/plain")
_IN_TOTO = "application/vnd.in-toto+json"
_BESIDE = {
    ".bmap": Kind("application/vnd.imager.bmap.v1", "application/xml"),
    ".spdx.json": Kind("application/spdx+json", "application/spdx+json"),
    ".cdx.json": Kind("application/vnd.cyclonedx+json", "application/vnd.cyclonedx+json"),
    ".provenance.json": Kind(_IN_TOTO, _IN_TOTO),
    ".intoto.json": Kind(_IN_TOTO, _IN_TOTO),
    ".intoto.jsonl": Kind(_IN_TOTO, "application/jsonl"),
}


def media_type(name: str) -> str:
    """Return the media type of the output `name`."""
    if name.startswith("cmdline-"):
        return "text/plain"
    return next((kind for suffix, kind in _OUTPUTS.items() if name.endswith(suffix)), _OTHER)


def names_beside(output: str) -> Iterator[str]:
    """Yield the names that files beside the output `output` may have."""
    for name in (*(f"{output}{suffix}" for suffix in _BESIDE), SUMS):
        yield from (name, f"{name}{_BUNDLE}")
    yield f"{output}{_BUNDLE}"


def is_artifact_type(text: str) -> bool:
    """Return whether `text` is the type of an artifact that lies beside an output."""
    kinds = (_SUMS_KIND, *_BESIDE.values())
    return bool(_BUNDLE_TYPE.fullmatch(text)) or text in {kind.artifact_type for kind in kinds}


def kind_beside(path: Path) -> Kind:
    """Return the kind of a file that lies beside an output.

    Raises InputError for a signature that is not a bundle of sigstore's.
    """
    if path.name == SUMS:
        return _SUMS_KIND
    if path.name.endswith(_BUNDLE):
        bundle = _bundle_type(path)
        return Kind(bundle, bundle)
    return next(kind for suffix, kind in _BESIDE.items() if path.name.endswith(suffix))


def listed_sums(path: Path) -> dict[str, str]:
    """Return the SHA-256 (hex) by file name of a list that `sha256sum` reads."""
    lines = _small(path).decode(errors="replace").splitlines()
    return dict(filter(None, map(name_and_sum, lines)))


def check_sums(path: Path, digests: Iterable[tuple[str, str]]) -> None:
    """Raise InputError if the list at `path` has another SHA-256 for one of `digests`."""
    listed = listed_sums(path)
    for name, digest in digests:
        if listed.get(name, digest) != digest:
            raise InputError(
                f"{path} lists another SHA-256 for {name}: {listed[name]}, not {digest}",
                hint="the file or the list is outdated: build the output again",
            )


def _bundle_type(path: Path) -> str:
    found = load_fields(_small(path), where=str(path)).text("mediaType")
    if not _BUNDLE_TYPE.fullmatch(found):
        raise InputError(
            f"{path} is not a sigstore bundle: its mediaType is {found[:80]!r}",
            hint="sign with `cosign sign-blob --bundle`, or move the file away",
        )
    return found


def _small(path: Path) -> bytes:
    data = read_start(path, MAX_DOCUMENT + 1)
    if len(data) > MAX_DOCUMENT:
        raise InputError(f"{path} is larger than {format_size(MAX_DOCUMENT)}")
    return data
