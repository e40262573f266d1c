"""What a method changes in the process stays with the method.

Its own calls find its working folder, environment, default dtype and so on as it left them; everybody else finds what
was there before. Without that, a method that turns gradients off or sets another default dtype changes what the judges
and the methods after it compute, one that closes the output keeps the command from saying what it did, and one that
ignores Ctrl-C cannot be stopped.
"""

from __future__ import annotations

import contextlib
import locale
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any, NamedTuple

from radl_bench.streams import reopened

_theirs: dict[str, Any] = {}
"""What the method at work changed, by name; another method starts without any."""

Handler = Callable[[int, FrameType | None], Any]

_STOPS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def apart(fresh: bool = False) -> Iterator[None]:
    """Run a method's code in the block: what it changed of the process is there, and is gone again afterwards.

    Args:
        fresh: it is another method than before, which changed nothing yet.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM came in the block, even where the method caught it.
    """
    if fresh:
        _theirs.clear()
    ours = _read()
    _write(_theirs)
    try:
        with _streams(), _stoppable():
            yield
    finally:
        left = _read()
        _theirs.clear()
        _theirs.update({name: value for name, value in left.items() if value != ours[name]})
        _write({name: ours[name] for name in _theirs})
        _reopen()


class _Fact(NamedTuple):
    """Something that a method may change: how it is read and written."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # somebody removed it
        return None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _environment(wanted: dict[str, str]) -> None:
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in wanted.items() if os.environ.get(name) != value})


def _of(
    module: str, usual: Callable[[Any], Any], read: Callable[[Any], Any], write: Callable[[Any, Any], object]
) -> _Fact:
    """Return a fact about a library, None as long as nobody has imported it; `usual` is what it is then."""

    def put(value: Any) -> None:
        found: ModuleType | None = sys.modules.get(module)
        if found is not None:
            write(found, usual(found) if value is None else value)

    return _Fact(lambda: read(sys.modules[module]) if module in sys.modules else None, put)


def _blocks(torch: Any) -> int:
    """Return how many autocast blocks are entered and not left: torch keeps cast weights while there are any."""
    torch.autocast_increment_nesting()
    return int(torch.autocast_decrement_nesting())


def _set_blocks(torch: Any, wanted: int) -> None:
    for _ in range(wanted - _blocks(torch)):
        torch.autocast_increment_nesting()
    for _ in range(_blocks(torch) - wanted):
        torch.autocast_decrement_nesting()
    torch.clear_autocast_cache()


_FACTS = {
    "folder": _Fact(_folder, lambda folder: os.chdir(folder or os.curdir)),
    "umask": _Fact(_umask, os.umask),
    "environment": _Fact(lambda: dict(os.environ), _environment),
    "locale": _Fact(lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
    "recursion": _Fact(sys.getrecursionlimit, sys.setrecursionlimit),
    "stdout": _Fact(lambda: sys.stdout, lambda stream: setattr(sys, "stdout", stream)),
    "stderr": _Fact(lambda: sys.stderr, lambda stream: setattr(sys, "stderr", stream)),
    "dtype": _of("torch", lambda t: t.float32, lambda t: t.get_default_dtype(), lambda t, v: t.set_default_dtype(v)),
    "device": _of(
        "torch",
        lambda t: t.device("cpu"),
        lambda t: t.get_default_device(),
        lambda t, v: t.set_default_device(None if v.type == "cpu" else v),
    ),
    "gradients": _of("torch", lambda _: True, lambda t: t.is_grad_enabled(), lambda t, v: t.set_grad_enabled(v)),
    "autocast": _of(
        "torch",
        lambda _: (False, False),
        lambda t: tuple(map(t.is_autocast_enabled, ("cpu", "cuda"))),
        lambda t, v: list(map(t.set_autocast_enabled, ("cpu", "cuda"), v)),
    ),
    "autocast blocks": _of("torch", lambda _: 0, lambda t: _blocks(t), lambda t, v: _set_blocks(t, v)),
    "deterministic": _of(
        "torch",
        lambda _: False,
        lambda t: t.are_deterministic_algorithms_enabled(),
        lambda t, v: t.use_deterministic_algorithms(v),
    ),
    "products": _of(
        "torch",
        lambda _: "highest",
        lambda t: t.get_float32_matmul_precision(),
        lambda t, v: t.set_float32_matmul_precision(v),
    ),
    "errors": _of(
        "numpy",
        lambda _: {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"},
        lambda n: n.geterr(),
        lambda n, v: n.seterr(**v),
    ),
    "cut files": _of(
        "PIL.ImageFile",
        lambda _: False,
        lambda p: p.LOAD_TRUNCATED_IMAGES,
        lambda p, v: setattr(p, "LOAD_TRUNCATED_IMAGES", v),
    ),
}


def _read() -> dict[str, Any]:
    return {name: fact.read() for name, fact in _FACTS.items()}


def _write(values: dict[str, Any]) -> None:
    for name, value in values.items():
        with contextlib.suppress(OSError, locale.Error, RecursionError):  # what is impossible now: a folder is gone
            _FACTS[name].write(value)


@contextlib.contextmanager
def _streams() -> Iterator[None]:
    """Keep the standard streams: one that the block closes, or leads elsewhere, is itself again after it."""
    kept = {number: _copy(number) for number in range(3)}
    try:
        yield
    finally:
        for number, copy in kept.items():
            with contextlib.suppress(OSError):  # the block closed every file there is
                if copy is not None and not _same(number, copy):
                    os.dup2(copy, number)
                if copy is not None:
                    os.close(copy)


def _copy(number: int) -> int | None:
    """Return a copy with a high number, so that closing every file up to some number does not meet it."""
    try:
        import fcntl
        import resource

        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 4096) - 8)
    except ImportError:  # Windows
        return os.dup(number)
    except (OSError, ValueError):  # a closed stream, or no number left up there
        return None


def _same(number: int, copy: int) -> bool:
    try:
        return os.path.samestat(os.fstat(number), os.fstat(copy))
    except OSError:
        return False


def _reopen() -> None:
    """Replace the text streams that were closed."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not None and not _is_open(stream):
            setattr(sys, name, reopened(number, stream))


def _is_open(stream: Any) -> bool:
    try:
        return not stream.closed
    except ValueError:  # somebody detached what is below it
        return False


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Keep how Ctrl-C and SIGTERM are handled, and raise what our handler raised where the block caught it."""
    if threading.current_thread() is not threading.main_thread():  # no other thread may say anything about signals
        yield
        return
    stops: list[BaseException] = []
    before = {number: signal.getsignal(number) for number in _STOPS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ()) if hasattr(signal, "pthread_sigmask") else None
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, _noting(handler, stops))
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: not set from Python, and so not to be set back
                signal.signal(number, handler)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if stops:
            raise stops[0]


def _noting(handler: Handler, stops: list[BaseException]) -> Handler:
    def note(number: int, frame: FrameType | None) -> Any:
        try:
            return handler(number, frame)
        except BaseException as error:
            stops.append(error)
            raise

    return note
