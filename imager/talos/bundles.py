"""Image lists of talosctl: `images k8s-bundle` with other versions, and `images talos-bundle`.

Each Talos release publishes an image that lists its extensions and one that lists its overlays:
ghcr.io/siderolabs/extensions, whose file `image-digests` has one reference per line, and
ghcr.io/siderolabs/overlays, whose file `overlays.yaml` has a list `overlays` of mappings with
`image` and `digest`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from imager.content.reading import read_file
from imager.content.tar import open_tar
from imager.content.tar_source import TarPlace
from imager.oci.manifest import Descriptor, ImageManifest, Index
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.support.errors import DependencyError, InputError, UnsupportedError
from imager.support.partials import scratch_folder
from imager.support.units import MIB, format_size
from imager.support.yamldocs import load_documents
from imager.support.yamlpaths import items_at, text_at
from imager.talos.errors import InvalidVersionError
from imager.talos.version import TalosVersion
from imager.talos.versions import BUNDLE_SINCE, LEGACY_INSTALLER_BEFORE

# The components whose tag each k8s-bundle option sets.
_KUBERNETES = (
    *(f"kube-{each}" for each in ("apiserver", "controller-manager", "scheduler", "proxy")),
    "kubelet",
)
_COMPONENTS = {
    "k8s": _KUBERNETES,
    "etcd": ("etcd",),
    "flannel": ("flannel",),
    "coredns": ("coredns",),
    "kube-network-policies": ("kube-network-policies",),
}
_NUMBER = r"([0-9]{1,9})"
_VERSION = re.compile(
    rf"(v?){_NUMBER}(?:\.{_NUMBER})?(?:\.{_NUMBER})?([-+][0-9A-Za-z.+-]{{1,60}})?"
)
_REGISTRY = "ghcr.io/siderolabs"
_LISTS = Platform("linux", "amd64")
_LARGEST_LAYER = 64 * MIB
_LARGEST_LIST = 4 * MIB


def with_versions(references: Iterable[str], versions: Mapping[str, str]) -> tuple[str, ...]:
    """Return `references` with the tags of `versions`, by component: k8s, etcd, flannel, ...

    `1.32` and `v1.32.0` are equivalent; the `v` is kept if the original tag has one. Raises
    InputError for an invalid version.
    """
    components = {
        component: (option, text)
        for option, text in versions.items()
        for component in _COMPONENTS[option]
    }
    return tuple(_with_version(each, components) for each in references)


def _with_version(reference: str, versions: Mapping[str, tuple[str, str]]) -> str:
    name, _, tag = reference.rpartition(":")
    option, text = versions.get(name.rpartition("/")[2], ("", ""))
    if not option:
        return reference
    match = _VERSION.fullmatch(text.strip())
    if match is None:
        raise InvalidVersionError(
            f"--{option}-version: {text[:80]!r} is not a version such as v1.32.0"
        )
    prefix, major, minor, patch, rest = match.groups()
    prefix = prefix or ("v" if tag.startswith("v") else "")
    numbers = ".".join(str(int(each or 0)) for each in (major, minor, patch))
    return f"{name}:{prefix}{numbers}{rest or ''}"


def talos_images(version: TalosVersion) -> tuple[str, ...]:
    """Return the images that a release is built from, in talosctl's order.

    Raises InputError for a tag without `v`, UnsupportedError before v1.11.
    """
    if not re.fullmatch(r"v\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]{1,40})?", version.text, re.ASCII):
        raise InvalidVersionError(
            f"{version.text[:80]!r} is not the tag of a Talos release", hint="write it as v1.13.0"
        )
    if not version.at_least(*BUNDLE_SINCE):
        raise UnsupportedError(
            f"Talos {version.text} publishes no lists of its images", hint="use v1.11 or later"
        )
    legacy = () if version.at_least(*LEGACY_INSTALLER_BEFORE) else ("installer",)
    names = (*legacy, "installer-base", "imager", "talos", "talosctl-all", "overlays", "extensions")
    return tuple(f"{_REGISTRY}/{name}:{version.text}" for name in names)


def official_extensions(version: TalosVersion, client: RegistryClient) -> list[str]:
    """Return the references, with digests, of a release's extensions.

    Raises DependencyError if the list cannot be fetched or is invalid.
    """
    return _read(f"{_REGISTRY}/extensions:{version.text}", "image-digests", _lines, client)


def official_overlays(version: TalosVersion, client: RegistryClient) -> list[str]:
    """Return the references, with digests, of a release's overlays; raises DependencyError."""
    return _read(f"{_REGISTRY}/overlays:{version.text}", "overlays.yaml", _overlays, client)


def _lines(text: str) -> Iterator[str]:
    # As in Talos, a line without a digest is not a reference.
    yield from (line.strip() for line in text.splitlines() if "@" in line)


def _overlays(text: str) -> Iterator[str]:
    for document in load_documents(text):
        for overlay in items_at(document, "overlays"):
            yield f"{text_at(overlay, 'image')}@{text_at(overlay, 'digest')}"


def _read(
    reference: str, name: str, parse: Callable[[str], Iterator[str]], client: RegistryClient
) -> list[str]:
    """Return the references that `parse` finds in the file `name` of an image, validated."""
    try:
        found = list(parse(_file_of(reference, name, client).decode()))
        checked = [str(Reference.parse_strict(each)) for each in found]
    except (InputError, UnicodeDecodeError) as error:
        reason = error.message if isinstance(error, InputError) else "not UTF-8"
        raise DependencyError(f"{reference}: {name}: {reason}") from error
    if not checked:
        raise DependencyError(f"{reference}: {name}: no images are listed")
    return checked


def _file_of(reference: str, name: str, client: RegistryClient) -> bytes:
    """Return the file `name` from the topmost layer that contains it."""
    image = client.image(Reference.parse(reference))
    document = image.root().document
    if isinstance(document, Index):
        entry = next(filter(_is_for_lists, document.images), None)
        if entry is None:
            raise DependencyError(f"{reference}: there is no image for {_LISTS}")
        document = image.manifest(entry.digest).document
    layers = document.layers if isinstance(document, ImageManifest) else ()

    def keep(path: str, size: int) -> bool:
        return path == name and size <= _LARGEST_LIST

    with scratch_folder() as scratch:
        for layer in reversed(layers):
            path = scratch / "layer"
            if layer.size > _LARGEST_LAYER:
                raise DependencyError(
                    f"{reference}: a layer is larger than {format_size(_LARGEST_LAYER)}"
                )
            with path.open("wb") as file:
                image.fetch_blob(layer, file)
            tree = open_tar(TarPlace.of_file(path), keep=keep)
            for found in tree.files:
                if found.path == name and (data := read_file(found, _LARGEST_LIST)) is not None:
                    return data
    raise DependencyError(f"{reference}: the image has no file {name}")


def _is_for_lists(entry: Descriptor) -> bool:
    return entry.platform is None or entry.platform.matches(_LISTS)
