"""The images that Kubernetes objects name.

A pod spec is known by its fields, at any depth of any object: so the kinds of Kubernetes are read
alike, and with them custom resources that embed one. The fields are those of the API reference,
core/v1 PodSpec (https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/):
`containers`, `initContainers`, `ephemeralContainers`, each with `image`, and `volumes` with
`image.reference`. In objects of other API groups a key that ends with `image` or `imageName` is
read as well, where its value is a full reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from imager.errors import InputError
from imager.imagecache.findings import (
    Finding,
    ImageField,
    Mention,
    Note,
    Problem,
    is_reference,
    items_at,
    shown,
    text_at,
    value_at,
    within,
)
from imager.oci.reference import is_strict_reference
from imager.yamldocs import load_documents

TEMPLATE = "it is a template, not YAML"

_CONTAINERS = frozenset({"containers", "initContainers", "ephemeralContainers"})
# Of the groups with workloads: an `image` elsewhere in them is a disk of Ceph, or a node's status.
_BUILTIN_GROUPS = frozenset({"", "apps", "batch", "extensions"})
_IMAGE_KEY = re.compile(r"(?:.*I|i)mage(?:Name)?", re.DOTALL)
_CHARTS = frozenset(
    {
        ("argoproj.io", "Application"),
        ("argoproj.io", "ApplicationSet"),
        ("helm.cattle.io", "HelmChart"),
        ("helm.toolkit.fluxcd.io", "HelmRelease"),
    }
)
_UNSEEN = "images of what it deploys are not known here: list what is rendered from it"
_KUSTOMIZE_GROUPS = frozenset({"", "kustomize.config.k8s.io"})


def manifest_findings(text: str) -> Iterator[Finding]:
    """Yield what the Kubernetes manifests in `text` (YAML or JSON) name; a Problem if none."""
    documents, problems = parse_manifests(text)
    yield from problems
    for number, document in enumerate(documents, start=1):
        yield from object_findings(document, number=number)


def parse_manifests(text: str) -> tuple[tuple[object, ...], tuple[Problem, ...]]:
    """Return the documents in `text`; where it does not parse, none, and what is wrong."""
    try:
        return tuple(load_documents(text)), ()
    except InputError as error:
        why = f"{error.message} ({TEMPLATE})" if "{{" in text else error.message
        return (), (Problem("", why),)


def object_findings(document: object, *, number: int) -> Iterator[Finding]:
    """Yield what a Kubernetes object, or a list of them, names.

    Places are told from its kind and name, or from its `number` in the stream. Nothing, which is
    an empty document, has none; what is no object is noted.
    """
    if document is None:
        return
    for each in _objects(document):
        kind = text_at(each, "kind")
        if kind:
            yield from (within(_identity(each, kind), found) for found in _of_object(each, kind))
        elif items_at(each, "resources"):  # its apiVersion and kind may be left out
            yield from (within("kustomization", found) for found in _of_kustomization(each))
        else:
            yield Note(f"document {number}", "is not of Kubernetes or Talos: not looked into")


def _objects(document: object) -> Iterator[object]:
    """Yield the object, or those in a List or, say, a DeploymentList, however they nest."""
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


def _identity(value: object, kind: str) -> str:
    kind = shown(kind)
    name = shown(text_at(value, "metadata.name") or text_at(value, "metadata.generateName"))
    namespace = shown(text_at(value, "metadata.namespace"))
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}" if name else kind


def _of_object(value: object, kind: str) -> Iterator[Finding]:
    group = text_at(value, "apiVersion").rpartition("/")[0]
    if (group, kind) in _CHARTS:
        yield Note("", _UNSEEN)
    elif kind == "Kustomization" and group in _KUSTOMIZE_GROUPS:
        yield from _of_kustomization(value)
    elif kind == "CustomResourceDefinition":
        return  # schemas have images as examples and defaults; nothing runs from them
    elif group in _BUILTIN_GROUPS:
        yield from _pod_fields(value)
    else:
        yield from _custom_fields(value)


def _of_kustomization(value: object) -> Iterator[Finding]:
    remote = any(isinstance(each, str) and "://" in each for each in items_at(value, "resources"))
    if remote or items_at(value, "images") or items_at(value, "helmCharts"):
        yield Note("", "it changes or adds images: list what `kustomize build` prints instead")


def _walk(value: object) -> Iterator[tuple[str, object, str]]:
    """Yield each key of the mappings in `value`, its value and its path, but not into containers.

    Not recursive: JSON may nest more deeply than Python calls.
    """
    waiting = [_children(value, "")]
    while waiting:
        for key, item, path in waiting[-1]:
            if key:
                yield key, item, path
            if isinstance(item, list | dict) and not (
                key in _CONTAINERS and isinstance(item, list)
            ):
                waiting.append(_children(item, path))
                break
        else:
            waiting.pop()


def _children(value: object, path: str) -> Iterator[tuple[str, object, str]]:
    """Yield what is directly in `value`: its key, which is empty in a list, and its path."""
    if isinstance(value, list):
        yield from (("", item, f"{path}[{index}]") for index, item in enumerate(value))
    elif isinstance(value, dict):
        for key, item in value.items():
            word = key if isinstance(key, str) else "?"
            yield word, item, f"{path}.{shown(word)}" if path else shown(word)


def _pod_fields(value: object) -> Iterator[Finding]:
    for key, item, path in _walk(value):
        if not isinstance(item, list):
            continue
        for index, entry in enumerate(item):
            where = f"{path}[{index}]"
            if key in _CONTAINERS:
                yield from _container(entry, where)
            elif key == "volumes" and value_at(entry, "image.reference") is not None:
                yield ImageField(f"{where}.image.reference", value_at(entry, "image.reference"))


def _container(value: object, path: str) -> Iterator[Finding]:
    # None is set later, by who owns the template: core/v1 Container, field `image`.
    if isinstance(value, Mapping) and "image" in value:
        yield ImageField(f"{path}.image", value["image"])
    for field in ("command", "args"):
        for index, text in enumerate(items_at(value, field)):
            yield from _mention(text, f"{path}.{field}[{index}]")
    for index, variable in enumerate(items_at(value, "env")):
        yield from _mention(value_at(variable, "value"), f"{path}.env[{index}].value")


def _mention(text: object, where: str) -> Iterator[Finding]:
    if isinstance(text, str):
        option, equals, value = text.partition("=")
        image = value if equals else option
        if "/" in image and "://" not in image and is_strict_reference(image):
            yield Mention(where, image)


def _custom_fields(value: object) -> Iterator[Finding]:
    """Yield what a custom resource names. Its schema is not known, so nothing in it is wrong."""
    for found in _pod_fields(value):
        if not isinstance(found, ImageField) or is_reference(found.value):
            yield found
        elif found.value:
            yield _unlisted(found.where, found.value)
    for key, item, path in _walk(value):
        if not _IMAGE_KEY.fullmatch(key):
            continue
        if isinstance(item, str) and is_strict_reference(item):
            yield ImageField(path, item)
        elif key == "image" and (isinstance(item, str) or value_at(item, "repository")):
            yield _unlisted(path, item)


def _unlisted(path: str, value: object) -> Note:
    what = value if isinstance(value, str) else "it has fields of its own"
    return Note(path, f"may name an image, but not in full ({what}): not listed")
