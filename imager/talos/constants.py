"""Names and numbers of Talos that several packages use.

https://github.com/siderolabs/talos, pkg/machinery/constants/constants.go.
"""

from __future__ import annotations

# Partition labels of a machine.
META = "META"
STATE = "STATE"
EPHEMERAL = "EPHEMERAL"
IMAGE_CACHE = "IMAGECACHE"
# The SELinux label of STATE's files.
STATE_LABEL = "system_u:object_r:system_state_t:s0"
# The folder of the image cache on a medium.
CACHE_FOLDER = "imagecache"
# The port on which a machine serves the image cache to containerd.
REGISTRY_PORT = 3172
REGISTRY_ADDRESS = f"127.0.0.1:{REGISTRY_PORT}"
