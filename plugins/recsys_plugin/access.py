"""Who may look, who may change, and that a change was asked for on our own page."""

from __future__ import annotations

import hmac
from typing import Annotated, Final

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.configuration import conf
from fastapi import Form, HTTPException, Request, status
from itsdangerous import BadSignature, URLSafeTimedSerializer

PIPELINE_DAG: Final = "movie_rec_sys"
ROLLBACK_DAG: Final = "movie_rec_sys_rollback"
TOKEN_LIFE_S: Final = 3600
_SAYING_LIFE_S: Final = 60
_SALT: Final = "recommender-releases"

may_look = requires_access_dag("GET", DagAccessEntity.RUN, PIPELINE_DAG)
# The page does what that DAG does: whoever may start it may press the button.
may_roll_back = requires_access_dag("POST", DagAccessEntity.RUN, ROLLBACK_DAG)


def issue_token(user: str) -> str:
    """A token for the forms of a page shown to this user; it cannot be had from another site."""
    return _serializer().dumps(user)


def seal(told: dict[str, str]) -> str:
    """What the page is to say after a change, so that nobody else can put words into its mouth."""
    return _serializer().dumps(told)


def unseal(text: str | None) -> dict[str, str]:
    """What `seal` was given; empty if it was something else."""
    if not text:
        return {}
    try:
        told = _serializer().loads(text, max_age=_SAYING_LIFE_S)
    except BadSignature:
        return {}
    return told if isinstance(told, dict) else {}


def own_form(
    request: Request, user: GetUserDep, token: Annotated[str, Form(max_length=500)]
) -> None:
    """Refuses a change unless this user pressed a button on our own page.

    A browser sends Airflow's cookie along with forms of other sites, so the cookie proves nothing
    about who asked. Two independent proofs are wanted: the browser's word that the form is of the
    same origin, where it gives one, and the token that only our page holds.
    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    try:
        holder = _serializer().loads(token, max_age=TOKEN_LIFE_S)
    except BadSignature:
        holder = ""
    if site != "same-origin" or not hmac.compare_digest(str(holder), name_of(user)):
        raise HTTPException(
            status.HTTP_403_FORBIDDEN,
            "this form is too old or was not made for you: reload the page and try again",
        )


def name_of(user: GetUserDep) -> str:
    """How the ledger's history names a user of Airflow."""
    return str(user.get_name())


def can_roll_back(request: Request, user: GetUserDep) -> bool:
    """Whether to show the button; `may_roll_back` decides when it is pressed."""
    try:
        may_roll_back(request, user)
    except HTTPException:
        return False
    return True


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(conf.get_mandatory_value("api", "secret_key"), salt=_SALT)
