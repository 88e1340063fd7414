"""Images that are written in several fields: repository, tag and digest, and their relatives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from imager.imagecache.findings import Finding, ImageField, Suspect
from imager.imagecache.likeness import is_complete, is_likely, parsed
from imager.imagecache.places import says_image
from imager.imagecache.spots import Spot
from imager.oci.reference import is_tag

_NO_TAG = "it has no tag"
_NO_REGISTRY = "it has no registry"


def composed(fields: Mapping[object, object], spot: Spot, *, versions: bool) -> Iterator[Finding]:
    """Yield the image that the fields of one mapping make together, at the place of its name.

    `repository` with `registry`, `tag` and `digest` are Helm's custom; `image` may have the
    repository, or be its last part. `versions` says that `version` is the tag.
    """
    found = _name(fields)
    if found is None:
        yield from _istio(fields, spot)
        return
    key, name = found
    place = spot.at_key(key)
    line = place.line_of(fields.get(key))
    tag, digest = _tag(fields, versions=versions), _text(fields, "digest") or _text(fields, "sha")
    image = name + (f":{tag}" if tag else "")
    if digest:
        image += f"@{digest if ':' in digest else f'sha256:{digest}'}"
    if parsed(image) is None:
        return
    if is_complete(image):
        yield ImageField(place.path, image, line)
    elif tag or digest:
        yield Suspect(place.path, image, _NO_REGISTRY, line)
    elif is_likely(image) or ("repository" in fields and says_image(spot.key)):
        yield Suspect(place.path, image, _NO_TAG, line)


def _name(fields: Mapping[object, object]) -> tuple[str, str] | None:
    """Return the key of a name without a tag, and the name with its registry."""
    registry, repository = _text(fields, "registry"), _text(fields, "repository")
    image = _text(fields, "image")
    key = "repository" if repository else "image"
    parts = [registry, repository, image if image and (repository or registry) else ""]
    if not repository and not registry:
        is_tagged = ":" in image.rpartition("/")[2] or "@" in image
        has_tag = _tag(fields, versions=True) or _text(fields, "digest")
        return ("image", image) if image and has_tag and not is_tagged else None
    if not repository and not image:
        return None
    name = "/".join(part.strip("/") for part in parts if part)
    return None if "://" in name or ":" in name.rpartition("/")[2] else (key, name)


def _istio(fields: Mapping[object, object], spot: Spot) -> Iterator[Finding]:
    hub, tag = _text(fields, "hub"), _tag(fields, versions=False)
    if hub and tag and parsed(f"{hub}:{tag}"):
        place = spot.at_key("hub")
        why = "image names are added to it; list the rendered manifests"
        yield Suspect(place.path, f"{hub}/...:{tag}", why, spot.line_of(fields.get("hub")))


def kustomized(entry: object, spot: Spot) -> Iterator[Finding]:
    """Yield what an entry of `images` of a kustomization makes of an image.

    https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/images/; for Argo CD
    the entry is a text, `[NAME=]IMAGE`.
    """
    if isinstance(entry, str):
        image = entry.rpartition("=")[2]
        if parsed(image):
            yield ImageField(spot.path, image, spot.line_of(entry))
        return
    if not isinstance(entry, Mapping):
        return
    name = _text(entry, "newName") or _text(entry, "name")
    tag, digest = _written(entry.get("newTag")), _text(entry, "digest")
    image = name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    place = spot.at_key("newName" if "newName" in entry else "name")
    line = place.line_of(entry.get("newName") or entry.get("name"))
    if parsed(image) is None:
        return
    if tag or digest:
        yield ImageField(place.path, image, line)
    elif "newName" in entry:
        yield Suspect(place.path, image, "its tag is that of the replaced image", line)


def flux_artifact(spec: Mapping[object, object], spot: Spot) -> Iterator[Finding]:
    """Yield what the `spec` of Flux's OCIRepository names.

    https://fluxcd.io/flux/components/source/ocirepositories/: a digest goes before a range of
    versions, and that before a tag; without all of them the tag is `latest`.
    """
    url, ref = _text(spec, "url"), spec.get("ref")
    place = spot.at_key("url")
    line = place.line_of(spec.get("url"))
    name = url.removeprefix("oci://")
    if name == url:
        return
    fields = ref if isinstance(ref, Mapping) else {}
    digest, tag, versions = _text(fields, "digest"), _text(fields, "tag"), _text(fields, "semver")
    if versions and not digest:
        yield Suspect(place.path, name, f"its tag is the newest of {versions!r}", line)
    else:
        target = f"@{digest}" if digest else f":{tag}" if tag else ""
        yield ImageField(place.path, name + target, line)


def _tag(fields: Mapping[object, object], *, versions: bool) -> str:
    keys = ("tag", "imageTag", *(("version",) if versions else ()))
    tags = (_written(fields.get(key)) for key in keys)
    tag = next((each for each in tags if each), "")
    # A version may have a plus, which a tag may not: v1.30.4+k3s1.
    return tag.replace("+", "-")


def _written(value: object) -> str:
    """Return a tag; of numbers, integers alone are as they were written."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53:
        return str(value)
    return value if isinstance(value, str) and is_tag(value.replace("+", "-")) else ""


def _text(fields: Mapping[object, object], key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""
