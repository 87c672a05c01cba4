"""The chart: its values hold to its schema, and what Helm makes of it are objects that Kubernetes takes."""

import json
import subprocess
import tomllib
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from gateway import __version__
from gateway.settings import setting_names
from gateway.settings.shape import variables
from tests.support.helm import CHART, program, refused, rendered

VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
SQLITE = {"store": {"url": "sqlite:////var/lib/imagegate"}}
EVERYTHING: dict[str, object] = {
    "existingSecret": "keys",
    "autoscaling": {"enabled": True},
    "cache": {"url": "redis://cache:6379/0"},
    "image": {"digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "env": [{"name": "STUDIO_KEY", "value": "sk"}],
    "networkPolicy": {
        "from": [{"namespaceSelector": {}}],
        "opsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
    },
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "service": {"annotations": {"e": "f"}, "type": "LoadBalancer"},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "k", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
}
ONE_MACHINE: dict[str, object] = {
    **SQLITE,
    "replicaCount": 1,
    "persistence": {"enabled": True, "storageClass": "fast"},
}


def kinds(objects: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for one in objects:
        found.setdefault(one["kind"], []).append(one)
    return found


def deployment(**values: object) -> dict[str, Any]:
    (found,) = kinds(rendered(**values))["Deployment"]
    return found


def pod(**values: object) -> dict[str, Any]:
    spec: dict[str, Any] = deployment(**values)["spec"]["template"]["spec"]
    return spec


def test_the_values_hold_to_the_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)


def test_every_value_is_in_the_schema_and_the_other_way_round() -> None:
    assert set(VALUES) == set(SCHEMA["properties"]) - {"global"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": 3},
        {"replicaCount": 0},
        {"image": {"repository": "x", "digest": "latest"}},
        {"store": {"url": "postgres://x"}},
        {"drainSeconds": "150s"},
    ],
    ids=str,
)
def test_wrong_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**VALUES, **wrong}, SCHEMA)
    assert "values don't meet the specifications of the schema" in refused(**wrong)


@pytest.mark.parametrize(
    "values", [{}, EVERYTHING, ONE_MACHINE], ids=["as it is", "everything", "one machine"]
)
def test_kubernetes_takes_what_it_makes(values: dict[str, object]) -> None:
    """By the schemas of Kubernetes' own API."""
    objects = rendered(**values)
    assert objects
    for one in objects:
        kubernetes_validate.validate(one, "1.33", strict=True)


