"""Find the images that Kubernetes objects name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from imager.discover.composed import flux_artifact
from imager.discover.encoded import TooLargeError, decoded_text, helm_release
from imager.discover.findings import (
    Finding,
    ImageField,
    Mention,
    Nested,
    Note,
    Problem,
    Suspect,
    within,
)
from imager.discover.image_fields import CHOSEN, Rules, rules_of
from imager.discover.location import Location
from imager.discover.manifesttext import LoadedText, RepeatedKey, line_of, load_text
from imager.discover.scan import TOO_LARGE, scan
from imager.oci.reference import has_registry
from imager.support.yamlpaths import fields_at, items_at, shown, text_at, value_at

TEMPLATE = "it is a template, not YAML"

_KUSTOMIZE = "kustomize.config.k8s.io"
_NEW = frozenset({"newName", "newTag", "digest"})
_KUSTOMIZED = "it changes or adds images: list the output of `kustomize build` instead"
_OF_POLICY = "a policy names it, but does not run it"
_OF_SCHEMA = "it is a default in a schema; add it if a resource relies on that"
UNKNOWN = "not a Kubernetes or Talos document: only complete references in it are listed"
_NO_VERSION = "not a Kubernetes or Talos document (it has no apiVersion), and no image is in it"
_RELEASE = "a Helm release: its images are not read; list the output of `helm get manifest`"
_PAST = "a past revision of a Helm release names it; add it if you may roll back"
_HELM = "helm.sh/release.v1"
_SOPS = "encrypted with SOPS: list the output of `sops decrypt`"
_IMAGE_SET = "ImageSetConfiguration"
_MIRRORED = ("platform", "operators", "helm")
_OC_MIRROR = (
    "the images of releases, operators and charts are not known here; add what oc-mirror lists"
)
# The annotation with Hauler's default registry for images without one.
_HAULER_REGISTRY = "hauler.dev/registry"
# Fields with base64 values: core/v1 Secret and ConfigMap.
_ENCODED = {("", "Secret"): "data", ("", "ConfigMap"): "binaryData"}


def manifest_findings(text: str) -> Iterator[Finding]:
    """Yield the findings in Kubernetes manifests (YAML or JSON); a Problem if there are none."""
    loaded = load_text(text)
    yield from load_problems(loaded, text)
    for number, document in enumerate(loaded.documents, start=1):
        yield from map(repeated, document.repeated)
        location = Location(line=document.line)
        yield from object_findings(document.value, number=number, location=location)


def repeated(key: RepeatedKey) -> Note:
    """Return a Note on a duplicate key of an object."""
    text = f"key {shown(key.key)!r} is given twice: the last value is used, as in kubectl"
    return Note("", text, key.line)


def load_problems(loaded: LoadedText, text: str) -> Iterator[Problem]:
    """Yield a Problem if a text does not parse."""
    if loaded.problem:
        why = f"{loaded.problem} ({TEMPLATE})" if "{{" in text else loaded.problem
        yield Problem("", why, loaded.problem_line)


def object_findings(document: object, *, number: int, location: Location) -> Iterator[Finding]:
    """Yield the findings in a Kubernetes object, or in a list of them.

    Places begin with the object's kind and name, or with its `number` in the stream. An empty
    document yields nothing; one that is not an object yields a Note. `location` has its line.
    """
    if document is None:
        return
    for each in _objects(document):
        kind = text_at(each, "kind")
        if isinstance(each, Mapping) and kind:
            place = replace(location, line=_line(each, location.line))
            yield from (within(object_name(each), found) for found in _of_object(each, kind, place))
        elif isinstance(each, Mapping) and _is_kustomization(each):
            # A kustomization may omit apiVersion and kind.
            for found in _of_kustomization(each, location):
                yield within("kustomization", found)
        else:
            yield from _of_unknown(each, f"document {number}", location)


def _is_kustomization(value: Mapping[object, object]) -> bool:
    """Whether an object without a kind is a kustomization."""
    images = [each for each in items_at(value, "images") if isinstance(each, Mapping)]
    changes = any(not each.keys().isdisjoint(_NEW) for each in images)
    return changes or any(items_at(value, key) for key in ("resources", "bases", "components"))


def _of_unknown(value: object, name: str, location: Location) -> Iterator[Finding]:
    yield Note(name, UNKNOWN, location.line)
    for found in scan(value, location, Rules()):
        yield within(name, found)


def _line(value: Mapping[object, object], line: int) -> int:
    """Return the line of an object's first key."""
    return line_of(next(iter(value), None), line) if line else 0


def _objects(document: object) -> Iterator[object]:
    """Yield the object, or the items of a List (or DeploymentList), at any nesting depth."""
    waiting = [document]
    while waiting:
        current = waiting.pop()
        kind = text_at(current, "kind")
        if not kind.endswith("List"):
            yield current
            continue
        defaults = {"apiVersion": value_at(current, "apiVersion"), "kind": kind[: -len("List")]}
        for item in reversed(items_at(current, "items")):
            waiting.append({**defaults, **item} if isinstance(item, dict) else item)


