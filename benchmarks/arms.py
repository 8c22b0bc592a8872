"""What is compared, run in turn: each arm in a process of its own, one after the other in every round.

Processes of their own, because the package fixes TensorFlow's threads and makes its operations deterministic, which
would slow whatever else ran beside it. One process works at a time; the others wait.
"""

import multiprocessing
import statistics
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Setting:
    """How a run measures: ``smoke`` is the tiny size, ``scratch`` an empty folder on the disk of the project."""

    smoke: bool
    rounds: int
    threads: int
    scratch: Path
    shared: Path  # where the real data lie, if they are there

    def size(self, full: int, smoke: int) -> int:
        """``full``, or ``smoke`` in a smoke run."""
        return smoke if self.smoke else full


class Arm(NamedTuple):
    """``prepare(**arguments)`` makes ready and returns what is run each round: a function that returns seconds."""

    prepare: Callable[..., Callable[[], float]]
    arguments: Mapping[str, Any] = {}


def in_turn(arms: Mapping[str, Arm], setting: Setting, warm_ups: int = 1) -> dict[str, list[float]]:
    """The seconds of each arm in each round; every second round goes through the arms backwards.

    ``warm_ups`` rounds before them are not counted. A smoke run has all arms in this process, and one round.
    """
    if setting.smoke:
        return {name: [arm.prepare(**arm.arguments)()] for name, arm in arms.items()}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    context = multiprocessing.get_context("spawn")
    processes, ends = [], {}
    try:
        for name, arm in arms.items():
            ends[name], other = context.Pipe()
            processes.append(context.Process(target=_serve, args=(other, arm), daemon=True))
            processes[-1].start()
            _answer(ends[name])
        for number in range(-warm_ups, setting.rounds):
            for name in list(arms)[:: -1 if number % 2 else 1]:
                ends[name].send("run")
                if number >= 0:
                    seconds[name].append(_answer(ends[name]))
                else:
                    _answer(ends[name])
    finally:
        for process in processes:
            process.kill()
            process.join()
    return seconds


def times_faster(ours: list[float], others: list[float]) -> list[float]:
    """How many times faster ours was, round by round; of a limit, the share of it that was reached."""
    return [other / own for own, other in zip(ours, others, strict=True)]


def per_second(count: float, seconds: list[float]) -> float:
    """The median rate at which ``count`` things were done."""
    return count / statistics.median(seconds)


def _serve(end: Connection, arm: Arm) -> None:
    try:
        run = arm.prepare(**arm.arguments)
        end.send(0.0)
        while end.recv():
            end.send(run())
    except EOFError:
        pass
    except Exception:
        end.send(traceback.format_exc())


def _answer(end: Connection) -> float:
    answer = end.recv()
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return answer
