"""Trial steps run in the precision of the run, and long enough to fill a GPU's queue."""

import pytest
import torch

from chemscale.points import trial


def test_a_trial_on_a_cpu_runs_in_the_precision_of_the_run():
    seen = []
    for precision in ("32", "bf16-mixed"):
        trial.time_trial(
            lambda: seen.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype), torch.device("cpu"), precision
        )
    assert seen == [torch.float32] * 2 + [torch.bfloat16] * 2


@pytest.mark.parametrize(("milliseconds", "timed"), [(1, 50), (60, 5), (1000, 2)])
def test_a_gpu_is_warmed_up_and_timed_over_many_steps_with_one_wait(monkeypatch, milliseconds, timed):
    clock, steps, waits = [0.0], [], []

    def step():
        clock[0] += milliseconds / 1e3
        steps.append(None)

    monkeypatch.setattr(trial.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waits.append(len(steps)))
    seconds = trial.time_trial(step, torch.device("cuda"), "32")
    assert seconds == pytest.approx(milliseconds / 1e3)
    assert waits == [trial.WARM_UP, trial.WARM_UP + 1, trial.WARM_UP + 1 + timed]
