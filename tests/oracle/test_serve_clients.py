"""What `images cache-serve` writes for its clients, read by other readers."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.lib.caches.caches import CacheFixture, make_flat
from tests.lib.registries.serving import TIMEOUT, generate_certificates, serving, tls_options
from tests.lib.tools.cli import run, tool

REGISTRY = "registry.local:5000"


@pytest.fixture(scope="module", name="flat")
def flat_cache(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    return make_flat(tmp_path_factory.mktemp("cache") / "flat", images=1, blob_size=1000)


def hosts(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what the hosts.toml files of a folder say, by the folder that each is in."""
    return {
        path.parent.name: tomllib.loads(path.read_text()) for path in folder.glob("*/hosts.toml")
    }


def patch(path: Path) -> dict[str, Any]:
    """Return a patch as yq, and so not our own reader, has it."""
    found: dict[str, Any] = json.loads(tool("yq", ".", path))
    return found


def test_hosts_files_and_the_patch_name_the_server(flat: CacheFixture, tmp_path: Path) -> None:
    options = ("--hosts-dir", tmp_path / "certs.d", "--mirrors-patch", tmp_path / "patch.yaml")
    with serving(flat.folder, *options, "--mirror", "quay.io") as server:
        mirror = {server.url: {"capabilities": ["pull", "resolve"]}}
        assert hosts(tmp_path / "certs.d") == {
            "registry.local_5000_": {"server": f"https://{REGISTRY}", "host": mirror},
            "quay.io": {"server": "https://quay.io", "host": mirror},
            "_default": {"host": mirror},
        }
        endpoints = {"endpoints": [server.url]}
        names = ("*", "quay.io", REGISTRY)
        assert patch(tmp_path / "patch.yaml") == {
            "machine": {"registries": {"mirrors": dict.fromkeys(names, endpoints)}}
        }


TALOSCTLS = "image-cache-mirrors-patch.yaml"


def free_address(host: str = "127.0.0.1") -> str:
    with socket.create_server((host, 0)) as taken:
        return f"{host}:{taken.getsockname()[1]}"


def test_the_patch_that_talosctl_writes_is_written_by_default(
    flat: CacheFixture, tmp_path: Path
) -> None:
    address = free_address()
    with serving(flat.folder, address=address, cwd=tmp_path) as server:
        assert server.texts("warning") == []
    documents = tool("yq", "-c", "[.kind, .name, .endpoints]", tmp_path / TALOSCTLS).splitlines()
    assert [json.loads(each) for each in documents] == [
        ["RegistryMirrorConfig", name, [{"url": f"http://{address}"}]]
        for name in ("docker.io", "ghcr.io", "registry.k8s.io", REGISTRY)
    ]
    # It is written again, but never over something else.
    with serving(flat.folder, address=address, cwd=tmp_path) as server:
        assert server.texts("warning") == []
    (tmp_path / TALOSCTLS).write_text("mine\n")
    with serving(flat.folder, address=address, cwd=tmp_path) as server:
        (warning,) = server.texts("warning")
    assert f"no patch for Talos was written: {TALOSCTLS} exists already" in warning
    assert (tmp_path / TALOSCTLS).read_text() == "mine\n"


def test_the_default_patch_names_what_is_given(flat: CacheFixture, tmp_path: Path) -> None:
    options = ("--mirror", "quay.io", "--advertise-url", "https://cache.lan:3172/")
    with serving(flat.folder, *options, address=free_address(), cwd=tmp_path):
        documents = tool("yq", "-c", "[.name, .endpoints]", tmp_path / TALOSCTLS).splitlines()
    endpoints = [{"url": "https://cache.lan:3172"}]
    assert [json.loads(each) for each in documents] == [
        ["quay.io", endpoints],
        [REGISTRY, endpoints],
    ]


@pytest.mark.parametrize("options", [("--no-mirrors-patch",), ("--mirrors-patch", "other.yaml")])
def test_no_default_patch(flat: CacheFixture, tmp_path: Path, options: tuple[str, ...]) -> None:
    with serving(flat.folder, *options, address=free_address(), cwd=tmp_path):
        assert not (tmp_path / TALOSCTLS).exists()
    with serving(flat.folder, cwd=tmp_path):  # a port that is another one in the next run
        assert not (tmp_path / TALOSCTLS).exists()


