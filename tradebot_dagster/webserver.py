"""A running Dagster instance, spoken to through its GraphQL API: backfills launched and watched from outside."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tradebot_core.errors import ExecutionError, UsageError

_LOCATION = """
query { workspaceOrError { __typename ... on Workspace { locationEntries { name loadStatus
  locationOrLoadError { __typename ... on PythonError { message } } } } } }
"""
_LAUNCH = """
mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } ... on UnauthorizedError { message }
  ... on PartitionKeysNotFoundError { message } } }
"""
_STATUS = """
query ($id: String!) { partitionBackfillOrError(backfillId: $id) { __typename
  ... on PartitionBackfill { status error { message } } ... on PythonError { message } ... on BackfillNotFoundError { message } } }
"""
_FINISHED = {"COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"}
_AT_A_TIME = "query { instance { runQueueConfig { maxConcurrentRuns } } }"
_REPOSITORY = "query { repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
_LAUNCH_RUN = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } ... on UnauthorizedError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }
"""
_RUN = "query ($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status } } }"
_RUN_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass(frozen=True)
class Webserver:
    """`url` without a path, such as http://127.0.0.1:3000."""

    url: str

    def query(self, text: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        body = json.dumps({"query": text, "variables": variables or {}}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            raise UsageError(
                f"No Dagster webserver answers at {self.url} ({error}).", "Start it with `tradebot up`."
            ) from error
        if answer.get("errors"):
            raise ExecutionError(f"The webserver refused: {answer['errors'][0]['message']}")
        return answer["data"]

    def is_ready(self) -> bool:
        """Whether the code location is loaded. Raises UsageError with the reason when it cannot be."""
        try:
            entries = self.query(_LOCATION)["workspaceOrError"].get("locationEntries", [])
        except UsageError:
            return False
        for entry in entries:
            found = entry["locationOrLoadError"]
            if found and found["__typename"] == "PythonError":
                raise UsageError(f"The code location {entry['name']} does not load: {found['message']}")
        return bool(entries) and all(entry["loadStatus"] == "LOADED" for entry in entries)

    def runs_at_a_time(self) -> int | None:
        """None where there is no limit."""
        queue = self.query(_AT_A_TIME)["instance"]["runQueueConfig"] or {}
        most = queue.get("maxConcurrentRuns")
        return most if most is not None and most > 0 else None

    def launch_run(self, job: str, config: dict[str, object]) -> str:
        """Starts a run of a job; returns its id."""
        (repository,) = self.query(_REPOSITORY)["repositoriesOrError"]["nodes"]
        selector = {
            "repositoryLocationName": repository["location"]["name"],
            "repositoryName": repository["name"],
            "jobName": job,
        }
        answer = self.query(_LAUNCH_RUN, {"params": {"selector": selector, "runConfigData": config}})["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            told = [answer.get("message"), *(error["message"] for error in answer.get("errors", ()))]
            raise ExecutionError(f"The run was not launched: {'; '.join(filter(None, told)) or answer['__typename']}")
        return answer["run"]["runId"]

    def wait_for_runs(self, run_ids: Sequence[str], timeout_s: float) -> None:
        """Returns when all have succeeded. Raises ExecutionError when all have ended and one of them not well, or when it took too long."""
        deadline, ended = time.monotonic() + timeout_s, dict[str, str]()
        while len(ended) < len(run_ids) and time.monotonic() < deadline:
            for run_id in run_ids:
                found = self.query(_RUN, {"id": run_id})["runOrError"]
                status = found.get("status", found["__typename"])
                if status in _RUN_ENDED or "status" not in found:
                    ended[run_id] = status
            time.sleep(0.2)
        if bad := [f"run {run_id} ended as {status}" for run_id, status in ended.items() if status != "SUCCESS"]:
            raise ExecutionError(f"Of {len(run_ids)} runs, {len(bad)} failed: {', '.join(bad)}.", f"Open {self.url}/runs")
        if len(ended) < len(run_ids):
            raise ExecutionError(f"After {timeout_s:.0f} s not all runs were finished.", f"Open {self.url}/runs")

    def launch_backfill(self, assets: Sequence[Sequence[str]], partitions: Sequence[str], title: str) -> str:
        """Starts a backfill of the assets (key paths) over the partitions; returns its id."""
        params = {
            "assetSelection": [{"path": list(path)} for path in assets],
            "partitionNames": list(partitions),
            "title": title,
        }
        answer = self.query(_LAUNCH, {"params": params})["launchPartitionBackfill"]
        if answer["__typename"] != "LaunchBackfillSuccess":
            raise ExecutionError(f"The backfill was not launched: {answer.get('message', answer['__typename'])}")
        return answer["backfillId"]

    def wait_for_backfill(self, backfill_id: str, timeout_s: float, tick: Callable[[str], None] = lambda status: None) -> None:
        """Returns when the backfill has succeeded. Raises ExecutionError when it failed, was cancelled or took too long."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = self.query(_STATUS, {"id": backfill_id})["partitionBackfillOrError"]
            status = found.get("status", found["__typename"])
            if status in ("COMPLETED_SUCCESS", "COMPLETED"):
                return
            if status in _FINISHED or "status" not in found:
                reason = (found.get("error") or {}).get("message") or found.get("message") or "see its runs"
                raise ExecutionError(
                    f"Backfill {backfill_id} ended as {status}: {reason}", f"Open {self.url}/runs/b/{backfill_id}"
                )
            tick(status)
            time.sleep(1)
        raise ExecutionError(
            f"Backfill {backfill_id} was not finished after {timeout_s:.0f} s.", f"Open {self.url}/runs/b/{backfill_id}"
        )
