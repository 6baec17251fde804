"""Components as a CycloneDX 1.6 document, made with its own library; the same bytes for the same components."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from cyclonedx import spdx
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component as CdxComponent
from cyclonedx.model.component import ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import DisjunctiveLicense, License, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from packager.papers.components import Component
from packager.papers.texts import FOLDER

MEMBER = "sbom.cdx.json"  # its name in portable/; beside the archive it is SUFFIX
SUFFIX = ".sbom.cdx.json"
_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 4122, appendix C: names that are URLs
_TYPES = {"python": ComponentType.PLATFORM, "repository": ComponentType.APPLICATION}


def sbom(components: Sequence[Component], *, bundle: Mapping[str, Any], tool: tuple[str, str], epoch: int) -> str:
    """The document as JSON with a final newline.

    `bundle` has name, version, description and target of the whole; `tool` is the name and version of what made it;
    `epoch`, in seconds (UTC), is its time. The serial number follows from the rest of the document.
    """
    draft = _document(components, bundle=bundle, tool=tool, epoch=epoch, serial=uuid.UUID(int=0))
    serial = uuid.uuid5(_NAMESPACE, hashlib.sha256(draft.encode()).hexdigest())
    return _document(components, bundle=bundle, tool=tool, epoch=epoch, serial=serial)


def _document(
    components: Sequence[Component], *, bundle: Mapping[str, Any], tool: tuple[str, str], epoch: int, serial: uuid.UUID
) -> str:
    whole = CdxComponent(
        type=ComponentType.APPLICATION,
        name=bundle["name"],
        version=bundle["version"],
        description=bundle["description"] or None,
        purl=(purl := PackageURL(type="generic", name=bundle["name"], version=bundle["version"])),
        bom_ref=f"bundle:{purl.to_string()}",
        properties=[Property(name="packager:target", value=bundle["target"])],
    )
    bom = Bom(serial_number=serial)
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, tz=timezone.utc)
    bom.metadata.component = whole
    bom.metadata.tools.components.add(CdxComponent(type=ComponentType.APPLICATION, name=tool[0], version=tool[1]))
    made = {component.ref: _component(component) for component in components}
    bom.components.update(made.values())
    needed = {need for component in components for need in component.needs}
    first = [made[component.ref].bom_ref for component in components if component.ref not in needed]
    bom.dependencies.add(Dependency(ref=whole.bom_ref, dependencies=[Dependency(ref=ref) for ref in first]))
    for component in components:
        wanted = [Dependency(ref=made[need].bom_ref) for need in component.needs if need in made]
        bom.dependencies.add(Dependency(ref=made[component.ref].bom_ref, dependencies=wanted))
    text = JsonV1Dot6(bom).output_as_string()
    return json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"


def _component(component: Component) -> CdxComponent:
    properties = [Property(name="packager:origin", value=component.origin)]
    if component.texts:
        properties.append(Property(name="packager:licence_texts", value=f"{FOLDER}/{component.folder}"))
    if component.candidates:
        properties.append(Property(name="packager:allowed_sha256", value=" ".join(component.candidates)))
    return CdxComponent(
        type=_TYPES.get(component.origin, ComponentType.LIBRARY),
        name=component.name,
        version=component.version or None,
        description=component.summary or None,
        purl=component.purl,
        bom_ref=component.ref,
        licenses=licences(component.licences),
        hashes=[HashType(alg=HashAlgorithm(name), content=value) for name, value in component.hashes],
        external_references=_references(component),
        properties=properties,
    )


def licences(said: Sequence[str]) -> list[License]:
    """Each as an SPDX id or expression where it is one, as a name where it is not; an expression stands alone."""
    if len(said) == 1 and spdx.fixup_id(said[0]) is None and spdx.is_expression(said[0]):
        return [LicenseExpression(said[0])]
    return [
        DisjunctiveLicense(id=found) if (found := spdx.fixup_id(name)) else DisjunctiveLicense(name=name)
        for name in said
    ]


def _references(component: Component) -> list[ExternalReference]:
    kind = ExternalReferenceType.VCS if component.origin == "repository" else ExternalReferenceType.DISTRIBUTION
    named = [(kind, component.source), (ExternalReferenceType.WEBSITE, component.homepage)]
    return [ExternalReference(type=kind, url=XsUri(url)) for kind, url in named if url]
