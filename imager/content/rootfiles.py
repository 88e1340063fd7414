"""Root file systems: a tree, and what a system needs to know beyond it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from imager.content.tree import ROOT, Tree

_Value = TypeVar("_Value", str, int)
FOLDER_MODE = 0o755


@dataclass(frozen=True, slots=True)
class RootFiles:
    """The files of a root file system, all of which belong to root.

    `labels` are SELinux labels by path, `folder_modes` the permissions of folders that do not have
    the mode 0755.
    """

    tree: Tree
    labels: Mapping[str, str] = field(default_factory=dict)
    folder_modes: Mapping[str, int] = field(default_factory=dict)

    def below(self, folder: str) -> RootFiles:
        """Return what is in `folder`, with paths relative to it."""
        return RootFiles(
            self.tree.below(folder), _below(self.labels, folder), _below(self.folder_modes, folder)
        )

    def selected(self, keep: Callable[[str], bool]) -> RootFiles:
        """Return the files, links and folders for whose path `keep` is true, in path order.

        A folder also stays if something in it does.
        """
        tree = self.tree
        return RootFiles(
            Tree.of(
                sorted((each for each in tree.files if keep(each.path)), key=lambda it: it.path),
                sorted(path for path in tree.folders if keep(path)),
                nodes=sorted(
                    (each for each in tree.nodes if keep(each.path)), key=lambda it: it.path
                ),
                others=filter(keep, tree.others),
            ),
            self.labels,
            self.folder_modes,
        )


def _below(values: Mapping[str, _Value], folder: str) -> Mapping[str, _Value]:
    if folder == ROOT:
        return values
    inside = {
        path.removeprefix(f"{folder}/"): value
        for path, value in values.items()
        if path.startswith(f"{folder}/")
    }
    return inside | ({ROOT: values[folder]} if folder in values else {})
