"""Bytes from elsewhere: downloads, git repositories, and the content-addressed cache that both share."""
