"""Credentials as docker and podman keep them, and helper programs."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from imager.oci.credentials import (
    Credential,
    CredentialChain,
    CredentialStore,
    IdentityToken,
    Login,
    RegistryToken,
)
from imager.support.errors import DependencyError, ImagerError, InputError


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def store(folder: Path, **config: Any) -> CredentialStore:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return CredentialStore.open(path)


def test_finds_inline_credentials(tmp_path: Path) -> None:
    auths = {
        "ghcr.io": {"auth": auth("me:pass:word")},
        "host:5000": {"username": "u", "password": "p"},
        "https://https.example": {"auth": auth("h:s")},
        "https://index.docker.io/v1/": {"auth": auth("hub:secret")},
        "empty.example": {},
    }
    found = store(tmp_path, auths=auths)
    assert found.find("ghcr.io") == Credential("me", "pass:word")
    assert found.find("host:5000") == Credential("u", "p")
    assert found.find("https.example") == Credential("h", "s")
    assert found.find("docker.io") == Credential("hub", "secret")
    assert found.find("empty.example") is None
    assert found.find("host") is None
    assert CredentialChain().find("ghcr.io") is None


def test_the_longest_path_above_a_repository_counts(tmp_path: Path) -> None:
    names = ("h", "h/team", "h/team/app", "docker.io/me", "https://index.docker.io/v1/")
    found = store(tmp_path, auths={name: {"auth": auth(f"{name[-4:]}:x")} for name in names})
    users = {
        ("h", "team/app"): "/app",
        ("h", "team/app2"): "team",
        ("h", "other/app"): "h",
        ("h", ""): "h",
        ("docker.io", "me/app"): "o/me",
        ("docker.io", "library/app"): "/v1/",
    }
    for (registry, repository), user in users.items():
        assert found.find(registry, repository) == Credential(user, "x")


def test_stores_are_looked_through_in_turn(tmp_path: Path) -> None:
    (tmp_path / "home/.docker").mkdir(parents=True)
    store(tmp_path / "home/.docker", auths={"one": {"auth": auth("docker:x")}})
    for folder, name in (("run", "two"), ("home/.config", "three")):
        place = tmp_path / folder / "containers"
        place.mkdir(parents=True)
        entries = {each: {"auth": auth(f"{name}:x")} for each in ("one", name)}
        (place / "auth.json").write_text(json.dumps({"auths": entries}))
    environment = {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    stored = CredentialChain.stored(environment)
    assert stored.find("one") == Credential("docker", "x")
    assert stored.find("two") == Credential("two", "x")
    assert stored.find("three") == Credential("three", "x")
    given = CredentialChain((CredentialStore.of("two", Credential("given", "y")),))
    assert given.followed_by(stored).find("two", "a/b") == Credential("given", "y")
    assert given.followed_by(stored).find("three") == Credential("three", "x")


@pytest.mark.parametrize(
    "login",
    [Credential("me", "secret"), IdentityToken("secret"), RegistryToken("secret")],
)
def test_a_secret_is_not_shown(login: Login) -> None:
    assert "secret" not in repr(login)


@pytest.mark.parametrize(
    ("key", "registry", "repository"),
    [
        *((f"{scheme}r.example{path}", "r.example", "a/b")
          for scheme in ("", "https://", "http://", "HTTPS://")
          for path in ("", "/", "/v1", "/v1/", "/v2", "/v2/")),
        *((key, "docker.io", "library/alpine")
          for key in ("docker.io", "index.docker.io", "registry-1.docker.io",
                      "https://index.docker.io/v1/", "https://index.docker.io/v2/",
                      "https://index.docker.io/v1", "http://registry-1.docker.io",
                      "https://docker.io/", "index.docker.io/v1/", "docker.io/library")),
        ("docker.io", "registry-1.docker.io", "library/alpine"),
        ("https://r.example:5000/v2/", "r.example:5000", "a"),
        ("R.Example", "r.example", "a"),
        ("r.example:443", "r.example", "a"),
        ("https://r.example", "r.example:443", "a"),
        ("r.example/a", "r.example", "a"),
        ("r.example/a", "r.example", "a/b/c"),
        ("https://r.example/v1/a/", "r.example", "a/b"),
        ("https://r.example/other/place", "r.example", "a/b"),
        ("*.example", "r.example", "a"),
        ("*.r.example:5000/a", "x.r.example:5000", "a/b"),
    ],
)  # fmt: skip
def test_keys_as_they_are_written(tmp_path: Path, key: str, registry: str, repository: str) -> None:
    found = store(tmp_path, auths={key: {"auth": auth("me:x")}})
    assert found.find(registry, repository) == Credential("me", "x")


@pytest.mark.parametrize(
    ("key", "registry", "repository"),
    [
        ("r.example", "r.example:5000", "a"),
        ("r.example:5000", "r.example", "a"),
        ("r.example", "x.r.example", "a"),
        ("r.example", "r.example.evil.example", "a"),
        ("https://r.example@evil.example/", "r.example", "a"),
        ("evil.example/r.example", "r.example", "a"),
        ("r.example/a", "r.example", "ab"),
        ("r.example/a/b", "r.example", "a"),
        ("r.example/other", "r.example", "a"),
        ("*.example", "a.r.example", "a"),
        ("*", "r.example", "a"),
        ("v1", "r.example", "a"),
        ("", "r.example", "a"),
    ],
)
def test_keys_of_others(tmp_path: Path, key: str, registry: str, repository: str) -> None:
    found = store(tmp_path, auths={key: {"auth": auth("me:x")}})
    assert found.find(registry, repository) is None


def test_the_nearest_key_counts(tmp_path: Path) -> None:
    ranked = ("r.example/a/b", "r.example/a", "r.example", "*.example", "https://r.example/other")
    for start in range(len(ranked)):
        keys = reversed(ranked[start:])
        auths = {key: {"auth": auth(f"user{ranked.index(key)}:x")} for key in keys}
        found = store(tmp_path, auths=auths)
        assert found.find("r.example", "a/b") == Credential(f"user{start}", "x")
    entries = {"r.example": {}, "https://r.example": {"auth": auth("me:x")}, "h": None}
    found = store(tmp_path, auths=entries)
    assert found.find("r.example") == Credential("me", "x")
    assert found.find("h") is None


@pytest.mark.parametrize(
    "text",
    [
        "bWU6cGFzczp3w7ZyZA==",
        "bWU6cGFzczp3w7ZyZA==\n",
        "bWU6cGFzczp3w7ZyZA",
        "  bWU6cGFz\r\nczp3w7ZyZA==",
        "bWU6cGFzczp3w7ZyZAA=",
    ],
)
def test_base64_as_it_is_written(tmp_path: Path, text: str) -> None:
    found = store(tmp_path, auths={"h": {"auth": text}})
    assert found.find("h") == Credential("me", "pass:wörd")


def test_tokens(tmp_path: Path) -> None:
    nobody = auth("00000000-0000-0000-0000-000000000000:")
    auths = {
        "acr.example": {"auth": nobody, "identitytoken": "refresh"},
        "bearer.example": {"auth": auth("a:b"), "registrytoken": "bearer"},
        "empty.example": {"auth": auth("a:b"), "identitytoken": "", "email": None},
    }
    found = store(tmp_path, auths=auths)
    assert found.find("acr.example", "a") == IdentityToken("refresh")
    assert found.find("bearer.example", "a") == RegistryToken("bearer")
    assert found.find("empty.example") == Credential("a", "b")


@pytest.mark.parametrize("raw", [b"", b" \r\n", b"{}", b"\xef\xbb\xbf{}", b'{"auths": null}'])
def test_an_empty_file_has_no_logins(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(raw)
    assert CredentialStore.open(path).find("h") is None


LOGINS = {"https://h/v1/": {"auth": auth("me:x")}}


def secret(key: str, value: object, *, field: str = "data", name: str = "one") -> dict[str, Any]:
    text = json.dumps(value)
    kind = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
    return {**kind, field: {key: auth(text) if field == "data" else text}}


CONFIG = secret(".dockerconfigjson", {"auths": LOGINS})
OTHER = {"apiVersion": "v1", "kind": "Secret", "data": {"password": "eA=="}}


@pytest.mark.parametrize(
    "documents",
    [
        [LOGINS],
        [CONFIG],
        [secret(".dockercfg", LOGINS)],
        [secret(".dockerconfigjson", {"auths": LOGINS}, field="stringData")],
        [OTHER, {"kind": "ConfigMap", "data": None}, None, CONFIG],
        [{"apiVersion": "v1", "kind": "List", "items": [OTHER, CONFIG]}],
        [CONFIG, secret(".dockerconfigjson", {"auths": {"h": {"auth": auth("no:x")}}})],
    ],
)
@pytest.mark.parametrize("form", ["json", "yaml"])
def test_other_files_of_logins(tmp_path: Path, documents: list[Any], form: str) -> None:
    path = tmp_path / "logins"
    if form == "yaml" and documents[0] is not LOGINS:
        path.write_text(yaml.safe_dump_all(documents))
    else:
        path.write_text("\n---\n".join(map(json.dumps, documents)))
    assert CredentialStore.open(path).find("h", "a/b") == Credential("me", "x")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind: Secret\ndata:\n  password: eA==\n", "contains no Secret with .dockerconfigjson"),
        ("just text: [", "neither JSON nor a Kubernetes Secret"),
        ("\0\1", "neither JSON nor a Kubernetes Secret"),
        (json.dumps({**CONFIG, "data": {".dockerconfigjson": "?"}}), "one: .* not valid base64"),
        (json.dumps({**CONFIG, "data": {".dockerconfigjson": "eA=="}}), "one: .* not valid JSON"),
        (json.dumps({**CONFIG, "data": {".dockercfg": auth("[]")}}), "must be a JSON object"),
        (" " * (4 << 20) + "{}", "larger than 4 MiB"),
    ],
)
def test_files_that_hold_no_logins(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "logins"
    path.write_text(text)
    with pytest.raises(InputError, match=why):
        CredentialStore.open(path)


@pytest.mark.parametrize(
    ("entry", "kind", "why"),
    [
        ({"auth": "?"}, InputError, "not valid base64"),
        ({"auth": auth("nocolon")}, InputError, "user:password"),
        ({"auth": 1}, InputError, "must be a string"),
        ([], InputError, "must be a JSON object"),
    ],
)
def test_refuses_bad_entries(tmp_path: Path, entry: Any, kind: type[ImagerError], why: str) -> None:
    with pytest.raises(kind, match=why):
        store(tmp_path, auths={"h": entry}).find("h")


def test_opens_the_file_container_tools_would_use(tmp_path: Path) -> None:
    def put(name: str, user: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"auths": {"h": {"auth": auth(f"{user}:x")}}}))
        return path

    environment = {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    assert CredentialChain.stored({}).find("h") is None
    assert CredentialChain.stored(environment).find("h") is None
    put("run/containers/auth.json", "podman")
    assert CredentialChain.stored(environment).find("h") == Credential("podman", "x")
    put("home/.docker/config.json", "home")
    assert CredentialChain.stored(environment).find("h") == Credential("home", "x")
    environment["DOCKER_CONFIG"] = str(put("docker/config.json", "docker").parent)
    assert CredentialChain.stored(environment).find("h") == Credential("docker", "x")
    environment["REGISTRY_AUTH_FILE"] = str(put("file/a.json", "file"))
    assert CredentialChain.stored(environment).find("h") == Credential("file", "x")


def test_says_which_file_is_not_valid(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(InputError, match=r"cannot read credentials .*config\.json"):
        CredentialStore.open(path)
    path.write_text("{")
    with pytest.raises(InputError, match=r"config\.json is not valid JSON"):
        CredentialStore.open(path)


HELPER = """#!/bin/sh
read -r host
case "$1 $host" in
"get ghcr.io") echo '{"Username": "me", "Secret": "s3"}' ;;
"get token.example") echo '{"Username": "<token>", "Secret": "x"}' ;;
"get broken.example") echo 'keyring is locked' >&2; exit 1 ;;
*) echo 'credentials not found in native keychain'; exit 1 ;;
esac
"""


def test_asks_helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-fake"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    auths = {"h": {"auth": auth("a:b")}, "ghcr.io": {"auth": auth("old:one")}}
    found = store(tmp_path, credsStore="fake", auths=auths)
    assert found.find("ghcr.io") == Credential("me", "s3")
    assert found.find("nobody.example") is None
    assert found.find("h") == Credential("a", "b")
    assert found.find("token.example") == IdentityToken("x")
    with pytest.raises(DependencyError, match="keyring is locked"):
        found.find("broken.example")
    one = store(tmp_path, credHelpers={"ghcr.io": "fake", "other.example": "missing"})
    assert one.find("ghcr.io") == Credential("me", "s3")
    assert one.find("third.example") is None
    with pytest.raises(DependencyError, match="docker-credential-missing is not installed"):
        one.find("other.example")
    with pytest.raises(InputError, match="not the name of a credential helper"):
        store(tmp_path, credsStore="../x").find("ghcr.io")
