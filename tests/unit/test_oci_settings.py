"""Options for registries become settings: all mistakes at once, and no secret in a message."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from imager.oci.credentials import Credential
from imager.oci.endpoint import Capability, Hosts
from imager.oci.reference import Reference
from imager.oci.settings import RegistryOptions
from imager.support.errors import ImagerError, InputError
from tests.lib.keys.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("ca") / "ca")


def roots(hosts: Hosts, registry: str) -> list[str]:
    return [endpoint.roots[0] for endpoint in hosts.endpoints(registry)]


def folder_of(tmp_path: Path, text: str, name: str = "r.example") -> Path:
    place = tmp_path / "certs.d" / name
    place.mkdir(parents=True)
    (place / "hosts.toml").write_text(text)
    return tmp_path / "certs.d"


def test_without_options_the_registry_itself_is_asked() -> None:
    settings = RegistryOptions().parse()
    assert roots(settings.hosts, "docker.io") == ["https://registry-1.docker.io/v2"]
    assert roots(settings.hosts, "ghcr.io") == ["https://ghcr.io/v2"]
    assert settings.patience.retries == 5
    assert RegistryOptions(retries=0).parse().patience.retries == 0


def test_mirrors_are_in_order_and_before_what_a_folder_says(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, '[host."https://three.example"]\n', "docker.io")
    mirrors = ("docker.io=https://two.example", "index.docker.io=http://one.example:5000/v2/x/")
    hosts = RegistryOptions(mirrors=mirrors, hosts_folders=(folder,)).parse().hosts
    assert roots(hosts, "docker.io") == [
        "https://two.example/v2",
        "http://one.example:5000/v2/x",
        "https://three.example/v2",
        "https://registry-1.docker.io/v2",
    ]
    assert roots(hosts, "ghcr.io") == ["https://ghcr.io/v2"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (RegistryOptions(mirrors=("https://x",)), "is not REGISTRY=URL"),
        (RegistryOptions(mirrors=("docker.io=",)), "is not REGISTRY=URL"),
        (RegistryOptions(mirrors=("docker.io=m.example",)), "is not the URL of a registry"),
        (RegistryOptions(mirrors=("docker.io=file:///m",)), "is not the URL of a registry"),
        (RegistryOptions(mirrors=("docker.io=https://u:p@m",)), "is not the URL of a registry"),
        (RegistryOptions(mirrors=("docker.io=https://m:99999",)), "is not the URL of a registry"),
        (RegistryOptions(mirrors=("docker.io=https://m/\n",)), "is not the URL of a registry"),
        (RegistryOptions(mirrors=("docker.io=https://[m",)), "is not a URL"),
        (RegistryOptions(mirrors=("docker.io=https://m/?a=b",)), "must not have a query"),
        (RegistryOptions(ca_files=(Path("/none"),)), "cannot read CA file /none"),
        (RegistryOptions(ca_files=(Path(__file__),)), "CA file .* is not valid"),
        (RegistryOptions(client_certificates=("c.pem",)), r"is not HOST=CERT\[:KEY\]"),
        (RegistryOptions(client_certificates=("h=/none",)), "cannot read client certificate"),
        (RegistryOptions(hosts_folders=(Path("/none"),)), "cannot read folder /none"),
        (RegistryOptions(auth=("/none.json",)), "cannot read credentials /none.json"),
        (RegistryOptions(auth=("ghcr.io=@/none",)), "cannot read the --registry-auth file /none"),
    ],
)
def test_mistakes(options: RegistryOptions, why: str) -> None:
    with pytest.raises(InputError, match=why):
        options.parse()


def test_all_mistakes_are_told_together() -> None:
    options = RegistryOptions(
        mirrors=("one", "two"), ca_files=(Path("/three"),), auth=("four.example=x",)
    )
    with pytest.raises(InputError, match="4 problems") as caught:
        options.parse()
    for word in ("'one'", "'two'", "/three", "four.example"):
        assert word in caught.value.message


@pytest.mark.parametrize(
    "text", ["me:s3cret", "ghcr.io=s3cret", "ghcr.io=:s3cret", "a b=me:s3cret"]
)
def test_a_mistaken_login_is_not_shown(text: str) -> None:
    with pytest.raises(ImagerError) as caught:
        RegistryOptions(auth=(text,)).parse()
    assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"


def test_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, config = tmp_path / "secret", tmp_path / "a=b.json"
    secret.write_text("file:p@ss:word=\r\nmore\n")
    config.write_text('{"auths": {"json.example": {"username": "json", "password": "x"}}}')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"input:x\n")))
    auth = ("ghcr.io=me:a=b", f"f.example=@{secret}", "h:5000=@-", f"{config}")
    credentials = RegistryOptions(auth=auth).parse().credentials
    assert credentials.find("ghcr.io", "a/b") == Credential("me", "a=b")
    assert credentials.find("f.example") == Credential("file", "p@ss:word=")
    assert credentials.find("h:5000") == Credential("input", "x")
    assert credentials.find("json.example") == Credential("json", "x")
    assert credentials.find("other.example") is None


def test_certificates_go_where_they_are_named(authority: Authority) -> None:
    certificate, key = authority.client("named")
    options = RegistryOptions(
        mirrors=("docker.io=https://m.example:8443",),
        ca_files=(authority.certificate,),
        client_certificates=(f"m.example:8443={certificate}:{key}",),
    )
    mirror, itself = options.parse().hosts.endpoints("docker.io")
    assert mirror.config.tls.client_certificates[0].key == key
    assert itself.config.tls.client_certificates == ()
    assert mirror.config.tls.ca_files == itself.config.tls.ca_files == (authority.certificate,)


def test_insecure_is_for_all() -> None:
    hosts = RegistryOptions(insecure=True, mirrors=("docker.io=https://m.example",)).parse().hosts
    assert {endpoint.config.tls.verify for endpoint in hosts.endpoints("docker.io")} == {False}
    assert hosts.endpoints("r.example")[0].roots == ("https://r.example/v2", "http://r.example/v2")
    assert (
        RegistryOptions().parse().with_insecure().hosts
        == RegistryOptions(insecure=True).parse().hosts
    )


HOSTS = """
server = "https://up.example/base"
capabilities = ["push"]

