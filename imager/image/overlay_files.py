"""The files of an overlay image, and the profiles among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from imager.content.reading import read_content
from imager.content.rootfiles import RootFiles
from imager.content.tree import File, Link, Tree
from imager.image.overlay import Overlay
from imager.oci.errors import InvalidImageError
from imager.oci.rootfs import ImageRoot, plain_files
from imager.oci.roottree import RootTree
from imager.support.arch import Arch
from imager.support.errors import InputError

_PROFILES = "profiles"
_SUFFIX = ".yaml"


@dataclass(frozen=True, slots=True)
class OverlayFiles:
    """The files of an overlay image for machines of `arch`; `where` names the image in messages."""

    where: str
    arch: Arch
    files: RootFiles

    @classmethod
    def of(cls, root: ImageRoot, arch: Arch) -> OverlayFiles:
        """Return the files of an image, with copies of files instead of links to them.

        Raises as `ImageRoot.files` and `plain_files`.
        """
        return cls(root.where, arch, plain_files(_followed(root.files()), root.where))

    def overlay(self, name: str, options: Mapping[str, Any]) -> Overlay:
        """Return the overlay whose installer is `name`."""
        return Overlay(self.files, name, self.arch, options)

    def profiles(self) -> tuple[str, ...]:
        """Return the names of the image's profiles, sorted."""
        there = (file.path for file in self.files.below(_PROFILES).tree.files)
        return tuple(path.removesuffix(_SUFFIX) for path in there if path.endswith(_SUFFIX))

    def place(self, name: str) -> str:
        """Return the image and the path of its profile `name`, for messages."""
        return f"{self.where}: {_PROFILES}/{name}{_SUFFIX}"

    def profile(self, name: str, *, limit: int) -> str | None:
        """Return the text of the profile `name`; None if the image does not have it.

        Raises InputError if it has more than `limit` bytes or is not text.
        """
        files = {file.path: file.content for file in self.files.below(_PROFILES).tree.files}
        content = files.get(f"{name}{_SUFFIX}")
        if content is None:
            return None
        if content.size > limit:
            raise InputError(f"{self.place(name)} is larger than the {limit >> 20} MiB limit")
        try:
            return read_content(content).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.place(name)} is not UTF-8: invalid byte at offset {error.start}"
            ) from error


def _followed(root: RootTree) -> RootFiles:
    files = root.root_files()
    tree = files.tree
    copies = {each.path: each for each in _copies(root, tree)}
    return replace(
        files,
        tree=Tree.of(
            sorted([*tree.files, *copies.values()], key=lambda file: file.path),
            tree.folders,
            nodes=[node for node in tree.nodes if node.path not in copies],
            others=tree.others,
        ),
    )


def _copies(root: RootTree, tree: Tree) -> Iterator[File]:
    """Yield copies of the files that links lead to; a link in a loop leads nowhere."""
    for node in tree.nodes:
        if isinstance(node, Link):
            with suppress(InvalidImageError):
                if file := root.find(node.path):
                    yield file
