"""Where bytes may come from: which URLs are allowed, and how --mirror rewrites them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import url2pathname

from packager.errors import InputError

_REMEDY = "use https://, file:// or a local folder"
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?|[0-9a-f:.]+", re.ASCII)


def redact(url: str) -> str:
    """`url` fit for a message: no user, no password, no query (signed links carry their secret there), no escapes."""
    text = url.encode("unicode_escape").decode("ascii")
    text = re.sub(r"^([^/?#]*//)[^/?#]*@", r"\1***@", text)
    return re.sub(r"[?#].*", "?...", text)


def check_url(url: str) -> None:
    """Allow https, file, and http to this machine alone; raise InputError for all else.

    Refused among others: ssh and `git@host:`, git's `ext::` and its kin, data:, logins inside the URL, `..` in the
    path, characters that hide or end a line, and whatever a program could take for an option.
    """
    if not url or url.startswith("-"):
        raise _refused(url, "is not a URL")
    if any(letter.isspace() or not letter.isprintable() or letter in '\\<>"`{}|^' for letter in url):
        raise _refused(url, "holds a character that no URL may hold", "write it percent-encoded")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise _refused(url, f"is not a URL ({error})") from error
    if "@" in parts.netloc:
        raise _refused(url, "holds a login", "take it out of the URL; ~/.netrc is the place for it")
    if parts.scheme not in ("https", "http", "file") or not url[len(parts.scheme) :].startswith("://"):
        raise _refused(url, "is neither https:// nor file://")
    if ".." in unquote(parts.path).split("/") or "\0" in unquote(parts.path):
        raise _refused(url, "climbs out of its folder with '..'", "write the path it means")
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or parts.path in ("", "/"):
            raise _refused(url, "names no file of this machine", "write file:///path/of/it")
    elif not _HOST.fullmatch(host):
        raise _refused(url, "names no host")
    elif parts.scheme == "http" and not _is_loopback(parts):
        raise _refused(url, "is plain http: anyone on the way could change what it gives", "use https://")


def check_follow(parent: str, child: str) -> None:
    """Check that `parent` may send us to `child` (a redirect, a submodule): never from afar into this machine.

    Raises InputError. Both are URLs or absolute paths.
    """
    near = local_path(parent) is not None or _is_loopback(urlsplit(parent))
    if local_path(child) is not None:
        if local_path(parent) is None:
            raise _refused(child, "is a file of this machine, named by another", "give it with --source or --mirror")
        return
    check_url(child)
    if not near and _is_loopback(urlsplit(child)):
        raise _refused(child, "is this machine, named by another", "give it with --source or --mirror")


def local_path(location: str) -> Path | None:
    """The path of a file: URL or an absolute path; None for a URL of another host."""
    if location.lower().startswith("file://"):
        return Path(url2pathname(urlsplit(location).path))
    path = Path(location)
    return path if path.is_absolute() else None


def is_loopback(location: str) -> bool:
    """Whether the URL's host is this machine."""
    return local_path(location) is None and _is_loopback(urlsplit(location))


def as_location(word: str) -> str:
    """What a person wrote for a place: an allowed URL as it is, a path made absolute (`~` is the home folder).

    Raises InputError for the URLs that check_url refuses.
    """
    scheme = re.match(r"[^/\\]*:", word)
    is_drive = scheme is not None and scheme.end() == 2 and Path(word).is_absolute()
    if not word or word.startswith("-") or (scheme and not is_drive):
        check_url(word)
        return word
    if not word.isprintable():
        raise _refused(word, "holds control characters")
    return str(Path(word).expanduser().absolute())


def ways_out(location: str) -> str:
    """The remedy for what can't be fetched."""
    return (
        f"check the network and the address; --mirror FROM=TO takes {redact(location)} from elsewhere, --source "
        "NAME=PATH|URL replaces one repository, --offline uses the cache alone"
    )


@dataclass(frozen=True, kw_only=True)
class Mirrors:
    """Prefix rewrites (FROM, TO). The longest FROM that fits wins; of two equal ones the first.

    FROM ends where a name ends: https://example.org/a rewrites itself, .../a.git and .../a/b, but not .../ab.
    """

    rewrites: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, words: Iterable[str]) -> Mirrors:
        """Read `FROM=TO` words. TO is an allowed URL or a folder. Raises InputError."""
        pairs = []
        for word in words:
            source, separator, target = word.partition("=")
            if not separator or not source or not target:
                raise InputError(f"'{redact(word)}' is not of the form FROM=TO", where="--mirror", remedy=_EXAMPLE)
            pairs.append((source, target))
        return cls._checked(pairs)

    @classmethod
    def from_pairs(cls, pairs: Mapping[str, str]) -> Mirrors:
        """The same, from FROM -> TO. Raises InputError."""
        return cls._checked(pairs.items())

    @classmethod
    def _checked(cls, pairs: Iterable[tuple[str, str]]) -> Mirrors:
        checked = []
        for source, target in pairs:
            if not re.match(r"[\w.+-]+:|[\w.-]+@[\w.-]+:", source) or not source.isprintable():
                raise InputError(f"'{redact(source)}' does not begin like a URL", where="--mirror", remedy=_EXAMPLE)
            checked.append((source.rstrip("/"), as_location(target).rstrip("/") or "/"))
        return cls(rewrites=tuple(checked))

    def applies(self, url: str) -> bool:
        """Whether a rewrite covers `url`: then it may be anything, since its owner said what it becomes."""
        return self._best(url) is not None

    def rewrite(self, url: str) -> str:
        """Where to take `url` from: an allowed URL or an absolute path. Raises InputError if it is neither."""
        best = self._best(url)
        if best is None:
            return as_location(url)
        rest = url[len(best[0]) :]
        if rest in (".git", ".git/"):
            return best[1]
        if ".." in unquote(rest).replace("\\", "/").split("/"):
            raise _refused(url, "climbs out of its folder with '..'", "write the path it means")
        if local_path(best[1]) is not None and not best[1].startswith("file:"):
            rest = unquote(rest)
        if best[0].endswith(":"):
            rest = f"/{rest.lstrip('/')}"
        return as_location(best[1].rstrip("/") + rest)

    def _best(self, url: str) -> tuple[str, str] | None:
        fitting = [pair for pair in self.rewrites if _covers(pair[0], url)]
        return max(fitting, key=lambda pair: len(pair[0]), default=None)


_EXAMPLE = "write --mirror https://github.com/=https://git.example.org/ or --mirror https://github.com/=/folder"


def _covers(source: str, url: str) -> bool:
    start, rest = url[: len(source)], url[len(source) :]
    head = source.find("/", source.find("//") + 2) if "//" in source else len(source)
    head = len(source) if head < 0 else head  # scheme and host know no case (RFC 3986, 6.2.2.1)
    if start[:head].lower() != source[:head].lower() or start[head:] != source[head:]:
        return False
    return not rest or rest in (".git", ".git/") or rest[0] in "/?#" or source.endswith(":")


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".") == "localhost"


def _refused(url: str, why: str, remedy: str = _REMEDY) -> InputError:
    return InputError(f"this address {why}", where=redact(url), remedy=remedy)
