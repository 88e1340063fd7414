"""Keys in AWS KMS and Azure Key Vault, by their own clients against answers as documented."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import azure.identity
import pytest
from azure.core.credentials import AccessToken

from imager.efi.aws_signer import AwsKey
from imager.efi.azure_signer import AzureKey
from imager.efi.errors import InvalidKeyError, SignerFailedError
from imager.efi.remote import RemoteKey
from tests.lib.keys.cloud_keys import VAULT, Aws, Azure
from tests.lib.keys.signing_keys import Keys, self_signed
from tests.lib.servers.loopback import serving_http
from tests.lib.tools.cli import tool

pytestmark = pytest.mark.oracle


class Login:
    """A credential that is there without a network."""

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        return AccessToken("secret", int(time.time()) + 3600)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return self_signed(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def aws(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    service = Aws(keys)
    with serving_http(service.answer) as port:
        for name in ("KMS", "ACM"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield service


@pytest.fixture
def vault(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    tool("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={VAULT}",
         "-addext", f"subjectAltName=DNS:{VAULT}", "-keyout", key, "-out", certificate)  # fmt: skip
    found = socket.getaddrinfo

    def local(host: Any, *args: Any, **kwargs: Any) -> Any:
        return found("127.0.0.1" if host == VAULT else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", local)
    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", Login)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    service = Azure(keys)
    with serving_http(service.answer, certificate=(certificate, key)) as service.port:
        yield f"https://{VAULT}:{service.port}"


def signs_like_the_file(key: RemoteKey, keys: Keys) -> None:
    assert key.public_key == keys.signer.public_key
    assert key.sign(b"data") == keys.signer.sign(b"data")


def test_aws_signs(aws: Aws, keys: Keys) -> None:
    key = AwsKey(aws.key_id, "eu-central-1")
    signs_like_the_file(key.open(), keys)
    for signer in (key.signer(None, aws.arn), key.signer(keys.certificate, "")):
        assert signer.certificate == keys.signer.certificate
        signs_like_the_file(signer, keys)
    assert set(aws.asked) == {"GetPublicKey", "Sign", "GetCertificate"}


def test_aws_has_no_such_key(aws: Aws) -> None:
    assert aws.key_id
    with pytest.raises(SignerFailedError, match=r"^AWS KMS key alias/other: .*NotFound"):
        AwsKey("alias/other", "eu-central-1").open()


def test_a_certificate_of_another_key(aws: Aws, tmp_path: Path) -> None:
    other = self_signed(tmp_path, "other")
    with pytest.raises(InvalidKeyError, match="does not belong to it"):
        AwsKey(aws.key_id, "eu-central-1").signer(other.certificate, "")


def test_azure_signs(vault: str, keys: Keys) -> None:
    signs_like_the_file(AzureKey(vault, "uki").open(), keys)
    signs_like_the_file(AzureKey(vault, "uki", "1").open(), keys)
    signer = AzureKey(vault, "uki").signer()
    assert signer.certificate == keys.signer.certificate
    signs_like_the_file(signer, keys)


def test_azure_has_no_such_key(vault: str) -> None:
    with pytest.raises(SignerFailedError, match=r"^Azure key https://vault.*/keys/other: "):
        AzureKey(vault, "other").open()
