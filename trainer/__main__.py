"""The trainer's command line: ``python -m trainer [train|verify|local]``.

Everything that ends the process is turned into an exit code of the contract here. TensorFlow is
imported late, so that bad settings are refused in an instant.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pydantic import ValidationError

from recsys import contract
from recsys.contract import ExitCode, TrainerInput, TrainerSettings
from recsys.errors import (
    ArtifactError,
    ConfigurationError,
    DatasetError,
    EvaluationError,
    PermanentError,
    TrainingError,
    TransientError,
    first_invalid_field,
)
from trainer.config import (
    ENVIRONMENT_PREFIX,
    build_settings,
    environment_overrides,
    gather_overrides,
    training_config,
)
from trainer.distributed.cluster import TF_CONFIG, place
from trainer.journal import keep_log
from trainer.lineage import check_site_keras
from trainer.termination import TOLD, Terminated, Termination

if TYPE_CHECKING:
    from recsys.object_store import ObjectStore
    from trainer.training import FitModels

log = logging.getLogger("trainer")

_BAD_DATA = (DatasetError, TrainingError, EvaluationError, ArtifactError)
_HELP = f"""\
Trains one release of the recommender, evaluates it on the holdout, and stores it in S3.

commands:
  train    (the default) read the features of a dataset from S3, fit to the training part, measure
           on the holdout, fit again to all interactions, and write the release's artifacts; its
           manifest is written last, so a release without one does not exist
  verify   in a fresh process, load the stored model with stock Keras and compare its answers with
           the golden predictions that were recorded when it was made
  local    the same as train without S3 or any server: features from a folder, artifacts to another;
           `python -m trainer local --help` tells more

environment of train and verify (there are no other inputs):
  {contract.ENV_BUILD}        the build as JSON: dataset_md5, trainer_digest, settings
  {contract.ENV_RELEASE_ID}   the release id of that build
  {contract.ENV_RUN_NONCE}    which run asks; it is written into the manifest
  {contract.ENV_S3_BUCKET}    where features are read and the release is written
  {contract.ENV_S3_ENDPOINT}  URL of the S3 server; unset: Amazon's
  {contract.ENV_S3_REGION}    default us-east-1
  {contract.ENV_XCOM_DIR}     gets return.json with the manifest's key where the folder exists;
                      default /airflow/xcom
  {contract.ENV_CHAMPION}     optional: the release whose evaluated model and towers are measured on
                      the same holdout, for comparison
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
  RECSYS_CODE_REVISION    optional; recorded in the manifest's lineage
  {contract.ENV_WORKERS}          optional: how many workers train together, as an Indexed Job
                      with the headless Service {contract.ENV_WORKER_SERVICE}
  {contract.ENV_SITE_KERAS}   optional: the Keras that the site loads models with; one that is
                      older than the trainer's may not read what it saves: that is refused

What can be tuned goes into the build's settings, e.g.
  {{"trainer": {{"seed": 20, "overrides": {{"rating": {{"epochs": 12}}}}}}}}
and is described, field by field, in trainer/config.py.

exit codes:
  {ExitCode.OK:>3}  done
  {ExitCode.BAD_DATA:>3}  the interactions cannot be trained on, or the release is not as it claims
  {ExitCode.INTERNAL:>3}  a defect of the trainer; the log has the traceback
  {ExitCode.UNAVAILABLE:>3}  S3 does not answer, or disk or memory ran out: worth another try
  {ExitCode.BAD_CONFIG:>3}  a setting is missing or makes no sense; the log names it
  {ExitCode.TERMINATED:>3}  told to stop; no manifest was written: worth another try
"""


_LOCAL_HELP = f"""\
Trains on the features in a folder and writes a release's files to another one, no server needed.

DIR of --features holds {contract.INTERACTIONS_FILE} and {contract.MOVIES_FILE} as the pipeline
makes them; the column split of the interactions says what is for training and what is held out.

