"""Models on the Hugging Face Hub: fetched by their name, `owner/name`, and pushed.

What was fetched stays in the cache of `huggingface_hub`, which is all that is looked at where the Hub cannot be reached
or `HF_HUB_OFFLINE` is set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_FILES = (".ckpt", ".pt", ".safetensors", ".json")  # what these end is a file, never a model's name


def is_hub_name(path: Path | str) -> bool:
    """Whether this can only be a model on the Hub: of the form `owner/name`, and no folder `owner` is here.

    A slip in a local path, `runs/mien`, must not be looked up on the Hub: where `runs` is a folder, it is a path.
    """
    text = str(path)
    if not _NAME.fullmatch(text) or text.endswith(_FILES):
        return False
    return not Path(text).exists() and not Path(text).parent.exists()


def check_name(name: str) -> None:
    """ValueError unless a model on the Hub could have this name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name on the Hugging Face Hub: give owner/name")


def fetch(name: str, files: Sequence[str], revision: str | None = None, token: str | None = None) -> Path:
    """The folder with a model's files; downloaded unless the cache of `huggingface_hub` has them.

    Args:
        name: `owner/name`.
        files: which of its files are wanted.
        revision: a branch, a tag or a commit; the newest when None.
        token: for private models; what `hf auth login` or `HF_TOKEN` says when None.

    Raises:
        FileNotFoundError: there is no such model, or it cannot be reached.
    """
    try:
        return Path(snapshot_download(name, revision=revision, token=token, allow_patterns=list(files)))
    except GatedRepoError:
        reason = "it asks you to accept its terms first: do so on its page, then log in with `hf auth login`"
    except RepositoryNotFoundError:
        reason = "the Hub has none of this name: correct it, or log in with `hf auth login` if it is private"
    except RevisionNotFoundError:
        reason = f"it has no revision {revision!r}: choose a branch, a tag or a commit of it"
    except Exception as error:  # the network fails in many ways, each with a class of its own
        said = next(iter(str(error).splitlines()), type(error).__name__)
        reason = f"it is not in the cache, and the Hub cannot be reached ({said}): download it where there is a network"
    raise FileNotFoundError(f"no model {name}, neither here nor on the Hugging Face Hub: {reason}")


def push(folder: Path, name: str, files: Sequence[str], private: bool = True, token: str | None = None) -> str:
    """Uploads a model in one commit, so that nobody can download half of it.

    Args:
        folder: where the model lies.
        name: `owner/name`; made when there is none.
        files: which of its files to upload: results beside them name places on their author's machine.
        private: whether a new one is shown to nobody else. One that is there stays as it is.
        token: what `hf auth login` or `HF_TOKEN` says when None.

    Returns:
        The address of its page.

    Raises:
        ValueError: for a name that cannot be one.
        OSError: the Hub refuses, or cannot be reached.
    """
    check_name(name)
    api = HfApi(token=token)
    try:
        page = str(api.create_repo(name, private=private, exist_ok=True))
        api.upload_folder(
            repo_id=name, folder_path=folder, allow_patterns=list(files), commit_message="A model of hiclr"
        )
    except Exception as error:  # as above
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise OSError(
            f"{name} was not pushed ({said}): look at the name and the network, and log in with `hf auth login`"
        ) from None
    return page
