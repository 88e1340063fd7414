"""AWS KMS with ACM, and Azure Key Vault, as far as signing asks them: answers as documented."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.lib.keys.signing_keys import Keys
from tests.lib.servers.messages import Answer, Exchange

_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
# Azure's client takes a challenge only for the domain of the vault.
VAULT = "vault.localhost"


def _signature(keys: Keys, digest: bytes, bits: str) -> bytes:
    return keys.signer.private_key.sign(digest, PKCS1v15(), Prehashed(_HASHES[bits]))


def _json(status: int, value: Mapping[str, Any], **headers: str) -> Answer:
    body = json.dumps(value).encode()
    return Answer(status, body, {"Content-Type": "application/json"} | headers)


@dataclass(slots=True)
class Aws:
    """https://docs.aws.amazon.com/kms/latest/APIReference and /acm/latest/APIReference."""

    keys: Keys
    key_id: str = "alias/uki"
    arn: str = "arn:aws:acm:eu-central-1:111122223333:certificate/1"
    asked: list[str] = field(default_factory=list)

    def answer(self, exchange: Exchange) -> Answer:
        operation = exchange.request.headers["x-amz-target"].partition(".")[2]
        asked = json.loads(exchange.take())
        self.asked.append(operation)
        if asked.get("KeyId", self.key_id) != self.key_id:
            return _json(400, {"__type": "NotFoundException", "message": "Alias is not found."})
        if operation == "GetCertificate":
            assert asked == {"CertificateArn": self.arn}
            return _json(200, {"Certificate": self.keys.certificate.read_text()})
        if operation == "GetPublicKey":
            der = self.keys.signer.public_key.public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )
            return _json(200, {"PublicKey": base64.b64encode(der).decode(), "KeyId": self.key_id})
        assert (operation, asked["MessageType"]) == ("Sign", "DIGEST")
        name, bits = asked["SigningAlgorithm"].rsplit("_", 1)
        assert name == "RSASSA_PKCS1_V1_5_SHA"
        signature = _signature(self.keys, base64.b64decode(asked["Message"]), bits)
        return _json(200, {"Signature": base64.b64encode(signature).decode()})


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(slots=True)
class Azure:
    """https://learn.microsoft.com/rest/api/keyvault; the token is "secret"."""

    keys: Keys
    port: int = 0

    def answer(self, exchange: Exchange) -> Answer:
        body, request = exchange.take(), exchange.request
        if request.authorization != "Bearer secret":
            resource = f"https://localhost:{self.port}"
            told = f'Bearer authorization="https://login.localhost/1", resource="{resource}"'
            return _json(401, {}, **{"WWW-Authenticate": told})
        base = f"https://{VAULT}:{self.port}"
        match request.path.strip("/").split("/"):
            case ["certificates", "uki", *_]:
                der = self.keys.signer.certificate.public_bytes(Encoding.DER)
                identifier = f"{base}/certificates/uki/1"
                return _json(200, {"id": identifier, "cer": base64.b64encode(der).decode()})
            case ["keys", "uki", *_, "sign"]:
                asked = json.loads(body)
                padded = asked["value"] + "=" * (-len(asked["value"]) % 4)
                digest = base64.urlsafe_b64decode(padded)
                signature = _signature(self.keys, digest, asked["alg"].removeprefix("RS"))
                return _json(200, {"kid": f"{base}/keys/uki/1", "value": _url64(signature)})
            case ["keys", "uki", *_]:
                numbers = self.keys.signer.public_key.public_numbers()
                key = {
                    "kid": f"{base}/keys/uki/1",
                    "kty": "RSA",
                    "key_ops": ["sign"],
                    "n": _url64(numbers.n.to_bytes(256)),
                    "e": _url64(numbers.e.to_bytes(3)),
                }
                return _json(200, {"key": key, "attributes": {"enabled": True}})
            case _:
                error = {"code": "KeyNotFound", "message": "A key with this name was not found"}
                return _json(404, {"error": error})
