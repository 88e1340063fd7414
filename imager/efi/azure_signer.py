"""Sign by a key or a certificate's key in Azure Key Vault.

https://learn.microsoft.com/rest/api/keyvault/keys/sign/sign. Credentials are found as by every
client of Azure: environment, managed identity, `az login`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from imager.efi.errors import SignerFailedError
from imager.efi.remote import (
    RemoteKey,
    RemoteSigner,
    remote_key,
    remote_signer,
    rsa_public_key,
)
from imager.support.errors import missing_library

_PACKAGES = "azure-identity azure-keyvault-keys azure-keyvault-certificates"


@dataclass(frozen=True, slots=True)
class AzureKey:
    """A key in a vault: the name of a key or certificate, and its version if not the newest."""

    vault_url: str
    key: str
    version: str = ""

    @property
    def name(self) -> str:
        """The key for messages."""
        return f"Azure key {self.vault_url.rstrip('/')}/keys/{self.key}"

    def open(self) -> RemoteKey:
        """Return the key; raises SignerFailedError, DependencyError, and as `remote_key`."""
        with self._azure() as (keys, credential):
            client = keys.KeyClient(self.vault_url, credential)
            found = client.get_key(self.key, self.version or None).key
        return remote_key(self.name, rsa_public_key(found.n or b"", found.e or b""), self._sign)

    def signer(self) -> RemoteSigner:
        """Return the certificate of this name, whose key has the same name; raises as `open`."""
        with self._azure() as (_, credential):
            from azure.keyvault.certificates import CertificateClient

            client = CertificateClient(self.vault_url, credential)
            found = client.get_certificate(self.key).cer
        return remote_signer(self.name, bytes(found or b""), self._sign)

    def _sign(self, digest: bytes) -> bytes:
        with self._azure() as (keys, credential):
            from azure.keyvault.keys.crypto import SignatureAlgorithm

            vault = keys.KeyClient(self.vault_url, credential)
            client = vault.get_cryptography_client(self.key, key_version=self.version or None)
            return bytes(client.sign(SignatureAlgorithm.rs256, digest).signature)

    @contextmanager
    def _azure(self) -> Iterator[tuple[Any, Any]]:
        """Yield the library for keys, and the credential."""
        try:
            from azure import identity
            from azure.core.exceptions import AzureError
            from azure.keyvault import keys
        except ImportError as error:
            raise missing_library(self.name, _PACKAGES) from error
        try:
            yield keys, identity.DefaultAzureCredential()
        except (AzureError, ValueError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise SignerFailedError(
                f"{self.name}: {reason}",
                hint="check the vault's URL, the name of the key and the login",
            ) from error
