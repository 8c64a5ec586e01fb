"""Access rules of the page: view, roll back, and protection against forms of other sites."""

from __future__ import annotations

import hmac
from typing import Annotated, Final

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.configuration import conf
from fastapi import Depends, Form, HTTPException, Request, status
from itsdangerous import BadSignature, URLSafeTimedSerializer

from recsys.recommenders import FIRST_RECOMMENDER, Description
from recsys_dag import descriptions

TOKEN_LIFE_S: Final = 3600
_MESSAGE_LIFE_S: Final = 60
_SALT: Final = "recommender-releases"


def shown(request: Request) -> Description:
    """Returns the recommender whose page it is: that of the address, else the first one."""
    name = request.path_params.get("recommender", FIRST_RECOMMENDER)
    found = descriptions.read().valid.get(name)
    if found is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "there is no such recommender")
    return found


Shown = Annotated[Description, Depends(shown)]


def may_look(request: Request, user: GetUserDep, recommender: Shown) -> None:
    """Rejects who may not see the runs of the recommender's weekly DAG."""
    weekly = recommender.namespace.weekly_dag
    requires_access_dag("GET", DagAccessEntity.RUN, weekly)(request, user)


def may_roll_back(request: Request, user: GetUserDep, recommender: Shown) -> None:
    """Rejects who may not trigger the recommender's rollback DAG."""
    rollback = recommender.namespace.rollback_dag
    requires_access_dag("POST", DagAccessEntity.RUN, rollback)(request, user)


def issue_token(user: str) -> str:
    """Returns a CSRF token for the forms of a page shown to this user."""
    return _serializer().dumps(user)


def seal(message: dict[str, str]) -> str:
    """Signs a message for the page's URL, so that the page shows only our own messages."""
    return _serializer().dumps(message)


def unseal(text: str | None) -> dict[str, str]:
    """Returns the message that `seal` signed; empty if the signature is invalid or too old."""
    if not text:
        return {}
    try:
        message = _serializer().loads(text, max_age=_MESSAGE_LIFE_S)
    except BadSignature:
        return {}
    return message if isinstance(message, dict) else {}


def own_form(
    request: Request, user: GetUserDep, token: Annotated[str, Form(max_length=500)]
) -> None:
    """Rejects a request that was not sent from a form of our own page (CSRF protection).

    A browser sends Airflow's cookie with forms of other sites too. Two checks are made instead:
    the header ``Sec-Fetch-Site``, if the browser sends it, must be ``same-origin``, and the token
    must be one that our page issued to this user.
    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    try:
        holder = _serializer().loads(token, max_age=TOKEN_LIFE_S)
    except BadSignature:
        holder = ""
    if site != "same-origin" or not hmac.compare_digest(str(holder), name_of(user)):
        raise HTTPException(
            status.HTTP_403_FORBIDDEN,
            "the form has expired or belongs to another user; reload the page and try again",
        )


def name_of(user: GetUserDep) -> str:
    """Returns the user's name for the ledger's history."""
    return str(user.get_name())


def can_roll_back(request: Request, user: GetUserDep, recommender: Description) -> bool:
    """Returns whether to show the form; `may_roll_back` checks its submission."""
    try:
        may_roll_back(request, user, recommender)
    except HTTPException:
        return False
    return True


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(conf.get_mandatory_value("api", "secret_key"), salt=_SALT)
