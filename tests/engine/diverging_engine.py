"""The engine with adapters that are no numbers once tuning has begun: `python diverging_engine.py RUN_FOLDER`."""

import sys
from pathlib import Path

from fluxkit.engine.__main__ import main


def diverge() -> None:
    from fluxkit.engine.evaluate.protocols import Evaluator

    grade = Evaluator.grade

    def grade_diverged(self, flux, iteration, marks):
        for weight in flux.transformer.parameters():
            if weight.requires_grad and iteration:
                weight.data.fill_(float("nan"))
        grade(self, flux, iteration, marks)

    Evaluator.grade = grade_diverged


if __name__ == "__main__":
    diverge()
    sys.exit(main(Path(sys.argv[1])))
