"""Check the files of an OVA by its manifest.

DMTF DSP0243, Open Virtualization Format Specification 1.1.0 and 2.1.1, 5.1: the file `NAME.mf` has
a line `SHA256(FILE)= DIGEST` for each file; older ones have SHA1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from imager.content.extents import Content
from imager.content.random_access import ContentReader
from imager.content.reading import hash_content
from imager.formats.tar_disk import tar_files

_LINE = re.compile(r"(SHA1|SHA256|SHA384|SHA512) ?\((.+)\) ?= ?([0-9a-fA-F]+)", re.ASCII)
_SUFFIX = ".mf"
_LARGEST = 1 << 20


def manifest_problems(archive: Content, *, name: str) -> tuple[str, ...]:
    """Return what differs from the manifest of an OVA; nothing without one.

    `name` is for messages. Raises DamagedVolumeError for a damaged tar.
    """
    # Holes could make a file endless.
    files = {
        path: content
        for path, content in tar_files(archive, name=name)
        if content.size <= archive.size
    }
    manifest = next((path for path in files if path.lower().endswith(_SUFFIX)), None)
    return () if manifest is None else tuple(_problems(manifest, files[manifest], files))


def _problems(path: str, manifest: Content, files: Mapping[str, Content]) -> Iterator[str]:
    if manifest.size > _LARGEST:
        yield f"{path} is larger than 1 MiB"
        return
    with ContentReader(manifest) as reader:
        lines = reader.read(0, _LARGEST).decode("utf-8", "replace").splitlines()
    seen: set[str] = set()
    for line in filter(None, map(str.strip, lines)):
        found = _LINE.fullmatch(line)
        if found is None:
            yield f"{path} has a line that is not a digest: {line[:80]!a}"
            return
        kind, file, digest = found.groups()
        if file in seen:
            yield f"{path} lists {file[:80]!a} twice"
            return
        seen.add(file)
        if file not in files:
            yield f"{path} lists {file[:80]!a}, which is missing"
        elif hash_content(files[file], kind.lower()).hex() != digest.lower():
            yield f"{file[:80]!a} does not match its {kind} in {path}"
