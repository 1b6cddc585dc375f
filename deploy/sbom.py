#!/usr/bin/env python3
"""The bill of materials of the program, in CycloneDX 1.5, on standard output: every crate that is compiled into it.

Needs cargo and Python 3.
"""

import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def main():
    host = next(line.split()[1] for line in run("rustc", "-vV").splitlines() if line.startswith("host:"))
    metadata = json.loads(run("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host))
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    top = next(id for id, package in packages.items() if package["name"] == "gastank")

    def links(id):
        """What is linked, or run when it is compiled; not what tests need."""
        kinds = lambda dep: {kind["kind"] for kind in dep["dep_kinds"]}
        return sorted(dep["pkg"] for dep in nodes[id]["deps"] if kinds(dep) - {"dev"})

    found, waiting = {}, [top]
    while waiting:
        id = waiting.pop()
        if id not in found:
            found[id] = links(id)
            waiting += found[id]

    purl = lambda package: f"pkg:cargo/{package['name']}@{package['version']}"
    checksums = {}
    for block in (ROOT / "Cargo.lock").read_text().split("[[package]]")[1:]:
        fields = dict(line.split(" = ", 1) for line in block.strip().splitlines() if " = " in line)
        if "checksum" in fields:
            checksums[fields["name"].strip('"'), fields["version"].strip('"')] = fields["checksum"].strip('"')

    def component(package, kind="library"):
        shown = {"type": kind, "bom-ref": purl(package), "name": package["name"], "version": package["version"], "purl": purl(package)}
        if package.get("license"):
            shown["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        checksum = checksums.get((package["name"], package["version"]))
        if checksum:
            shown["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        return shown

    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(packages[top], "application")},
        "components": [component(packages[id]) for id in sorted(found) if id != top],
        "dependencies": [
            {"ref": purl(packages[id]), "dependsOn": sorted(purl(packages[to]) for to in found[id])} for id in sorted(found)
        ],
    }
    print(json.dumps(bom, indent=1))


if __name__ == "__main__":
    main()
