"""Find the images that a Talos machine configuration names.

https://www.talos.dev/latest/reference/configuration/ describes its documents: the first and oldest,
v1alpha1, has no kind; the others have `apiVersion: v1alpha1`, which no Kubernetes object has. Later
releases move fields of the first into separate documents. A field that is absent or empty has the
default of the release: `imager images default` lists those.
"""

from __future__ import annotations

from collections.abc import Iterator

from imager.discover.findings import Finding, ImageField, Nested, Note, Problem, within
from imager.discover.image_fields import Rules
from imager.discover.location import Location
from imager.discover.objects import manifest_findings, object_findings, unsure
from imager.discover.scan import scan, within_text
from imager.support.yamlpaths import items_at, text_at, value_at
from imager.talos.components import SETTINGS, ImageSetting
from imager.talos.config.identity import document_name

_V1ALPHA1 = tuple(setting for setting in SETTINGS if not setting.kind)
_KINDS = {setting.kind: setting for setting in SETTINGS if setting.kind}
_EXTENSION = ImageSetting("", "image")
_URL_LISTS = (
    "cluster.extraManifests",
    "cluster.externalCloudProvider.manifests",
    "cluster.network.cni.urls",
)
# Paths that are read as image fields even if the component is turned off.
_READ = (
    *(setting.image for setting in SETTINGS),
    "machine.install.extensions",
    "machine.pods",
    "cluster.inlineManifests",
    "manifest",
    "pod",
    *_URL_LISTS,
)
_NOT_RUN = "it is not in an image field; add it if it is pulled"


def machine_findings(document: object, location: Location) -> Iterator[Finding]:
    """Yield the findings in a document that `is_machine_config` accepts, with the document's name.

    Texts in other fields that look like images are suspected. `location` has the document's line.
    """
    name = document_name(document)
    for found in (*_fields(document, location), *_elsewhere(document, location)):
        yield within(name, found)


def field_findings(document: object) -> Iterator[ImageField | Note | Problem]:
    """Yield the images in a document's image fields; places begin with the field's path."""
    for found in _fields(document, Location()):
        if isinstance(found, ImageField | Note | Problem):
            yield found


def _fields(document: object, location: Location) -> Iterator[Finding]:
    kind = text_at(document, "kind")
    yield from _of_kind(document, kind, location) if kind else _of_v1alpha1(document, location)


def _elsewhere(document: object, location: Location) -> Iterator[Finding]:
    """Yield texts that look like images in other fields: files, arguments, environment."""
    for found in scan(document, location, Rules()):
        if found.where.startswith(_READ):
            continue
        if isinstance(found, Nested):
            if isinstance(found.content, str):
                yield from within_text(found.content, location.at_key(found.where))
        else:
            yield unsure(found, _NOT_RUN)


def _of_v1alpha1(document: object, location: Location) -> Iterator[Finding]:
    for setting in _V1ALPHA1:
        yield from _image(document, setting, location)
    for index, extension in enumerate(items_at(document, "machine.install.extensions")):
        where = f"machine.install.extensions[{index}]"
        yield from (within(where, found) for found in _image(extension, _EXTENSION, location))
    for index, pod in enumerate(items_at(document, "machine.pods")):
        yield from _in_object(pod, f"machine.pods[{index}]", location)
    for index, manifest in enumerate(items_at(document, "cluster.inlineManifests")):
        where = f"cluster.inlineManifests[{index}].contents"
        yield from _in_text(value_at(manifest, "contents"), where, location)
    for path in _URL_LISTS:
        for index, url in enumerate(items_at(document, path)):
            if isinstance(url, str):
                yield _unseen(f"{path}[{index}]", url, location)


def _of_kind(document: object, kind: str, location: Location) -> Iterator[Finding]:
    match kind:
        case "KubeStaticPodConfig":
            yield from _in_object(value_at(document, "pod"), "pod", location)
        case "KubeInlineManifestConfig":
            yield from _in_text(value_at(document, "manifest"), "manifest", location)
        case "KubeExternalManifestConfig":
            yield _unseen("url", text_at(document, "url"), location)
        case _ if kind in _KINDS:
            yield from _image(document, _KINDS[kind], location)


def _image(document: object, setting: ImageSetting, location: Location) -> Iterator[ImageField]:
    image = value_at(document, setting.image)
    is_off = setting.switch and value_at(document, setting.switch) is setting.off
    if image not in (None, "") and not is_off:
        yield ImageField(setting.image, image, location.line_of(image))


def _in_object(value: object, where: str, location: Location) -> Iterator[Finding]:
    for found in object_findings(value, number=1, location=location):
        yield within(where, found)


def _in_text(value: object, where: str, location: Location) -> Iterator[Finding]:
    if isinstance(value, str):
        yield from (within(where, found) for found in manifest_findings(value))
    elif value is not None:
        yield Problem(where, "is not a string with Kubernetes manifests", location.line)


def _unseen(where: str, url: str, location: Location) -> Note:
    text = f"the images of {url} are not known here: download it and list it too"
    return Note(where, text, location.line_of(url))
