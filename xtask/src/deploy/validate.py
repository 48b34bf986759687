"""Holds files against the schemas of those who will read them.

json FILE               prints the objects of a YAML file as JSON
check FROM TO FILE...   by the strict schemas of Kubernetes 1.FROM to 1.TO; VERSION in a name stands for each
ecs FILE                a task definition, by the model of ECS's API
"""

import json
import re
import sys

import botocore.session
import kubernetes_validate
import yaml
from botocore.validate import ParamValidator


def objects(path):
    with open(path, encoding="utf-8") as file:
        return [one for one in yaml.safe_load_all(file) if one]


def check(first, last, paths):
    """Strict: a field that a release does not know is an error, as a misspelt one is."""
    checked = 0
    for minor in range(int(first), int(last) + 1):
        for path in paths:
            for one in objects(path.replace("VERSION", f"1.{minor}")):
                if one["apiVersion"].startswith("monitoring.coreos.com/"):
                    continue
                try:
                    kubernetes_validate.validate(one, f"1.{minor}", strict=True)
                except kubernetes_validate.ValidationError as error:
                    place = ".".join(str(item) for item in error.path)
                    sys.exit(f"{path}: {one['kind']} {place}: Kubernetes 1.{minor} says: {error.message}")
                checked += 1
    print(checked)


def check_task(path):
    model = botocore.session.get_session().get_service_model("ecs")
    with open(path, encoding="utf-8") as file:
        definition = json.load(file)
    report = ParamValidator().validate(definition, model.operation_model("RegisterTaskDefinition").input_shape)
    if report.has_errors():
        sys.exit(f"{path}: {report.generate_report()}")
    # The model names the capabilities in its text alone.
    add = model.shape_for("KernelCapabilities").members["add"]
    known = set(re.findall('"([A-Z_]+)"', add.documentation.replace("&quot;", '"')))
    for container in definition["containerDefinitions"]:
        asked = container.get("linuxParameters", {}).get("capabilities", {}).get("add", [])
        if "FARGATE" in definition["requiresCompatibilities"]:
            known = {"SYS_PTRACE"}
        for name in asked:
            if name not in known:
                sys.exit(f"{path}: ECS has no capability {name}")


if sys.argv[1] == "json":
    json.dump(objects(sys.argv[2]), sys.stdout)
elif sys.argv[1] == "ecs":
    check_task(sys.argv[2])
else:
    check(sys.argv[2], sys.argv[3], sys.argv[4:])
