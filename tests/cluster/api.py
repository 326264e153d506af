"""A Kubernetes API server with its etcd, on free ports, ended with the tests by its own id."""

import os
import pathlib
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from program import free_port

TOKEN = "admin-of-the-tests"
PATIENCE_SECONDS = 120


class Api:
    """Starts both; `kubeconfig` is a file that names the server and an administrator of it."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="fsync-cluster-"))
        self.kubeconfig = self.dir / "kubeconfig"
        self.processes = []
        client, peer, self.port = free_port(), free_port(), free_port()
        subprocess.run(["openssl", "genrsa", "-out", self.dir / "sa.key", "2048"], check=True, capture_output=True)
        (self.dir / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        self._start(
            "etcd",
            f"--data-dir={self.dir / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls=http://127.0.0.1:{client}",
            f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
        )
        self._start(
            os.environ["KUBE_APISERVER"],
            f"--etcd-servers=http://127.0.0.1:{client}",
            f"--cert-dir={self.dir / 'certs'}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--insecure-port=0",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.dir / 'sa.key'}",
            f"--service-account-signing-key-file={self.dir / 'sa.key'}",
            "--api-audiences=https://kubernetes.default.svc",
            f"--token-auth-file={self.dir / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            # There is no controller that would make the accounts it asks for.
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
        )
        self.kubeconfig.write_text(
            f"""apiVersion: v1
kind: Config
clusters: [{{name: tests, cluster: {{server: "https://127.0.0.1:{self.port}", insecure-skip-tls-verify: true}}}}]
users: [{{name: admin, user: {{token: {TOKEN}}}}}]
contexts: [{{name: tests, context: {{cluster: tests, user: admin}}}}]
current-context: tests
"""
        )
        self._wait_until_ready()

    def _start(self, *command):
        log = (self.dir / f"{pathlib.Path(command[0]).name}.log").open("w")
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        log.close()

    def _wait_until_ready(self):
        trusting = ssl._create_unverified_context()
        question = urllib.request.Request(f"https://127.0.0.1:{self.port}/readyz", headers={"Authorization": f"Bearer {TOKEN}"})
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            dead = [p for p in self.processes if p.poll() is not None]
            if dead:
                break
            try:
                urllib.request.urlopen(question, timeout=5, context=trusting)
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        logs = "\n".join(f"-- {f.name}\n{f.read_text()[-2000:]}" for f in self.dir.glob("*.log"))
        self.end()
        raise AssertionError(f"the API server did not become ready\n{logs}")

    def end(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
