"""UEFI boot and trust: PE files, UKIs, signatures, keys, variables, PCR policies."""