[host."https://b.example"]
  capabilities = ["pull", "resolve"]
  skip_verify = true
  ca = "ca.pem"
  dial_timeout = "1s"
[host."http://a.example:5000/own"]
  override_path = true
  [host."http://a.example:5000/own".header]
    x-one = "1"
    x-two = ["2", "3"]
[host."c.example/v2"]
  client = [["c.pem", "k.pem"], ["both.pem", ""]]
"""


def test_hosts_toml(tmp_path: Path, authority: Authority) -> None:
    folder = folder_of(tmp_path, HOSTS)
    certificate, key = authority.client("own")
    place = folder / "r.example"
    place.joinpath("ca.pem").write_bytes(authority.certificate.read_bytes())
    place.joinpath("c.pem").write_bytes(certificate.read_bytes())
    place.joinpath("k.pem").write_bytes(key.read_bytes())
    place.joinpath("both.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
    hosts = RegistryOptions(hosts_folders=(folder,)).parse().hosts
    b, a, c, up = hosts.endpoints("r.example")
    assert [each.roots for each in (b, a, c, up)] == [
        ("https://b.example/v2",),
        ("http://a.example:5000/own",),
        ("https://c.example/v2",),
        ("https://up.example/base/v2",),
    ]
    assert b.config.capabilities == {Capability.PULL, Capability.RESOLVE}
    assert a.config.capabilities == set(Capability)
    assert up.config.capabilities == {Capability.PUSH}
    assert [each.config.tls.verify for each in (b, a)] == [False, True]
    assert b.config.tls.ca_files == (place / "ca.pem",)
    assert a.config.headers == (("X-One", "1"), ("X-Two", "2, 3"))
    assert [each.key for each in c.config.tls.client_certificates] == [place / "k.pem", None]


def test_unknown_keys_are_warnings(tmp_path: Path) -> None:
    text = """
server = "https://up.example"
proxy = "http://p"
[host."https://m.example"]
  capabilities = ["pull", "resolve", "referrers"]
  fly = { a = 1 }
