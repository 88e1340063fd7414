"""XFS: plan and create volumes."""
