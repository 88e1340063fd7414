"""Files of a folder that is being replaced: they are linked into the new one, not copied.

The old folder goes when the new one has come, so no file is shared for longer than that; what a
run that ended too early leaves behind shares files with it, and is not written to.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from imager.content.extents import Content, FileRange


def whole_file_in(content: Content, folder: Path) -> Path | None:
    """Return the file under `folder`, links resolved, that is `content`; None when none is."""
    sources = [extent.source for extent in content.extents]
    match sources:
        case [FileRange(path, 0)] if path.is_relative_to(folder):
            return path if path.lstat().st_size == content.size else None
        case _:
            return None


def try_link(old: Path, new: Path) -> bool:
    """Make `new`, or what is there now, a second name of `old`; False where that cannot be."""
    new.unlink(missing_ok=True)
    try:
        os.link(old, new, follow_symlinks=False)
    except OSError:
        return False
    return True


def drop_links(folder: Path) -> None:
    """Remove the files under `folder` that have another name elsewhere."""
    for path in folder.rglob("*"):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            path.unlink()
