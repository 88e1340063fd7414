"""Keys in tokens and behind services: the same signatures as from the file; openssl judges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from imager.efi.errors import InvalidKeyError, SignerFailedError
from imager.efi.grpc_signer import grpc_key, grpc_signer
from imager.efi.pkcs11_signer import PIN_VARIABLE, pkcs11_key, pkcs11_signer
from imager.efi.remote import RemoteKey
from imager.support.errors import UnsupportedError
from tests.lib.keys.remote_keys import MODULE, PIN, SoftToken, grpc_service
from tests.lib.keys.signing_keys import Keys, self_signed
from tests.lib.tools.cli import build, run, synthetic_assets, tool

pytestmark = pytest.mark.oracle
DATA = b"what is signed"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return self_signed(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftToken]:
    made = SoftToken(tmp_path_factory.mktemp("token"))
    with pytest.MonkeyPatch.context() as patch:
        # The library reads it when it is loaded, once in a process.
        patch.setenv("SOFTHSM2_CONF", made.environment["SOFTHSM2_CONF"])
        yield made


@pytest.fixture(scope="module")
def uri(token: SoftToken, keys: Keys) -> str:
    return token.add(keys, "uki", "0a0b")


@pytest.fixture
def pin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PIN_VARIABLE, PIN)


@pytest.fixture(scope="module")
def address(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with grpc_service(keys, tmp_path_factory.mktemp("service")) as found:
        yield found


def signs_like_the_file(key: RemoteKey, keys: Keys, folder: Path) -> None:
    assert key.public_key == keys.signer.public_key
    data, signature = folder / "data", folder / "signature"
    data.write_bytes(DATA)
    signature.write_bytes(key.sign(DATA))
    assert signature.read_bytes() == keys.signer.sign(DATA)
    tool("openssl", "dgst", "-sha256", "-prverify", keys.key, "-signature", signature, data)
    data.write_bytes(DATA + b"!")
    tool("openssl", "dgst", "-sha256", "-prverify", keys.key, "-signature", signature, data,
         status=1)  # fmt: skip


@pytest.mark.usefixtures("pin")
def test_a_token_signs(uri: str, keys: Keys, tmp_path: Path) -> None:
    signer = pkcs11_signer(uri, keys.certificate)
    assert signer.certificate == keys.signer.certificate
    signs_like_the_file(signer, keys, tmp_path)


@pytest.mark.usefixtures("pin")
def test_a_key_by_its_id(uri: str, keys: Keys, tmp_path: Path) -> None:
    assert uri
    found = pkcs11_key(f"pkcs11:token=imager%20test;id=%0a%0b?module-path={MODULE}")
    signs_like_the_file(found, keys, tmp_path)


def test_a_pin_from_a_file(uri: str, keys: Keys, tmp_path: Path) -> None:
    file = tmp_path / "pin"
    file.write_text(f"{PIN}\n")
    signs_like_the_file(pkcs11_key(f"{uri}&pin-source=file:{file}"), keys, tmp_path)


def test_a_token_that_is_locked(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PIN_VARIABLE, "wrong")
    with pytest.raises(SignerFailedError, match=r"PinIncorrect|CKR_PIN_INCORRECT"):
        pkcs11_key(uri)
    monkeypatch.delenv(PIN_VARIABLE)
    with pytest.raises(SignerFailedError) as caught:
        pkcs11_key(uri)
    assert PIN_VARIABLE in caught.value.hint


@pytest.mark.usefixtures("pin")
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("pkcs11:token=x;object=y", "does not name a library and a key"),
        (f"pkcs11:token=imager%20test?module-path={MODULE}", "does not name a library and a key"),
        (f"pkcs11:token=x;object=y;colour=red?module-path={MODULE}", "colour is not known"),
    ],
)
def test_what_names_no_key(wrong: str, words: str) -> None:
    with pytest.raises(InvalidKeyError, match=words):
        pkcs11_key(wrong)


@pytest.mark.usefixtures("pin")
def test_keys_and_tokens_that_are_not_there(token: SoftToken) -> None:
    assert token
    for wrong in (
        f"pkcs11:token=imager%20test;object=other?module-path={MODULE}",
        f"pkcs11:token=other;object=uki?module-path={MODULE}",
        "pkcs11:token=other;object=uki?module-path=/nonexistent.so",
    ):
        with pytest.raises(SignerFailedError, match=r"^pkcs11:token="):
            pkcs11_key(wrong)


@pytest.mark.usefixtures("pin")
def test_a_certificate_of_another_key(uri: str, tmp_path: Path) -> None:
    other = self_signed(tmp_path, "other")
    with pytest.raises(InvalidKeyError, match=r"^pkcs11:.*does not belong to it"):
        pkcs11_signer(uri, other.certificate)


def test_a_service_signs(address: str, keys: Keys, tmp_path: Path) -> None:
    signer = grpc_signer(address)
    assert signer.certificate == keys.signer.certificate
    signs_like_the_file(signer, keys, tmp_path)
    signs_like_the_file(grpc_key(address), keys, tmp_path)


def test_a_service_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SignerFailedError, match="GetPublicKey failed") as caught:
        grpc_key(f"unix://{tmp_path}/none.sock")
    assert "check the address" in caught.value.hint


def test_a_service_that_signs_with_another_key(address: str, keys: Keys, tmp_path: Path) -> None:
    other = self_signed(tmp_path, "other").signer
    key = RemoteKey("it", other.public_key, grpc_key(address).sign_digest)
    with pytest.raises(SignerFailedError, match="does not verify"):
        key.sign(DATA)
    assert keys


def test_a_key_that_firmware_cannot_verify(tmp_path: Path) -> None:
    small = self_signed(tmp_path, "small", bits=1024)
    with (
        grpc_service(small, tmp_path) as address,
        pytest.raises(UnsupportedError, match="not an RSA key of 2048"),
    ):
        grpc_key(address)


@pytest.mark.usefixtures("pin")
def test_an_output_is_that_of_the_file(
    uri: str, keys: Keys, token: SoftToken, tmp_path: Path
) -> None:
    """The same ISO by files, by a service and by a token: keys to enroll and PCR policies too."""
    folder = tmp_path / "keys"
    folder.mkdir()
    for name in ("uki-signing-key.pem", "pcr-signing-key.pem"):
        (folder / name).symlink_to(keys.key)
    (folder / "uki-signing-cert.pem").symlink_to(keys.certificate)
    common = ("--assets", synthetic_assets(tmp_path / "assets"), "--output", tmp_path / "out")
    iso = tmp_path / "out/metal-amd64-secureboot.iso"
    built = {}
    build("secureboot-iso", *common, "--secureboot-dir", folder)
    built["files"] = iso.read_bytes()
    with grpc_service(keys, tmp_path) as address:
        service = ("--secureboot-signer-address", address, "--pcr-signer-address", address)
        build("secureboot-iso", *common, *service, "--secureboot-dir", tmp_path / "none")
    built["service"] = iso.read_bytes()
    profile = {
        "baseProfileName": "secureboot-iso",
        "input": {
            "secureboot": {
                "secureBootSigner": {"keyPath": uri, "certPath": str(keys.certificate)},
                "pcrSigner": {"keyPath": uri},
            }
        },
    }
    done = run("-", *common, stdin=yaml.safe_dump(profile), env={**token.environment})
    assert done.returncode == 0, done.stderr
    built["token"] = iso.read_bytes()
    assert built["service"] == built["files"] == built["token"]
