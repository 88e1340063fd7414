"""Tell a path from a registry reference, and open the image that is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from imager.oci.errors import InvalidImageError
from imager.oci.files import FolderFiles
from imager.oci.layout import Layout, is_layout
from imager.oci.reference import Reference, is_strict_reference

if TYPE_CHECKING:
    from imager.oci.platform import Platform
    from imager.oci.source import ImageSource

# skopeo's transport prefixes for registries and for local images.
_REGISTRY = "docker://"
_LOCAL = ("oci:", "oci-archive:", "docker-archive:", "dir:")
_MANIFEST = "manifest.json"
_HINT = "give an OCI layout, an archive of `docker save` or skopeo, or a reference with its tag"


def parse_place(text: str) -> Path | Reference:
    """Parse a path or a registry reference, with or without skopeo's transport prefix.

    The path of an image may end in the name of one of several: `oci:DIR:TAG` is `DIR:TAG`. An
    existing path takes precedence. Raises InputError if `docker://` is not followed by a reference
    with a tag or digest.
    """
    if Path(text).exists():
        return Path(text)
    if text.startswith(_REGISTRY):
        return Reference.parse_strict(text.removeprefix(_REGISTRY))
    for prefix in _LOCAL:
        if text.startswith(prefix):
            return Path(text.removeprefix(prefix))
    return Reference.parse_strict(text) if is_strict_reference(text) else Path(text)


def split_name(path: Path) -> tuple[Path, str | None]:
    """Split `PATH:NAME`, where NAME is an image at PATH; the name is None for a path alone.

    PATH ends at the first colon, as for skopeo, unless there is something at the whole path.
    """
    place, colon, name = str(path).partition(":")
    if not colon or path.exists() or not _is_image(Path(place)):
        return path, None
    return Path(place), name


def may_be_image(path: Path) -> bool:
    """Return whether `path` is a file, an OCI layout or a folder of skopeo's, or names one."""
    return _is_image(split_name(path)[0])


def _is_image(path: Path) -> bool:
    if not path.is_dir():
        return path.is_file()
    files = FolderFiles.open(path)
    return is_layout(files) or files.has(_MANIFEST)


def open_local_image(path: Path, platform: Platform) -> ImageSource:
    """Open the only image for `platform` in a layout, an archive or a folder of skopeo's.

    With `PATH:NAME`, it is the one of that name: a tag, or the complete reference of an image.
    Archives may be compressed. Raises InputError if there is no image or several, and as
    `open_archive`.
    """
    path, name = split_name(path)
    if path.is_dir():
        files = FolderFiles.open(path)
        if not is_layout(files) and files.has(_MANIFEST):
            from imager.oci.skopeodir import SkopeoDirectory

            if name is not None:
                raise InvalidImageError(
                    f"{path} has no image called {name}", hint=f"give {path}: its image has no name"
                )
            return SkopeoDirectory.open(path)
        return Layout.open(path).select(name=name, platform=platform)
    from imager.oci.archive import open_archive

    archive = open_archive(path)
    is_docker = archive.has(_MANIFEST)
    if is_layout(archive):
        layout = Layout.of(archive)
        # The index may have only the tag of a name that Docker lists as a whole.
        if name is None or name in layout.names or not is_docker:
            return layout.select(name=name, platform=platform)
    if is_docker:
        from imager.oci.docker_archive import DockerArchive

        saved = DockerArchive.of(archive)
        return saved.image(saved.entry(Reference.parse(name) if name else None))
    raise InvalidImageError(f"{path} is a tar without an image", hint=_HINT)
