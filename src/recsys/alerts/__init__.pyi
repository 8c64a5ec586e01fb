from .channels import configured_channels
from .events import EventSummary, no_events, summarize_events
from .outbox import count_undelivered, heartbeat, note_run, send_alerts, send_test
from .settings import AlertKind, AlertSettings

__all__ = [
    "AlertKind",
    "AlertSettings",
    "EventSummary",
    "configured_channels",
    "count_undelivered",
    "heartbeat",
    "no_events",
    "note_run",
    "send_alerts",
    "send_test",
    "summarize_events",
]
