from .experiments import render_runs
from .own_charts import own_charts_in
from .page import render_report
from .release import make_report
from .stored import stored_report

__all__ = ["make_report", "own_charts_in", "render_report", "render_runs", "stored_report"]
