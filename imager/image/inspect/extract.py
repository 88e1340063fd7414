"""Write files of an image to this machine: atomically, and nothing outside of the destination."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from imager.content.copier import write_content, write_error
from imager.content.reading import iterate_bytes
from imager.content.tree import File, Link, Tree
from imager.content.unpack import write_tree
from imager.image.inspect.paths import Finder, FoundFolder, unread
from imager.support.atomic import atomic_file, new_folder
from imager.support.folders import check_free_space


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was written to `path`; `left_out` are entries that were not, each with the reason."""

    path: Path
    files: int
    size: int
    left_out: tuple[str, ...] = ()


def extract_file(file: File, target: Path, *, force: bool) -> Extracted:
    """Write a file to `target`, which is replaced only with `force`.

    Raises AlreadyExistsError, and as `write_content`.
    """
    mode = (file.mode & 0o777) | 0o600
    with atomic_file(target, mode=mode, clobber=force) as descriptor:
        write_content(file.content, descriptor, progress=lambda _count: None)
    return Extracted(target, 1, file.content.size)


def send(file: File, output: IO[bytes]) -> None:
    """Write a file to an open file, such as a pipe; raises as `extract_file`."""
    for piece in iterate_bytes(file.content):
        try:
            output.write(piece)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise write_error(error) from error
    output.flush()


def extract_folder(found: FoundFolder, finder: Finder, target: Path) -> Extracted:
    """Write a folder and all below it to the new folder `target`.

    Of links, those that stay in the folder are written. Raises AlreadyExistsError if there is
    something in `target`, InputError if something is damaged, HostError if the disk is full.
    """
    trees = [("", found.tree)]
    for part, inner in finder.everything(found):
        if inner is None:
            trees.append(("", Tree.of([File(part.name, part.content)])))
        else:
            trees.append((part.name, inner.tree))
    tree = Tree.of()
    for above, each in trees:
        tree = tree.joined(each.under(above).joined(Tree.of(folders=[above])) if above else each)
    left_out = (*found.unread, *_left_out(tree))
    nodes = [node for node in tree.nodes if isinstance(node, Link) and stays_inside(node)]
    written = Tree.of(tree.files, tree.folders, nodes=nodes)
    check_free_space(target.parent, tree.size)
    with new_folder(target, private=False) as temporary:
        write_tree(written, temporary)
    return Extracted(target, len(written.files), written.size, left_out)


def _left_out(tree: Tree) -> Iterator[str]:
    for node in tree.nodes:
        if not isinstance(node, Link):
            yield f"{node.path}: it is a device"
        elif not stays_inside(node):
            yield f"{node.path}: it is a link to {node.target!r}, which may lead out of the folder"
    for path in unread(tree):
        yield f"{path}: it is neither a file nor a folder"


def stays_inside(link: Link) -> bool:
    """Return whether a link cannot lead out of the tree, whatever other links do.

    `..` may only be at the start of its target: behind the name of another link it would be the
    parent of what that one leads to.
    """
    if not link.target or link.target.startswith("/") or "\0" in link.target:
        return False
    parts = [part for part in link.target.split("/") if part not in ("", ".")]
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    return ups <= link.path.count("/") and ".." not in parts[ups:]
