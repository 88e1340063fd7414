"""Model the profile's inputs: boot assets, image cache and keys."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic.alias_generators import to_camel

from imager.profile.validators import (
    IfAny,
)


class FrozenModel(BaseModel):
    """A mapping of the profile: frozen, with Talos's field names, and no other fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=False, strict=False
    )


class FileAsset(FrozenModel):
    """A file, by its path."""

    path: str = Field(description="Path of the file.", examples=["./vmlinuz"])


class ContainerAsset(FrozenModel):
    """A container image: in a registry, a tarball or an OCI layout; exactly one of them."""

    image_ref: str = Field(
        default="",
        description="Image in a registry, with a tag or a digest.",
        examples=["registry.local/talos/image-cache:v1"],
    )
    force_insecure: bool = Field(
        default=False, description="Allow HTTP and unknown certificates for that registry."
    )
    tarball_path: str = Field(default="", description="Tar file.", examples=["./cache.tar"])
    oci_path: str = Field(
        default="",
        description="OCI layout, or LAYOUT:NAME for one of several images in it; for an image "
        "cache a layout, tree, ISO or disk.",
        examples=["./image-cache.oci"],
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(map(bool, (self.image_ref, self.tarball_path, self.oci_path))) != 1:
            raise ValueError("needs exactly one of imageRef, tarballPath, ociPath")
        return self


class SigningKey(FrozenModel):
    """A private key: in a PEM file or a token, behind a service, or in a cloud."""

    key_path: str = Field(
        default="",
        description="Private key in PEM, or a key in a token: pkcs11:token=...;object=...",
        examples=["./keys/key.pem"],
    )
    signer_address: str = Field(
        default="",
        description="Address of Talos's signing service (gRPC).",
        examples=["unix:///run/signer.sock"],
    )
    azure_vault_url: str = Field(
        default="",
        alias="azureVaultURL",
        description="Azure Key Vault.",
        examples=["https://vault.vault.azure.net"],
    )
    aws_kms_key_id: str = Field(
        default="", alias="awsKMSKeyID", description="Key in AWS KMS.", examples=["alias/uki"]
    )
    aws_region: str = Field(default="", description="Region of AWS.", examples=["eu-central-1"])

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for cloud, required in _CLOUD_FIELDS.items():
            given = [
                field.alias or ""
                for name, field in type(self).model_fields.items()
                if name.startswith(cloud) and getattr(self, name)
            ]
            missing = [name for name in required if name in _aliases(self) and name not in given]
            if given and missing:
                raise ValueError(f"{given[0]} needs {missing[0]}")
        return self


# The fields without which the others of a cloud say nothing.
_CLOUD_FIELDS = {
    "azure": ("azureVaultURL", "azureKeyID", "azureCertificateID"),
    "aws": ("awsKMSKeyID",),
}


def _aliases(key: SigningKey) -> set[str | None]:
    return {field.alias for field in type(key).model_fields.values()}


class PcrSigningKey(SigningKey):
    """The private key that signs PCR policies."""

    azure_key_id: str = Field(
        default="", alias="azureKeyID", description="Key in Azure.", examples=["pcr"]
    )
    azure_key_version: str = Field(
        default="",
        description="Version of the key in Azure; the newest if it is left out.",
        examples=["6a385b124c22479796f35df5ae0e8d10"],
    )


class SigningKeyAndCertificate(SigningKey):
    """A private key and its certificate."""

    cert_path: str = Field(
        default="",
        description="Certificate in PEM, of a key in a file or token.",
        examples=["./keys/cert.pem"],
    )
    azure_certificate_id: str = Field(
        default="",
        alias="azureCertificateID",
        description="Certificate in Azure.",
        examples=["uki"],
    )
    aws_cert_path: str = Field(
        default="", description="Certificate of a key in AWS KMS.", examples=["./keys/cert.pem"]
    )
    aws_cert_arn: str = Field(
        default="",
        alias="awsCertARN",
        description="Certificate in AWS ACM of a key in AWS KMS.",
        examples=["arn:aws:acm:REGION:ACCOUNT:certificate/ID"],
    )


class SecureBootInput(FrozenModel):
    """Keys and certificates; an absent one has its usual name in the folder of keys."""

    secure_boot_signer: Annotated[SigningKeyAndCertificate | None, IfAny] = Field(
        default=None,
        description="Signs systemd-boot and the unified kernel image.",
        examples=[
            {"keyPath": "./keys/uki-signing-key.pem", "certPath": "./keys/uki-signing-cert.pem"}
        ],
    )
    pcr_signer: Annotated[PcrSigningKey | None, IfAny] = Field(
        default=None,
        description="Signs PCR policies.",
        examples=[{"keyPath": "./keys/pcr-signing-key.pem"}],
    )
    platform_key_path: str = Field(
        default="", description="PK for enrollment.", examples=["./keys/PK.auth"]
    )
    key_exchange_key_path: str = Field(
        default="", description="KEK for enrollment.", examples=["./keys/KEK.auth"]
    )
    signature_key_path: str = Field(
        default="", description="db for enrollment.", examples=["./keys/db.auth"]
    )
    include_well_known_certs: bool = Field(
        default=False,
        description="Also trust the certificates in well-known/ of the folder of keys.",
    )


class Input(FrozenModel):
    """Boot assets and image cache; boot assets that are absent are looked for."""

    kernel: Annotated[FileAsset | None, IfAny] = Field(
        default=None, description="Kernel.", examples=[{"path": "./vmlinuz"}]
    )
    initramfs: Annotated[FileAsset | None, IfAny] = Field(
        default=None, description="Initramfs.", examples=[{"path": "./initramfs.xz"}]
    )
    sd_stub: Annotated[FileAsset | None, IfAny] = Field(
        default=None, description="systemd-stub.", examples=[{"path": "./systemd-stub.efi"}]
    )
    sd_boot: Annotated[FileAsset | None, IfAny] = Field(
        default=None, description="systemd-boot.", examples=[{"path": "./systemd-boot.efi"}]
    )
    base_installer: Annotated[ContainerAsset | None, IfAny] = Field(
        default=None,
        description="Image whose boot assets are used if none are found on this machine.",
        examples=[{"imageRef": "ghcr.io/siderolabs/installer:v1.9.0"}],
    )
    image_cache: ContainerAsset | None = Field(
        default=None, description="Image cache to put into the output."
    )
    overlay_installer: Annotated[ContainerAsset | None, IfAny] = Field(
        default=None,
        description="Overlay image that an installer image carries; overlay.image if left out.",
    )
    system_extensions: tuple[ContainerAsset, ...] = Field(
        default=(),
        description="System extensions to add to the initramfs, the lowest layer first.",
        examples=[[{"imageRef": "ghcr.io/siderolabs/gvisor:20240826.0"}]],
    )
    secureboot: SecureBootInput | None = Field(
        default=None, description="Keys and certificates of SecureBoot."
    )
