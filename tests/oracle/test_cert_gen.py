"""`images cache-cert-gen`: openssl judges what it makes."""

from __future__ import annotations

import datetime
import json
import stat
from pathlib import Path

import pytest

from tests.lib.caches.caches import flip, tree_files
from tests.lib.keys.certificates import Authority
from tests.lib.tools.cli import Completed, run, tool
from tests.lib.tools.fault_site import INPUT, check_error

pytestmark = pytest.mark.oracle

FILES = {"ca.crt", "ca.key", "tls.crt", "tls.key", "image-cache-patch.yaml"}


def generate(folder: Path, *options: str | Path, umask: int = 0o022) -> Completed:
    return run("images", "cache-cert-gen", *options, cwd=folder, umask=umask)


def made(folder: Path, *options: str | Path, umask: int = 0o022) -> Completed:
    done = generate(folder, *options, umask=umask)
    assert done.returncode == 0, done.stderr
    return done


def verified(folder: Path, *options: str, ca: str = "ca.crt", status: int | None = 0) -> str:
    """Have openssl verify the server's certificate as a client of TLS does."""
    checks = ("-x509_strict", "-purpose", "sslserver", "-CAfile", folder / ca)
    return tool("openssl", "verify", *checks, *options, folder / "tls.crt", status=status)


def described(path: Path, *options: str) -> str:
    return tool("openssl", "x509", "-in", path, "-noout", *options)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    addresses = ("--advertised-address", "10.5.0.1", "--advertised-address", "fd00::1,10.5.0.2")
    names = ("--advertised-name", "Cache.local", "--advertised-name", "*.edge.example")
    done = made(folder, *addresses, *names, umask=0)
    (folder / "log").write_text(done.stdout + done.stderr)
    return folder


def test_openssl_verifies_it_for_every_address_and_name(certificates: Path) -> None:
    for address in ("10.5.0.1", "10.5.0.2", "fd00::1", "127.0.0.1", "::1"):
        verified(certificates, "-verify_ip", address)
    for name in ("cache.local", "a.edge.example", "localhost"):
        verified(certificates, "-verify_hostname", name)
    verified(certificates, "-verify_ip", "10.5.0.3", status=2)
    verified(certificates, "-verify_hostname", "a.b.edge.example", status=2)
    client = verified(certificates, "-purpose", "sslclient", status=2)
    assert "unsupported certificate purpose" in client.lower() or "unsuitable" in client.lower()


def test_a_foreign_authority_and_a_damaged_certificate_do_not_verify(
    certificates: Path, tmp_path: Path
) -> None:
    other = Authority.make(tmp_path / "other").certificate
    assert "unable to get local issuer" in verified(certificates, ca=str(other), status=2)
    (tmp_path / "ca.crt").write_bytes((certificates / "ca.crt").read_bytes())
    der = tmp_path / "tls.der"
    tool("openssl", "x509", "-in", certificates / "tls.crt", "-outform", "DER", "-out", der)
    flip(der, offset=der.stat().st_size - 5)
    tool("openssl", "x509", "-inform", "DER", "-in", der, "-out", tmp_path / "tls.crt")
    assert "signature failure" in verified(tmp_path, status=2)


def test_keys_are_on_p256_belong_to_the_certificates_and_are_their_owners_alone(
    certificates: Path,
) -> None:
    for name in ("ca", "tls"):
        key = certificates / f"{name}.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE((certificates / f"{name}.crt").stat().st_mode) == 0o644
        public = tool("openssl", "pkey", "-in", key, "-pubout")
        assert public == described(certificates / f"{name}.crt", "-pubkey")
        assert "prime256v1" in tool("openssl", "pkey", "-in", key, "-noout", "-text")


def test_the_servers_file_holds_the_chain(certificates: Path) -> None:
    chain = (certificates / "tls.crt").read_text()
    assert chain.count("-----BEGIN CERTIFICATE-----") == 2
    assert chain.endswith((certificates / "ca.crt").read_text())


