"""docker-registry behind an own CA, client certificates and logins: from the command line."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.lib.keys.certificates import Authority
from tests.lib.proxies.programmable import running_proxy
from tests.lib.registries.registry import copy_image, make_htpasswd, running_registry
from tests.lib.tools.cli import Completed, run
from tests.lib.tools.fault_site import check_error

pytestmark = pytest.mark.oracle

DEPENDENCY, INPUT = 5, 2
IMAGE = "team/app:v1"
USER, PASSWORD = "someone", "pass:word"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "ca")


def push(host: str, layout: Path, *options: str) -> None:
    copy_image(f"oci:{layout}:v1", f"docker://{host}/{IMAGE}", "--dest-tls-verify=false", *options)


@contextmanager
def private_registry(folder: Path, authority: Authority, layout: Path) -> Iterator[str]:
    """Run a registry for clients with a certificate of the CA alone; yield its host."""
    client, key = authority.client("pusher")
    for file, name in ((client, "client.cert"), (key, "client.key")):
        target = folder / "certs" / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(file.read_bytes())
    with running_registry(
        folder / "registry", certificate=authority.server(), client_ca=authority.certificate
    ) as registry:
        push(registry.host, layout, "--dest-cert-dir", str(folder / "certs"))
        yield registry.host


def create(
    folder: Path, host: str, *options: str | Path, env: Mapping[str, str] | None = None
) -> Completed:
    """Run `images cache-create` for the one image; no login is stored anywhere."""
    images = folder / "images.txt"
    images.write_text(f"{host}/{IMAGE}\n")
    homes = dict.fromkeys(("HOME", "DOCKER_CONFIG", "XDG_RUNTIME_DIR"), str(folder / "nobody"))
    common = ("--image-cache-path", folder / "cache", "--images", images, "--layout", "flat")
    command = ("images", "cache-create", *common, "--force", "--retries", "1", *options)
    return run(*command, env={**homes, **(env or {})})


def check_created(done: Completed, folder: Path) -> None:
    assert done.returncode == 0, done.stderr
    found = list((folder / "cache" / "manifests").glob("*/team/app/reference/v1"))
    assert len(found) == 1


def test_an_own_ca(tmp_path: Path, layout: Path, authority: Authority) -> None:
    other = Authority.make(tmp_path / "other")
    with running_registry(tmp_path / "registry", certificate=authority.server()) as registry:
        push(registry.host, layout)
        host = registry.host
        for options in ((), ("--registry-ca", other.certificate)):
            check_error(
                create(tmp_path, host, *options),
                *(DEPENDENCY, host, "certificate is not trusted"),
                hint="--registry-ca",
            )
        done = create(
            tmp_path, host, "--registry-ca", other.certificate, "--registry-ca",
            authority.certificate,
        )  # fmt: skip
        check_created(done, tmp_path)
        check_created(create(tmp_path, host, "--insecure"), tmp_path)


def test_an_own_ca_for_another_name_is_not_enough(tmp_path: Path, layout: Path) -> None:
    authority = Authority.make(tmp_path / "ca")
    with running_registry(tmp_path / "registry", certificate=authority.client()) as registry:
        push(registry.host, layout)
        done = create(tmp_path, registry.host, "--registry-ca", authority.certificate)
        check_error(done, DEPENDENCY, "certificate is not trusted")


def test_an_expired_certificate(tmp_path: Path, layout: Path, authority: Authority) -> None:
    expired = authority.server(at="2021-03-04 05:06:07")
    with running_registry(tmp_path / "registry", certificate=expired) as registry:
        push(registry.host, layout)
        done = create(tmp_path, registry.host, "--registry-ca", authority.certificate)
        check_error(done, DEPENDENCY, "certificate has expired", hint="clock of this machine")


def test_a_client_certificate(tmp_path: Path, layout: Path, authority: Authority) -> None:
    certificate, key = authority.client()
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    with private_registry(tmp_path, authority, layout) as host:
        ca = ("--registry-ca", authority.certificate)
        check_error(create(tmp_path, host, *ca), DEPENDENCY, "requires a client certificate")
        elsewhere = ("--registry-client-cert", f"other.example={both}")
        check_error(create(tmp_path, host, *ca, *elsewhere), DEPENDENCY, host)
        for files in (f"{certificate}:{key}", f"{both}"):
            done = create(tmp_path, host, *ca, "--registry-client-cert", f"{host}={files}")
            check_created(done, tmp_path)


def test_hosts_folders(tmp_path: Path, layout: Path, authority: Authority) -> None:
    certificate, key = authority.client()
    with private_registry(tmp_path, authority, layout) as host:
        place = tmp_path / "certs.d" / f"{host.replace(':', '_')}_"
        place.mkdir(parents=True)
        files = {"ca.crt": authority.certificate, "me.cert": certificate, "me.key": key}
        for name, source in files.items():
            (place / name).write_bytes(source.read_bytes())
        option = ("--registry-hosts", tmp_path / "certs.d")
        check_created(create(tmp_path, host, *option), tmp_path)
        text = 'ca = "ca.crt"\nclient = [["me.cert", "me.key"]]\n'
        (place / "hosts.toml").write_text(f'server = "https://{host}"\n{text}')
        check_created(create(tmp_path, host, *option), tmp_path)
        (place / "hosts.toml").write_text(text.replace("ca = ", "skip_verify = true\n#"))
        check_created(create(tmp_path, host, *option), tmp_path)
        (place / "hosts.toml").write_text(f'server = "https://{host}"\n')
        check_error(create(tmp_path, host, *option), DEPENDENCY, "certificate is not trusted")


def test_logins(tmp_path: Path, layout: Path) -> None:
    passwords = make_htpasswd(tmp_path / "htpasswd", user=USER, password=PASSWORD)
    login = f"{USER}:{PASSWORD}"
    with running_registry(tmp_path / "registry", htpasswd=passwords) as registry:
        host = registry.host
        push(host, layout, "--dest-creds", login)
        secret, config = tmp_path / "secret", tmp_path / "auth.json"
        secret.write_text(f"{login}\n")
        entry = {"username": USER, "password": PASSWORD}
        config.write_text(json.dumps({"auths": {f"{host}/team": entry}}))
        for auth in (f"{host}={login}", f"{host}=@{secret}", f"{config}"):
            check_created(create(tmp_path, host, "--registry-auth", auth), tmp_path)
        check_created(
            create(tmp_path, host, env={"IMAGER_REGISTRY_AUTH": f"{host}={login}"}), tmp_path
        )
        wrong = create(tmp_path, host, "--registry-auth", f"{host}={USER}:no")
        check_error(wrong, INPUT, "refuses access", hint=f"docker login {host}")
        check_error(create(tmp_path, host), INPUT, "requires a login")


def test_a_login_from_standard_input(tmp_path: Path, layout: Path) -> None:
    passwords = make_htpasswd(tmp_path / "htpasswd", user=USER, password=PASSWORD)
    with running_registry(tmp_path / "registry", htpasswd=passwords) as registry:
        push(registry.host, layout, "--dest-creds", f"{USER}:{PASSWORD}")
        images = tmp_path / "images.txt"
        images.write_text(f"{registry.host}/{IMAGE}\n")
        done = run(
            *("images", "cache-create", "--image-cache-path", tmp_path / "cache"),
            *("--images", images, "--layout", "flat", "--registry-auth", f"{registry.host}=@-"),
            stdin=f"{USER}:{PASSWORD}\n",
        )
        check_created(done, tmp_path)


def test_proxies(tmp_path: Path, layout: Path, authority: Authority) -> None:
    with (
        running_registry(tmp_path / "plain") as plain,
        running_registry(tmp_path / "tls", certificate=authority.server()) as secure,
        running_proxy() as proxy,
    ):
        # A password may have a colon and an at sign; one of the two has no scheme.
        named = f"us%C3%A9r:pa%3Ass%40@{proxy.host}"
        variables = {"HTTP_PROXY": named, "HTTPS_PROXY": f"http://{named}", "NO_PROXY": ""}
        env = variables | {name.lower(): value for name, value in variables.items()}
        for host in (plain.host, secure.host):
            push(host, layout)
            done = create(tmp_path, host, "--registry-ca", authority.certificate, env=env)
            check_created(done, tmp_path)
        asked = {
            (each.method, urlsplit(each.target).netloc or each.target)
            for each in proxy.log.requests
        }
        assert asked >= {("CONNECT", secure.host), ("GET", plain.host)}
        login = b64encode("usér:pa:ss@".encode()).decode()
        assert {each.headers["proxy-authorization"] for each in proxy.log.requests} == {
            f"Basic {login}"
        }
        proxy.log.clear()
        without = env | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        check_created(create(tmp_path, plain.host, env=without), tmp_path)
        assert proxy.log.requests == []
