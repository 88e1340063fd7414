"""The commands that are measured, and their limits."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.cache import BenchCache
from tests.bench.images import RemoteImages
from tests.bench.measure import Case

_Argument = str | Path

# How much slower than its baseline a build may be.
_ISO_LIMIT = 1.3
_DISK_LIMIT = 1.2
_VERIFY_LIMIT = 1.15
_GZIP_LIMIT = 1.3
# What comes with an output, against the same build without it.
_RELEASE_LIMIT = 1.1
_PUSH_LIMIT = 1.5
# A compressed disk, against the tool that Talos runs on the finished raw disk.
_PACKED_LIMIT = 0.5
# Seconds: of the clock for the help, of the processor for an ISO with a small cache.
_HELP_LIMIT = 0.3
_SMALL_ISO_LIMIT = 0.4
# Bytes written for each byte of the output: nothing of gigabytes is written twice.
WRITTEN_LIMIT = 1.05

_FLAT, _LAYOUT, _GZIP = "flat tree", "OCI layout", "gzip layer"
_IGZIP = "igzip -d"
_ZSTD = "zstd -T0 -1; sync"
_PACKING_TOOLS = {".zst": "zstd -q -T0 -18", ".gz": "pigz -6 --no-time", ".xz": "xz -0 -T0"}
_CURL = "curl -T to a registry"
# Each run pushes to a repository of its own, where nothing is yet. $1 is the registry, $2 the file.
_UPLOAD = (
    'place=$(curl -sSfi -X POST "http://$1/v2/curl/r$$/blobs/uploads/"'
    " | sed -n 's/^Location: //p' | tr -d '\\r') && "
    'exec curl -sSf -T "$2" "$place&digest=sha256:${2##*/}"'
)
_PUSH = 'exec "$0" images cache-push "$2" "$1/push/r$$:v1" -q'
RAW = ("--out-format", "raw")
_HASH = (
    "import hashlib, sys\n"
    "for path in sys.argv[1:]:\n"
    "    with open(path, 'rb') as file:\n"
    "        hashlib.file_digest(file, 'sha256')\n"
)


@dataclass(frozen=True, slots=True)
class Builds:
    """What builds need: the boot assets, the cache, and the folder of outputs."""

    assets: Path
    cache: BenchCache
    output: Path

    def build(self, profile: str, cache: Path, *options: str) -> list[_Argument]:
        """Return the command of a build, by the program beside this Python."""
        inputs: list[_Argument] = ["--assets", self.assets, "--image-cache", cache]
        return [imager(), profile, *inputs, "--output", self.output, "-q", *options]


@dataclass(frozen=True, slots=True)
class Setting(Builds):
    """What all cases of builds and pulls need.

    `disk` is a raw disk image. `registry` is the host of one that runs, with `images` of 2 GB in
    it, and with `many_images`.
    """

    disk: Path
    registry: str
    images: RemoteImages
    many_images: Sequence[str]


def imager() -> Path:
    """Return the program that is measured."""
    return Path(sys.executable).with_name("imager")


def interleaved_cases(setting: Setting) -> list[Case]:
    """Return the cases that are run in turn."""
    cache, output = setting.cache, setting.output
    compressed, tree = output / "disk.zst", output / "tree.iso"
    return [
        *_form_cases(setting, _FLAT, cache.flat, cache.files),
        *_form_cases(setting, _LAYOUT, cache.layout, [cache.layer]),
        Case(_ZSTD, synced(compressed, "zstd", "-q", "-T0", "-1", setting.disk, "-o", compressed)),
        *_gzip_cases(setting),
        *_release_cases(setting),
        Case(
            f"disk .zst, --no-verify, {_FLAT}",
            setting.build("metal", cache.flat, "--no-verify"),
            against=(_ZSTD,),
            build=True,
            written_limit=WRITTEN_LIMIT,
        ),
        Case(
            "xorriso -as mkisofs -R; sync",
            synced(tree, "xorriso", "-as", "mkisofs", "-R", "-o", tree, cache.flat),
            against=(_cat(_FLAT),),
        ),
        *(
            Case(f"{name}, 20,400 files", command, build=True)
            for name, command in {
                "ISO": setting.build("iso", cache.many),
                "raw disk": setting.build("metal", cache.many, *RAW),
                "disk .zst": setting.build("metal", cache.many),
            }.items()
        ),
        *_push_cases(setting),
        Case("imager --help", [imager(), "--help"], seconds_limit=_HELP_LIMIT),
        Case(
            "small ISO, CPU time",
            setting.build("iso", cache.small),
            build=True,
            seconds_limit=_SMALL_ISO_LIMIT,
            cpu=True,
        ),
    ]


def _push_cases(setting: Setting) -> list[Case]:
    registry, cache = setting.registry, setting.cache
    return [
        Case(_CURL, ["sh", "-c", _UPLOAD, "curl", registry, cache.layer]),
        Case(
            f"cache-push, {_LAYOUT}",
            ["sh", "-c", _PUSH, imager(), registry, cache.layout],
            against=(_CURL,),
            limit=_PUSH_LIMIT,
            build=True,
        ),
    ]


def single_cases(setting: Setting) -> list[Case]:
    """Return the cases that are too slow for more than one run."""
    size = sum(path.stat().st_size for path in setting.cache.files) * 11 // 10 >> 10
    tree = setting.output / "tree.ext4"
    command = synced(tree, "mkfs.ext4", "-q", "-d", setting.cache.flat, tree, f"{size}k")
    return [
        Case("mkfs.ext4 -d; sync (one run)", command, against=(_cat(_FLAT),)),
        *_packed_cases(setting),
    ]


def _packed_cases(setting: Setting) -> Iterator[Case]:
    """Yield each compressed disk, and the tool alone: the raw disk that it needs is there."""
    for suffix, tool in _PACKING_TOOLS.items():
        packed = setting.output / f"disk{suffix}"
        name = f"{tool}; sync (one run)"
        script = f'{tool} -c "$1" > "$0" && sync "$0"'
        yield Case(name, ["sh", "-c", script, packed, setting.disk])
        yield Case(
            f"disk {suffix}, --no-verify (one run)",
            setting.build("metal", setting.cache.flat, "--no-verify", "--out-format", suffix),
            against=(name,),
            limit=_PACKED_LIMIT,
            build=True,
            written_limit=WRITTEN_LIMIT,
        )


def _form_cases(setting: Builds, form: str, cache: Path, files: list[Path]) -> list[Case]:
    cat, sha = _cat(form), f"SHA-256, {form}"
    copied = setting.output / "copied"
    unchecked = [
        ("ISO, --no-verify", _ISO_LIMIT, ["iso", "--no-verify"]),
        ("raw disk, --no-verify", _DISK_LIMIT, ["metal", *RAW, "--no-verify"]),
    ]
    return [
        Case(cat, ["sh", "-c", 'cat "$@" > "$0" && sync "$0"', copied, *files]),
        Case(sha, [sys.executable, "-c", _HASH, *files]),
        *(
            _build(f"{name}, {form}", setting.build(command[0], cache, *command[1:]), (cat,), limit)
            for name, limit, command in unchecked
        ),
        *_checked_cases(setting, form, cache, (cat, sha), _VERIFY_LIMIT),
    ]


def _gzip_cases(setting: Setting) -> list[Case]:
    """Return builds from a compressed layer; what is in it is as long as the plain one."""
    layer = setting.cache.packed_layer
    return [
        Case(_IGZIP, ["sh", "-c", 'exec igzip -dc < "$0"', layer]),
        *_checked_cases(setting, _GZIP, setting.cache.packed, (_cat(_LAYOUT), _IGZIP), _GZIP_LIMIT),
    ]


def _release_cases(setting: Setting) -> Iterator[Case]:
    """Yield builds with all that comes with an output."""
    for name, command in {"ISO": ["iso"], "raw disk": ["metal", *RAW]}.items():
        argv = setting.build(command[0], setting.cache.flat, *command[1:], "--release")
        yield _build(f"{name}, --release", argv, (f"{name}, {_FLAT}",), _RELEASE_LIMIT)


def _checked_cases(
    setting: Builds, form: str, cache: Path, against: tuple[str, ...], limit: float
) -> Iterator[Case]:
    for name, command in {"ISO": ["iso"], "raw disk": ["metal", *RAW]}.items():
        argv = setting.build(command[0], cache, *command[1:])
        yield _build(f"{name}, {form}", argv, against, limit)


def _build(name: str, argv: Sequence[_Argument], against: tuple[str, ...], limit: float) -> Case:
    return Case(name, argv, against=against, limit=limit, build=True, written_limit=WRITTEN_LIMIT)


def _cat(form: str) -> str:
    return f"cat; sync, {form}"


def synced(output: Path, *command: _Argument) -> list[_Argument]:
    """Return a command that writes the file `output`, and flushes it to the disk."""
    return ["sh", "-c", '"$@" && sync "$0"', output, *command]
