"""Decode BASE64(zstd(...)) from standard input and print it, 1 MiB at most."""

import base64
import sys

import zstandard

LARGEST = 1 << 20

packed = base64.b64decode(sys.stdin.buffer.read(), validate=True)
text = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
if len(text) > LARGEST:
    sys.exit("larger than 1 MiB")
sys.stdout.buffer.write(text)
