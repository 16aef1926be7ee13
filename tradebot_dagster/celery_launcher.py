"""Runs on Celery workers, with an eye on the workers.

Dagster's own launcher believes the last word of a worker. One that was killed, or whose machine is gone, has said that the run is
being executed, and would be believed until the run's time limit. Here such a worker is asked.
"""

from collections.abc import Mapping
from time import monotonic
from typing import Any

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

_ANSWER_S = 2.0
_LOST_AFTER_S = 60


class WatchedCeleryRunLauncher(CeleryRunLauncher):
    """A run whose worker has not known of it for `lost_after_seconds` has failed; Dagster's run monitoring asks and writes it down.

    A worker that was only out of reach finds its run failed and ends it: Dagster's run processes look for that every few seconds.
    """

    def __init__(self, lost_after_seconds: int = _LOST_AFTER_S, **settings: Any) -> None:
        super().__init__(**settings)
        self._lost_after = lost_after_seconds
        self._silent_since: dict[str, float] = {}

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        lost = dg.Field(dg.IntSource, is_required=False, default_value=_LOST_AFTER_S)
        return {**super().config_type(), "lost_after_seconds": lost}

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        told = super().check_run_worker_health(run)
        if told.status is not WorkerStatus.RUNNING or self._is_at_work(run):
            self._silent_since.pop(run.run_id, None)
            return told
        since = self._silent_since.setdefault(run.run_id, monotonic())
        if monotonic() - since < self._lost_after:
            return told
        lost = f"Its Celery worker has not known of the run for {self._lost_after} s: it was killed, or cannot be reached."
        return CheckRunHealthResult(WorkerStatus.FAILED, lost)

    def _is_at_work(self, run: dg.DagsterRun) -> bool:
        task = run.tags[DAGSTER_CELERY_TASK_ID_TAG]
        info = self.celery.AsyncResult(task).info
        worker = info.get("hostname") if isinstance(info, Mapping) else None
        if worker is None:
            return True  # it has ended meanwhile, and the next look tells how
        answers = self.celery.control.inspect([worker], timeout=_ANSWER_S).active() or {}
        return any(active["id"] == task for active in answers.get(worker, []))
