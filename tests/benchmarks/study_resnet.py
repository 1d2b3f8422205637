"""A study of the trained CIFAR ResNets, the inner convolution of each block cut: `… study_resnet.py --help`.

What `pfa-gate study tests/benchmarks/resnets.study.yaml` does, with each trial appended to a file as it is done, so
that a long run that is broken off has not been for nothing.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch

from pfa_gate.record.study import Trial, dumps_study
from pfa_gate.study.options import StudyOptions, listed
from pfa_gate.study.run import StudyObserver, run

CONFIG = Path(__file__).parent / "resnets.study.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gate", default="resnet20", choices=["resnet20", "resnet56"])
    parser.add_argument("--strategies", default="kl,energy:0.95,energy:0.90,energy:0.80")
    parser.add_argument("--selections", default="l1")
    parser.add_argument("--recoveries", default="compensate,none")
    parser.add_argument("--random", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("study.json"), help="and beside it .jsonl, trial by trial")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ask = StudyOptions(
        strategies=listed(arguments.strategies),
        selections=listed(arguments.selections),
        recoveries=listed(arguments.recoveries),
        random=arguments.random,
        uniform=True,
    )
    started = time.perf_counter()
    with arguments.output.with_suffix(".jsonl").open("w", encoding="utf-8") as lines:

        def told(trial: Trial) -> None:
            lines.write(json.dumps(asdict(trial)) + "\n")
            lines.flush()
            accuracy = trial.reason if trial.accuracy is None else f"{100 * trial.accuracy:.2f} %"
            name = f"{trial.strategy} {trial.counts} {trial.draw} {trial.selection} {trial.recovery}"
            print(f"{time.perf_counter() - started:7.0f} s  {name}: {accuracy}", flush=True)

        study = run(CONFIG, arguments.gate, ask, StudyObserver(trial=told))
    arguments.output.write_text(dumps_study(study), encoding="utf-8")
    for row in study.rows:
        print(row)


if __name__ == "__main__":
    main()
