"""The Hugging Face hub: which commit a revision is, and with which token. Files are fetched as any other's."""

from __future__ import annotations

import importlib
import os
from typing import NamedTuple

from basecast.errors import BasecastError, InputError

_ENDPOINT = "https://huggingface.co"


class Snapshot(NamedTuple):
    """One commit of a repository: where its files lie, and the token that reads them ('' where none is needed)."""

    url: str
    commit: str
    token: str


def snapshot(repository: str, revision: str = "") -> Snapshot:
    """The commit that a revision (a branch, tag or commit; the main branch by default) of ``OWNER/NAME`` is now.

    ``HF_ENDPOINT`` names another hub; the token is that of ``hf auth login`` or ``HF_TOKEN``.

    Raises:
        InputError: there is no such repository or revision, or it is not given to this user.
        BasecastError: the hub cannot be reached.
    """
    where = f"hf:{repository}{f'@{revision}' if revision else ''}"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # it is read on import
    hub, errors = importlib.import_module("huggingface_hub"), importlib.import_module("huggingface_hub.errors")
    endpoint = (os.environ.get("HF_ENDPOINT") or _ENDPOINT).rstrip("/")
    try:
        commit = str(hub.HfApi(endpoint=endpoint).model_info(repository, revision=revision or None, timeout=30).sha)
    except errors.RevisionNotFoundError:
        raise InputError(f"{where}: the repository has no such revision at {endpoint}") from None
    except errors.GatedRepoError:
        raise InputError(
            f"{where} is given to users who asked for it: accept its terms at {endpoint}/{repository}"
        ) from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise InputError(
            f"there is no {where} at {endpoint}, or it is private: check the name, or log in with hf auth login"
        ) from None
    except errors.HfHubHTTPError as error:  # of a mirror, which does not say which of these it is
        status = error.response.status_code
        if status not in (401, 403, 404):
            raise _unreachable(where, endpoint, error) from None
        raise InputError(
            f"{where} is not given out by {endpoint} (HTTP {status}): check the name and the revision; where it is "
            f"private or has terms, accept them at {endpoint}/{repository} and log in with hf auth login"
        ) from None
    except Exception as error:  # its transport's errors have no common class across its versions
        raise _unreachable(where, endpoint, error) from None
    return Snapshot(f"{endpoint}/{repository}/resolve/{commit}/", commit, hub.get_token() or "")


def _unreachable(where: str, endpoint: str, error: Exception) -> BasecastError:
    said = str(error).strip().partition("\n")[0] or repr(error)
    return BasecastError(
        f"{where}: {endpoint} could not be asked ({said}): check the network, HF_ENDPOINT and HTTPS_PROXY, then give "
        "the same command again"
    )
