"""Runs the Spark application from a task with ``spark-submit``, in its own environment."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from recsys.contract import (
    ENV_S3_BUCKET,
    ENV_S3_CONFIG,
    ENV_S3_ENDPOINT,
    ENV_S3_PREFIX,
    ENV_S3_REGION,
    ENV_S3_VERIFY,
    ExitCode,
    FeatureSettings,
    exit_is_transient,
)
from recsys.errors import ConfigurationError, PermanentError, TransientError
from recsys.object_store import S3Settings
from recsys.trainer_process import forwarded_variables, inherited_identity, run_child

log = logging.getLogger(__name__)

APPLICATION: Final = Path(__file__).with_name("application.py")
_PASSED_ON: Final = frozenset(
    "HOME TMPDIR LANG LC_ALL TZ JAVA_HOME SPARK_HOME SPARK_CONF_DIR HADOOP_CONF_DIR "
    "YARN_CONF_DIR PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON".split()
)
# On one machine: no UI without a password, and no port beyond loopback.
_LOCAL_CONF: Final = {
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}


@dataclass(frozen=True)
class SparkSubmit:
    """A way to run the application.

    Attributes:
        program: ``spark-submit`` of an environment with this wheel.
        master: ``local[4]``, ``spark://host:7077``, ``yarn`` or ``k8s://https://...``.
        conf: other Spark properties; not secret, because they are on the command line.
    """

    program: Path
    master: str
    conf: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        subcommand: Literal["frames", "vectors"],
        md5: str,
        settings: FeatureSettings,
        s3: S3Settings,
        on_line: Callable[[str], None] = log.info,
    ) -> None:
        """Runs the application and waits for its end.

        Args:
            subcommand: subcommand of the application.
            md5: md5 of the dataset.
            settings: settings of the features.
            s3: settings of the object store; secrets are passed in the environment only.
            on_line: called with each line of Spark's output.

        Raises:
            ConfigurationError: the program does not exist, or a setting is invalid.
            PermanentError: the dataset or its features are invalid.
            TransientError: Spark or S3 failed, and a retry may succeed.
        """
        if not self.program.exists():
            raise ConfigurationError(
                "spark-submit does not exist",
                expected=str(self.program),
                hint="run `make spark`, or set RECSYS_SPARK_SUBMIT",
            )
        conf = {**(_LOCAL_CONF if self.master.startswith("local") else {}), **self.conf}
        command = [str(self.program), "--master", self.master]
        for name, value in conf.items():
            command += ["--conf", f"{name}={value}"]
        command += [str(APPLICATION), subcommand, "--md5", md5]
        command += ["--settings", settings.model_dump_json()]
        code, tail = run_child(command, Path(tempfile.gettempdir()), self.environment(s3), on_line)
        if code != ExitCode.OK:
            raise failure(subcommand, code, tail)

    def environment(self, s3: S3Settings) -> dict[str, str]:
        """Returns all environment variables of the process, including the secrets of S3."""
        folder = self.program.parent
        variables = {k: v for k, v in os.environ.items() if k in _PASSED_ON} | forwarded_variables()
        # spark-submit finds its Python and Java by PATH.
        variables["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        if (folder / "python").exists():
            variables.setdefault("PYSPARK_PYTHON", str(folder / "python"))
        variables |= s3_environment(s3)
        credentials = s3.credentials()
        return variables | inherited_identity(credentials) | credentials


def s3_environment(s3: S3Settings) -> dict[str, str]:
    """Returns the variables of the object store's address and options, without secrets."""
    options = s3.public_options()
    variables = {
        ENV_S3_BUCKET: s3.bucket,
        ENV_S3_PREFIX: s3.prefix,
        ENV_S3_REGION: s3.region,
        ENV_S3_ENDPOINT: s3.endpoint,
        ENV_S3_VERIFY: options["s3_verify"],
        ENV_S3_CONFIG: options["s3_config"],
    }
    return {name: value for name, value in variables.items() if value}


def failure(subcommand: str, code: int, tail: Sequence[str]) -> PermanentError | TransientError:
    """Returns the error for an exit code of the application.

    Args:
        subcommand: subcommand of the application.
        code: exit code; negative: the number of the signal that killed it.
        tail: last lines of the output.
    """
    output = " | ".join(line for line in tail if line.startswith("ERROR ")) or " | ".join(tail)
    error: type[PermanentError | TransientError] = PermanentError
    if code == ExitCode.BAD_CONFIG:
        error = ConfigurationError
    elif exit_is_transient(code):
        error = TransientError
    return error(
        f"Spark's `{subcommand}` failed",
        found=f"exit code {code}",
        hint=f"Spark's output: {output}",
    )
