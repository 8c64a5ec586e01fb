from .channels import configured_channels
from .events import count_events
from .outbox import count_undelivered, heartbeat, note_run, send_alerts, send_test
from .settings import AlertKind, AlertSettings

__all__ = [
    "AlertKind",
    "AlertSettings",
    "configured_channels",
    "count_events",
    "count_undelivered",
    "heartbeat",
    "note_run",
    "send_alerts",
    "send_test",
]
