"""Start tonight's RayJob from its suspended pattern, wait for it, and end as it ended.

    python run_night.py PATTERN

Runs in the pod of a CronJob, with nothing but the standard library. The RayJob is named after the
Kubernetes Job and owned by it: a second pod of the same Job waits for the same RayJob, and the
CronJob's history limits clear away both. Its name is not the Job's own: KubeRay submits through a
Job that is named like the RayJob, and would take ours for it.

Exit codes: 0 succeeded, 1 failed, 2 cannot be started or followed.
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
POLL_SECONDS = 15.0


class Rayjobs:
    """The RayJobs of a namespace, through the API server."""

    def __init__(self, server: str, namespace: str, account: Path) -> None:
        self._url = f"{server}/apis/ray.io/v1/namespaces/{namespace}/rayjobs"
        self._account = account
        authority = account / "ca.crt"
        self._tls = (
            ssl.create_default_context(cafile=str(authority)) if authority.exists() else None
        )

    def get(self, name: str) -> dict[str, Any]:
        return self._ask("GET", f"{self._url}/{name}")

    def create(self, rayjob: dict[str, Any]) -> dict[str, Any]:
        return self._ask("POST", self._url, rayjob)

    def _ask(self, method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        # Read each time: Kubernetes renews the token.
        token = (self._account / "token").read_text().strip()
        request = urllib.request.Request(
            url,
            method=method,
            data=json.dumps(body).encode() if body else None,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30, context=self._tls) as answer:
            return dict(json.load(answer))


def tonight(pattern: dict[str, Any], name: str, job_name: str, job_uid: str) -> dict[str, Any]:
    """The RayJob to create: the pattern's spec, awake and owned by the Job."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job_name, "uid": job_uid}
    return {
        "apiVersion": pattern["apiVersion"],
        "kind": pattern["kind"],
        "metadata": {
            "name": name,
            "namespace": pattern["metadata"]["namespace"],
            "labels": pattern["metadata"].get("labels", {}),
            "ownerReferences": [owner],
        },
        "spec": pattern["spec"] | {"suspend": False},
    }


def start(rayjobs: Rayjobs, pattern: str, name: str, job_name: str, job_uid: str) -> None:
    """Create tonight's RayJob, unless an earlier pod of this Job has."""
    try:
        rayjobs.create(tonight(rayjobs.get(pattern), name, job_name, job_uid))
        say(f"created rayjob/{name} from rayjob/{pattern}")
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise
        say(f"rayjob/{name} is there already")


def wait(rayjobs: Rayjobs, name: str, poll_seconds: float) -> bool:
    """Whether the RayJob succeeded, once it has ended. The Job's deadline ends the waiting."""
    last = ""
    while True:
        try:
            status = rayjobs.get(name).get("status", {})
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise
            say(f"the API server answers {error.code}; asking again")
        except OSError as error:
            say(f"the API server does not answer ({error}); asking again")
        else:
            state = status.get("jobDeploymentStatus", "")
            if state != last:
                say(f"rayjob/{name}: {state} {status.get('jobStatus', '')}".rstrip())
                last = state
            if state == "Complete":
                return bool(status.get("jobStatus") == "SUCCEEDED")
            if state == "Failed":
                say(f"{status.get('reason', '')}: {status.get('message', '')}")
                return False
        time.sleep(poll_seconds)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def api_server() -> str:
    """Where Kubernetes tells a pod that its API server is."""
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    host = f"[{host}]" if ":" in host else host
    return f"https://{host}:{os.environ['KUBERNETES_SERVICE_PORT']}"


def main(
    pattern: str, server: str, account: Path = ACCOUNT, poll_seconds: float = POLL_SECONDS
) -> int:
    job_name = os.environ["JOB_NAME"]
    name = f"{job_name}-run"
    rayjobs = Rayjobs(server, os.environ["NAMESPACE"], account)
    try:
        start(rayjobs, pattern, name, job_name, os.environ["JOB_UID"])
        return 0 if wait(rayjobs, name, poll_seconds) else 1
    except urllib.error.HTTPError as error:
        say(f"{error.url}: {error.code} {error.reason}: {error.read().decode(errors='replace')}")
        return 2
    except OSError as error:
        say(f"{server}: {error}")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], api_server()))