def object_name(value: object) -> str:
    """Return an object's name for messages: its kind, namespace and name."""
    kind = shown(text_at(value, "kind"))
    name = shown(text_at(value, "metadata.name") or text_at(value, "metadata.generateName"))
    namespace = shown(text_at(value, "metadata.namespace"))
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}" if name else kind


def _of_object(value: Mapping[object, object], kind: str, location: Location) -> Iterator[Finding]:
    group = text_at(value, "apiVersion").rpartition("/")[0]
    rules = rules_of(group, kind)
    if rules.unseen:
        yield Note("", rules.unseen, location.line)
    if any(value_at(value, f"mirror.{key}") for key in _MIRRORED if kind == _IMAGE_SET):
        yield Note("", _OC_MIRROR, location.line)
    if isinstance(value.get("sops"), Mapping):
        yield Note("", _SOPS, location.line)
    if kind == "CustomResourceDefinition":
        yield from _of_schemas(value.get("spec"), location.at_key("spec"))
    elif kind == "Kustomization" and group in ("", _KUSTOMIZE):
        yield from _of_kustomization(value, location)
    elif kind == "Images" and group == "content.hauler.cattle.io":
        yield from (_of_hauler(value, found) for found in scan(value, location, rules))
    elif (group, kind) in _ENCODED:
        yield from _with_encoded(value, location, rules, _ENCODED[group, kind])
    elif kind == "OCIRepository" and (spec := fields_at(value, "spec")):
        yield from flux_artifact(spec, location.at_key("spec"))
    else:
        yield from _fields(value, location, rules)


def _fields(value: Mapping[object, object], location: Location, rules: Rules) -> Iterator[Finding]:
    has_image = is_anything = False
    # The status of a pod or node names images that ran, not images that will run.
    fields = {k: v for k, v in value.items() if k != "status"} if rules.is_builtin else value
    for found in scan(fields, location, rules):
        has_image |= isinstance(found, ImageField)
        is_anything = True
        yield unsure(found, _OF_POLICY) if rules.is_policy else found
    if rules.is_operated and not has_image:
        yield Note("", CHOSEN, location.line)
    if "apiVersion" not in value and not is_anything:
        yield Note("", _NO_VERSION, location.line)


def unsure(found: Finding, why: str) -> Finding:
    """Return `found` with an image downgraded to a Suspect."""
    match found:
        case ImageField(where, value, line):
            return Suspect(where, value if isinstance(value, str) else "", why, line)
        case Mention(where, image, line):
            return Suspect(where, image, why, line)
        case _:
            return found


def _of_kustomization(value: Mapping[object, object], location: Location) -> Iterator[Finding]:
    remote = any(isinstance(each, str) and "://" in each for each in items_at(value, "resources"))
    if remote or items_at(value, "images") or items_at(value, "helmCharts"):
        yield Note("", _KUSTOMIZED, location.line)
    yield from scan(value, location, rules_of(_KUSTOMIZE, "Kustomization"))


def _of_hauler(value: Mapping[object, object], found: Finding) -> Finding:
    """Add the default registry of Hauler's object to an image."""
    registry = fields_at(value, "metadata.annotations").get(_HAULER_REGISTRY)
    if not isinstance(found, ImageField) or not isinstance(found.value, str) or not registry:
        return found
    return found if has_registry(found.value) else replace(found, value=f"{registry}/{found.value}")


def _of_schemas(value: object, location: Location) -> Iterator[Finding]:
    """Yield the images among the defaults in a CRD's schemas; the rest of it runs nothing."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "default":
                yield from _of_default(item, location.at_key(key).named(location.key))
            else:
                yield from _of_schemas(item, location.at_key(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _of_schemas(item, location.at_index(index))


def _of_default(value: object, location: Location) -> Iterator[Finding]:
    for found in scan(value, location, Rules()):
        if isinstance(found, ImageField | Mention | Suspect):
            yield unsure(found, _OF_SCHEMA)


def _with_encoded(
    value: Mapping[object, object], location: Location, rules: Rules, encoded: str
) -> Iterator[Finding]:
    if value.get("type") == _HELM or value_at(value, "metadata.labels.owner") == "helm":
        yield from _of_release(value, location)
        return
    yield from scan({key: item for key, item in value.items() if key != encoded}, location, rules)
    place = location.at_key(encoded)
    decoded: dict[object, object] = {}
    for key, item in fields_at(value, encoded).items():
        try:
            decoded[key] = decoded_text(item, line_of(item))
        except TooLargeError:
            found = place.at_key(key)
            yield Note(found.path, TOO_LARGE, found.line)
    yield from scan(decoded, place, rules)


def _of_release(value: Mapping[object, object], location: Location) -> Iterator[Finding]:
    """Yield the findings of a Helm release in a Secret or ConfigMap."""
    texts = [value_at(value, f"{key}.release") for key in ("data", "stringData")]
    content = next((each for each in texts if isinstance(each, str)), None)
    is_encoded = value.get("type") == _HELM and content == texts[0]
    release = helm_release(content, is_encoded=is_encoded)
    if release is None:
        yield Note("", _RELEASE, location.line)
        return
    for text in release.manifests:
        yield Nested("release", text, text.origin.line, _PAST if release.is_past else "")