def test_helm_finds_nothing_to_complain_of() -> None:
    done = subprocess.run(
        [program(), "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_by_itself_it_makes_two_pods_and_no_monitor() -> None:
    found = kinds(rendered())
    assert found["Deployment"][0]["spec"]["replicas"] == 2
    assert set(found) == {
        "ConfigMap",
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }
    assert "ServiceMonitor" in kinds(rendered(serviceMonitor={"enabled": True}))


@pytest.mark.parametrize(
    "values", [{"replicaCount": 2}, {"replicaCount": 1, "autoscaling": {"enabled": True}}], ids=str
)
def test_more_than_one_pod_on_sqlite_is_refused(values: dict[str, object]) -> None:
    assert "store.url is SQLite, which pods cannot share" in refused(**SQLITE, **values)


def test_on_sqlite_the_old_pod_ends_before_the_new_one_begins() -> None:
    assert deployment(**ONE_MACHINE)["spec"]["strategy"] == {"type": "Recreate"}
    assert deployment()["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    (claim,) = kinds(rendered(**ONE_MACHINE))["PersistentVolumeClaim"]
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


@pytest.mark.parametrize("drain", [1, 150, 600])
def test_a_pod_has_more_time_than_its_drains_take(drain: int) -> None:
    """Those that are being answered, and after them those whose clients have left."""
    found = pod(drainSeconds=drain)
    (container,) = found["containers"]
    env = {one["name"]: one["value"] for one in container["env"]}
    assert env["IMAGEGATE_SERVER__DRAIN_TIMEOUT_S"] == str(drain)
    assert found["terminationGracePeriodSeconds"] > 2 * drain + VALUES["preStopSeconds"]


def test_a_pod_is_nobodys_and_writes_to_its_volumes_only() -> None:
    found = pod()
    (container,) = found["containers"]
    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [(one["name"], one.get("readOnly", False)) for one in container["volumeMounts"]] == [
        ("config", True),
        ("data", False),
        ("tmp", False),
    ]


def test_it_listens_on_every_interface_by_variables_that_exist() -> None:
    (container,) = pod(cache={"url": "redis://cache"})["containers"]
    env = {one["name"]: one["value"] for one in container["env"]}
    assert (env["IMAGEGATE_SERVER__HOST"], env["IMAGEGATE_OPS__HOST"]) == ("0.0.0.0", "0.0.0.0")
    assert env.keys() <= variables().keys()


def test_secrets_come_from_a_secret_that_is_there_already() -> None:
    (container,) = pod(existingSecret="keys")["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert "Secret" not in kinds(rendered(existingSecret="keys"))


def test_liveness_does_not_ask_for_the_store_and_readiness_does() -> None:
    (container,) = pod()["containers"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "ops"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "ops"}


def test_the_operators_port_is_open_to_nobody_who_is_not_named() -> None:
    def ports(**values: object) -> list[Any]:
        (policy,) = kinds(rendered(**values))["NetworkPolicy"]
        return [rule["ports"][0]["port"] for rule in policy["spec"]["ingress"]]

    assert ports() == ["http"]
    assert ports(networkPolicy={"opsFrom": [{"podSelector": {}}]}) == ["http", "ops"]


def test_a_digest_pins_the_image() -> None:
    digest = f"sha256:{'a' * 64}"
    (container,) = pod(image={"digest": digest})["containers"]
    assert container["image"] == f"imagegate:{__version__}@{digest}"


def test_another_configuration_makes_other_pods() -> None:
    def checksum(**values: object) -> str:
        made: str = deployment(**values)["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        return made

    assert checksum() != checksum(config="[server]\n")


def test_the_configuration_arrives_as_it_is_and_knows_only_settings() -> None:
    (config,) = kinds(rendered())["ConfigMap"]
    assert config["data"]["imagegate.toml"] == VALUES["config"]
    assert tomllib.loads(VALUES["config"]).keys() <= {name.partition(".")[0] for name in setting_names()}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({**SQLITE, "replicaCount": 1}, "what was spent would go with the pod"),
        ({"persistence": {"enabled": True}}, "one volume, which pods on several nodes cannot share"),
        (
            {"replicaCount": 1, "autoscaling": {"enabled": True}, "persistence": {"enabled": True}},
            "one volume, which pods on several nodes cannot share",
        ),
        (
            {"autoscaling": {"enabled": True, "minReplicas": 9, "maxReplicas": 2}},
            "minReplicas is more than autoscaling.maxReplicas",
        ),
        (
            {"env": [{"name": "IMAGEGATE_STORE__URL", "value": "sqlite:////tmp/x"}]},
            "env sets IMAGEGATE_STORE__URL, which this chart sets",
        ),
    ],
)
def test_what_would_not_do_what_was_meant_is_refused(values: dict[str, object], why: str) -> None:
    assert why in refused(**values)


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        ({}, {6379}),
        ({"store": {"url": "rediss://:$(PASSWORD)@r:6380/0"}}, {6380}),
        ({"store": {"url": "redis://ledger"}, "cache": {"url": "redis://u:p@cache:7000/1"}}, {6379, 7000}),
        ({"store": {"url": "redis+sentinel://s1,s2:26380/main/0"}}, {6379, 26379, 26380}),
        ({"store": {"url": "rediss+cluster://r1:7001,r2:7002"}}, {7001, 7002}),
        ({"networkPolicy": {"egressPorts": [4318]}}, {4318, 6379}),
        (ONE_MACHINE, set()),
    ],
    ids=str,
)
def test_pods_may_go_where_their_stores_are(values: dict[str, object], ports: set[int]) -> None:
    (policy,) = kinds(rendered(**values))["NetworkPolicy"]
    found = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
    assert set(found) == {53, 443} | ports
    assert len(found) == 3 + len(ports)


def test_a_stores_url_may_be_made_of_any_variable() -> None:
    (container,) = pod(env=[{"name": "REDIS_PASSWORD", "value": "x"}])["containers"]
    names = [one["name"] for one in container["env"]]
    assert names.index("REDIS_PASSWORD") < names.index("IMAGEGATE_STORE__URL")
