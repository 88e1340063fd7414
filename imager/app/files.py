"""List and extract the files of an image, through everything that contains them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from imager.image.inspect.extract import Extracted, extract_file, extract_folder, send
from imager.image.inspect.inside import Inside, inside_source
from imager.image.inspect.paths import Entry, Finder, FoundFolder, entries, file_entry
from imager.image.inspect.source import is_url, may_be_archive, open_source
from imager.support.errors import InputError
from imager.support.partials import scratch_folder
from imager.support.reporter import QUIET, Reporter

if TYPE_CHECKING:
    from imager.oci.platform import Platform
    from imager.oci.settings import RegistrySettings
    from imager.oci.source import ImageSource

_PLATFORM = ("linux", "amd64")


@dataclass(frozen=True, slots=True)
class FilesOf:
    """The source of files: a path, an https:// URL, or a reference of a registry.

    `platform` chooses an image of several; the default is linux/amd64. `registries` are settings
    for the network.
    """

    source: str
    platform: Platform | None = None
    registries: RegistrySettings | None = None
    reporter: Reporter = QUIET


def list_files(of: FilesOf, path: str = "", *, recursive: bool = False) -> tuple[Entry, ...]:
    """Return what is in a folder of an image, or the entry of a file.

    With a `/` at the end of `path`, it is what is inside of a file, such as the sections of a UKI.
    Raises InputError if there is no such path or the image is damaged, DependencyError if a server
    fails.
    """
    with _finder(of) as finder:
        found = finder.find(path)
        if not isinstance(found, FoundFolder):
            return (file_entry(found),)
        listed = list(entries(found, recursive=recursive))
        if recursive:
            for part, inner in finder.everything(found):
                if inner is not None:
                    listed += [
                        replace(each, path=f"{part.name}/{each.path}")
                        for each in entries(inner, recursive=True)
                    ]
        return tuple(listed)


def extract_files(
    of: FilesOf, path: str, target: Path | None = None, *, force: bool = False
) -> Extracted:
    """Write a file or folder of an image, to `target` or into the folder `target`.

    By default it has its own name in the present folder. A file is replaced only with `force`.
    Nothing is written outside of `target`: links that may lead out of a folder are left out.
    Raises AlreadyExistsError if there is something at `target`, HostError if the disk is full, and
    as `list_files`.
    """
    with _finder(of) as finder:
        found = finder.find(path)
        name = found.path.rpartition("/")[2]
        if target is None or (target.is_dir() and any(target.iterdir())):
            if not name:
                raise InputError(
                    "the whole of an image needs an empty or new folder", hint="add it: / FOLDER"
                )
            target = (target or Path()) / name
        elif target.is_dir() and not isinstance(found, FoundFolder):
            target = target / name
        if isinstance(found, FoundFolder):
            return extract_folder(found, finder, target)
        return extract_file(found, target, force=force)


def send_file(of: FilesOf, path: str, output: IO[bytes]) -> None:
    """Write a file of an image to an open file; raises as `list_files`."""
    with _finder(of) as finder:
        found = finder.find(path)
        if isinstance(found, FoundFolder):
            raise InputError(f"{path or '/'} is a folder", hint="give a file, or a folder for it")
        send(found, output)


@contextmanager
def _finder(of: FilesOf) -> Iterator[Finder]:
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        inside = None if is_url(of.source) else _stored_image(of, stack)
        if inside is None:
            opened = open_source(of.source, scratch=scratch, settings=of.registries, whole=True)
            if opened.problems:
                raise InputError(f"{opened.name}: {opened.problems[0]}")
            inside = inside_source(opened, scratch=scratch)
        yield Finder(of.source, inside, scratch)


def _stored_image(of: FilesOf, stack: ExitStack) -> Inside | None:
    """Return the files of a container image or an image cache; None if the source is neither."""
    path = Path(of.source)
    if path.exists() and not path.is_dir() and not may_be_archive(path):
        return None
    from imager.app.container_images import image_root
    from imager.cache.pull import PullOptions
    from imager.oci.location import may_be_image, open_local_image, parse_place
    from imager.oci.platform import Platform
    from imager.oci.registry import RegistryClient
    from imager.oci.settings import RegistrySettings

    place = parse_place(of.source)
    platform = of.platform or Platform(*_PLATFORM)
    puller = stack.enter_context(
        PullOptions(of.registries or RegistrySettings()).puller(of.reporter)
    )
    if not isinstance(place, Path):
        image: ImageSource = RegistryClient.from_settings(puller.registries).image(place)
    elif place.is_dir() and not may_be_image(place):
        return _cache(place)
    elif path.is_file() and not _has_images(place):
        return None
    else:
        image = open_local_image(place, platform)
    root = image_root(image, platform, of.source, puller)
    return Inside("image", root.files().tree())


def _cache(folder: Path) -> Inside:
    from imager.cache.open import open_cache

    return Inside("image-cache", open_cache(folder).cache.tree)


def _has_images(archive: Path) -> bool:
    """Return whether a tar is one of container images, as of `docker save`."""
    from imager.oci.archive import open_archive
    from imager.oci.layout import is_layout

    try:
        files = open_archive(archive)
    except InputError:
        return False
    return is_layout(files) or files.has("manifest.json")
