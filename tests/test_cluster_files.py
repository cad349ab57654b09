"""The files of docs/cluster: what Kubernetes and Slurm would read in them, as far as can be known without them."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest

from app.cli import earshot

FOLDER = Path(__file__).parent.parent / "docs" / "cluster"
SBATCH = FOLDER / "earshot.sbatch"
MANIFESTS = ("raycluster.yaml", "rayjob.yaml")

# Of KubeRay's types (ray.io/v1: RayClusterSpec, HeadGroupSpec, WorkerGroupSpec, RayJobSpec): the fields that have been
# there since KubeRay 1.2. Unknown fields would be dropped without a word.
CLUSTER = {"headGroupSpec", "workerGroupSpecs", "rayVersion", "enableInTreeAutoscaling", "autoscalerOptions",
           "headServiceAnnotations", "suspend"}  # fmt: skip
HEAD = {"serviceType", "headService", "enableIngress", "rayStartParams", "template"}
WORKERS = {"groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams", "template",
           "scaleStrategy"}  # fmt: skip
JOB = {"activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate", "metadata", "clusterSelector",
       "submitterConfig", "entrypoint", "runtimeEnvYAML", "jobId", "submissionMode", "entrypointResources",
       "entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished", "shutdownAfterJobFinishes",
       "suspend"}  # fmt: skip
POD = {"containers", "volumes", "securityContext", "nodeSelector", "tolerations", "serviceAccountName"}
CONTAINER = {"name", "image", "imagePullPolicy", "env", "envFrom", "resources", "volumeMounts", "ports", "lifecycle"}
SBATCH_OPTIONS = {"--job-name", "--nodes", "--ntasks-per-node", "--cpus-per-task", "--mem", "--time", "--no-kill",
                  "--output"}  # fmt: skip


def manifest(name: str) -> dict[str, Any]:
    import yaml

    (found,) = yaml.safe_load_all((FOLDER / name).read_text())
    return dict(found)


def cluster_spec(name: str) -> dict[str, Any]:
    spec = manifest(name)["spec"]
    return dict(spec.get("rayClusterSpec", spec))


@pytest.mark.parametrize(
    ("name", "kind", "fields"), [("raycluster.yaml", "RayCluster", CLUSTER), ("rayjob.yaml", "RayJob", JOB)]
)
def test_it_is_an_object_of_its_kind(name: str, kind: str, fields: set[str]) -> None:
    found = manifest(name)
    assert set(found) == {"apiVersion", "kind", "metadata", "spec"}
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", kind)
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", found["metadata"]["name"])
    assert set(found["spec"]) <= fields


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_cluster_is_what_kuberay_expects(name: str) -> None:
    spec = cluster_spec(name)
    head, (workers,) = spec["headGroupSpec"], spec["workerGroupSpecs"]
    assert {"headGroupSpec", "workerGroupSpecs", "rayVersion"} <= set(spec) <= CLUSTER
    assert {"rayStartParams", "template"} <= set(head) <= HEAD
    assert (
        {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"} <= set(workers) <= WORKERS
    )
    assert 0 <= workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    assert head["rayStartParams"]["num-cpus"] == "0", "the head keeps the ledger and fetches nothing"
    for group in (head, workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "Kubernetes takes text only"
        check_pod(group["template"])
    images = {c["image"] for group in (head, workers) for c in group["template"]["spec"]["containers"]}
    assert len(images) == 1, "a run refuses machines with other versions"


def check_pod(template: dict[str, Any]) -> None:
    pod = template["spec"]
    assert set(template) == {"spec"} and set(pod) <= POD
    (container,) = pod["containers"]
    assert set(container) <= CONTAINER
    assert container["resources"]["requests"] == container["resources"]["limits"], (
        "else Ray takes it for larger than it is"
    )
    assert all(re.fullmatch(r"\d+(m|Mi|Gi)?", str(amount)) for amount in container["resources"]["limits"].values())
    assert {mount["name"] for mount in container.get("volumeMounts", ())} == {v["name"] for v in pod.get("volumes", ())}


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_version_of_ray_is_the_locked_one(name: str) -> None:
    locked = re.search(
        r"^ray(?:\[[a-z,]+\])?==(\S+)", (FOLDER.parent.parent / "requirements.txt").read_text(), re.MULTILINE
    )
    if locked is None:
        pytest.skip("Ray is not locked")
    assert cluster_spec(name)["rayVersion"] == locked[1]


def commands(text: str) -> list[str]:
    """Every `earshot ...` in a file, those in comments too, continued lines joined."""
    joined = re.sub(r"\\\n\s*#?\s*", " ", text)
    return re.findall(r"^(?:#\s+|\s*)(earshot (?:ingest|embed|train).*)$", joined, re.MULTILINE)


def parse(line: str) -> click.Context:
    words = shlex.split(line)[1:]
    context, command = click.Context(earshot), earshot.get_command(click.Context(earshot), words.pop(0))
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
    assert command is not None, line
    return command.make_context(line, words)


def test_the_commands_in_them_are_taken() -> None:
    job = manifest("rayjob.yaml")["spec"]["entrypoint"]
    lines = [job, *commands((FOLDER / "raycluster.yaml").read_text()), *commands((FOLDER / "rayjob.yaml").read_text())]
    shown = commands(SBATCH.read_text())
    assert len(lines) >= 3 and shown == [
        'earshot ingest youtube "$segments" --out "$out" --engine ray --ray-address "$address" "$@"'
    ]
    for line in [*lines, shown[0].replace("$address", "head:6379").replace('"$@"', "--rate 100")]:
        assert parse(line).params
    assert parse(job).params["engine_name"] == "ray"
    published = parse(job).params["publish"]
    assert f"earshot ingest status {published}" in (FOLDER / "rayjob.yaml").read_text()


def test_the_script_is_bash_and_its_options_are_slurms() -> None:
    subprocess.run(["bash", "-n", str(SBATCH)], check=True)
    lines = SBATCH.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    options = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    assert {option.partition("=")[0] for option in options} == SBATCH_OPTIONS
    values = dict(option.split("=") for option in options if "=" in option)
    assert values["--ntasks-per-node"] == "1", "one Ray a node"
    assert re.fullmatch(r"(\d+-)?\d+:\d\d:\d\d", values["--time"])
    assert re.fullmatch(r"\d+[KMGT]", values["--mem"])
    assert int(values["--nodes"]) >= 1 and int(values["--cpus-per-task"]) >= 1
    first_command = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    assert not [line for line in lines[first_command:] if line.startswith("#SBATCH")], (
        "Slurm stops reading at a command"
    )


@pytest.mark.parametrize(("nodes", "starts"), [(1, 1), (3, 2)])
def test_the_script_starts_ray_once_on_every_node_and_the_command_once(tmp_path: Path, nodes: int, starts: int) -> None:
    """With stand-ins for Slurm, Ray and earshot, which write down how they were called."""
    binaries = tmp_path / "venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "activate").write_text(f'PATH="{binaries}:$PATH"\n')
    log = tmp_path / "log"
    note = f'#!/bin/bash\necho "$(basename "$0") $*" >> "{log}"\n'
    for name, does in {
        "srun": "while [[ $1 == --* ]]; do shift; done\nexec \"$@\"",
        "ray": '[[ $* != *--block* ]] || exec sleep 60',
        "earshot": f'until [[ $(grep -c "^ray start" "{log}") -ge {starts} ]]; do sleep 0.05; done; exit 3',
        "scontrol": "printf 'one\\ntwo\\nthree\\n'",
    }.items():  # fmt: skip
        (binaries / name).write_text(note + does + "\n")
        (binaries / name).chmod(0o755)
    done = subprocess.run(
        ["bash", str(SBATCH), "list.csv", "out", "--rate", "100"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "EARSHOT_VENV": str(tmp_path / "venv"),
             "SLURM_JOB_ID": "12345", "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_NUM_NODES": str(nodes),
             "SLURM_CPUS_PER_TASK": "4"},
        timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 3, "the command's own"
    calls = log.read_text().splitlines()
    assert "ray start --head --block --port=22345 --num-cpus=4 --include-dashboard=false" in calls
    assert "earshot ingest youtube list.csv --out out --engine ray --ray-address one:22345 --rate 100" in calls
    assert sum(call.startswith("ray start") for call in calls) == starts
    if nodes == 3:
        assert "ray start --block --address=one:22345 --num-cpus=4" in calls
        assert any(call.startswith("srun --overlap --nodes=2 --ntasks=2 --exclude=one ") for call in calls)
