"""Compare an image with a lock: what it pins must be in the image.

A digest that a build does not copy into its output, such as that of an extension's image, cannot
be found again: it is reported as not checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from imager.app.lock.inputs import BuildInput, InputKind
from imager.app.lock.model import Lock
from imager.cache.cache import ImageCache
from imager.cache.digest import cache_digest
from imager.image.inspect.model import Finding, Inspection, Unknown
from imager.oci.digest import Digest
from imager.support.errors import InputError
from imager.talos.choices import OutputKind

_KINDS = {
    OutputKind.ISO.value: "iso",
    OutputKind.IMAGE.value: "disk",
    OutputKind.USB.value: "disk",
    OutputKind.UKI.value: "uki",
    OutputKind.INITRAMFS.value: "initramfs",
    OutputKind.KERNEL.value: "kernel",
}
_NOT_COPIED = "the image does not have what its digest is of"


@dataclass(frozen=True, slots=True)
class LockedImage:
    """An image to compare with a lock: what was found in it, its files by digest, its cache."""

    inspection: Inspection
    files: Mapping[Digest, str]
    cache: ImageCache | None


@dataclass(frozen=True, slots=True)
class LockCheck:
    """What differs from a lock, by name, and what could not be compared."""

    problems: tuple[Finding, ...]
    unknown: tuple[Unknown, ...]


def check_image(lock: Lock, image: LockedImage) -> LockCheck:
    """Compare an image with the lock of its build, or its cache with a lock of images."""
    found = (
        _images(lock, image.cache)
        if lock.profile is None
        else [*_output(lock.profile, image), *(_input(each, image) for each in lock.inputs)]
    )
    return _sorted(found)


def check_cache(lock: Lock, cache: ImageCache, *, source: str) -> LockCheck:
    """Compare an image cache with a lock of images.

    Raises InputError for a lock of a build.
    """
    if lock.profile is not None:
        raise InputError(
            f"{source} is an image cache, and the lock is for a build",
            hint="give a lock of `imager images lock`",
        )
    return _sorted(_images(lock, cache))


def _sorted(found: Iterable[Finding | Unknown | None]) -> LockCheck:
    listed = list(found)
    return LockCheck(
        tuple(each for each in listed if isinstance(each, Finding)),
        tuple(each for each in listed if isinstance(each, Unknown)),
    )


def _images(lock: Lock, cache: ImageCache | None) -> Iterator[Finding]:
    """Yield the images that only one of lock and cache has, or that differ."""
    pinned = {each.name: each.digest for each in lock.inputs if each.kind is InputKind.IMAGE}
    there = {str(name): each.digest for name, each in cache.manifests.items()} if cache else {}
    for name in sorted(pinned.keys() | there.keys()):
        one, other = pinned.get(name), there.get(name)
        if one != other:
            yield _differs(f"image {name}", one, str(other) if other else "")


def _differs(what: str, pinned: object, found: str) -> Finding:
    return Finding(what, f"pinned {pinned or 'nothing'}, found {found or 'nothing'}")


def _output(profile: Mapping[str, object], image: LockedImage) -> Iterator[Finding]:
    output = profile.get("output")
    kind = str(output.get("kind", "")) if isinstance(output, Mapping) else ""
    expected = _KINDS.get(kind)
    if expected and expected != image.inspection.kind:
        yield _differs("profile.output.kind", kind, image.inspection.kind)
    version, found = profile.get("version"), image.inspection.talos
    if version and found and version != found:
        yield _differs("profile.version", version, found)


def _input(each: BuildInput, image: LockedImage) -> Finding | Unknown | None:
    what = f"{each.kind.value} {each.name}"
    if each.kind is InputKind.IMAGE_CACHE:
        return _cache(what, each, image.cache)
    if each.digest in image.files or each.digest in _fingerprints(image.inspection):
        return None
    others = _others(each, image)
    if others is None:
        return Unknown(what, _NOT_COPIED)
    return _differs(what, each.digest, ", ".join(others))


def _cache(what: str, each: BuildInput, cache: ImageCache | None) -> Finding | Unknown | None:
    if cache is None:
        return _differs(what, each, "")
    if each.reference:
        return Unknown(what, _NOT_COPIED)
    found = cache_digest(cache)
    return None if found == each.digest else _differs(what, each.digest, str(found))


def _fingerprints(inspection: Inspection) -> set[Digest]:
    return {
        Digest(signature.fingerprint)
        for binary in inspection.efi
        for signature in binary.signatures
        if signature.fingerprint
    }


def _others(each: BuildInput, image: LockedImage) -> list[str] | None:
    """Return what the image has in place of an input; None for what no image has as it was."""
    found = image.inspection
    names: Iterable[str]
    match each.kind, each.name:
        case InputKind.BOOT_ASSET, "vmlinuz":
            names = (f"{kernel.place}: {kernel.path}" for kernel in found.kernels)
        case InputKind.BOOT_ASSET, "initramfs.xz":
            names = (f"{one.place}: {one.path}" for one in found.initramfs)
        case InputKind.BOOT_ASSET, "systemd-boot.efi" if found.ukis and not _fingerprints(found):
            names = (
                f"{one.place}: {one.path}"
                for one in found.efi
                if one.path.lower().startswith("efi/boot/")
            )
        case InputKind.CERTIFICATE, "secureBootSigner":
            names = map(str, sorted(_fingerprints(found), key=str))
        case InputKind.PUBLIC_KEY, _:
            names = (where for where in image.files.values() if where.endswith(" .pcrpkey"))
        case InputKind.CERTIFICATE, _ if found.keys:
            names = (f"{key.place}: {key.path}" for key in found.keys if key.variable == each.name)
        case _:
            return None
    return [*dict.fromkeys(names)]
