from .page import render_report
from .release import make_report, stored_report

__all__ = ["make_report", "render_report", "stored_report"]
