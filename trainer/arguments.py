"""Command-line arguments and help of ``python -m trainer``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from recsys import contract
from recsys.contract import ExitCode, TrainerSettings
from trainer.config import ENVIRONMENT_PREFIX

_HELP = f"""\
Trains one release of the recommender, evaluates it on the holdout, and stores it in S3.

commands:
  train    (default) read the features of a dataset from S3, fit to the training part, evaluate on
           the holdout, refit to all interactions, and write the release's artifacts; the manifest
           is written last, and a release without a manifest does not exist
  verify   in a fresh process, load the stored model with stock Keras and compare its answers with
           the recorded golden predictions
  forward  predict the stars of newer ratings with served releases, for the forward test; like
           verify, this is code of the verifier
  local    like train, but without S3 or any other server: read features from a folder, write
           artifacts to another one; see `python -m trainer local --help`

environment of train, verify and forward (their only input):
  {contract.ENV_BUILD}        the build as JSON: dataset_md5, trainer_digest, settings
  {contract.ENV_RELEASE_ID}   the release id of that build
  {contract.ENV_CONTRACT}     number of the contract that the pipeline fulfills: {contract.CONTRACT}
  {contract.ENV_RUN_NONCE}    identifies the run; it is in the manifest. Artifacts, manifest and
                      log are written below {contract.INBOX_PREFIX}<release id>/<nonce>/
  {contract.ENV_S3_BUCKET}    the bucket of the features and of the release
  {contract.ENV_S3_ENDPOINT}  URL of the S3 server; default: Amazon S3
  {contract.ENV_S3_REGION}    default us-east-1
  {contract.ENV_S3_PREFIX}    optional: prefix of all keys in the bucket
  {contract.ENV_XCOM_DIR}     folder that gets return.json with the manifest's key, if it exists;
                      default /airflow/xcom
  {contract.ENV_CHAMPION}     optional: the release that the candidate is compared with, on the same
                      holdout
  {contract.ENV_S3_VERIFY}, {contract.ENV_S3_CONFIG}
                      optional: trusted certificates; arguments of botocore's Config as JSON
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
                      credentials; without them, boto3 finds the identity of the machine
  AWS_PROFILE, RECSYS_S3_ROLE_ARN, RECSYS_S3_ROLE_OPTIONS, RECSYS_S3_STS_ENDPOINT
                      optional: a profile; a role to assume
  RECSYS_CODE_REVISION    optional; recorded in the manifest's lineage
  {contract.ENV_WORKERS}          optional: number of workers of a distributed training, as an
                      Indexed Job with the headless Service {contract.ENV_WORKER_SERVICE}
  {contract.ENV_SITE_KERAS}   optional: version of Keras that the site loads models with; if it is
                      older than the trainer's, training is refused, because the site may not be
                      able to load the model

Hyper-parameters are part of the build's settings, e.g.
  {{"trainer": {{"seed": 20, "overrides": {{"rating": {{"epochs": 12}}}}}}}}
trainer/config.py describes each of them.

exit codes:
  {ExitCode.OK:>3}  success
  {ExitCode.BAD_DATA:>3}  the interactions cannot be trained on, or the stored release is invalid
  {ExitCode.INTERNAL:>3}  a defect of the trainer; see the traceback in the log
  {ExitCode.UNAVAILABLE:>3}  S3 is unavailable, or disk or memory ran out: retry
  {ExitCode.BAD_CONFIG:>3}  a setting is missing or invalid; see its name in the log
  {ExitCode.TERMINATED:>3}  terminated by SIGTERM; no manifest was written: retry
"""


_LOCAL_HELP = f"""\
Trains on the features in a folder and writes a release's files to another one, without a server.

DIR of --features contains {contract.INTERACTIONS_FILE} and {contract.MOVIES_FILE} as the pipeline
writes them; the column split of the interactions marks the training part, each user's newest
ratings, and the ratings after a moment.

Settings, in increasing precedence: the defaults in trainer/config.py; the file of --config (TOML or
JSON with the tables rating and ranking); variables, e.g.
{ENVIRONMENT_PREFIX}RATING__EPOCHS=12; --set.
They are validated before anything is read, and are recorded in {contract.LINEAGE_FILE}.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(ExitCode.BAD_CONFIG, f"{message}; see `python -m trainer --help`\n")


def argument_parser() -> argparse.ArgumentParser:
    """Returns the parser of the commands; without one, ``command`` is None: train."""
    parser = _Parser(
        prog="python -m trainer",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="[train | verify | forward | local]")
    for name in ("train", "verify", "forward"):
        commands.add_parser(name)
    local = commands.add_parser(
        "local",
        description=_LOCAL_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    local.add_argument("--features", type=Path, required=True, metavar="DIR", help="input folder")
    local.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
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
        help="the --out folder of an earlier training, evaluated on the same holdout",
    )
    local.add_argument(
        "--no-refit",
        action="store_false",
        dest="refit",
        help="export the evaluated models instead of refitting to all interactions",
    )
    return parser
