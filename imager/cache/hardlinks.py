"""Hard-link files instead of copying them, as those of a folder that is being replaced.

The old folder is removed once the new one is in place, so files are shared only until then. An
interrupted run leaves links to files of the old folder, which must not be written to.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from imager.content.extents import Content, FileRange


def whole_file_in(content: Content, folder: Path) -> Path | None:
    """Return the file whose whole contents are `content`, if it is under `folder`, else None.

    `folder` has its symbolic links resolved.
    """
    sources = [extent.source for extent in content.extents]
    match sources:
        case [FileRange(path, 0)] if path.is_relative_to(folder):
            return path if path.lstat().st_size == content.size else None
        case _:
            return None


def try_link(old: Path, new: Path) -> bool:
    """Replace `new` by a hard link to `old`.

    If that is not possible, return False; `new` is then missing.
    """
    new.unlink(missing_ok=True)
    try:
        os.link(old, new, follow_symlinks=False)
    except OSError:
        return False
    return True


def drop_links(folder: Path) -> None:
    """Remove the files under `folder` that have more than one hard link."""
    for path in folder.rglob("*"):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            path.unlink()
