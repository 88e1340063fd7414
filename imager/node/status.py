"""The status of a machine's image cache: Talos's resource ImageCacheConfig, with reasons.

`talosctl get imagecacheconfig` shows its `status`, `copyStatus` and `roots`; the other fields are
imager's. The file is replaced atomically after every change, so that it can be read at any time.
"""

from __future__ import annotations

import enum
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

from imager.support.atomic import write_atomic
from imager.support.descriptors import MADE, opened
from imager.support.errors import HostError, InputError

STATUS_FILE = "image-cache.json"
_LOCK_FILE = "lock"
_TYPE = "ImageCacheConfigs.cri.talos.dev"
_LARGEST = 4 << 20


class CacheStatus(enum.Enum):
    """Whether containers can be pulled from the cache."""

    UNKNOWN = "unknown"
    DISABLED = "disabled"
    PREPARING = "preparing"
    READY = "ready"


class CopyStatus(enum.Enum):
    """Whether the disk has the contents of the ISO; after a failed copy it stays `pending`."""

    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    PENDING = "pending"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class RootStatus:
    """The origin and contents of a served root; sizes in bytes.

    `problem` says why nothing of it can be served. The names of the fields are those in the file.
    """

    root: str
    device: str
    filesystem: str
    label: str
    images: int = 0
    blobs: int = 0
    size: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The whole status; `reason` and `copy_reason` explain it where necessary.

    `copied` and `to_copy` are bytes of a copy. `absent` are requested images that no root has,
    `damaged` the problems of requested blobs.
    """

    status: CacheStatus = CacheStatus.UNKNOWN
    reason: str = ""
    copy_status: CopyStatus = CopyStatus.UNKNOWN
    copy_reason: str = ""
    roots: tuple[RootStatus, ...] = ()
    url: str = ""
    copied: int = 0
    to_copy: int = 0
    absent: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return the resource as JSON values."""
        return {
            "metadata": {"namespace": "cri", "type": _TYPE, "id": "image-cache"},
            "spec": {
                "status": self.status.value,
                "reason": self.reason,
                "copyStatus": self.copy_status.value,
                "copyReason": self.copy_reason,
                "copied": self.copied,
                "toCopy": self.to_copy,
                "roots": [each.root for each in self.roots],
                "volumes": [asdict(each) for each in self.roots],
                "url": self.url,
                "absent": list(self.absent),
                "damaged": list(self.damaged),
            },
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> NodeStatus:
        """Parse a resource; raises KeyError, TypeError or ValueError if it is invalid."""
        spec = document["spec"]
        return cls(
            CacheStatus(spec["status"]),
            str(spec["reason"]),
            CopyStatus(spec["copyStatus"]),
            str(spec["copyReason"]),
            tuple(map(_root_status, spec["volumes"])),
            str(spec["url"]),
            int(spec["copied"]),
            int(spec["toCopy"]),
            tuple(map(str, spec["absent"])),
            tuple(map(str, spec["damaged"])),
        )


def _root_status(values: Mapping[str, Any]) -> RootStatus:
    fields = get_type_hints(RootStatus)
    return RootStatus(**{name: kind(values[name]) for name, kind in fields.items()})


def write_status(folder: Path, status: NodeStatus) -> None:
    """Replace the status in `folder`; raises HostError when it cannot be written."""
    text = json.dumps(status.document(), indent=2) + "\n"
    write_atomic(folder / STATUS_FILE, text.encode(), mode=0o644)


def read_status(folder: Path) -> NodeStatus:
    """Read the last status in `folder`; raises InputError when there is none."""
    path = folder / STATUS_FILE
    hint = "start it: `imager node run --config machine.yaml`"
    try:
        with path.open("rb") as file:
            return NodeStatus.of(json.loads(file.read(_LARGEST)))
    except FileNotFoundError as error:
        raise InputError(
            f"{path} does not exist: `imager node run` has not been started", hint=hint
        ) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not an image cache status file", hint=hint) from error


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder` inside the block.

    Raises HostError when another run holds it, or when it cannot be created.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = stack.enter_context(opened(folder / _LOCK_FILE, MADE))
        except OSError as error:
            raise HostError(
                f"cannot create {folder}: {error.strerror}",
                hint="run as root, or choose another folder with --state",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HostError(
                f"another `imager node run` is using {folder}",
                hint="stop it, or choose another folder with --state",
            ) from error
        yield


def is_running(folder: Path) -> bool:
    """Return whether a run holds the lock of `folder`."""
    with suppress(OSError), opened(folder / _LOCK_FILE, os.O_RDONLY) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
