"""imager: boot assets for Talos Linux that carry their own container images."""

__version__ = "0.1.0"
