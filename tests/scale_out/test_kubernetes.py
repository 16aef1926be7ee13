"""Runs in pods, as far as that can be seen without Kubernetes: what its API is asked for, and that the command of the pod is the run.

The API is a stand-in on a socket, and the pod's command is executed as a process of this machine.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue

import pytest
from ruamel.yaml import YAML

from tests import markets
from tests.markets import CONFIG, SESSIONS, fill_store
from tests.scale_out.cluster import cluster
from tests.scale_out.servers import new_database
from tradebot_core.wiring import BACKTEST, load
from tradebot_dagster.config_file import PROJECT_ROOT
from tradebot_dagster.defs.sweeps import SWEEP, settings_of_parts

RANGE = SESSIONS[25:40]


@pytest.fixture
def api() -> Iterator[tuple[str, "Queue[tuple[str, dict]]"]]:
    """The URL of an API server that takes every job, and the requests it got: path and body."""
    asked: Queue[tuple[str, dict]] = Queue()

    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.put((self.path, body))
            answer = json.dumps(body).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def test_a_run_is_a_job_whose_pod_has_the_store_the_configuration_and_the_records(
    tmp_path: Path, api, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = api
    settings = YAML(typ="safe").load((PROJECT_ROOT / "deploy" / "kubernetes" / "dagster.yaml").read_text())
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "users": [{"name": "me", "user": {}}],
    }
    YAML().dump(kubeconfig, tmp_path / "kubeconfig")
    settings["run_launcher"]["config"] |= {"load_incluster_config": False, "kubeconfig_file": str(tmp_path / "kubeconfig")}
    del settings["run_monitoring"]  # there is no pod to look for
    YAML().dump(settings, tmp_path / "dagster.yaml")
    environment = {
        "TRADEBOT_DAGSTER_POSTGRES": new_database(postgres, "pods"),
        "TRADEBOT_IMAGE": "registry.example/tradebot:1",
        "TRADEBOT_K8S_NAMESPACE": "research",
        "TRADEBOT_CONFIG": str(tmp_path / "config.yaml"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    fill_store(markets.tradebot(tmp_path, text=CONFIG + "dagster_settings: dagster.yaml\n"))
    bot = load(tmp_path / "config.yaml")
    names = ["value_investor@as_is", "value_investor@max_positions=1"]
    with cluster(bot.config_path, bot.config, tmp_path, names=()) as running:
        _, (part,) = settings_of_parts(names, RANGE, 1)
        run = running.server.launch_run(SWEEP, part.run_config)
        path, job = asked.get(timeout=60)
        assert path == "/apis/batch/v1/namespaces/research/jobs"
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"] == "registry.example/tradebot:1"
        assert {"name": "TRADEBOT_CONFIG", "value": "/tradebot/config/config.yaml"} in container["env"]
        assert {"name": "DAGSTER_HOME", "value": "/tradebot/store/dagster"} in container["env"]
        assert {"secretRef": {"name": "tradebot"}} in container["envFrom"]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted["store"] == "/tradebot/store" and mounted["config"] == "/tradebot/config"
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["store"]["persistentVolumeClaim"] == {"claimName": "tradebot-store"}
        assert job["spec"]["backoffLimit"] == 0  # a pod that dies is not tried again

        dagster, *arguments = container["args"]
        command = [str(Path(sys.executable).with_name(dagster)), *arguments]
        home = {"DAGSTER_HOME": str(bot.config.data_store.path / "dagster")}
        ended = subprocess.run(command, env=os.environ | home, cwd=tmp_path, capture_output=True, timeout=180, check=False)
        assert ended.returncode == 0, ended.stderr.decode()
        running.server.wait_for_runs([run], 60)
    assert all(list(bot.backtest_sessions(name)) == list(RANGE) for name in names)
    assert BACKTEST in {path.name for path in (bot.config.data_store.path / "results" / names[0]).iterdir()}
