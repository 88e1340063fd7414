"""How fast a machine's cache is copied to its volume, against cp and SHA-256 one after another."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bench.cache import BenchCache
from tests.bench.cases import WRITTEN_LIMIT
from tests.bench.measure import Case

_CP = "cp -r; sync; openssl dgst of each blob"
# At least 0.8 times as fast.
_LIMIT = 1 / 0.8
# What `imager node run` does with a cache and a volume.
_COPY = (
    "import sys\n"
    "from pathlib import Path\n"
    "from imager.cache.open import open_cache\n"
    "from imager.node.sync import copy_cache, plan_copy\n"
    "from imager.support.workers import Work\n"
    "plan = plan_copy(open_cache(Path(sys.argv[1])).cache, Path(sys.argv[2]))\n"
    "copy_cache(plan, Work())\n"
)


def copying_cases(cache: BenchCache, output: Path) -> list[Case]:
    """Return the cases that copy a flat tree into the empty folder `output`."""
    script = (
        f"cp -r {cache.flat}/. {output}\nsync -f {output}\nopenssl dgst -sha256 {output}/blob/*"
    )
    return [
        Case(_CP, ["sh", "-ec", script]),
        Case(
            "a cache copied to a machine's volume",
            [sys.executable, "-c", _COPY, cache.flat, output],
            against=(_CP,),
            limit=_LIMIT,
            build=True,
            written_limit=WRITTEN_LIMIT,
        ),
    ]
