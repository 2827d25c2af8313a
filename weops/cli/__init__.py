"""The command `weops`, for on-call use over the REST API; it needs neither Django nor a database. docs/cli.md"""
