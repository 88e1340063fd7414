"""Take firmware and microcode out of system extensions.

The kernel loads firmware before the extensions are mounted, and microcode before anything else, so
both are in the initramfs itself (Linux, Documentation/arch/x86/microcode.rst).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.image.extensions.extension import Extension

_INTEL = "intel-ucode/*", "GenuineIntel.bin"
_AMD = "amd-ucode/microcode_amd*.bin", "AuthenticAMD.bin"
_MICROCODE = "kernel/x86/microcode"


@dataclass(frozen=True, slots=True)
class Separated:
    """Extensions without firmware, and the trees of it and of microcode in the initramfs."""

    extensions: tuple[Extension, ...]
    firmware: Tree
    microcode: Tree


def separate_firmware(extensions: Sequence[Extension], folder: str) -> Separated:
    """Separate what is in `folder` of each extension; of two files, the later one stays."""
    found = [each.root.below(folder).tree for each in extensions]
    microcode = [
        File(f"{_MICROCODE}/{name}", data)
        for pattern, name in (_INTEL, _AMD)
        if (data := _concatenated(found, pattern)).size
    ]
    return Separated(
        tuple(_without(each, folder) for each in extensions),
        _merged(found).under(folder) if any(map(_has_firmware, found)) else Tree.of(),
        Tree.of(microcode),
    )


def _matches(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) and path.count("/") == 1


def _is_microcode(path: str) -> bool:
    return _matches(path, _INTEL[0]) or _matches(path, _AMD[0])


def _concatenated(trees: Iterable[Tree], pattern: str) -> Content:
    return Content.concat(
        file.content
        for tree in trees
        for file in sorted(tree.files, key=lambda file: file.path)
        if _matches(file.path, pattern)
    )


def _has_firmware(tree: Tree) -> bool:
    return bool(tree.nodes) or any(not _is_microcode(file.path) for file in tree.files)


def _merged(trees: Iterable[Tree]) -> Tree:
    """Return the files and links of all trees; those of later trees replace earlier ones."""
    leaves = {
        each.path: each
        for tree in trees
        for each in (*tree.files, *tree.nodes)
        if not _is_microcode(each.path)
    }
    ordered = [leaves[path] for path in sorted(leaves)]
    return Tree.of(
        [each for each in ordered if isinstance(each, File)],
        nodes=[each for each in ordered if not isinstance(each, File)],
    )


def _without(extension: Extension, folder: str) -> Extension:
    if folder not in extension.root.tree.entries:
        return extension
    root = extension.root.selected(lambda path: not f"{path}/".startswith(f"{folder}/"))
    return replace(extension, root=root)
