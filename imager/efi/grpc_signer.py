"""Sign by Talos's gRPC service, which anyone's token or key store can offer.

https://github.com/siderolabs/talos, api/signer/signer.proto. The address is a Unix socket
(`unix:///run/signer.sock`) or `host:port`, without TLS, as in Talos's imager.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imager.efi.errors import SignerFailedError
from imager.efi.remote import (
    RemoteKey,
    RemoteSigner,
    remote_key,
    remote_signer,
)
from imager.support.errors import missing_library

_SERVICE = "signerapi.SignerService"
# The numbers of SHA-256 and RSA PKCS #1 v1.5.
_HASH, _SCHEME = 1, 1
# A person may have to touch a token first.
_SECONDS = 120


def grpc_key(address: str) -> RemoteKey:
    """Return the key of the service at `address`.

    Raises SignerFailedError if it does not answer, DependencyError without the library, and as
    `remote_key`.
    """
    service = _Service(address)
    return remote_key(service.name, service.call("GetPublicKey"), service.sign)


def grpc_signer(address: str) -> RemoteSigner:
    """Return the key and certificate of the service at `address`; raises as `grpc_key`."""
    service = _Service(address)
    return remote_signer(service.name, service.call("GetCertificate"), service.sign)


@dataclass(frozen=True, slots=True)
class _Service:
    address: str

    @property
    def name(self) -> str:
        return f"signer {self.address}"

    def sign(self, digest: bytes) -> bytes:
        return self.call("Sign", digest=digest, hash=_HASH, scheme=_SCHEME)

    def call(self, method: str, **fields: Any) -> bytes:
        """Call `method` and return the only field of its answer."""
        try:
            import grpc
        except ImportError as error:
            raise missing_library(self.name, "grpcio") from error
        request, answer = _messages()
        try:
            with grpc.insecure_channel(self.address) as channel:
                send: Any = channel.unary_unary(
                    f"/{_SERVICE}/{method}",
                    request_serializer=lambda message: message.SerializeToString(),
                    response_deserializer=answer.FromString,
                )
                return bytes(send(request(**fields), timeout=_SECONDS).value)
        except grpc.RpcError as error:
            raise SignerFailedError(
                f"{self.name}: {method} failed: {error.details() or error.code().name}",
                hint="check the address, and that the service runs",
            ) from error


def _messages() -> tuple[Any, Any]:
    """Return the classes of a request to sign, and of an answer, which has one field.

    An empty request equals google.protobuf.Empty.
    """
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    file = FileDescriptorProto(name="signer.proto", package="signerapi", syntax="proto3")
    optional = FieldDescriptorProto.LABEL_OPTIONAL
    data, number = FieldDescriptorProto.TYPE_BYTES, FieldDescriptorProto.TYPE_UINT32
    request = file.message_type.add(name="SignRequest")
    for index, (name, kind) in enumerate(
        {"digest": data, "hash": number, "scheme": number}.items(), start=1
    ):
        request.field.add(name=name, number=index, type=kind, label=optional)
    file.message_type.add(name="Answer").field.add(
        name="value", number=1, type=data, label=optional
    )
    pool = DescriptorPool()
    pool.Add(file)
    found = (pool.FindMessageTypeByName(f"signerapi.{name}") for name in ("SignRequest", "Answer"))
    request_class, answer_class = map(GetMessageClass, found)
    return request_class, answer_class
