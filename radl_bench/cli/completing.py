"""What the shell offers when a name is being typed; `radl-bench --install-completion` turns it on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Completion = Callable[[str], list[str]]


def one_of(*words: str) -> Completion:
    """Offer these words."""
    return lambda incomplete: _starting(words, incomplete)


def part(kind: str, *more: str) -> Completion:
    """Offer the names of a kind of part (a key of `registry.KINDS`), and `more`."""

    def offer(incomplete: str) -> list[str]:
        from radl_bench.registry import known

        return _starting((*known(kind), *more), incomplete)

    return offer


def benchmark(incomplete: str) -> list[str]:
    """Offer the names of the benchmarks of this machine."""
    from radl_bench.benchmarks.loading import benchmark_folders

    return _starting(benchmark_folders(), incomplete)


def _starting(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
