"""Fixtures of the fetch tests; what they are made of is in fetch_servers.py."""

from fetch_servers import cache, console, dumb_http, hasty, make_repo, said, server, small_disk, smart_http

__all__ = ["cache", "console", "dumb_http", "hasty", "make_repo", "said", "server", "small_disk", "smart_http"]
