"""Sign by a key in AWS KMS, with a certificate in a file or in AWS Certificate Manager.

https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html. Credentials are found as by every
AWS client: environment, ~/.aws, the role of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imager.efi.certificates import read_limited
from imager.efi.errors import SignerFailedError
from imager.efi.remote import (
    RemoteKey,
    RemoteSigner,
    remote_key,
    remote_signer,
    same_key,
)
from imager.support.errors import missing_library


@dataclass(frozen=True, slots=True)
class AwsKey:
    """A key in KMS: its id, alias or ARN, and its region (empty: that of the environment)."""

    key_id: str
    region: str = ""

    @property
    def name(self) -> str:
        """The key for messages."""
        return f"AWS KMS key {self.key_id}"

    def open(self) -> RemoteKey:
        """Return the key; raises SignerFailedError, DependencyError, and as `remote_key`."""
        with self._client("kms") as kms:
            public = kms.get_public_key(KeyId=self.key_id)["PublicKey"]
        return remote_key(self.name, public, self._sign)

    def signer(self, certificate: Path | None, arn: str) -> RemoteSigner:
        """Return the key with the certificate of a file, or else that of an ARN in ACM."""
        if certificate:
            found, _ = read_limited(certificate, what="certificate")
        else:
            with self._client("acm") as acm:
                found = acm.get_certificate(CertificateArn=arn)["Certificate"].encode()
        return same_key(remote_signer(self.name, found, self._sign), self.open())

    def _sign(self, digest: bytes) -> bytes:
        with self._client("kms") as kms:
            answer = kms.sign(
                KeyId=self.key_id,
                Message=digest,
                MessageType="DIGEST",
                SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256",
            )
        return bytes(answer["Signature"])

    @contextmanager
    def _client(self, service: str) -> Iterator[Any]:
        try:
            import boto3
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise missing_library(self.name, "boto3") from error
        try:
            yield boto3.client(service, region_name=self.region or None)
        except (BotoCoreError, ClientError) as error:
            raise SignerFailedError(
                f"{self.name}: {error}", hint="check the key's id, the region and the credentials"
            ) from error
