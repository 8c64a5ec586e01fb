"""Starting the Spark application from a task, as a process of its own environment."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from recsys.contract import ExitCode, FeatureSettings, exit_is_transient
from recsys.errors import ConfigurationError, PermanentError, TransientError
from recsys.object_store import S3Settings
from recsys.trainer_process import run_tied

log = logging.getLogger(__name__)

APPLICATION: Final = Path(__file__).with_name("application.py")
_PASSED_ON: Final = frozenset(
    "HOME TMPDIR LANG LC_ALL TZ HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy "
    "SSL_CERT_FILE AWS_CA_BUNDLE REQUESTS_CA_BUNDLE JAVA_HOME SPARK_HOME SPARK_CONF_DIR "
    "HADOOP_CONF_DIR YARN_CONF_DIR PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON".split()
)
# On one machine: no page without a password, no port that others reach.
_LOCAL_CONF: Final = {
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}


@dataclass(frozen=True)
class SparkSubmit:
    """Where Spark is.

    Attributes:
        program: ``spark-submit`` of an environment that holds this wheel, too.
        master: ``local[4]``, ``spark://host:7077``, ``yarn`` or ``k8s://https://...``.
        conf: further settings of Spark; no secrets, the command line shows them.
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
        """Runs the application to its end.

        Args:
            subcommand: what to compute.
            md5: the dataset.
            settings: what features are made with.
            s3: where they are; its secrets go into the environment only.
            on_line: called with each line that Spark prints.

        Raises:
            ConfigurationError: there is no such program, or a setting makes no sense.
            PermanentError: the dataset or its features are not what they should be.
            TransientError: Spark or S3 failed in a way that another try may mend.
        """
        if not self.program.exists():
            raise ConfigurationError(
                "Spark's environment is missing",
                expected=str(self.program),
                hint="run `make spark`, or set RECSYS_SPARK_SUBMIT",
            )
        conf = {**(_LOCAL_CONF if self.master.startswith("local") else {}), **self.conf}
        command = [str(self.program), "--master", self.master]
        for name, value in conf.items():
            command += ["--conf", f"{name}={value}"]
        command += [str(APPLICATION), subcommand, "--md5", md5]
        command += ["--settings", settings.model_dump_json()]
        code, tail = run_tied(command, Path(tempfile.gettempdir()), self.environment(s3), on_line)
        if code != ExitCode.OK:
            raise failure(subcommand, code, tail)

    def environment(self, s3: S3Settings) -> dict[str, str]:
        """All variables of the process; the secrets of S3 are among them."""
        folder = self.program.parent
        told = {k: v for k, v in os.environ.items() if k in _PASSED_ON}
        # The program looks for its own Python and for Java by PATH.
        told["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        if (folder / "python").exists():
            told.setdefault("PYSPARK_PYTHON", str(folder / "python"))
        told |= {"RECSYS_S3_BUCKET": s3.bucket, "RECSYS_S3_REGION": s3.region}
        if s3.endpoint:
            told["RECSYS_S3_ENDPOINT"] = s3.endpoint
        if s3.access_key and s3.secret_key:
            told["AWS_ACCESS_KEY_ID"] = s3.access_key.get_secret_value()
            told["AWS_SECRET_ACCESS_KEY"] = s3.secret_key.get_secret_value()
        return told


def failure(subcommand: str, code: int, tail: Sequence[str]) -> PermanentError | TransientError:
    """The error that an exit code of the application stands for.

    Args:
        subcommand: what was computed.
        code: of the application; negative: the signal that killed it.
        tail: the last lines that were printed.
    """
    said = " | ".join(line for line in tail if line.startswith("ERROR ")) or " | ".join(tail)
    kind: type[PermanentError | TransientError] = PermanentError
    if code == ExitCode.BAD_CONFIG:
        kind = ConfigurationError
    elif exit_is_transient(code):
        kind = TransientError
    return kind(
        f"Spark's `{subcommand}` failed",
        found=f"exit code {code}",
        hint=f"Spark said: {said}",
    )
