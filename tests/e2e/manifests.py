#!/usr/bin/env python3
"""Reads a folder with a kustomization.yaml, holds all that it makes against Kubernetes' own schema, and prints it as JSON:

    manifests.py SCHEMA FOLDER

A fault is told with its file and where in it, and ends it with 1."""

import json
import pathlib
import sys

import jsonschema
import yaml

# As kubectl reads YAML: a key twice is a slip.
class Strict(yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise SystemExit(f"{node.start_mark}: twice: {twice}")
        return super().construct_mapping(node, deep)


def read(path):
    return [found for found in yaml.load_all(path.read_text(), Strict) if found]


schema = json.loads(pathlib.Path(sys.argv[1]).read_text())
folder = pathlib.Path(sys.argv[2])
(kustomization,) = read(folder / "kustomization.yaml")
named = set(kustomization["resources"]) | {"kustomization.yaml"}
left_out = {path.name for path in folder.glob("*.yaml")} - named
if left_out:
    raise SystemExit(f"{folder}: not among its resources: {left_out}")

made = []
for made_map in kustomization.get("configMapGenerator", []):
    data = {name: (folder / name).read_text() for name in made_map["files"]}
    own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": made_map["name"]}, "data": data}
    made.append(("kustomization.yaml", own))
for name in kustomization["resources"]:
    made += [(name, document) for document in read(folder / name)]

faults = []
for name, document in made:
    group, version = document["apiVersion"].rsplit("/", 1) if "/" in document["apiVersion"] else ("core", document["apiVersion"])
    kind = f"io.k8s.api.{group.split('.')[0]}.{version}.{document['kind']}"
    if kind not in schema["$defs"]:
        faults.append(f"{name}: {kind} is not in {sys.argv[1]}")
        continue
    validator = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": schema["$defs"]})
    for fault in validator.iter_errors(document):
        at = ".".join(str(part) for part in fault.absolute_path)
        faults.append(f"{name}: {document['kind']}: {at}: {fault.message}")
if faults:
    raise SystemExit("\n".join(faults))
json.dump([document for _, document in made], sys.stdout)
