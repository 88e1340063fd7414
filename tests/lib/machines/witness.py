"""What the witness says: the initramfs of the default boot assets."""

from __future__ import annotations

import re

from tests.lib.machines.qemu import BootError

DISK_ROOT = "/system/imagecache/disk"
MEDIUM_ROOT = "/system/imagecache/iso/imagecache"
_FIRMWARE_LINE = re.compile(r"^firmware: .*$", re.MULTILINE)
_WITNESS_LINE = re.compile(r"^imagecache: .*$", re.MULTILINE)
_TAIL = 2000


def firmware_line(text: str) -> str:
    """Return what the witness says of the firmware; raises BootError when it does not."""
    found = _FIRMWARE_LINE.search(text)
    if found is None:
        raise BootError(f"no line `firmware:`; {_end(text)}")
    return found[0]


def witness_line(text: str) -> str:
    """Return the one line that the witness says; raises BootError when there is not just one."""
    lines = _WITNESS_LINE.findall(text)
    if len(lines) != 1:
        raise BootError(f"{len(lines)} lines `imagecache:`, not one; {_end(text)}")
    return str(lines[0])


def _end(text: str) -> str:
    return f"the console ends:\n{text[-_TAIL:]}"
