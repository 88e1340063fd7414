"""What UEFI starts and trusts: PE files, UKIs, signatures, keys, variables, PCR policies."""
