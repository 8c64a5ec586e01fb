"""Access rules of the page: view, roll back, and protection against forms of other sites."""

from __future__ import annotations

import hmac
from typing import Annotated, Final

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.configuration import conf
from airflow.models.dag import DagModel
from fastapi import Depends, Form, HTTPException, Request, status
from itsdangerous import BadSignature, URLSafeTimedSerializer

from recsys.recommenders import FIRST_RECOMMENDER, Description
from recsys_dag import descriptions
from recsys_dag.airflow_address import URL_PREFIX, base_path, page_path

TOKEN_LIFE_S: Final = 3600
_MESSAGE_LIFE_S: Final = 60
_SALT: Final = "recommender-releases"


def shown(request: Request, user: GetUserDep) -> Description:
    """Returns the recommender whose page it is: that of the address, else the first one.

    Who may not see one of the address gets the answer for a recommender that does not exist.
    """
    named = request.path_params.get("recommender")
    found = descriptions.read().valid.get(named or FIRST_RECOMMENDER)
    if found is not None and can_look(user, found):
        return found
    if named is None and found is not None:
        # Airflow's menu leads all people to the first recommender's page.
        if request.url.path.endswith(f"{URL_PREFIX}/"):
            _redirect_to_own(user)
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Forbidden")
    raise HTTPException(status.HTTP_404_NOT_FOUND, "there is no such recommender")


Shown = Annotated[Description, Depends(shown)]


def may_roll_back(user: GetUserDep, recommender: Shown) -> None:
    """Rejects who may not trigger the recommender's rollback DAG."""
    if not can_roll_back(user, recommender):
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Forbidden")


def can_look(user: GetUserDep, recommender: Description) -> bool:
    """Returns whether a user may see the runs of the recommender's weekly DAG."""
    return _is_authorized("GET", user, recommender, recommender.namespace.weekly_dag)


def can_roll_back(user: GetUserDep, recommender: Description) -> bool:
    """Returns whether a user may trigger the recommender's rollback DAG."""
    return _is_authorized("POST", user, recommender, recommender.namespace.rollback_dag)


def visible(user: GetUserDep) -> list[Description]:
    """Returns the recommenders whose pages the user may see."""
    return [one for one in descriptions.read().valid.values() if can_look(user, one)]


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


def _is_authorized(
    method: ResourceMethod, user: GetUserDep, recommender: Description, dag_id: str
) -> bool:
    team = None
    if conf.getboolean("core", "multi_team"):
        # Airflow's database does not know the DAGs of a new description yet.
        team = DagModel.get_team_name(dag_id) or recommender.team
    return get_auth_manager().is_authorized_dag(
        method=method,
        access_entity=DagAccessEntity.RUN,
        details=DagDetails(id=dag_id, team_name=team),
        user=user,
    )


def _redirect_to_own(user: GetUserDep) -> None:
    """Leads to the page of the first recommender that the user may see, if there is one."""
    for own in visible(user):
        page = f"{base_path()}{page_path(own.namespace)}"
        raise HTTPException(status.HTTP_303_SEE_OTHER, headers={"Location": page})


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(conf.get_mandatory_value("api", "secret_key"), salt=_SALT)