settings, the later ones win: the defaults in trainer/config.py; the file of --config (TOML or JSON:
a table [rating] and one [ranking]); variables like {ENVIRONMENT_PREFIX}RATING__EPOCHS=12; --set.
They are checked before anything is read, and are recorded in {contract.LINEAGE_FILE}.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(ExitCode.BAD_CONFIG, f"{message}; `python -m trainer --help` tells more\n")


def own_architecture() -> FitModels:
    """How this trainer fits its models; examples/another_model has another."""
    from trainer.training import fit_models

    return fit_models


def main(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    architecture: Callable[[], FitModels] = own_architecture,
) -> ExitCode:
    """Runs one command to its end and says how it ended; logs to stdout.

    Args:
        arguments: of the command line.
        environ: the environment.
        architecture: called when TensorFlow may be imported.
    """
    options = _parser().parse_args(arguments)
    with keep_log() as kept, Termination() as termination:
        store: ObjectStore | None = None
        given: TrainerInput | None = None
        try:
            if options.command == "local":
                _train_locally(options, environ, architecture)
            else:
                given = _input(environ)
                store = _connect(environ)
                if not _run(options.command, store, given, environ, termination, architecture):
                    # The stored log tells of the training: it stays.
                    return ExitCode.OK
            code = ExitCode.OK
        except (Exception, Terminated) as error:
            # TensorFlow makes a RuntimeError of what is raised while it raises an error itself.
            code = ExitCode.TERMINATED if termination.raised else _exit_code(error)
            _log_failure(error, code)
            if isinstance(error, TransientError):
                # The store does not answer: the log would not reach it either.
                store = None
        log.info("exit code %d (%s)", code, code.name)
        if store is not None and given is not None and _tells(options.command, environ):
            with termination.deferred():
                _store_log(store, given.release_id, kept.text())
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m trainer",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="[train | verify | local]")
    for name in ("train", "verify"):
        commands.add_parser(name)
    local = commands.add_parser(
        "local",
        description=_LOCAL_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    local.add_argument("--features", type=Path, required=True, metavar="DIR")
    local.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets the files")
    local.add_argument("--seed", type=int, default=TrainerSettings().seed, metavar="N")
    local.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML or JSON")
    local.add_argument(
        "--set",
        action="append",
        default=[],
        dest="assignments",
        metavar="SECTION.FIELD=VALUE",
        help="one setting, e.g. rating.epochs=12; may be repeated",
    )
    local.add_argument(
        "--champion",
        type=Path,
        metavar="DIR",
        help="the --out of an earlier training, measured on the same holdout",
    )
    local.add_argument(
        "--no-refit",
        action="store_false",
        dest="refit",
        help="export what was evaluated, without fitting again to all interactions",
    )
    return parser


def _run(
    command: str | None,
    store: ObjectStore,
    given: TrainerInput,
    environ: Mapping[str, str],
    termination: Termination,
    architecture: Callable[[], FitModels],
) -> bool:
    """Runs `train` or `verify`; returns whether a release was made."""
    settings = build_settings(given.build.settings)
    config = training_config(settings.trainer.overrides)
    _refuse_stray_settings(environ)
    if command != "verify":
        check_site_keras(environ)
    log.info("%s release %s", command or "train", given.release_id)
    if command == "verify":
        from trainer.verify import verify_release

        verify_release(store, given)
        return False
    here = place(environ)
    if here and architecture is not own_architecture:
        raise ConfigurationError(
            "another architecture is trained by one worker",
            found=f"{here.count} workers",
            hint="unset RECSYS_TRAINER_WORKERS",
        )
    # Importing TensorFlow takes seconds: a bucket that is not there is told first.
    store.check()
    seed = settings.trainer.seed
    if here is None:
        from trainer.release import make_release

        return make_release(
            store, given, config, seed, environ, termination.deferred(), architecture()
        )
    # TensorFlow reads it nowhere else.
    os.environ[TF_CONFIG] = here.tf_config
    from trainer.distributed.train import train_together

    return train_together(store, given, config, seed, environ, termination, here)


def _train_locally(
    options: argparse.Namespace,
    environ: Mapping[str, str],
    architecture: Callable[[], FitModels],
) -> None:
    config = training_config(gather_overrides(options.config, environ, options.assignments))
    if options.seed < 0:
        raise ConfigurationError("--seed is no seed", found=options.seed, expected="0 or more")
    from trainer.local import LocalTraining, train_locally

    train_locally(
        LocalTraining(
            features=options.features,
            out=options.out,
            config=config,
            seed=options.seed,
            champion=options.champion,
            refit=options.refit,
        ),
        environ,
        architecture(),
    )


def _refuse_stray_settings(environ: Mapping[str, str]) -> None:
    """What changes the outcome must be part of the build, else its fingerprint would lie."""
    stray = environment_overrides(environ)
    if stray:
        raise ConfigurationError(
            "settings of a release are taken from its build alone",
            found=", ".join(stray),
            expected=f"trainer.overrides in {contract.ENV_BUILD}",
            hint="set RECSYS_BUILD_SETTINGS for the pipeline instead",
        )


def _input(environ: Mapping[str, str]) -> TrainerInput:
    try:
        return TrainerInput.from_environment(environ)
    except KeyError as error:
        raise ConfigurationError(
            f"the environment variable {error.args[0]} is not set",
            hint="`python -m trainer --help` lists what the trainer is told",
        ) from error
    except ValidationError as error:
        invalid = first_invalid_field(error)
        raise ConfigurationError(
            f"the trainer's input is invalid: {error.title}.{invalid}", found=invalid.value
        ) from error
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _connect(environ: Mapping[str, str]) -> ObjectStore:
    from recsys.object_store import ObjectStore, S3Settings

    return ObjectStore.connect(S3Settings.from_environment(environ))


def _exit_code(error: BaseException) -> ExitCode:
    if isinstance(error, ConfigurationError):
        return ExitCode.BAD_CONFIG
    if isinstance(error, _BAD_DATA):
        return ExitCode.BAD_DATA
    if isinstance(error, TransientError) or _ran_out(error):
        return ExitCode.UNAVAILABLE
    return ExitCode.INTERNAL


def _ran_out(error: BaseException) -> str:
    """What ran out, if anything did."""
    # TensorFlow's error is known by its name, because TensorFlow may not be imported.
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "memory"
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # polars, HDF5 and zipfile each raise an error of their own that tells it in words.
    if full or os.strerror(errno.ENOSPC) in str(error):
        return "disk space"
    return ""


def _tells(command: str | None, environ: Mapping[str, str]) -> bool:
    """Whether this process's log is the release's: of several workers, the chief's is."""
    try:
        here = place(environ)
    except ConfigurationError:
        return False
    return command != "verify" and (here is None or here.index == 0)


def _log_failure(error: BaseException, code: ExitCode) -> None:
    if code == ExitCode.TERMINATED:
        log.error(TOLD)
    elif what := _ran_out(error):
        log.error(
            "%s ran out: %s; what to do: give the trainer more, or lower rating.members, "
            "rating.group_size or ranking.batch_size",
            what,
            error,
        )
    elif isinstance(error, (PermanentError, TransientError)) and code != ExitCode.INTERNAL:
        log.error("%s", error)
    else:
        log.error("a defect of the trainer", exc_info=error)


def _store_log(store: ObjectStore, release_id: str, text: str) -> None:
    try:
        store.put_bytes(contract.release_key(release_id, contract.TRAINER_LOG_FILE), text.encode())
    # The log is a courtesy: whatever keeps it from being stored must not change how this ended.
    except Exception as error:
        log.warning("the log was not stored: %s", error)


if __name__ == "__main__":
    # TensorFlow greets at length and warns of itself; its real errors are exceptions besides.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main(sys.argv[1:], os.environ))
