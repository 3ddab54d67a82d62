"""A real MLflow server, and what its own client reads from it.

`mlflow_run.py serve FOLDER PORT` runs a server with an SQLite store in FOLDER; `mlflow_run.py read URI EXPERIMENT` prints the runs of an
experiment as JSON: status, parameters, tags, and the history of every metric. Run by tests/suite/tracking.rs.
"""

import json
import os
import sys


def serve(folder, port):
    store = f"sqlite:///{folder}/mlflow.db"
    args = ["server", "--backend-store-uri", store, "--artifacts-destination", f"{folder}/artifacts"]
    args += ["--host", "127.0.0.1", "--port", port, "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *args])


def read(uri, name):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    out = []
    for run in runs:
        history = {}
        for key in run.data.metrics:
            # As text: JSON has no NaN.
            history[key] = [[m.step, repr(m.value), m.timestamp] for m in client.get_metric_history(run.info.run_id, key)]
        out.append(
            {
                "run_id": run.info.run_id,
                "name": run.info.run_name,
                "status": run.info.status,
                "ended": run.info.end_time is not None,
                "params": run.data.params,
                "tags": run.data.tags,
                "metrics": history,
            }
        )
    print(json.dumps(out))


if __name__ == "__main__":
    {"serve": serve, "read": read}[sys.argv[1]](*sys.argv[2:])
