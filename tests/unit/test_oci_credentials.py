"""Credentials as docker and podman keep them, and helper programs."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from imager.errors import DependencyError, ImagerError, InputError, UnsupportedError
from imager.oci.credentials import Credential, CredentialChain, CredentialStore


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
    assert CredentialStore.empty().find("ghcr.io") is None


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


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Credential("me", "secret"))


@pytest.mark.parametrize(
    ("entry", "kind", "why"),
    [
        ({"auth": "?"}, InputError, "not valid base64"),
        ({"auth": auth("nocolon")}, InputError, "user:password"),
        ({"auth": 1}, InputError, "must be a string"),
        ([], InputError, "must be a JSON object"),
        ({"identitytoken": "x", "auth": auth("a:")}, UnsupportedError, "identity token"),
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
    found = store(tmp_path, credsStore="fake", auths={"h": {"auth": auth("a:b")}})
    assert found.find("ghcr.io") == Credential("me", "s3")
    assert found.find("nobody.example") is None
    assert found.find("h") == Credential("a", "b")
    with pytest.raises(UnsupportedError, match="identity tokens"):
        found.find("token.example")
    with pytest.raises(DependencyError, match="keyring is locked"):
        found.find("broken.example")
    one = store(tmp_path, credHelpers={"ghcr.io": "fake", "other.example": "missing"})
    assert one.find("ghcr.io") == Credential("me", "s3")
    assert one.find("third.example") is None
    with pytest.raises(DependencyError, match="docker-credential-missing is not installed"):
        one.find("other.example")
    with pytest.raises(InputError, match="not the name of a credential helper"):
        store(tmp_path, credsStore="../x").find("ghcr.io")
