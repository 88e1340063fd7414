"""Lists of referrers and foreign layers, as registries answer for them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from imager.errors import DependencyError, InputError
from imager.oci import manifest as m
from imager.oci.digest import Digest
from imager.oci.endpoint import Capability, HostConfig, Hosts
from imager.oci.remote import RemoteImage
from imager.oci.source import NotFoundError
from tests.lib.registries.scripted_registry import (
    BLOB,
    BLOB_PATH,
    Reply,
    Server,
    fetch,
    image,
    serving,
)

SUBJECT = Digest.of(b"an image")
PATH = f"/v2/a/b/referrers/{SUBJECT}"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def page(*texts: bytes, kind: str = m.OCI_INDEX, link: str = "") -> Reply:
    entries = [
        {"mediaType": m.OCI_MANIFEST, "digest": str(Digest.of(text)), "size": len(text)}
        for text in texts
    ]
    body = json.dumps({"schemaVersion": 2, "mediaType": m.OCI_INDEX, "manifests": entries})
    headers = {"Content-Type": kind} | ({"Link": link} if link else {})
    return Reply(200, body.encode(), headers)


def listed(source: RemoteImage) -> list[str]:
    (endpoint,) = source.client.endpoints(source.reference.registry)
    return [str(entry.digest) for entry in source.referrers(SUBJECT, endpoint)]


def test_a_list(server: Server) -> None:
    server.replies[PATH] = [page(b"1", b"2")]
    assert listed(image(server)) == [str(Digest.of(each)) for each in (b"1", b"2")]


@pytest.mark.parametrize(
    "link",
    ['<{p}?last=x>; rel="next"', "<{u}{p}?last=x>;rel=next", '<{p}?last=x>; a=b; REL="next"'],
)
def test_a_list_of_several_pages(server: Server, link: str) -> None:
    server.replies[PATH] = [page(b"1", link=link.format(p=PATH, u=server.url))]
    server.replies[f"{PATH}?last=x"] = [page(b"1", b"2")]
    assert listed(image(server)) == [str(Digest.of(each)) for each in (b"1", b"2")]


def test_a_list_without_an_end(server: Server) -> None:
    server.replies[PATH] = [page(b"1", link=f'<{PATH}>; rel="next"')]
    with pytest.raises(InputError, match="more than 100 pages"):
        listed(image(server))


@pytest.mark.parametrize("status", [400, 404, 405, 406, 501])
def test_registries_without_lists(server: Server, status: int) -> None:
    server.replies[PATH] = [Reply(status)]
    assert listed(image(server)) == []
    assert len(server.paths(PATH)) == 1


def test_a_web_page_is_no_list(server: Server) -> None:
    server.replies[PATH] = [page(b"1", kind="text/html; charset=utf-8")]
    assert listed(image(server)) == []


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(403), InputError),
        (Reply(500), DependencyError),
        (Reply(200, b"{", {"Content-Type": m.OCI_INDEX}), InputError),
    ],
)
def test_registries_that_refuse_or_fail(
    server: Server, reply: Reply, kind: type[Exception]
) -> None:
    server.replies[PATH] = [reply]
    with pytest.raises(kind):
        listed(image(server))


def test_a_host_without_the_capability_is_not_asked(server: Server) -> None:
    able = frozenset({Capability.PULL, Capability.RESOLVE})
    hosts = Hosts(folders={"_default": (HostConfig(capabilities=able),)})
    assert listed(image(server, hosts=hosts)) == []
    assert server.paths(PATH) == []


def foreign(*urls: str) -> m.Descriptor:
    return m.Descriptor(FOREIGN, Digest.of(BLOB), len(BLOB), urls=urls)


def test_a_foreign_layer_that_the_registry_has(server: Server) -> None:
    server.replies[BLOB_PATH] = [Reply(200, BLOB)]
    layer = foreign("https://base.invalid/x")
    assert image(server).blob_content(layer) is None
    assert fetch(image(server), layer) == BLOB


def test_a_foreign_layer_at_a_url(server: Server) -> None:
    with serving() as other:
        other.replies["/x"] = [Reply(200, BLOB)]
        layer = foreign("ftp://base.invalid", f"{server.url}/none", f"{other.url}/x")
        source = image(server, auths={f"127.0.0.1:{server.port}": "me:secret"})
        assert source.blob_content(layer) is None
        assert fetch(source, layer) == BLOB
        assert {authorization for _, authorization in other.asked} == {""}


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/x", "https://base.invalid/x", "http://169.254.169.254/x", "x", ""]
)
def test_a_foreign_layer_that_nobody_has(server: Server, url: str) -> None:
    layer = foreign(url)
    with pytest.raises(NotFoundError, match="has no foreign layer"):
        image(server).blob_content(layer)
    with pytest.raises(InputError):
        fetch(image(server), layer)


def test_a_foreign_layer_of_another_size_is_not_taken(server: Server) -> None:
    server.replies[BLOB_PATH] = [Reply(200, BLOB + b"?")]
    with pytest.raises(NotFoundError):
        image(server).blob_content(foreign())


def test_only_foreign_layers_are_looked_for(server: Server) -> None:
    layer = m.Descriptor(m.OCI_LAYER, Digest.of(BLOB), len(BLOB), urls=(f"{server.url}/x",))
    server.replies["/x"] = [Reply(200, BLOB)]
    assert image(server).blob_content(layer) is None
    assert server.asked == []
    with pytest.raises(NotFoundError):
        fetch(image(server), layer)
    assert server.paths("/x") == []
