"""ext4: plan, create and read volumes."""