def test_the_certificates_say_what_they_are_for(certificates: Path) -> None:
    text = described(certificates / "tls.crt", "-text")
    assert "X509v3 Basic Constraints: critical\n                CA:FALSE" in text
    assert "X509v3 Key Usage: critical\n                Digital Signature\n" in text
    assert "X509v3 Extended Key Usage: \n                TLS Web Server Authentication\n" in text
    text = described(certificates / "ca.crt", "-text")
    assert "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0" in text
    assert "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n" in text


def test_they_are_valid_from_a_day_ago_for_ten_years(certificates: Path) -> None:
    for name in ("ca.crt", "tls.crt"):
        dates = described(certificates / name, "-dates").split("\n")
        start, end = (
            datetime.datetime.strptime(line.partition("=")[2], "%b %d %H:%M:%S %Y %Z").replace(
                tzinfo=datetime.UTC
            )
            for line in dates[:2]
        )
        made_at = datetime.datetime.fromtimestamp(
            (certificates / name).stat().st_mtime, datetime.UTC
        )
        assert abs(made_at - start - datetime.timedelta(days=1)) < datetime.timedelta(minutes=5)
        assert (end - start).days == 3652
    text = (certificates / "log").read_text()
    assert f"Valid from {start:%Y-%m-%d} to {end:%Y-%m-%d} for 10.5.0.1, fd00::1" in text


def test_it_tells_what_was_made_and_what_comes_next(certificates: Path) -> None:
    text = (certificates / "log").read_text()
    for name in FILES:
        assert f"{name} " in text
    next_command = "cache-serve PATH --address 10.5.0.1:3172 --tls-cert-file tls.crt"
    assert f"{next_command} --tls-key-file tls.key" in text
    secrets = [
        line
        for name in ("ca.key", "tls.key")
        for line in (certificates / name).read_text().splitlines()
        if not line.startswith("-")
    ]
    assert secrets
    assert not [line for line in secrets if line in text]


def test_an_authority_issues_for_another_server(certificates: Path, tmp_path: Path) -> None:
    for name in ("ca.crt", "ca.key"):
        target = tmp_path / name
        target.write_bytes((certificates / name).read_bytes())
        target.chmod(0o600)
    before = tree_files(tmp_path)
    done = made(tmp_path, "--advertise-address", "10.9.9.9", "--advertise-name", "b.local")
    assert done.stdout.count("reused") == 2
    assert {name: data for name, data in tree_files(tmp_path).items() if name in before} == before
    verified(tmp_path, "-verify_ip", "10.9.9.9")
    verified(tmp_path, "-verify_hostname", "b.local")
    made(tmp_path, "--tls-cert-file", "second.crt", "--tls-key-file", "second.key")
    serials = {described(tmp_path / n, "-serial") for n in ("tls.crt", "second.crt", "ca.crt")}
    assert len(serials) == 3


def test_an_authority_of_openssl_issues_too(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "ca")
    ca, key = authority.certificate, authority.folder / "ca-key.pem"
    options = ("--tls-ca-file", ca, "--tls-ca-key-file", key)
    made(tmp_path, *options)
    verified(tmp_path, "-verify_ip", "127.0.0.1", ca=str(ca))
    end = described(ca, "-enddate")
    assert described(tmp_path / "tls.crt", "-enddate") == end
    key.chmod(0o644)
    done = made(tmp_path, *options, "--force")
    assert "warning: " in done.stderr
    assert "chmod 600" in done.stderr


def test_files_of_a_server_are_replaced_when_told_so(certificates: Path, tmp_path: Path) -> None:
    made(tmp_path)
    before = tree_files(tmp_path)
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).rename(tmp_path / "aside")
        check_error(generate(tmp_path), INPUT, "exists already", hint="--force")
        (tmp_path / "aside").rename(tmp_path / name)
    assert tree_files(tmp_path) == before
    (tmp_path / "tls.key").chmod(0o644)
    made(tmp_path, "--force", umask=0)
    after = tree_files(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"tls.crt", "tls.key"}
    assert stat.S_IMODE((tmp_path / "tls.key").stat().st_mode) == 0o600
    verified(tmp_path)


