"""Files of a folder by names that a stranger chose: none leads out of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from imager.oci.source import LocalRange, NotFoundError
from imager.support.errors import InputError


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files in `folder`, links in whose path are resolved."""

    folder: Path

    @property
    def path(self) -> Path:
        """What messages call it."""
        return self.folder

    def find(self, name: str) -> LocalRange:
        """Return the place of a file.

        Raises NotFoundError when it is not there, InputError when it is a link out of the folder.
        """
        # Path.resolve raises RuntimeError for a loop of links.
        path = Path(os.path.realpath(self.folder / name))
        if not path.is_relative_to(self.folder):
            raise InputError(f"{self.folder / name} is a link that leaves the layout")
        if not path.is_file():
            raise NotFoundError(
                f"{self.folder / name} is missing", hint="the layout is incomplete: make it again"
            )
        return LocalRange(path, 0, path.stat().st_size)