def test_every_address_is_in_the_default_patch(flat: CacheFixture, tmp_path: Path) -> None:
    port = free_address().rpartition(":")[2]
    with serving(flat.folder, address=f"0.0.0.0:{port}", cwd=tmp_path):
        text = (tmp_path / TALOSCTLS).read_text()
    found = set(re.findall(r"url: '?(http://[^'\n]+)", text))
    interfaces = json.loads(tool("ip", "-j", "address"))
    addresses = [
        each for one in interfaces for each in one["addr_info"] if each["scope"] == "global"
    ]
    assert found == {
        f"http://[{each['local']}]:{port}"
        if ":" in each["local"]
        else f"http://{each['local']}:{port}"
        for each in addresses
    }


def test_the_url_may_be_another_one(flat: CacheFixture, tmp_path: Path) -> None:
    generate_certificates(tmp_path, "--advertised-name", "cache.lan")
    url = "https://cache.lan:3172"
    options = ("--hosts-dir", tmp_path / "certs.d", "--mirrors-patch", tmp_path / "patch.yaml")
    authority = tmp_path / "ca.crt"
    with serving(
        flat.folder,
        *(*tls_options(tmp_path), "--tls-ca-file", authority),
        *("--advertise-url", url, *options),
    ):
        (mirror,) = hosts(tmp_path / "certs.d")["_default"]["host"].items()
        assert mirror == (url, {"capabilities": ["pull", "resolve"], "ca": str(authority)})
        registries = patch(tmp_path / "patch.yaml")["machine"]["registries"]
        assert registries["mirrors"]["*"] == {"endpoints": [url]}
        told = registries["config"]["cache.lan:3172"]["tls"]["ca"]
        assert base64.b64decode(told) == authority.read_bytes()


def test_without_a_ca_the_chain_is_to_be_trusted(flat: CacheFixture, tmp_path: Path) -> None:
    generate_certificates(tmp_path)
    with serving(flat.folder, *tls_options(tmp_path), "--mirrors-patch", tmp_path / "patch.yaml"):
        (config,) = patch(tmp_path / "patch.yaml")["machine"]["registries"]["config"].values()
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(base64.b64decode(config["tls"]["ca"]))
    assert tool("openssl", "verify", "-CAfile", trusted, tmp_path / "tls.crt").endswith("OK\n")


def test_registries_that_come_later_are_told(flat: CacheFixture, tmp_path: Path) -> None:
    path = tmp_path / "cache"
    shutil.copytree(flat.folder, path)
    later = make_flat(tmp_path / "later", images=1, registry="ghcr.io", blob_size=1000)
    with serving(path, "--hosts-dir", tmp_path / "certs.d"):
        assert set(hosts(tmp_path / "certs.d")) == {"registry.local_5000_", "_default"}
        shutil.copytree(later.folder, path, dirs_exist_ok=True)
        deadline = time.monotonic() + TIMEOUT
        while "ghcr.io" not in hosts(tmp_path / "certs.d"):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_what_cannot_be_told_is_refused_before_anything_is_served(
    flat: CacheFixture, tmp_path: Path
) -> None:
    folder = tmp_path / "certs.d"
    (folder / "_default").mkdir(parents=True)
    own = folder / "_default/hosts.toml"
    own.write_text("# my own\n")
    serve = ("images", "cache-serve", flat.folder, "--address")
    done = run(*serve, "127.0.0.1:0", "--hosts-dir", folder)
    assert done.returncode == 2
    assert str(own) in done.stderr
    assert "serving on" not in done.stderr
    assert [path for path in folder.rglob("*") if path.is_file()] == [own]
    assert own.read_text() == "# my own\n"
    for args, words in (
        ((":0", "--hosts-dir", folder), "--advertise-url"),
        (("0.0.0.0:0", "--mirrors-patch", tmp_path / "x"), "--advertise-url"),
        (("127.0.0.1:0", "--mirrors-patch", tmp_path / "no/x"), "does not exist"),
        (("127.0.0.1:0", "--mirrors-patch", tmp_path / "x", "--mirror", "no/x"), "registry"),
        (("127.0.0.1:0", "--mirrors-patch", tmp_path / "x", "--advertise-url", "x"), "URL"),
    ):
        done = run(*serve, *args)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
        assert "serving on" not in done.stderr
    assert not (tmp_path / "x").exists()
