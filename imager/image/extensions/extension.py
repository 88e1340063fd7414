"""System extensions: the files of their images, checked and described.

Format: an image with the file `manifest.yaml` and the folder `rootfs`, and nothing else (Talos,
pkg/machinery/extensions/load.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from imager.content.reading import read_content
from imager.content.rootfiles import RootFiles
from imager.content.tree import ROOT, Link, Tree
from imager.image.extensions.manifest import (
    LARGEST_MANIFEST,
    ManifestError,
    Metadata,
    parse_manifest,
)
from imager.support.errors import InvalidExtensionsError
from imager.talos.version import TalosVersion

SUBJECT = "system extensions"
MANIFEST, ROOTFS = "manifest.yaml", "rootfs"


# The name of an image for messages, and its files.
NamedFiles = tuple[str, RootFiles]


@dataclass(frozen=True, slots=True)
class Extension:
    """A system extension: its description, and the files that it adds, in path order.

    If it is `secret`, results made from it are not kept in the cache.
    """

    metadata: Metadata
    root: RootFiles
    secret: bool = False


def read_extensions(images: Iterable[NamedFiles], version: TalosVersion) -> tuple[Extension, ...]:
    """Return the extension in each of `images`, which are names for messages and their files.

    Raises InvalidExtensionsError with all problems of all images, and for those that are not for
    `version`.
    """
    extensions: list[Extension] = []
    problems: list[str] = []
    for source, files in images:
        try:
            extensions.append(_read(files, version))
        except ManifestError as error:
            problems += [f"{source}: {problem}" for problem in error.problems]
    if problems:
        raise InvalidExtensionsError(SUBJECT, problems)
    return tuple(extensions)


def _read(image: RootFiles, version: TalosVersion) -> Extension:
    problems = [*_misplaced(image)]
    metadata = None
    try:
        metadata = _metadata(image)
        metadata.check_talos(version)
    except ManifestError as error:
        problems += [f"{MANIFEST}: {problem}" for problem in error.problems]
    if problems or metadata is None:
        raise ManifestError(*problems)
    return Extension(metadata, image.below(ROOTFS).selected(lambda _: True))


def _misplaced(image: RootFiles) -> Iterator[str]:
    tree = image.tree
    if ROOTFS not in tree.entries:
        yield f"{ROOTFS}: the folder is missing"
    names = {path.partition("/")[0] for path in (*tree.entries[ROOT], *tree.others)}
    for name in sorted(names - {MANIFEST, ROOTFS}):
        yield f"{name!r}: not allowed beside {MANIFEST} and {ROOTFS}"
    for path in tree.others:
        yield f"{path!r}: is neither a file, a folder, a link nor a character device"
    for text in (*image.labels.values(), *_names(tree)):
        if not _is_utf8(text):
            yield f"{text!r}: is not UTF-8"


def _names(tree: Tree) -> Iterator[str]:
    """Yield all paths, and where links point."""
    yield from tree.folders
    for each in (*tree.files, *tree.nodes):
        yield each.path
        if isinstance(each, Link):
            yield each.target


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _metadata(image: RootFiles) -> Metadata:
    for file in image.tree.files:
        if file.path == MANIFEST:
            if file.content.size > LARGEST_MANIFEST:
                raise ManifestError(f"is larger than {LARGEST_MANIFEST} bytes")
            return parse_manifest(read_content(file.content))
    raise ManifestError("is missing")
