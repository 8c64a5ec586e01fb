"""The application that ``spark-submit`` runs; its exit codes are those of the contract.

Usage: ``spark-submit application.py frames|vectors --md5 MD5 --settings JSON``, with the variables
of `S3Settings` in the environment.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from recsys.contract import (
    ENV_S3_BUCKET,
    ENV_S3_CONFIG,
    ENV_S3_ENDPOINT,
    ENV_S3_PREFIX,
    ENV_S3_REGION,
    ENV_S3_VERIFY,
    SECRET_ENV,
    ExitCode,
    FeatureSettings,
)
from recsys.errors import ConfigurationError, PermanentError, TransientError
from recsys.object_store import ObjectStore, S3Settings
from recsys.scratch import scratch_folder
from recsys.spark.frames import spark_data_frames
from recsys.spark.movie_vectors import spark_movie_vectors
from recsys.trainer_process import forwarded_variables

if TYPE_CHECKING:
    from pyspark import SparkContext

log = logging.getLogger(__name__)

S3_ENV: Final = (
    ENV_S3_BUCKET,
    ENV_S3_ENDPOINT,
    ENV_S3_PREFIX,
    ENV_S3_REGION,
    ENV_S3_VERIFY,
    ENV_S3_CONFIG,
    *SECRET_ENV,
)
"""Variables of the object store that executors get."""


def main(arguments: Sequence[str]) -> ExitCode:
    """Runs one subcommand; logs the reason of a failure."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    parser = argparse.ArgumentParser(description="Computes features on Spark.")
    parser.add_argument("subcommand", choices=["frames", "vectors"])
    parser.add_argument("--md5", required=True, help="md5 of the dataset")
    parser.add_argument("--settings", required=True, help="feature settings as JSON")
    options = parser.parse_args(arguments)
    from py4j.protocol import Py4JError

    try:
        settings = FeatureSettings.model_validate_json(options.settings)
        if options.subcommand == "frames" and settings.erased:
            # Executors would need the key of the erased users' hashes, which stays in the ledger.
            log.info("users were erased: the task generate_data_frames makes these features")
            return ExitCode.OK
        store = ObjectStore.connect(S3Settings.from_environment())
        spark = _spark_context()
        try:
            with scratch_folder("spark") as work:
                if options.subcommand == "frames":
                    stats = spark_data_frames(spark, options.md5, store, settings, work)
                    log.info("%d interactions of %d users", stats.interactions, stats.users)
                else:
                    vectors = spark_movie_vectors(spark, options.md5, store, settings, work)
                    log.info("%d movie vectors", len(vectors.ids))
        finally:
            spark.stop()
    except (ConfigurationError, ValidationError) as error:
        log.error("%s", error)
        return ExitCode.BAD_CONFIG
    except PermanentError as error:
        log.error("%s", error)
        return ExitCode.BAD_DATA
    except (TransientError, Py4JError) as error:
        # Py4JError: an executor failed after Spark's own retries (lost node, memory, S3).
        log.error("%s", error)
        return ExitCode.UNAVAILABLE
    except Exception:
        log.exception("unexpected error: a defect of the Spark application")
        return ExitCode.INTERNAL
    return ExitCode.OK


def _spark_context() -> SparkContext:
    from pyspark import SparkConf, SparkContext

    conf = SparkConf().setIfMissing("spark.app.name", "recsys features")
    # Each core has its own Python worker; in each, polars would start a thread for every core.
    conf.setExecutorEnv("POLARS_MAX_THREADS", "1")
    # By default Spark does not redact "access_key" in its UI.
    conf.set("spark.redaction.regex", "(?i)secret|password|token|access[._]?key|credential")
    master = conf.get("spark.master", "")
    if master.startswith(("spark:", "yarn")):
        # Other masters: executors inherit the environment of this process or of their pod.
        store = {name: os.environ[name] for name in S3_ENV if name in os.environ}
        conf.setExecutorEnv(pairs=[*(store | forwarded_variables()).items()])
    return SparkContext(conf=conf)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
