"""REST: projects and what belongs to them."""
