"""What is deployed: manifests, images, the EC2 cluster and the configurations.

Manifests are tested as kustomize builds them. Tests that need a tool that is not there are
skipped, saying so; `make check-infra` installs what the package registries have.
"""

import functools
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config
from typer.main import get_command

from jobs.cli.main import app
from jobs.console.version import OF_IMAGE
from pipeline.audits.config import load_audit_config, load_night_config
from pipeline.settings.config import load_score_config
from tests.test_docs import commands_of

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
OVERLAYS = [
    f"{size}/{kind}" for size in ("small", "large") for kind in ("cluster", "job", "nightly")
]
IMAGES = sorted((INFRA / "images").glob("*.Dockerfile"))
CONFIGS = sorted((INFRA / "configs").glob("*.toml"))
RAY_VERSION = re.search(
    r"^ray==(.+)$", (INFRA / "requirements/cpu.lock").read_text(), re.MULTILINE
).group(1)
KUBERNETES = ("1.30", "1.37")
"""The oldest with everything that is used, and the newest there is a schema of."""


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"not checked: no {name} on PATH (make check-infra)")
    return found


@functools.cache
def kustomized(overlay: str) -> str:
    folder = INFRA / "kubernetes/overlays" / overlay
    ran = subprocess.run([tool("kubectl"), "kustomize", folder], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr, "kustomize warns"
    return ran.stdout


def built(overlay: str) -> list[dict[str, Any]]:
    """The objects of an overlay; fresh each time, so that a test may alter them."""
    return list(yaml.safe_load_all(kustomized(overlay)))


def only(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    [found] = [o for o in objects if o["kind"] == kind]
    return found


def ray_cluster(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The spec of the one Ray cluster that an overlay runs on."""
    [owner] = [o for o in objects if o["kind"] in ("RayCluster", "RayJob")]
    return owner["spec"] if owner["kind"] == "RayCluster" else owner["spec"]["rayClusterSpec"]


def pod_templates(node: Any) -> Iterator[dict[str, Any]]:
    """Every pod template at any depth."""
    if isinstance(node, dict):
        if isinstance(node.get("spec"), dict) and "containers" in node["spec"]:
            yield node
        for value in node.values():
            yield from pod_templates(value)
    elif isinstance(node, list):
        for value in node:
            yield from pod_templates(value)


def validator(kind: str) -> Draft202012Validator:
    schema = json.loads((INFRA / "kubernetes/schemas/rayjob-v1.json").read_text())
    if kind == "RayJob":
        return Draft202012Validator(schema)
    spec = {"$ref": "#/$defs/RayClusterSpec"}
    shape = {"properties": {"spec": spec}, "required": ["spec"], "$defs": schema["$defs"]}
    return Draft202012Validator(shape)


@pytest.mark.parametrize("overlay", OVERLAYS)
class TestOverlay:
    def test_custom_resources_fit_the_schema_of_kuberay(self, overlay: str):
        kind = "RayCluster" if overlay.endswith("/cluster") else "RayJob"
        resource = only(built(overlay), kind)
        validator(kind).validate(resource)
        assert resource["apiVersion"] == "ray.io/v1"

        resource["spec"]["authOption"] = {}
        with pytest.raises(ValidationError, match="authOption"):
            validator(kind).validate(resource)

    @pytest.mark.parametrize("version", KUBERNETES)
    def test_the_rest_fits_the_schemas_of_kubernetes(self, overlay: str, version: str, tmp_path):
        program = tool("kubernetes-validate")
        rest = [o for o in built(overlay) if not o["apiVersion"].startswith("ray.io/")]
        file = tmp_path / "rest.yaml"
        file.write_text(yaml.safe_dump_all(rest))
        ran = subprocess.run(
            [program, "--strict", "-k", version, file], capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert (ran.stdout + ran.stderr).count("passed for resource") == len(rest)

    def test_everything_is_in_the_namespace(self, overlay: str):
        objects = built(overlay)
        namespace = only(objects, "Namespace")
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        for o in objects:
            if o["kind"] != "Namespace":
                assert o["metadata"]["namespace"] == namespace["metadata"]["name"]

    def test_pods_are_confined(self, overlay: str):
        templates = list(pod_templates(built(overlay)))
        assert templates
        for template in templates:
            pod = template["spec"]
            security = pod["securityContext"]
            assert security["runAsNonRoot"] is True
            assert security["runAsUser"] == 1000
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            volumes = {volume["name"] for volume in pod["volumes"]}
            for container in pod["containers"]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
                assert "memory" in container["resources"]["limits"]
                assert {mount["name"] for mount in container["volumeMounts"]} == volumes

    def test_only_the_night_may_speak_to_kubernetes(self, overlay: str):
        for template in pod_templates(built(overlay)):
            component = template["metadata"]["labels"]["app.kubernetes.io/component"]
            mounts_token = template["spec"].get("automountServiceAccountToken", True)
            assert mounts_token == (component == "nightly")
        for role in (o for o in built(overlay) if o["kind"] == "Role"):
            assert role["rules"] == [
                {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["get", "create"]}
            ]

    def test_secrets_are_referred_to_and_never_written(self, overlay: str):
        assert not [o for o in built(overlay) if o["kind"] == "Secret"]
        for template in pod_templates(built(overlay)):
            for container in template["spec"]["containers"]:
                for variable in container.get("env", []):
                    assert "value" not in variable, variable["name"]
        for node in nodes(ray_cluster(built(overlay))):
            [container] = node["template"]["spec"]["containers"]
            [source] = container["envFrom"]
            assert source["secretRef"]["name"] == "winnow-credentials"

    def test_one_image_for_all(self, overlay: str):
        images = {
            c["image"] for t in pod_templates(built(overlay)) for c in t["spec"]["containers"]
        }
        tag = "gpu" if overlay.startswith("large/") else "cpu"
        assert images == {f"registry.example.com/winnow:0.1.0-{tag}"}

    def test_the_head_scores_nothing_and_asks_for_a_token(self, overlay: str):
        cluster = ray_cluster(built(overlay))
        assert cluster["authOptions"] == {"mode": "token"}
        assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
        assert cluster["rayVersion"] == RAY_VERSION

    def test_workers_are_all_there_from_the_start(self, overlay: str):
        # The driver makes an engine for each worker it finds, and asks for no more.
        for group in ray_cluster(built(overlay))["workerGroupSpecs"]:
            assert group["minReplicas"] == group["replicas"] == group["maxReplicas"] > 0

    def test_nothing_in_or_out_but_what_is_named(self, overlay: str):
        policies = {
            o["metadata"]["name"]: o["spec"] for o in built(overlay) if o["kind"] == "NetworkPolicy"
        }
        assert policies.pop("default-deny") == {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
        }
        for template in pod_templates(built(overlay)):
            labels = template["metadata"]["labels"].items()
            named = [
                name
                for name, policy in policies.items()
                if policy["podSelector"]["matchLabels"].items() <= labels
            ]
            component = dict(labels)["app.kubernetes.io/component"]
            assert named == ["winnow-nightly" if component == "nightly" else "winnow-ray"]
        blocks = [
            peer["ipBlock"]
            for policy in policies.values()
            for rule in policy["egress"]
            for peer in rule.get("to", [])
            if "ipBlock" in peer
        ]
        assert blocks == [{"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}]

    def test_no_head_is_evicted(self, overlay: str):
        objects = built(overlay)
        selector = only(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
        cluster = ray_cluster(objects)
        selected = [
            selector.items() <= node["template"]["metadata"]["labels"].items()
            for node in nodes(cluster)
        ]
        assert selected == [True] + [False] * len(cluster["workerGroupSpecs"])

    def test_configurations_are_there(self, overlay: str):
        objects = built(overlay)
        maps = {o["metadata"]["name"]: o["data"] for o in objects if o["kind"] == "ConfigMap"}
        claims = {o["metadata"]["name"] for o in objects if o["kind"] == "PersistentVolumeClaim"}
        for template in pod_templates(objects):
            for volume in template["spec"]["volumes"]:
                if "configMap" in volume:
                    assert volume["configMap"]["name"] in maps
                if "persistentVolumeClaim" in volume:
                    assert volume["persistentVolumeClaim"]["claimName"] in claims
        for job in (o for o in objects if o["kind"] == "RayJob"):
            [config] = re.findall(r"/config/(\S+)", job["spec"]["entrypoint"])
            assert config in maps["winnow-config"]


def nodes(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_the_large_cluster_has_gpus_on_spot_nodes_and_its_head_on_demand():
    head, workers = nodes(ray_cluster(built("large/cluster")))
    capacity = "karpenter.sh/capacity-type"
    assert head["template"]["spec"]["nodeSelector"] == {capacity: "on-demand"}
    pod = workers["template"]["spec"]
    assert pod["nodeSelector"] == {capacity: "spot"}
    assert {"nvidia.com/gpu", "winnow/spot"} == {t["key"] for t in pod["tolerations"]}
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize("size", ["small", "large"])
def test_a_job_runs_on_the_cluster_of_its_overlay(size: str):
    cluster = ray_cluster(built(f"{size}/cluster"))
    assert ray_cluster(built(f"{size}/job")) == cluster
    assert ray_cluster(built(f"{size}/nightly")) == cluster


def test_a_night():
    objects = built("large/nightly")
    cron, pattern = only(objects, "CronJob")["spec"], only(objects, "RayJob")
    assert cron["concurrencyPolicy"] == "Forbid"
    assert cron["timeZone"]
    assert cron["startingDeadlineSeconds"] > 0
    [container] = cron["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["command"][-1] == pattern["metadata"]["name"]
    # The pattern itself never runs, and whoever waits for a night waits longer than it may take.
    assert pattern["spec"]["suspend"] is True
    assert pattern["spec"]["shutdownAfterJobFinishes"] is True
    patience = cron["jobTemplate"]["spec"]["activeDeadlineSeconds"]
    assert patience > pattern["spec"]["activeDeadlineSeconds"]
    assert "suspend" not in only(built("large/job"), "RayJob")["spec"]


@pytest.mark.parametrize("overlay", [o for o in OVERLAYS if not o.endswith("/cluster")])
def test_an_entrypoint_is_a_command(overlay: str):
    program, name, *arguments = shlex.split(only(built(overlay), "RayJob")["spec"]["entrypoint"])
    assert program == "winnow"
    commands = get_command(app).commands
    if name not in commands:
        pytest.skip(f"not checked: there is no winnow {name}")
    commands[name].make_context(name, arguments)


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)
class TestImage:
    def test_hadolint_finds_nothing(self, image: Path):
        ran = subprocess.run([tool("hadolint"), image], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout

    def test_is_pinned_confined_and_silent(self, image: Path):
        text = image.read_text()
        stages = re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE)
        [base] = {*re.findall(r"^FROM (\S+)", text, re.MULTILINE)} - {*stages}
        assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm(@sha256:[0-9a-f]{64})?", base)
        assert re.findall(r"^USER (.+)$", text, re.MULTILINE)[-1] == "1000:1000"
        assert "VOLUME /cache" in text
        for setting in (
            "RAY_USAGE_STATS_ENABLED=0",
            "VLLM_NO_USAGE_STATS=1",
            "HF_HUB_DISABLE_TELEMETRY=1",
            "DO_NOT_TRACK=1",
            "HF_HOME=/cache/huggingface",
        ):
            assert setting in text
        assert f"infra/requirements/{image.stem.split('.')[0]}.lock" in text
        # Debian's /etc/profile sets PATH anew in the login shells that KubeRay starts.
        assert 'echo "PATH=/opt/winnow/bin:\\$PATH" >/etc/profile.d/winnow.sh' in text
        assert text.count("--no-deps") == 3  # the comment's, the lock's and ours

    def test_our_code_is_the_last_layer_and_alone_in_it(self, image: Path):
        stages = {
            name: body.replace("\\\n", " ")
            for name, body in re.findall(
                r"^FROM \S+(?: AS (\w+))?$(.+?)(?=^FROM|\Z)", image.read_text(), re.M | re.S
            )
        }
        layers = re.findall(r"^(?:RUN|COPY|ADD|WORKDIR) .+$", stages.pop(""), re.MULTILINE)
        assert layers[-1] == "COPY --from=winnow /image/opt/winnow /opt/winnow"
        assert "\nFROM dependencies\n" in image.read_text(), "what it adds to is not written twice"
        # A change of our code changes nothing of what the layers before it are made of.
        kind = image.stem.split(".")[0]
        assert re.findall(r"^COPY .+$", stages.pop("dependencies"), re.MULTILINE) == [
            f"COPY infra/requirements/{kind}.lock /opt/winnow/"
        ]
        assert "--root /image /build" in stages.pop("winnow")
        assert not stages

    def test_it_knows_its_commit_and_no_layer_changes_with_it(self, image: Path):
        last = image.read_text().rsplit("/image/opt/winnow /opt/winnow\n", 1)[1]
        assert f"\nARG COMMIT=\nENV {OF_IMAGE}=$COMMIT\n" in last
        assert "\nLABEL org.opencontainers.image.revision=$COMMIT\n" in last
        assert not re.findall(r"^(?:RUN|COPY|ADD|WORKDIR) ", last, re.MULTILINE)

    def test_what_it_leaves_out_is_in_the_lock(self, image: Path):
        lock = (INFRA / f"requirements/{image.stem.split('.')[0]}.lock").read_text()
        [names] = re.findall(r"grep -vE '\^\((\S+)\)=='", image.read_text())
        for name in names.split("|"):
            assert f"\n{name}==" in lock, f"{name} is left out, and is not there"

    def test_copies_only_what_is_sent_to_the_builder(self, image: Path):
        kept = {
            line.removeprefix("!").rstrip("/")
            for line in (ROOT / ".dockerignore").read_text().splitlines()
            if line.startswith("!")
        }
        copied = {
            source
            for line in re.findall(r"^COPY (?!--from)(.+)$", image.read_text(), re.MULTILINE)
            for source in line.split()[:-1]
        }
        assert copied
        for source in copied:
            assert (ROOT / source).exists()
            assert any(source == k or source.startswith(f"{k}/") for k in kept), source


class TestEc2:
    config = yaml.safe_load((INFRA / "ray/cluster-aws.yaml").read_text())

    def test_ray_accepts_it(self):
        validate_config(prepare_config(self.config))

    def test_spot_workers_and_a_head_on_demand(self):
        types = self.config["available_node_types"]
        head = types.pop(self.config["head_node_type"])
        assert head["resources"]["CPU"] == 0
        assert "InstanceMarketOptions" not in head["node_config"]
        [workers] = types.values()
        assert workers["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
        assert workers["resources"]["GPU"] == 1

    def test_is_closed(self):
        [rule] = self.config["provider"]["security_group"]["IpPermissions"]
        assert [r["CidrIp"] for r in rule["IpRanges"]] != ["0.0.0.0/0"]
        assert "-e RAY_AUTH_MODE=token" in self.config["docker"]["run_options"]
        assert "--dashboard-host=127.0.0.1" in " ".join(self.config["head_start_ray_commands"])
        for node in self.config["available_node_types"].values():
            assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"


@pytest.mark.parametrize("file", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_is_ready_to_run(file: Path):
    text = file.read_text()
    assert text.startswith("# ")
    if file.stem == "audit":
        audit = load_audit_config(file)
        assert audit.require
        load_night_config(file, audit, "s3://example-scores/web/nightly/2026-11-22")
    else:
        load_score_config(file, {})


README = (INFRA / "README.md").read_text()
CLUSTERS = commands_of(ROOT / "docs/clusters.md")


class TestPages:
    def test_the_readme_names_every_folder(self):
        for folder in INFRA.iterdir():
            if folder.is_dir():
                assert f"{folder.name}/" in README

    def test_paths_of_commands_are_there(self):
        assert len(CLUSTERS) > 20
        for line in CLUSTERS:
            words = shlex.split(line)
            for path in (w for w in words if w.startswith("infra/")):
                assert (ROOT / path).exists(), line
            if words[:2] in (["kubectl", "apply"], ["kubectl", "kustomize"]):
                assert (ROOT / words[-1] / "kustomization.yaml").exists()
