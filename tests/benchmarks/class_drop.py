"""How often `class_drop` breaks for two equally good models, and how often for one that has lost a class.

python tests/benchmarks/class_drop.py
"""

import argparse
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pfa_gate.budget import Answers, ClassAnswers
from pfa_gate.budget.answers import judge_answers
from pfa_gate.config.budgets import CompressedBudgets
from pfa_gate.model.evaluation.recall import recalls

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Setting:
    """Two models on one evaluation.

    Attributes:
        classes: how many.
        each: samples of each class; rare classes have a tenth.
        recall: of both models in every class.
        changed: share of the right answers that are lost, and replaced by as many others that are won.
        loss: by how much the other model's recall of class 0 is less, as a share.
    """

    classes: int
    each: int
    recall: float
    changed: float
    rare: int = 0
    loss: float = 0.0

    def draw(self, generator: np.random.Generator) -> tuple[IntArray, IntArray, IntArray]:
        """Labels, and what both models answer: the class itself or the next one."""
        sizes = [self.each // 10 if number < self.rare else self.each for number in range(self.classes)]
        labels = np.repeat(np.arange(self.classes), sizes)
        full = generator.random(len(labels)) < self.recall
        lost = self.changed + self.loss / self.recall * (labels == 0)
        won = self.changed * self.recall / (1 - self.recall)  # as many as are lost
        kept = np.where(full, generator.random(len(labels)) >= lost, generator.random(len(labels)) < won)
        wrong = (labels + 1) % self.classes
        return labels, np.where(full, labels, wrong), np.where(kept, labels, wrong)


EQUAL = [
    Setting(10, 76, 0.92, 0.03),
    Setting(10, 76, 0.92, 0.08),
    Setting(10, 1000, 0.92, 0.03),
    Setting(100, 50, 0.75, 0.05),
    Setting(100, 100, 0.75, 0.20),
    Setting(10, 400, 0.90, 0.05, rare=5),
    Setting(2, 200, 0.80, 0.10),
]
LOST = [
    Setting(10, 76, 0.92, 0.03, loss=0.1),
    Setting(10, 76, 0.92, 0.03, loss=0.2),
    Setting(10, 1000, 0.92, 0.03, loss=0.1),
    Setting(100, 100, 0.75, 0.05, loss=0.2),
]


def broken(setting: Setting, seed: int) -> tuple[bool, bool, bool]:
    """Whether the budget breaks at 0 pp and at 5 pp, and whether the largest fall alone would, at 5 pp."""
    found = recalls(*setting.draw(np.random.default_rng(seed)))
    classes = tuple(
        ClassAnswers(each.label, each.samples, each.full, each.other, each.lost, each.won, each.p) for each in found
    )
    answers = Answers("evaluation", sum(each.samples for each in classes), classes=classes)
    verdicts = [judge_answers(limit, answers, "class_drop", "").outcome == "broken" for limit in LIMITS]
    return verdicts[0], verdicts[1], answers.judged_classes[0].fall > 5


LIMITS = [CompressedBudgets.model_validate({"class_drop": f"{points} pp"}).class_drop for points in (0, 5)]


def main() -> None:
    """Print a table of each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=4000)
    draws = parser.parse_args().draws
    for title, settings in (("equal models", EQUAL), ("class 0 has lost", LOST)):
        print(f"| {title} | broken at 0 pp | broken at 5 pp | largest fall above 5 pp |\n|---|---|---|---|")
        for setting in settings:
            shares = np.mean([broken(setting, seed) for seed in range(draws)], axis=0)
            rare = f", {setting.rare} of them a tenth" if setting.rare else ""
            lost = f", {100 * setting.loss:g} pp lost" if setting.loss else ""
            name = f"{setting.classes} classes of {setting.each:,}{rare}, {100 * setting.changed:g} % lost and won"
            print(f"| {name}{lost} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()
