"""Images that are split across several fields: registry, repository, tag and digest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from imager.discover.findings import Finding, ImageField, Suspect
from imager.discover.image_fields import says_image
from imager.discover.likeness import is_below_organization, is_complete, is_likely, parsed
from imager.discover.location import Location
from imager.discover.textimages import has_variable
from imager.oci.reference import is_strict_reference, is_tag
from imager.support.yamlpaths import fields_at, shown, text_at

_NO_TAG = "it has no tag"
_NUMBER = "its tag is a number: is a quote missing?"
_NO_REGISTRY = "it has no registry"
_APART = "its parts are in separate fields; add it if it is pulled"
_LONGER = "the name beside the repository may be its last part"
HAS_VARIABLE = "it contains a variable"
# A key that ends in a part of an image: `imageTag`, `PROXY_IMAGE_REPOSITORY`.
_PART_OF_IMAGE = re.compile(
    r"(|.*[a-z_.-])(image)[_-]?(registry|repository|repo|name|tag|version|digest)", re.IGNORECASE
)
_DOTTED = re.compile(r"(.+)\.(registry|repository|tag|digest)")
# kubeadm appends the component's name to `imageRepository` of `dns` and `etcd.local`.
_KUBEADM = {"dns": "coredns", "local": "etcd"}
_PARTS = frozenset({"registry", "repository", "image", "tag", "imageTag", "digest", "sha", "hub"})


@dataclass(frozen=True, slots=True)
class Composed:
    """The images that the fields of a mapping compose, and the keys that the scan can skip."""

    findings: tuple[Finding, ...] = ()
    keys: frozenset[object] = frozenset()


def composed(fields: Mapping[object, object], location: Location, *, versions: bool) -> Composed:
    """Return the image that the fields of one mapping compose; its place is that of its name.

    Helm charts use `repository` with `registry`, `tag` and `digest`; `image` may contain the
    repository or its last part. With `versions`, `version` is the tag. The parts may share a
    prefix, as in `imageRepository` and `imageTag`, or `proxy.image.tag`.
    """
    findings = tuple(_whole(fields, location, versions=versions))
    keys: set[object] = {*_PARTS, "name"} if findings else set()
    if not findings:
        findings = tuple(_istio(fields, location))
        keys = set(_PARTS) if findings else keys
    apart = _apart(
        {key: (each, location.at_value(fields, key)) for key, each in fields.items()}, location.key
    )
    return Composed((*findings, *apart.findings), frozenset(keys | apart.keys))


def composed_items(items: Sequence[object], location: Location) -> Composed:
    """Return the images that the list items `{name: image.tag, value: v1}` compose.

    The keys of the result are the names of these items.
    """
    fields: dict[object, tuple[object, Location]] = {}
    for index, item in enumerate(items):
        name = item.get("name") if isinstance(item, Mapping) else None
        if isinstance(item, Mapping) and isinstance(name, str):
            fields[name] = (item.get("value"), location.at_index(index).at_value(item, "value"))
    return _apart(fields)


def _apart(fields: Mapping[object, tuple[object, Location]], owner: str = "") -> Composed:
    groups: dict[tuple[str, bool], dict[str, object]] = {}
    for key in fields:
        match = _DOTTED.fullmatch(key) if isinstance(key, str) else None
        words = _PART_OF_IMAGE.fullmatch(key) if isinstance(key, str) and not match else None
        if match:
            groups.setdefault((match[1], True), {})[match[2]] = key
        elif words:
            part = {"repo": "repository", "version": "tag"}.get(words[3].lower(), words[3].lower())
            groups.setdefault((words[1].lower(), False), {}).setdefault(part, key)
    findings: list[Finding] = []
    used: set[object] = set()
    for (_, is_certain), keys in groups.items():
        name = keys.get("repository", keys.get("name"))
        if name is None or len(keys) < 2:
            continue
        parts: dict[object, object] = {part: fields[key][0] for part, key in keys.items()}
        parts["repository"] = fields[name][0]
        if not is_certain and owner in _KUBEADM and isinstance(parts["repository"], str):
            parts["repository"] += f"/{_KUBEADM[owner]}"
        found = _parts_together(parts, fields[name][1], is_certain=is_certain)
        if found:
            findings.append(found)
            used.update(keys.values())
    return Composed(tuple(findings), frozenset(used))


def _parts_together(
    parts: Mapping[object, object], place: Location, *, is_certain: bool
) -> Finding | None:
    repository = text_at(parts, "repository")
    has_tag = bool(_tag(parts, versions=False) or text_at(parts, "digest"))
    name = "/".join(each.strip("/") for each in (text_at(parts, "registry"), repository) if each)
    if not repository or not (has_tag or text_at(parts, "registry")) or _is_pinned(name):
        return None
    if "/" not in name and "." in name:  # only a registry
        return None
    image = _pinned(name, parts, versions=False)
    found = _judged(image, place, parts, has_tag=has_tag, is_helm=True)
    if isinstance(found, ImageField) and not is_certain:
        return Suspect(place.path, image, _APART, place.line)
    return found


def _whole(
    fields: Mapping[object, object], location: Location, *, versions: bool
) -> Iterator[Finding]:
    found = _name(fields, is_image=says_image(location.key))
    if found is None:
        return
    key, name = found
    place = location.at_value(fields, key)
    image = _pinned(name, fields, versions=versions)
    has_tag = image != name
    is_helm = "repository" in fields and says_image(location.key)
    finding = _judged(image, place, fields, has_tag=has_tag, is_helm=is_helm)
    if finding is None:
        return
    yield finding
    last = text_at(fields, "name")
    if key == "repository" and has_tag and last and not name.endswith(f"/{last}"):
        longer = _pinned(f"{name}/{last}", fields, versions=versions)
        if is_complete(longer) and name.count("/") == 1:
            yield Suspect(place.path, longer, _LONGER, place.line)


def _judged(
    image: str, place: Location, parts: Mapping[object, object], *, has_tag: bool, is_helm: bool
) -> ImageField | Suspect | None:
    """Return an image composed of several parts, or a Suspect; None if it is not an image."""
    if has_variable(image):
        image, is_image, why = shown(image), has_tag or is_helm, HAS_VARIABLE
    elif parsed(image) is None:
        return None
    elif has_tag and (is_complete(image) or (is_strict_reference(image) and is_likely(image))):
        return ImageField(place.path, image, place.line)
    elif has_tag:
        is_image, why = True, _NO_REGISTRY
    else:
        is_image = is_likely(image) or is_helm
        why = _NUMBER if isinstance(parts.get("tag"), float) else _NO_TAG
    return Suspect(place.path, image, why, place.line) if is_image else None


def _pinned(name: str, fields: Mapping[object, object], *, versions: bool) -> str:
    tag = _tag(fields, versions=versions)
    digest = text_at(fields, "digest") or text_at(fields, "sha")
    image = name + (f":{tag}" if tag else "")
    if digest:
        image += f"@{digest if ':' in digest else f'sha256:{digest}'}"
    return image


def _name(fields: Mapping[object, object], *, is_image: bool) -> tuple[str, str] | None:
    """Return the key of a name without a tag, and the name including its registry."""
    registry, repository = text_at(fields, "registry"), text_at(fields, "repository")
    image, last = text_at(fields, "image"), text_at(fields, "name")
    if not repository and not registry:
        name = image or (last if is_image else "")
        has_tag = _tag(fields, versions=bool(image)) or text_at(fields, "digest")
        is_named = name and has_tag and not _is_pinned(name)
        return ("image" if image else "name", name) if is_named else None
    if not repository and not image:
        if is_image and last and not _is_pinned(last):
            return "name", f"{registry.strip('/')}/{last}"
        return None
    parts = [registry, repository, image]
    name = "/".join(part.strip("/") for part in parts if part)
    if "://" in name or _is_pinned(name):
        return None
    if last and not image and not is_below_organization(name):
        name = f"{name}/{last}"
    return ("repository" if repository else "image"), name


def _is_pinned(name: str) -> bool:
    return ":" in name.rpartition("/")[2] or "@" in name


def _istio(fields: Mapping[object, object], location: Location) -> Iterator[Finding]:
    hub, tag = text_at(fields, "hub"), _tag(fields, versions=False)
    if hub and tag and parsed(f"{hub}:{tag}"):
        place = location.at_value(fields, "hub")
        why = "image names are added to it; list the rendered manifests"
        yield Suspect(place.path, f"{hub}/...:{tag}", why, place.line)


def kustomized(entry: object, location: Location) -> Iterator[Finding]:
    """Yield the image that an entry of a kustomization's `images` results in.

    https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/images/. In Argo CD,
    the entry is a string, `[NAME=]IMAGE`.
    """
    if isinstance(entry, str):
        image = entry.rpartition("=")[2]
        if parsed(image):
            yield ImageField(location.path, image, location.line_of(entry))
        return
    if not isinstance(entry, Mapping):
        return
    name = text_at(entry, "newName") or text_at(entry, "name")
    tag, digest = _written(entry.get("newTag")), text_at(entry, "digest")
    image = name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    place = location.at_value(entry, "newName" if "newName" in entry else "name")
    if parsed(image) is None:
        return
    if tag or digest:
        yield ImageField(place.path, image, place.line)
    elif "newName" in entry:
        yield Suspect(place.path, image, "its tag is that of the replaced image", place.line)


def flux_artifact(spec: Mapping[object, object], location: Location) -> Iterator[Finding]:
    """Yield the artifact that the `spec` of a Flux OCIRepository names.

    https://fluxcd.io/flux/components/source/ocirepositories/: a digest takes precedence over a
    version range, and the range over a tag; the default tag is `latest`.
    """
    url, fields = text_at(spec, "url"), fields_at(spec, "ref")
    place = location.at_value(spec, "url")
    name = url.removeprefix("oci://")
    if name == url:
        return
    digest, tag = text_at(fields, "digest"), text_at(fields, "tag")
    versions = text_at(fields, "semver")
    if versions and not digest:
        yield Suspect(place.path, name, f"its tag is the newest of {versions!r}", place.line)
    else:
        target = f"@{digest}" if digest else f":{tag}" if tag else ""
        yield ImageField(place.path, name + target, place.line)


def _tag(fields: Mapping[object, object], *, versions: bool) -> str:
    keys = ("tag", "imageTag", *(("version",) if versions else ()))
    tags = (_written(fields.get(key)) for key in keys)
    tag = next((each for each in tags if each), "")
    # A version may contain a plus sign, a tag may not: v1.30.4+k3s1.
    return tag.replace("+", "-")


def _written(value: object) -> str:
    """Return a tag; of numbers, only integers are certain to be as written."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53:
        return str(value)
    return value if isinstance(value, str) and is_tag(value.replace("+", "-")) else ""