"""
    settings = RegistryOptions(hosts_folders=(folder_of(tmp_path, text),)).parse()
    assert [each.partition("hosts.toml: ")[2] for each in settings.warnings] == [
        "unknown key 'proxy' is ignored",
        "unknown key 'fly' of host 'https://m.example' is ignored",
    ]
    mirror, itself = settings.hosts.endpoints("r.example")
    assert mirror.config.capabilities == {Capability.PULL, Capability.RESOLVE, Capability.REFERRERS}
    assert Capability.REFERRERS in itself.config.capabilities
    assert RegistryOptions().parse().warnings == ()


REWRITES = """
[host."https://m.example/v2/proxy"]
  override_path = true
  [host."https://m.example/v2/proxy".rewrite]
    "^rancher/(.*)" = "mirrored/$1"
    "^(?P<team>[a-z]+)/app$" = "${team}/apps/app"
    "^(x)(y)?$" = "a$2/$1z-$$9"
    "team" = "crew"
"""


@pytest.mark.parametrize(
    ("repository", "name"),
    [
        ("rancher/k3s", "mirrored/k3s"),
        ("rancher/team/x", "mirrored/team/x"),
        ("blue/app", "blue/apps/app"),
        ("a/team-team/b", "a/crew-crew/b"),
        ("library/alpine", "library/alpine"),
    ],
)
def test_rewritten_names(tmp_path: Path, repository: str, name: str) -> None:
    folder = folder_of(tmp_path, REWRITES)
    mirror, itself = RegistryOptions(hosts_folders=(folder,)).parse().hosts.endpoints("r.example")
    url = mirror.url(mirror.roots[0], repository, "manifests/v1")
    assert url == f"https://m.example/v2/proxy/{name}/manifests/v1?ns=r.example"
    # Logins and tokens are for what the mirror calls it.
    local = mirror.local(Reference.parse(f"r.example/{repository}:v1"))
    assert str(local) == f"m.example/proxy/{name}:v1"
    assert itself.local(local).repository == f"proxy/{name}"


def test_a_name_that_is_rewritten_into_none(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, REWRITES)
    mirror, _ = RegistryOptions(hosts_folders=(folder,)).parse().hosts.endpoints("r.example")
    with pytest.raises(InputError, match=r"rewrite turns x into 'a/-\$9'"):
        mirror.url(mirror.roots[0], "x", "manifests/v1")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('rewrite = {"(" = "a"}', r"hosts.toml: rewrite: '\(' is not a regular expression"),
        ('rewrite = {"a" = 1}', r"hosts.toml: rewrite\.a: "),
        ("server = ", "hosts.toml is not valid TOML"),
        ("server = 1", "hosts.toml: server: "),
        ('capabilities = ["fly"]', r"hosts.toml: capabilities\.0: "),
        ('server = "ftp://x"', "hosts.toml: 'ftp://x' is not the URL of a registry"),
        ('ca = "none.pem"', r"cannot read CA file .*r\.example/none\.pem"),
        ('client = [["a"]]', "hosts.toml: client"),
        ('header = {"a b" = "c"}', "'a b' is not a valid header field"),
        ('header = {a = "b\\r\\nc: d"}', "'a' is not a valid header field"),
    ],
)
def test_mistakes_in_hosts_toml(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        RegistryOptions(hosts_folders=(folder_of(tmp_path, text),)).parse()


@pytest.mark.parametrize("name", ["r.example_5000_", "r.example:5000", "_default"])
def test_the_folders_of_a_registry_with_a_port(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path, 'server = "https://found.example"', name)
    hosts = RegistryOptions(hosts_folders=(folder,)).parse().hosts
    assert roots(hosts, "r.example:5000") == ["https://found.example/v2"]
    others = name == "_default"
    assert (roots(hosts, "r.example") == ["https://found.example/v2"]) == others


def test_the_earlier_folder_and_the_nearer_name_hold(tmp_path: Path) -> None:
    first = folder_of(tmp_path / "1", 'server = "https://first.example"')
    second = folder_of(tmp_path / "2", 'server = "https://second.example"')
    folder_of(tmp_path / "3", 'server = "https://other.example"', "_default")
    folders = (first, second, tmp_path / "3" / "certs.d")
    hosts = RegistryOptions(hosts_folders=folders).parse().hosts
    assert roots(hosts, "r.example") == ["https://first.example/v2"]
    assert roots(hosts, "x.example") == ["https://other.example/v2"]
