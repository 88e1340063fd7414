"""The volumes of an image: their file systems, and the files of those that are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from imager.content.extents import Content
from imager.content.random_access import ContentReader
from imager.content.tree import Tree
from imager.formats.ext4.read import open_ext4
from imager.formats.fat.read import fat_tables_agree, open_fat
from imager.formats.filesystems import FileSystem, identify
from imager.formats.iso9660.read import open_iso9660
from imager.formats.squashfs_read import open_squashfs
from imager.formats.xfs.read import open_xfs
from imager.image.inspect.model import VolumeInfo
from imager.image.inspect.notes import Notes
from imager.support.errors import UnsupportedError
from imager.talos.constants import CACHE_FOLDER, IMAGE_CACHE

LARGEST_TEXT = 1 << 20
# A root file system may have millions of files; only these folders of it matter here.
_ROOT_FOLDERS = ("boot", "EFI", "loader", "grub", CACHE_FOLDER)
# A BOOT partition of Talos has 1000 MiB.
_LARGEST_XFS = 4 << 30
_FOLDERS_READ = frozenset({"xfs", "iso9660", "fat12", "fat16", "fat32"})


@dataclass(frozen=True, slots=True)
class Volume:
    """A file system at byte `offset` of the image, and its files by path.

    FAT ignores the case of names: `find` does so for it.
    """

    place: str
    offset: int
    content: Content
    file_system: FileSystem
    tree: Tree
    files: Mapping[str, Content]
    is_listed: bool = False
    folded: Mapping[str, str] = field(default_factory=dict)

    @property
    def info(self) -> VolumeInfo:
        """The volume as the result shows it."""
        found = self.file_system
        files = len(self.files) if self.is_listed else None
        return VolumeInfo(
            self.place,
            found.kind,
            found.label,
            found.uuid,
            self.offset,
            found.size,
            found.used,
            files,
        )

    @property
    def is_fat(self) -> bool:
        """Whether firmware and boot loaders ignore the case of names here."""
        return self.file_system.kind.startswith("fat")

    def find(self, path: str) -> tuple[str, Content] | None:
        """Return the path as it is written on the volume, and the file's content."""
        path = path.replace("\\", "/").strip("/")
        if self.is_fat:
            path = self.folded.get(path.lower(), path)
        content = self.files.get(path)
        return None if content is None else (path, content)

    def text(self, path: str) -> str | None:
        """Return a text file of at most 1 MiB; None if there is none."""
        found = self.find(path)
        if found is None or found[1].size > LARGEST_TEXT:
            return None
        with ContentReader(found[1]) as reader:
            return reader.read(0, LARGEST_TEXT).decode("utf-8", "replace")

    def below(self, folder: str) -> Iterator[tuple[str, Content]]:
        """Yield path and content of the files in a folder and those below it."""
        start = f"{folder.lower()}/" if self.is_fat else f"{folder}/"
        for path, content in self.files.items():
            if (path.lower() if self.is_fat else path).startswith(start):
                yield path, content


@dataclass(frozen=True, slots=True)
class VolumePlace:
    """A part of the image that may be a volume; `label` is that of its partition."""

    name: str
    offset: int
    size: int
    label: str = ""


def open_volume(image: Content, where: VolumePlace, notes: Notes) -> Volume | None:
    """Return the volume at a place in the image; None if it has no known file system."""
    place, label = where.name, where.label
    content = image.slice(where.offset, where.size)
    found = None
    with notes.reading(place):
        found = identify(content, name=place)
    if found is None:
        return None
    for problem in found.problems:
        notes.damaged(place, problem.removeprefix(f"{place}: "))
    tree: Tree | None = None
    listed = False
    if not found.problems:
        with notes.reading(place):
            listed = _is_read_whole(found, label or found.label)
            tree = _needed_tree(content, found.kind, place, whole=listed)
    if listed and found.kind.startswith("fat"):
        with notes.reading(place):
            if not fat_tables_agree(content, name=place):
                notes.damaged(place, "the copies of the file allocation table differ")
    files = {file.path: file.content for file in tree.files} if tree else {}
    folded = {path.lower(): path for path in files} if found.kind.startswith("fat") else {}
    return Volume(place, where.offset, content, found, tree or Tree.of(), files, listed, folded)


def whole_tree(volume: Volume) -> Tree:
    """Return all files of a volume, of which `volume.tree` may have some only.

    Raises InputError for a damaged volume, UnsupportedError for a file system that is not read.
    """
    if volume.is_listed and volume.files:
        return volume.tree
    return _opened(volume.content, volume.file_system.kind, "", volume.place)


def _is_read_whole(found: FileSystem, label: str) -> bool:
    """Return whether an inspection lists all files; a root file system may have too many."""
    is_large = found.kind == "xfs" and (found.used or 0) > _LARGEST_XFS
    return not is_large and (found.kind in _FOLDERS_READ or label == IMAGE_CACHE)


def _needed_tree(content: Content, kind: str, place: str, *, whole: bool) -> Tree:
    """Return all files, or those that an inspection looks at."""
    if whole:
        return _opened(content, kind, "", place)
    tree = Tree.of()
    for folder in _ROOT_FOLDERS:
        tree = tree.joined(_opened(content, kind, folder, place).under(folder))
    return tree


def _opened(content: Content, kind: str, folder: str, place: str) -> Tree:
    match kind:
        case "fat12" | "fat16" | "fat32":
            return open_fat(content, folder=folder, name=place)
        case "iso9660":
            return open_iso9660(content, folder=folder, name=place)
        case "xfs":
            return open_xfs(content, folder=folder, name=place)
        case "ext4" | "ext3" | "ext2":
            return open_ext4(content, folder=folder, name=place)
        case "squashfs":
            return open_squashfs(content, folder=folder, name=place)
    raise UnsupportedError(f"its files are not listed: {kind} is not read")
