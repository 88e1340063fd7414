"""Which boot files an output carries. Nothing outside knows a bootloader by name."""