def test_what_is_wrong_leaves_nothing(tmp_path: Path) -> None:
    authority, other = (Authority.make(tmp_path / "keys" / name) for name in ("one", "other"))
    leaf, leaf_key = authority.server()
    ca = ("--tls-ca-file", authority.certificate)
    key = ("--tls-ca-key-file", authority.folder / "ca-key.pem")
    other_key = ("--tls-ca-key-file", other.folder / "ca-key.pem")
    out = tmp_path / "out"
    out.mkdir()
    for options, words, hint in (
        (
            ("--advertised-address", "10.0.0.1:80"),
            "'10.0.0.1:80' is not an IP",
            "--advertised-name",
        ),
        (("--advertised-address", " "), "is not an IP", "--advertised-name"),
        (("--advertised-name", "10.0.0.1"), "is not a DNS name", "--advertised-address"),
        (("--advertised-name", "a..b"), "is not a DNS name", "--advertised-address"),
        (("--advertised-name", "bücher.example"), "is not a DNS name", "xn--"),
        (ca, "but ca.key does not", "the missing file"),
        (key, "but ca.crt does not", "the missing file"),
        ((*ca, *other_key), "is not the key of this certificate", "a certificate and its key"),
        (
            ("--tls-ca-file", leaf, "--tls-ca-key-file", leaf_key),
            "is not a CA certificate",
            "other",
        ),
        (("--tls-ca-file", leaf_key, *key), "private key, not a certificate", "its own option"),
        (("--tls-key-file", "tls.crt"), "two have the same name", ""),
        (("--tls-cert-file", "."), "is a folder", "name of a file"),
        (("--tls-key-file", "no/tls.key"), "output folder no does not exist", "mkdir"),
    ):
        check_error(generate(out, *options), INPUT, words, hint=hint)
        assert list(out.iterdir()) == []
    old = run(
        *("images", "cache-cert-gen", *ca, *key),
        cwd=out,
        prefix=("faketime", "2099-01-01 00:00:00"),
    )
    check_error(old, INPUT, "is not valid now", hint="clock")
    assert list(out.iterdir()) == []


def test_all_or_none_when_the_last_cannot_be_written(tmp_path: Path) -> None:
    name = "n" * 250  # which leaves no room for a temporary name beside it
    done = generate(tmp_path, "--tls-ca-key-file", name)
    check_error(done, INPUT, f"cannot create {name}", hint="choose a shorter name")
    assert list(tmp_path.iterdir()) == []


def test_the_patch_names_the_authority(certificates: Path, tmp_path: Path) -> None:
    patch = certificates / "image-cache-patch.yaml"
    kind, name, pem = json.loads(tool("yq", "-c", "[.kind, .name, .certificates]", patch))
    assert (kind, name) == ("TrustedRootsConfig", "image-cache-ca")
    assert pem == (certificates / "ca.crt").read_text()


def test_a_patch_with_other_contents_is_not_replaced(tmp_path: Path) -> None:
    patch = tmp_path / "image-cache-patch.yaml"
    patch.write_text("mine\n")
    check_error(generate(tmp_path), INPUT, f"{patch.name} exists already, with other contents")
    assert set(tree_files(tmp_path)) == {patch.name}
    made(tmp_path, "--trusted-roots-patch", "other.yaml")
    assert patch.read_text() == "mine\n"
    more = ("--tls-cert-file", "b.crt", "--tls-key-file", "b.key")
    made(tmp_path, *more, "--trusted-roots-patch", "other.yaml")
    made(tmp_path, "--force")
    assert patch.read_text() == (tmp_path / "other.yaml").read_text()
