from .channels import configured_channels
from .outbox import (
    RUN_FAILED,
    RUN_LATE,
    count_events,
    count_untold,
    heartbeat,
    note_run,
    send_alerts,
    send_test,
)
from .settings import AlertSettings

__all__ = [
    "RUN_FAILED",
    "RUN_LATE",
    "AlertSettings",
    "configured_channels",
    "count_events",
    "count_untold",
    "heartbeat",
    "note_run",
    "send_alerts",
    "send_test",
]
