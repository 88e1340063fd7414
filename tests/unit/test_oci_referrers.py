"""Lists of referrers and foreign layers, as registries answer for them."""

from __future__ import annotations

import json

import pytest

from imager.oci import manifest as m
from imager.oci.digest import Digest
from imager.oci.endpoint import Capability, HostConfig, Hosts
from imager.oci.errors import NotFoundError
from imager.oci.remote import RemoteImage
from imager.support.errors import DependencyError, InputError
from tests.lib.registries.client import fetch, image
from tests.lib.registries.programmable import Registry, running_programmable
from tests.lib.registries.sample import BLOB, BLOB_PATH
from tests.lib.servers.messages import Answer
from tests.lib.servers.rules import Where

SUBJECT = Digest.of(b"an image")
PATH = f"/v2/team/app/referrers/{SUBJECT}"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def page(*texts: bytes, kind: str = m.OCI_INDEX, link: str = "") -> Answer:
    entries = [
        {"mediaType": m.OCI_MANIFEST, "digest": str(Digest.of(text)), "size": len(text)}
        for text in texts
    ]
    body = json.dumps({"schemaVersion": 2, "mediaType": m.OCI_INDEX, "manifests": entries})
    headers = {"Content-Type": kind} | ({"Link": link} if link else {})
    return Answer(200, body.encode(), headers)


def listed(source: RemoteImage) -> list[str]:
    (endpoint,) = source.client.endpoints(source.reference.registry)
    return [str(entry.digest) for entry in source.referrers(SUBJECT, endpoint)]


def test_a_list(registry: Registry) -> None:
    registry.always(PATH, page(b"1", b"2"))
    assert listed(image(registry)) == [str(Digest.of(each)) for each in (b"1", b"2")]


@pytest.mark.parametrize(
    "link",
    ['<{p}?last=x>; rel="next"', "<{u}{p}?last=x>;rel=next", '<{p}?last=x>; a=b; REL="next"'],
)
def test_a_list_of_several_pages(registry: Registry, link: str) -> None:
    registry.always(PATH, page(b"1", link=link.format(p=PATH, u=registry.url)))
    registry.always(f"{PATH}?last=x", page(b"1", b"2"))
    assert listed(image(registry)) == [str(Digest.of(each)) for each in (b"1", b"2")]


def test_a_list_without_an_end(registry: Registry) -> None:
    registry.always(PATH, page(b"1", link=f'<{PATH}>; rel="next"'))
    with pytest.raises(InputError, match="more than 100 pages"):
        listed(image(registry))


@pytest.mark.parametrize("status", [400, 404, 405, 406, 501])
def test_registries_without_lists(registry: Registry, status: int) -> None:
    registry.always(PATH, Answer(status))
    assert listed(image(registry)) == []
    assert len(registry.log.at(PATH)) == 1


def test_a_web_page_is_no_list(registry: Registry) -> None:
    registry.always(PATH, page(b"1", kind="text/html; charset=utf-8"))
    assert listed(image(registry)) == []


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Answer(403), InputError),
        (Answer(500), DependencyError),
        (Answer(200, b"{", {"Content-Type": m.OCI_INDEX}), InputError),
    ],
)
def test_registries_that_refuse_or_fail(
    registry: Registry, reply: Answer, kind: type[Exception]
) -> None:
    registry.always(PATH, reply)
    with pytest.raises(kind):
        listed(image(registry))


def test_a_host_without_the_capability_is_not_asked(registry: Registry) -> None:
    able = frozenset({Capability.PULL, Capability.RESOLVE})
    hosts = Hosts(folders={"_default": (HostConfig(capabilities=able),)})
    assert listed(image(registry, hosts=hosts)) == []
    assert registry.log.at(PATH) == []


def foreign(*urls: str) -> m.Descriptor:
    return m.Descriptor(FOREIGN, Digest.of(BLOB), len(BLOB), urls=urls)


def test_a_foreign_layer_that_the_registry_has(registry: Registry) -> None:
    registry.repository("team/app").add_blob(BLOB)
    layer = foreign("https://base.invalid/x")
    assert image(registry).blob_content(layer) is None
    assert fetch(image(registry), layer) == BLOB


def test_a_foreign_layer_at_a_url(registry: Registry) -> None:
    with running_programmable() as other:
        other.always("/x", Answer(200, BLOB))
        layer = foreign("ftp://base.invalid", f"{registry.url}/none", f"{other.url}/x")
        source = image(registry, auths={registry.host: "me:secret"})
        assert source.blob_content(layer) is None
        assert fetch(source, layer) == BLOB
        assert {each.authorization for each in other.log.requests} == {""}


@pytest.mark.parametrize("status", [405, 501])
def test_a_foreign_layer_at_a_server_without_head(registry: Registry, status: int) -> None:
    with running_programmable() as other:
        other.always(Where("GET", "/x"), Answer(200, BLOB))
        other.always(Where("HEAD", "/x"), Answer(status))
        other.always("/none", Answer(status))
        assert image(registry).blob_content(foreign(f"{other.url}/x")) is None
        with pytest.raises(NotFoundError):
            image(registry).blob_content(foreign(f"{other.url}/none"))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x", "https://base.invalid/x", "http://169.254.169.254/x", "x", ""]
)
def test_a_foreign_layer_that_nobody_has(registry: Registry, url: str) -> None:
    layer = foreign(url)
    with pytest.raises(NotFoundError, match="has no foreign layer"):
        image(registry).blob_content(layer)
    with pytest.raises(InputError):
        fetch(image(registry), layer)


def test_a_foreign_layer_of_another_size_is_not_taken(registry: Registry) -> None:
    registry.always(BLOB_PATH, Answer(200, BLOB + b"?"))
    with pytest.raises(NotFoundError):
        image(registry).blob_content(foreign())


def test_only_foreign_layers_are_looked_for(registry: Registry) -> None:
    layer = m.Descriptor(m.OCI_LAYER, Digest.of(BLOB), len(BLOB), urls=(f"{registry.url}/x",))
    registry.always("/x", Answer(200, BLOB))
    assert image(registry).blob_content(layer) is None
    assert registry.log.requests == []
    with pytest.raises(NotFoundError):
        fetch(image(registry), layer)
    assert registry.log.at("/x") == []
