"""REST: events, who listens, firings and what became of them."""
