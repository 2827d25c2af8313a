"""How fast and how small WeOps is, each figure beside the raw limit of the same servers in the same run."""
