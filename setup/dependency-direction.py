#!/usr/bin/env python3
"""Check that dependencies point one way: kernel/abi -> cgroups, netns, image -> init-glue -> applets.

cgroups, netns and image do not know each other; all but kernel/abi forbid unsafe code.
"""
import json
import pathlib
import subprocess
import sys

ALLOWED = {
    "coracle-abi": set(),
    "coracle-cgroups": {"coracle-abi"},
    "coracle-netns": {"coracle-abi"},
    "coracle-image-oci": {"coracle-abi"},
    "coracle-image-os": {"coracle-abi"},
}
ALLOWED["coracle-init"] = set(ALLOWED)
ALLOWED["coracle"] = set(ALLOWED)

metadata = json.loads(
    subprocess.check_output(["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"])
)
problems = []
for package in metadata["packages"]:
    name = package["name"]
    if name not in ALLOWED:
        problems.append(f"{name}: not in the list of rooms; add it to setup/dependency-direction.py")
        continue
    for dependency in package["dependencies"]:
        if dependency["name"].startswith("coracle") and dependency["name"] not in ALLOWED[name]:
            problems.append(f"{name} depends on {dependency['name']}, which points the wrong way")
    if name == "coracle-abi":
        continue
    for target in package["targets"]:
        if {"lib", "bin"} & set(target["kind"]):
            source = pathlib.Path(target["src_path"])
            if "#![forbid(unsafe_code)]" not in source.read_text():
                problems.append(f"{source.name} of {name} lacks #![forbid(unsafe_code)]")
for problem in problems:
    print(f"lint: {problem}", file=sys.stderr)
sys.exit(1 if problems else 0)
