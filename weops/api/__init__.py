"""What every REST endpoint has in common: tokens, errors, pages, idempotency, exports, the schema. docs/api.md

The nouns are in `weops/projects/api`, `instances/api` and `events/api`.
"""
