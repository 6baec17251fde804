"""From what a file or a probe asks for to what of it goes."""

from __future__ import annotations

from collections.abc import Iterator

from packager.cleanup.oracle.gone import Gone
from packager.cleanup.oracle.references import Reference
from packager.cleanup.oracle.subject import Subject


class Resolver:
    """From what a file asks for to what of it goes."""

    def __init__(self, subject: Subject, gone: Gone) -> None:
        self._gone = gone
        self._root = subject.root
        self._roots = [*subject.folders("site-packages"), *subject.folders("stdlib"), *subject.folders("app")]
        self._own = tuple(f"{folder}/" for folder in subject.folders("app"))  # of whose files the folder is on sys.path

    def paths(self, file: str, reference: Reference) -> Iterator[str]:
        """Paths that go and that `reference` in `file` needs."""
        if reference.kind == "path":
            for place in self._places(file, reference.target):
                if self._gone.may_take(place) and self._is_lasting(place):
                    yield place
            return
        if reference.target.startswith("/"):
            yield from self.module(reference.target.strip("/"))
            return
        yield from self.named(reference.target, file)

    def named(self, name: str, file: str = "") -> Iterator[str]:
        """Files that go of the module with this dotted name, as `file` would import it."""
        if not all(name.split(".")):
            return
        for start in self._starts(file):
            yield from self.module(f"{start}{name.replace('.', '/')}")

    def _starts(self, file: str) -> Iterator[str]:
        yield from (f"{root}/" if root else "" for root in self._roots)
        if file.startswith(self._own):
            yield file[: file.rfind("/") + 1]

    def _places(self, file: str, target: str) -> Iterator[str]:
        if target.startswith("{"):
            package, _, rest = target[1:].partition("}")
            yield from (f"{start}{package.replace('.', '/')}{rest}" for start in self._starts(file))
        else:
            yield target.strip("/")

    def module(self, path: str) -> Iterator[str]:
        """The files of the module at `path`, without suffix, and of the packages it lies in."""
        if not self._gone.may_take(path + ".py") and not self._gone.may_take(path):
            return
        places = [f"{path}.py", f"{path}/__init__.py"]
        folder = path.rpartition("/")[0]
        while folder and self._gone.may_take(folder):
            places.append(f"{folder}/__init__.py")
            folder = folder.rpartition("/")[0]
        if any(self._is_lasting(place) for place in places[:2]):
            yield from (place for place in places if self._is_lasting(place))

    def _is_lasting(self, place: str) -> bool:
        removal = self._gone.removal(place)
        if removal is None or self._gone.is_rebuilt(removal):
            return False
        return not self._gone.is_chosen(removal)
