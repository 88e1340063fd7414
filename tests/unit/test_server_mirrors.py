"""The machine configuration patch for a server, held against Talos's reference."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml

from imager.registry.mirrors import mirrors_patch
from imager.support.errors import InputError
from tests.lib.keys.certificates import Authority
from tests.lib.tools.cli import tool


def test_the_patch_is_as_talos_documents_it() -> None:
    text = mirrors_patch(["reg.local:5000", "docker.io"], url="http://10.0.0.1:3172/", ca=None)
    endpoints = {"endpoints": ["http://10.0.0.1:3172"]}
    assert yaml.safe_load(text) == {
        "machine": {
            "registries": {
                "mirrors": {"*": endpoints, "docker.io": endpoints, "reg.local:5000": endpoints}
            }
        }
    }


def test_the_order_of_registries_does_not_matter() -> None:
    url = "http://10.0.0.1:3172"
    first = mirrors_patch(["b.example", "a.example", "b.example"], url=url, ca=None)
    assert mirrors_patch(["a.example", "b.example"], url=url, ca=None) == first
    assert first.index("a.example") < first.index("b.example")


def test_the_ca_stands_under_the_host_in_base64_without_what_else_is_in_its_file(
    tmp_path: Path,
) -> None:
    authority = Authority.make(tmp_path / "ca")
    key = (authority.folder / "ca-key.pem").read_bytes()
    pem = authority.certificate.read_bytes()
    text = mirrors_patch([], url="https://cache.local:3172", ca=key + pem)
    registries = yaml.safe_load(text)["machine"]["registries"]
    assert list(registries["config"]) == ["cache.local:3172"]
    (tmp_path / "in.pem").write_bytes(
        base64.b64decode(registries["config"]["cache.local:3172"]["tls"]["ca"], validate=True)
    )
    told = tool("openssl", "x509", "-in", tmp_path / "in.pem", "-noout", "-fingerprint")
    assert told == tool("openssl", "x509", "-in", authority.certificate, "-noout", "-fingerprint")
    assert (tmp_path / "in.pem").read_bytes() == pem


def test_without_tls_there_is_no_ca(tmp_path: Path) -> None:
    pem = Authority.make(tmp_path / "ca").certificate.read_bytes()
    text = mirrors_patch(["ghcr.io"], url="http://cache.local:3172", ca=pem)
    assert text == mirrors_patch(["ghcr.io"], url="http://cache.local:3172", ca=None)


def test_what_is_wrong() -> None:
    with pytest.raises(InputError, match="not the name of a registry"):
        mirrors_patch(["../x"], url="http://a:1", ca=None)
    with pytest.raises(InputError, match="not the URL"):
        mirrors_patch([], url="a:1", ca=None)
    with pytest.raises(InputError, match="the CA of the server"):
        mirrors_patch([], url="https://a:1", ca=b"nothing")
