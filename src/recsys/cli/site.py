"""The command that starts the reference site of a recommender on the embedded stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from recsys import embedded, recommenders
from recsys.cli import output
from recsys.cli.output import JsonOption, console
from recsys.embedded.home import Home, source_folder
from recsys.errors import ConfigurationError

if TYPE_CHECKING:
    from recsys.embedded.site import Served
    from recsys.recommenders import Description


def site(
    stop: Annotated[bool, typer.Option("--stop", help="Stop it; its folder is kept.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start the reference site of a recommender, and leave it running.

    `recsys up` starts that of the first recommender only, because each is a process with a model in
    memory. With -r NAME, this command starts the one of another, with a port, a folder and an
    account of its own. `recsys down` stops all of them.
    """
    home, served = Home(), served_by(recommenders.chosen_recommender())
    if stop:
        embedded.site.stop(home, served)
        found = None
    else:
        with embedded.stack.starting(home), output.errors.status("starting the site"):
            found = embedded.site.start(home, served)
        if found is None:
            raise ConfigurationError("there is no site here", hint=no_site())
    if as_json:
        output.print_json({"home": str(home.path), "site": found})
    else:
        console.print(f"site  [bold]{found}[/]" if found else "Stopped.", soft_wrap=True)


def served_by(name: str) -> Served:
    """Returns what the site of a recommender serves."""
    if name == recommenders.FIRST_RECOMMENDER:
        return embedded.site.Served()
    return served_by_described(output.description(name))


def served_by_described(description: Description) -> Served:
    """Returns what the site of a recommender that is not the first one serves."""
    names = description.namespace
    return embedded.site.Served(
        names.name, names.database or names.name, names.site_role, names.key_prefix
    )


def no_site() -> str:
    """Returns why a site was not started, and what to do."""
    if (source_folder() / "Makefile").is_file():
        return "its environment is not set up yet: `make up` does it, and starts the site"
    return "not installed: it is in the project's repository, not in the package"
