"""Runs DAGs one after the other in one process of its own, whose environment is all its own.

``python -m tests.e2e.run_dags '[[DAG, CONF, ENVIRONMENT], ...]' FILE`` writes the state of each
run and the errors of its tasks into the file.
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

from recsys_dag.recommenders import make_dag
from recsys_dag.run_dag import Events, run


def main() -> None:
    outcomes = []
    for dag_id, conf, environment in json.loads(sys.argv[1]):
        os.environ.update(environment)
        dag = make_dag(dag_id)
        stream = io.StringIO()
        state = run(dag, conf, Events(stream))
        events = map(json.loads, stream.getvalue().splitlines())
        outcomes.append([state, {e["task_id"]: e["error"] for e in events if "error" in e}])
    Path(sys.argv[2]).write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main()
