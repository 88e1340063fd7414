from __future__ import annotations

import base64
import gzip
import hashlib

import pytest

from imager.support.errors import InputError
from imager.talos.meta import meta_content, meta_kernel_argument
from tests.lib.tools.support import content_bytes

COPY = 256 * 1024
ROOM = COPY - 4 - 36


def expected_copy(tags: bytes) -> bytes:
    copy = bytearray(COPY)
    copy[:4] = b"\x5a\x4b\x3c\x2d"
    copy[4 : 4 + len(tags)] = tags
    copy[-4:] = b"\xa5\xb4\xc3\xd2"
    copy[-36:-4] = hashlib.sha256(copy).digest()
    return bytes(copy)


def test_a_copy_is_laid_out_as_talos_does() -> None:
    tags = b"\0\0\0\x06\0\0\0\x01A" + b"\0\0\0\x0a\0\0\0\x02\xc3\xa9"
    assert content_bytes(meta_content({10: "é", 6: "A"}))[:COPY] == expected_copy(tags)
    assert content_bytes(meta_content({}))[:COPY] == expected_copy(b"")


def test_a_partition_is_two_copies_and_sparse() -> None:
    content = meta_content({12: "value"})
    copy = expected_copy(b"\0\0\0\x0c\0\0\0\x05value")
    assert content.size == 1 << 20
    assert content_bytes(content) == copy + copy + bytes(COPY * 2)
    assert content.data_size < 200
    with pytest.raises(ValueError, match="past the size"):
        meta_content({}, size=COPY)


def test_what_fits_fits_and_more_is_refused() -> None:
    full = b"\0\0\0\x06" + (ROOM - 8).to_bytes(4, "big") + b"x" * (ROOM - 8)
    assert content_bytes(meta_content({6: "x" * (ROOM - 8)}))[:COPY] == expected_copy(full)
    with pytest.raises(InputError, match="but only 262104 fit"):
        meta_content({6: "x" * (ROOM - 7)})


@pytest.mark.parametrize("key", [0, -1, 256])
def test_impossible_keys_are_refused(key: int) -> None:
    with pytest.raises(InputError, match="is not in the range 0x1 to 0xff"):
        meta_content({key: "x"})
    with pytest.raises(InputError, match="is not in the range 0x1 to 0xff"):
        meta_kernel_argument({key: "x"})


def test_the_kernel_argument_is_base64_of_sorted_values() -> None:
    argument = meta_kernel_argument({12: "b=c", 10: "a"})
    prefix, encoded = argument.split("INSTALLER_META_BASE64=")
    assert prefix == "talos.environment="
    assert base64.b64decode(encoded, validate=True) == b"0xa=a;0xc=b=c"


def test_long_values_are_compressed_where_that_is_read() -> None:
    plain = meta_kernel_argument({10: "v" * 300})
    packed = meta_kernel_argument({10: "v" * 300}, allow_gzip=True)
    assert base64.b64decode(plain.split("=", 2)[2]) == b"0xa=" + b"v" * 300
    assert gzip.decompress(base64.b64decode(packed.split("=", 2)[2])) == b"0xa=" + b"v" * 300
    assert packed == meta_kernel_argument({10: "v" * 300}, allow_gzip=True)
    assert meta_kernel_argument({10: "v"}, allow_gzip=True) == meta_kernel_argument({10: "v"})


def test_a_kernel_argument_cannot_carry_its_separator() -> None:
    with pytest.raises(InputError, match="0xa contains ';'"):
        meta_kernel_argument({10: "a;b"})
