"""Checking many headers: files, folders, globs and remote objects, in processes or on a cluster.

Remote objects come through fsspec (``s3://``, ``https://``, …), clusters are Dask's: both are
extras, imported when they are used.
"""

from __future__ import annotations

import glob
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from luksmeta.errors import LuksError, StorageError
from luksmeta.target import FileObjectStorage
from luksmeta.trust.check import check
from luksmeta.trust.policy import Policy, Source
from luksmeta.trust.rows import Row

CHUNK: Final = 128
"""Headers to a task: their results, some 20 KiB, travel together."""

_FEW: Final = 512  # headers: below, starting processes takes longer than the checks
_WAITING: Final = 4  # tasks for each worker that may be under way
_REMOTE_BLOCK: Final = 64 << 10  # bytes: most headers in one request


class _Task(Protocol):
    def result(self) -> list[Row]:
        """The rows, when they are there."""


_Work: TypeAlias = Callable[[Sequence[str]], list[Row]]
_Submit: TypeAlias = Callable[[Sequence[str]], _Task]


def check_all(
    targets: Iterable[str | os.PathLike[str]],
    policy: Source = "default",
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    deep: bool = False,
) -> Iterator[Row]:
    """Check every header that ``targets`` name, in their order, as :func:`expand` finds them.

    ``jobs`` processes work (default: one for each CPU, or none but this one where there is little
    to do); they are started afresh, so a script needs ``if __name__ == "__main__"``. With
    ``scheduler``, the address of a Dask scheduler, its workers do, which must see the same files
    and have this package. What cannot be read is a row with an error. Raises ValueError for what is
    no policy, and when an extra is missing.
    """
    work = partial(check_each, policy=Policy.load(policy), deep=deep)
    images = expand(os.fspath(target) for target in targets)
    if scheduler is not None:
        yield from _on_cluster(scheduler, work, images)
        return
    first = list(islice(images, _FEW))
    workers = jobs or (os.cpu_count() or 1)
    if workers == 1 or (jobs is None and len(first) < _FEW):
        for image in chain(first, images):
            yield from work([image])
        return
    context = multiprocessing.get_context("spawn")
    ignored = (signal.SIGINT, signal.SIG_IGN)  # in a worker: this process ends them
    with ProcessPoolExecutor(workers, context, signal.signal, ignored) as pool:
        try:
            yield from _in_order(partial(pool.submit, work), chain(first, images), workers)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def expand(targets: Iterable[str]) -> Iterator[str]:
    """Each target's files: those below a folder, those that a glob names, or itself.

    Every regular file below a folder counts: a wiped header must not go unnoticed.
    """
    for target in targets:
        if "://" in target:
            yield from _expand_remote(target)
        elif os.path.lexists(target):
            yield from _files_below(target) if Path(target).is_dir() else (target,)
        elif glob.has_magic(target):
            named = sorted(glob.iglob(target, recursive=True))  # noqa: PTH207  # a text, not below a folder
            yield from (each for each in named if not Path(each).is_dir())
        else:
            yield target


def check_each(images: Sequence[str], policy: Policy, *, deep: bool = False) -> list[Row]:
    """The row of every image; what goes wrong with one is said in its row."""
    return [_check_one(image, policy, deep=deep) for image in images]


def _check_one(image: str, policy: Policy, *, deep: bool) -> Row:
    try:
        if "://" not in image:
            return Row.of(check(image, policy, deep=deep), image)
        with _remote(image) as storage:
            return Row.of(check(storage, policy, deep=deep), image)
    except LuksError as error:
        return Row(image, policy.name).failed(error)
    except Exception as error:
        if "://" not in image:
            raise
        # Every kind of remote storage has errors of its own.
        return Row(image, policy.name).failed(StorageError(f"{type(error).__name__}: {error}"))


@contextmanager
def _remote(url: str) -> Iterator[FileObjectStorage]:
    filesystem, path = _extra("fsspec", url).core.url_to_fs(url)
    with filesystem.open(path, "rb", block_size=_REMOTE_BLOCK) as file:
        storage = FileObjectStorage(file)
        storage.name = url
        yield storage


def _files_below(folder: str) -> Iterator[str]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root, name)
            if path.is_file():
                yield str(path)


def _expand_remote(url: str) -> Iterator[str]:
    fsspec = _extra("fsspec", url)
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        if glob.has_magic(path):
            found = filesystem.glob(path)
        else:
            found = filesystem.find(path) if filesystem.isdir(path) else [path]
        yield from sorted(map(filesystem.unstrip_protocol, found))
    except Exception:  # noqa: BLE001  # every kind of remote storage has errors of its own
        yield url  # the check of it says what is wrong


def _on_cluster(address: str, work: _Work, images: Iterator[str]) -> Iterator[Row]:
    distributed = _extra("distributed", address)
    with distributed.Client(address) as client:
        workers = max(1, len(client.nthreads()))
        submit = partial(client.submit, work, pure=False)
        yield from _in_order(submit, images, workers)


def _in_order(submit: _Submit, images: Iterator[str], workers: int) -> Iterator[Row]:
    """The rows in the order of the images; only so many tasks are under way as keep all busy."""
    under_way: deque[_Task] = deque()
    while chunk := list(islice(images, CHUNK)):
        under_way.append(submit(chunk))
        if len(under_way) >= workers * _WAITING:
            yield from under_way.popleft().result()
    while under_way:
        yield from under_way.popleft().result()


def _extra(name: str, what: str) -> Any:  # noqa: ANN401  # a module without types
    try:
        return import_module(name)
    except ImportError:
        raise ValueError(f"{what}: needs {name}, which comes with luksmeta[fleet]") from None
