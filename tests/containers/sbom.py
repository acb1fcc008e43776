"""`just sbom IMAGE`: what an image holds, as a software bill of materials in CycloneDX JSON that was validated.

    docker run … python < installed.py | python sbom.py IMAGE

Names and versions are those of the image's own environment, not of a lock.
"""

import json
import sys

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL


def python_component(package):
    """A distribution of the package index."""
    home = package["home"]
    purl = PackageURL("pypi", name=package["name"], version=package["version"].partition("+")[0])
    return Component(
        bom_ref=str(purl),
        name=package["name"],
        version=package["version"],
        type=ComponentType.LIBRARY,
        purl=purl,
        licenses=[LicenseFactory().make_from_string(package["license"])] if package["license"] else [],
        external_references=[ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(home))] if home else [],
    )


def debian_component(package):
    """A package of the image's system."""
    where = {"arch": package["architecture"]} if package["architecture"] else {}
    purl = PackageURL("deb", "debian", package["name"], package["version"], where)
    return Component(
        bom_ref=str(purl),
        name=package["name"],
        version=package["version"],
        type=ComponentType.LIBRARY,
        purl=purl,
    )


def bill(installed, image):
    """The bill of materials of `installed.py`'s answer, as CycloneDX JSON.

    Raises:
        ValueError: it does not follow the schema.
    """
    bom = Bom()
    bom.metadata.component = Component(name=image, type=ComponentType.CONTAINER)
    bom.components.add(Component(name="python", version=installed["python"], type=ComponentType.PLATFORM))
    bom.components.update(map(python_component, installed["pypi"]))
    bom.components.update(map(debian_component, installed["deb"]))
    bom.register_dependency(bom.metadata.component, bom.components)
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"the bill of materials does not follow CycloneDX 1.6: {wrong}")
    return text


if __name__ == "__main__":
    installed = sys.stdin.read() or sys.exit(
        f"Nothing is known of {sys.argv[1]}: the container engine ran nothing in it."
    )
    sys.stdout.write(bill(json.loads(installed), sys.argv[1]) + "\n")
