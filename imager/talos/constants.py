"""Names and numbers of Talos that several rooms need.

https://github.com/siderolabs/talos, pkg/machinery/constants/constants.go.
"""

from __future__ import annotations

# Labels of a machine's partitions.
META = "META"
STATE = "STATE"
EPHEMERAL = "EPHEMERAL"
IMAGE_CACHE = "IMAGECACHE"
# The folder of the image cache on a medium.
CACHE_FOLDER = "imagecache"
# Where a machine's own registry serves the image cache to containerd.
REGISTRY_PORT = 3172
REGISTRY_ADDRESS = f"127.0.0.1:{REGISTRY_PORT}"
