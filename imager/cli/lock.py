"""`imager lock` and `imager images lock`: pin what a build or an image cache is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from imager.cli.build_options import Inputs, SecureBoot, Shape
from imager.cli.declare import argument, flag, option
from imager.cli.help import INPUTS, OUTPUT
from imager.cli.image_options import ImageOptions
from imager.cli.options import Jobs, Registries, Results
from imager.profile.names import builtin_names
from imager.support.units import count

if TYPE_CHECKING:
    from imager.app.lock.model import Lock
    from imager.app.lock.write import WrittenLock


@dataclass(frozen=True, slots=True)
class Locked:
    """The option of commands that use a lock."""

    PANEL: ClassVar[str] = INPUTS

    locked: Annotated[
        Path | None,
        option(
            "FILE",
            "Use exactly what this lock pins; fail with a list of what changed since it was made.",
        ),
    ] = None

    def read(self) -> Lock | None:
        """Return the lock; None without one. Raises as `read_lock`."""
        if self.locked is None:
            return None
        from imager.app.lock.model import read_lock

        return read_lock(self.locked)


@dataclass(frozen=True, slots=True)
class LockFile:
    """The options for the file of a lock."""

    PANEL: ClassVar[str] = OUTPUT

    output: Annotated[Path, option("FILE", "File to write.", "--output", "-o")] = Path(
        "imager.lock"
    )
    update: Annotated[
        bool, flag("--update", "Print what moved since the lock was made, and replace it.")
    ] = False


def lock(
    profile: Annotated[
        str,
        argument(
            "PROFILE",
            "Profile to lock: a name, a file, or - for standard input.",
            autocompletion=builtin_names,
        ),
    ],
    *,
    inputs: Inputs,
    shape: Shape,
    secureboot: SecureBoot,
    file: LockFile,
    registries: Registries,
    display: Results,
) -> None:
    """Pin the profile, its inputs, and the versions of what shapes the output.

    Give the options of the build, then build with the same options and --locked FILE.
    """
    from dataclasses import replace

    from imager.app.build_options import BuildOptions
    from imager.app.lock.build_lock import locked_time, make_lock
    from imager.app.lock.write import old_lock, write_lock
    from imager.cli.layers import opened_layers

    reporter = display.reporter()
    old = old_lock(file.output, update=file.update)
    options = BuildOptions(
        output=file.output.parent,
        assets=inputs.asset_place(),
        layer_cache=inputs.layer_cache,
        registries=registries.settings(),
        secureboot=secureboot.secureboot_dir,
    )
    if old is not None:
        options = replace(options, timestamp=locked_time(old))
    with opened_layers(profile, (inputs, shape, secureboot), options, reporter) as (opened, _):
        made = make_lock(opened, options, reporter)
    display.summary(_text, _json, write_lock(file.output, made, old))


def images_lock(
    *,
    images: ImageOptions,
    file: LockFile,
    registries: Registries,
    jobs: Jobs = 4,
    display: Results,
) -> None:
    """Pin every manifest that a cache of these images would contain, with those of signatures.

    Then create the cache with the same options and --locked FILE.
    """
    from imager.app.lock.images_lock import lock_images
    from imager.app.lock.write import old_lock, write_lock

    old = old_lock(file.output, update=file.update)
    made = lock_images(images.to_cache(registries, jobs).read(display.reporter()))
    display.summary(_text, _json, write_lock(file.output, made, old))


def _text(written: WrittenLock) -> Iterator[str]:
    if written.changes is None:
        yield f"wrote {written.path}: {count(len(written.lock.inputs), 'input')} pinned"
        return
    for change in written.changes:
        yield f"{change.what}: {change.pinned or 'nothing'} -> {change.found or 'nothing'}"
    number = count(len(written.changes), "change")
    yield f"updated {written.path}: {number}" if written.changes else f"{written.path} is current"


def _json(written: WrittenLock) -> dict[str, Any]:
    moved = [
        {key: value for key, value in asdict(change).items() if key != "remedy"}
        for change in written.changes or ()
    ]
    return {"file": str(written.path), "inputs": len(written.lock.inputs), "changes": moved}
