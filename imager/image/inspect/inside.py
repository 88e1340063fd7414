"""Open what is inside of an image or a file: partitions, file systems, archives, sections of UKIs.

Each is a folder that a path can lead into, to any depth: `EFI/EFI/Linux/talos.efi/.initrd/init` is
a file of an initramfs, in a section of a UKI, on a partition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from imager.content.compression import stream_codec
from imager.content.extents import Content
from imager.content.random_access import ContentReader
from imager.content.streams import new_file, settled
from imager.content.tree import Device, File, Link, Tree, check_path, parent
from imager.content.unpack import write_files
from imager.efi.measured import pe_sections
from imager.formats.initramfs import find_archives, is_initramfs
from imager.formats.tar_disk import is_tar
from imager.image.inspect.initramfs import archive_tree
from imager.image.inspect.layout import Layout, read_layout
from imager.image.inspect.notes import Notes
from imager.image.inspect.source import OpenedSource, unwrapped
from imager.image.inspect.volumes import Volume, whole_tree
from imager.support.errors import InputError

# Begins the name of a part's own bytes: `:2` is partition 2, whatever is in it.
RAW = ":"
_HEAD = 1 << 10
_SUFFIXES = (".gz", ".zst", ".xz")


@dataclass(frozen=True, slots=True)
class Part:
    """A partition or boot image: its bytes, and its file system if it has one that is known."""

    name: str
    content: Content
    volume: Volume | None = None


@dataclass(frozen=True)
class Inside:
    """The files inside of something; `kind` names its format, as in `disk`, `uki` or `cpio`.

    `parts` have file systems of their own, `aliases` other names of theirs. `ignores_case` is set
    for names of FAT. `unread` says what of it is left out, and why.
    """

    kind: str
    tree: Tree = field(default_factory=Tree.of)
    parts: tuple[Part, ...] = ()
    aliases: Mapping[str, Part] = field(default_factory=dict)
    ignores_case: bool = False
    unread: tuple[str, ...] = ()

    @cached_property
    def files(self) -> Mapping[str, File]:
        """The files by path."""
        return {file.path: file for file in self.tree.files}

    @cached_property
    def links(self) -> Mapping[str, str]:
        """The targets of symbolic links by path."""
        return {node.path: node.target for node in self.tree.nodes if isinstance(node, Link)}

    @cached_property
    def folded(self) -> Mapping[str, str]:
        """The paths by their lower-case form, where case does not matter."""
        if not self.ignores_case:
            return {}
        return {path.lower(): path for path in (*self.tree.folders, *self.files)}

    def part(self, name: str) -> Part | None:
        """Return the part of this name, label or number."""
        return next((each for each in self.parts if each.name == name), self.aliases.get(name))


def open_inside(content: Content, *, name: str, scratch: Path) -> Inside:
    """Return what is inside of a content; `name` is for messages, and ends in that of the file.

    `scratch` is a folder for temporary files, which contents may refer to. Raises InputError if it
    is damaged or nothing in it is known.
    """
    opened = unwrapped(OpenedSource(name, content, content.size), scratch)
    if opened.problems:
        raise InputError(f"{name}: {opened.problems[0]}")
    return inside_source(opened, scratch=scratch)


def inside_source(opened: OpenedSource, *, scratch: Path) -> Inside:
    """Return what is inside of an opened source; see `open_inside`."""
    content, name = opened.content, opened.name
    with ContentReader(content) as reader:
        head = reader.read(0, _HEAD)
    if head.startswith(b"MZ"):
        return Inside("pe", Tree.of(_sections(content, name)))
    if is_initramfs(head) or stream_codec(head):
        return _initramfs(content, name, scratch)
    if is_tar(head):
        return _tar(content, name, scratch)
    notes = Notes()
    # Tables and folders are anywhere in it.
    content = settled(content, scratch=scratch)
    layout = read_layout(content, notes)
    if layout.table or layout.volumes:
        return _disk(content, layout)
    if opened.formats:
        return Inside("file", Tree.of([File(_plain_name(opened.short_name), content)]))
    problem = next((each.problem for each in notes.findings), "its format is not known")
    raise InputError(f"{name}: there are no files inside of it: {problem}")


def inside_volume(volume: Volume) -> Inside:
    """Return the files of a file system; raises as `whole_tree`."""
    tree = whole_tree(volume)
    return Inside(volume.file_system.kind, tree, ignores_case=volume.is_fat)


def inside_part(part: Part, *, name: str, scratch: Path) -> Inside:
    """Return what is inside of a part: its file system, or what else begins there."""
    if part.volume is not None:
        return inside_volume(part.volume)
    return open_inside(part.content, name=name, scratch=scratch)


def _plain_name(name: str) -> str:
    """Return the name of a file without the suffix of its compression."""
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name or "content"


def _sections(content: Content, name: str) -> Iterator[File]:
    """Yield the sections of a PE file; of equal names, the second is `NAME#2`."""
    seen: Counter[str] = Counter()
    for section in pe_sections(content, name=name):
        seen[section.name] += 1
        number = seen[section.name]
        path = section.name if number == 1 else f"{section.name}#{number}"
        if _is_name(path):
            yield File(path, section.content)


def _initramfs(content: Content, name: str, scratch: Path) -> Inside:
    with ContentReader(content) as reader:
        archives = list(find_archives(reader))
    unread = tuple(
        f"the archive at byte {each.start}, which is compressed with {each.other}"
        for each in archives
        if each.other
    )
    trees = (
        archive_tree(content, each, name=name, scratch=scratch)
        for each in archives
        if not each.other
    )
    return Inside("cpio", _overlaid(trees), unread=unread)


def _overlaid(trees: Iterable[Tree]) -> Tree:
    """Return the tree that archives unpacked over each other make: the last of each path counts.

    A file replaces a folder of an archive before it with all below it, and the other way round.
    """
    last: dict[str, tuple[int, File | Link | Device | None]] = {}
    others: dict[str, None] = {}
    for number, tree in enumerate(trees):
        last |= dict.fromkeys(tree.folders, (number, None))
        last |= {node.path: (number, node) for node in (*tree.files, *tree.nodes)}
        others |= dict.fromkeys(tree.others)
    gone: set[str] = set()
    for path, (number, _) in last.items():
        above = parent(path)
        while above:
            found, node = last[above]
            if node is not None:
                gone.add(path if found > number else above)
            above = parent(above)
    kept = {path: node for path, (_, node) in last.items() if path not in gone}
    return Tree.of(
        [node for node in kept.values() if isinstance(node, File)],
        [path for path, node in kept.items() if node is None],
        nodes=[node for node in kept.values() if isinstance(node, Link | Device)],
        others=others,
    )


def _tar(content: Content, name: str, scratch: Path) -> Inside:
    from imager.oci.layerfiles import layer_entries
    from imager.oci.roottree import RootTree

    if len(content.extents) != 1:
        path = new_file(scratch, "tar")
        write_files({path: content})
        content = Content.of_file(path)
    return Inside("tar", RootTree.of([layer_entries(content, where=name)]).tree())


def _disk(content: Content, layout: Layout) -> Inside:
    volumes = {volume.offset: volume for volume in layout.volumes}
    whole = volumes.pop(0, None) if not layout.found or layout.is_iso else None
    parts = tuple(_named(content, layout, volumes, beside_files=layout.is_iso))
    aliases: dict[str, Part] = {}
    for each, part in zip(layout.found, parts, strict=False):
        raw = Part(part.name, part.content)
        if not layout.is_iso:
            aliases |= {str(each.number): part, f"{RAW}{part.name}": raw}
        aliases |= {f"{RAW}{each.number}": raw}
    if whole is None:
        return Inside("disk", parts=parts, aliases=aliases)
    inner = inside_volume(whole)
    kind = "iso" if layout.is_iso else inner.kind
    return Inside(kind, inner.tree, parts, aliases, inner.ignores_case)


def _named(
    content: Content, layout: Layout, volumes: Mapping[int, Volume], *, beside_files: bool
) -> Iterator[Part]:
    """Yield the partitions, by label where it is a name of one only, and then El Torito images."""
    labels = Counter(each.label for each in layout.found)
    for each in layout.found:
        size = min(each.size, content.size - each.offset)
        plain = labels[each.label] == 1 and _is_name(each.label) and not each.label.isdigit()
        name = each.label if plain and not beside_files else str(each.number)
        name = f"{RAW}{name}" if beside_files else name
        yield Part(name, content.slice(each.offset, size), volumes.get(each.offset))
    known = {each.offset for each in layout.found}
    for boot in layout.boot_images:
        volume = volumes.get(boot.offset)
        if volume is not None and boot.offset not in known:
            size = min(volume.file_system.size or volume.content.size, volume.content.size)
            yield Part(f"{RAW}boot{boot.number}", volume.content.slice(0, size), volume)


def _is_name(name: str) -> bool:
    """Return whether a name can be a part of a path."""
    try:
        check_path(name)
    except InputError:
        return False
    return "/" not in name and name.isprintable() and not name.startswith(RAW)
