"""containerd's hosts.toml files for a server, held against the documentation and our own reader."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.oci.endpoint import Capability, Endpoint, Hosts
from imager.oci.hosts_toml import read_hosts_folder
from imager.oci.reference import is_registry
from imager.oci.tls import TlsSettings
from imager.registry.containerd_hosts import HOSTS_MARK, write_hosts
from imager.support.errors import InputError
from tests.lib.caches.caches import tree_files
from tests.lib.keys.certificates import Authority

URL = "http://127.0.0.1:3172"
REGISTRIES = ("registry.local:5000", "docker.io", "ghcr.io", "127.0.0.1:5000", "[::1]:5000")
PULL = frozenset({Capability.PULL, Capability.RESOLVE})


def endpoints(folder: Path, registry: str) -> tuple[Endpoint, ...]:
    folders = {name: hosts.configs for name, hosts in read_hosts_folder(folder).items()}
    return Hosts(folders=folders).endpoints(registry)


def test_the_files_are_as_containerd_documents_them(tmp_path: Path) -> None:
    written = write_hosts(tmp_path / "certs.d", REGISTRIES, url=f"{URL}/", ca_file=None)
    found = {path.parent.name: tomllib.loads(path.read_text()) for path in written}
    host = {URL: {"capabilities": ["pull", "resolve"]}}
    assert found == {
        "_default": {"host": host},
        "registry.local_5000_": {"server": "https://registry.local:5000", "host": host},
        "docker.io": {"server": "https://registry-1.docker.io", "host": host},
        "ghcr.io": {"server": "https://ghcr.io", "host": host},
        "127.0.0.1_5000_": {"host": host},
        "[::1]_5000_": {"host": host},
    }
    assert {path.name for path in written} == {"hosts.toml"}
    assert set(tree_files(tmp_path / "certs.d")) == {f"{name}/hosts.toml" for name in found}


@pytest.mark.parametrize(
    ("registry", "own"),
    [
        ("docker.io", "https://registry-1.docker.io/v2"),
        ("ghcr.io", "https://ghcr.io/v2"),
        ("registry.local:5000", "https://registry.local:5000/v2"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/v2"),
        ("not.in.the.cache:99", "https://not.in.the.cache:99/v2"),
    ],
)
def test_what_is_read_back_is_what_was_meant(tmp_path: Path, registry: str, own: str) -> None:
    write_hosts(tmp_path, REGISTRIES, url=URL, ca_file=None)
    server, upstream = endpoints(tmp_path, registry)
    assert (server.roots, server.config.capabilities) == ((f"{URL}/v2",), PULL)
    assert server.url(server.roots[0], "a/b", "manifests/v1").startswith(
        f"{URL}/v2/a/b/manifests/v1?ns="
    )
    assert upstream.roots[0] == own
    assert upstream.host == upstream.registry


def test_the_ca_has_an_absolute_path_and_goes_with_tls_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority.make(tmp_path / 'an "odd" \\ näme')
    monkeypatch.chdir(tmp_path)
    relative = authority.certificate.relative_to(tmp_path)
    write_hosts(tmp_path / "tls", REGISTRIES, url="https://10.0.0.1:3172", ca_file=relative)
    for registry in (*REGISTRIES, "others.example"):
        server, upstream = endpoints(tmp_path / "tls", registry)
        assert server.config.tls == TlsSettings(ca_files=(authority.certificate,))
        assert upstream.config.tls == TlsSettings()
    write_hosts(tmp_path / "http", REGISTRIES, url=URL, ca_file=relative)
    assert endpoints(tmp_path / "http", "ghcr.io")[0].config.tls == TlsSettings()


def test_the_same_bytes_whatever_the_order_and_umask(tmp_path: Path) -> None:
    write_hosts(tmp_path / "a", REGISTRIES, url=URL, ca_file=None)
    before = os.umask(0o077)
    try:
        write_hosts(tmp_path / "b", REGISTRIES[::-1] * 2, url=URL, ca_file=None)
    finally:
        os.umask(before)
    assert tree_files(tmp_path / "a") == tree_files(tmp_path / "b")


def test_own_files_are_replaced_and_nothing_else_is_touched(tmp_path: Path) -> None:
    write_hosts(tmp_path, ("ghcr.io", "gone.example"), url="http://10.0.0.1:1", ca_file=None)
    (tmp_path / "ghcr.io" / "ca.crt").write_text("kept")
    (tmp_path / "quay.io").mkdir()
    (tmp_path / "quay.io" / "hosts.toml").write_text('server = "https://mine"\n')
    before = tree_files(tmp_path)
    write_hosts(tmp_path, ("ghcr.io",), url=URL, ca_file=None)
    after = tree_files(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {
        "_default/hosts.toml",
        "ghcr.io/hosts.toml",
    }
    assert set(before) == set(after)
    assert URL.encode() in after["ghcr.io/hosts.toml"]


@pytest.mark.parametrize("foreign", ["", 'server = "https://mine"\n', f"#\n{HOSTS_MARK}\n"])
def test_a_file_of_somebody_else_stops_everything(tmp_path: Path, foreign: str) -> None:
    write_hosts(tmp_path, ("ghcr.io",), url="http://10.0.0.1:1", ca_file=None)
    path = tmp_path / "registry.local_5000_" / "hosts.toml"
    path.parent.mkdir()
    path.write_text(foreign)
    before = tree_files(tmp_path)
    with pytest.raises(InputError, match=r"hosts.toml was not written by imager") as caught:
        write_hosts(tmp_path, REGISTRIES, url=URL, ca_file=None)
    assert str(path) in caught.value.message
    assert "move it away" in caught.value.hint
    assert tree_files(tmp_path) == before


def test_what_is_no_file_stops_everything(tmp_path: Path) -> None:
    (tmp_path / "ghcr.io" / "hosts.toml").mkdir(parents=True)
    with pytest.raises(InputError, match=r"ghcr.io/hosts.toml"):
        write_hosts(tmp_path, ("docker.io", "ghcr.io"), url=URL, ca_file=None)
    (tmp_path / "docker.io").mkdir()
    (tmp_path / "docker.io" / "hosts.toml").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"docker.io/hosts.toml"):
        write_hosts(tmp_path, ("docker.io",), url=URL, ca_file=None)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/_default"):
        write_hosts(tmp_path / "file", (), url=URL, ca_file=None)
    assert not (tmp_path / "_default").exists()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../etc", "a/b", "_default", 'a"]\n', "a\n", "a:b", "é", "a:0", "[x]"]
)
def test_hostile_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is not the name of a registry"):
        write_hosts(tmp_path / "out", ("ghcr.io", name), url=URL, ca_file=None)
    assert not (tmp_path / "out").exists()


@given(st.text(max_size=20))
def test_any_text_is_a_folder_of_its_own_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    try:
        written = write_hosts(folder, (name,), url=URL, ca_file=None)
    except InputError:
        assert not is_registry(name)
        assert tree_files(folder) == {}
    else:
        assert {path.parent.parent for path in written} == {folder}
        assert len(read_hosts_folder(folder)) == 2


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:3172", "ftp://a", "http://", 'http://a"b', "http://a/?b"]
)
def test_what_is_no_url(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError):
        write_hosts(tmp_path, (), url=url, ca_file=None)
    assert tree_files(tmp_path) == {}


def test_a_ca_that_toml_cannot_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be written to hosts\.toml"):
        write_hosts(tmp_path, (), url="https://a", ca_file=Path("a\nb"))
    assert tree_files(tmp_path) == {}
