"""Print what BASE64(zstd(...)) on standard input says, 1 MiB at most."""

import base64
import sys

import zstandard

LARGEST = 1 << 20

packed = base64.b64decode(sys.stdin.buffer.read(), validate=True)
text = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
if len(text) > LARGEST:
    sys.exit("larger than 1 MiB")
sys.stdout.buffer.write(text)
