"""What `celery -A` loads in a worker (started by `tradebot worker`): the app of the instance's launcher, and the task that executes a run.

Nothing of Tradebot is imported here. Each run is a process forked from the worker, which loads configuration and code as they are then.
"""

import os

import dagster as dg
from celery import Celery
from celery.signals import worker_process_init
from dagster_celery.tasks import create_execute_job_task


def _app() -> Celery:
    with dg.DagsterInstance.get() as instance:
        app: Celery = instance.run_launcher.celery  # type: ignore[attr-defined]
    create_execute_job_task(app)
    return app


@worker_process_init.connect
def _out_of_the_terminals_reach(**_: object) -> None:
    """Ctrl-C is for the worker, which waits for the runs at hand; a run that heard it too would break off."""
    os.setpgrp()


app = _app()
