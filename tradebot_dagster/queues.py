"""The queues of Celery workers (docs/scale-out.md): what a run's tag says, and what a worker serves."""

QUEUE_TAG = "dagster-celery/queue"
RESEARCH_QUEUE = "dagster"  # of runs without the tag; CeleryRunLauncher's own default
TRADING_QUEUE = "trading"  # of runs that read or write the ledger
