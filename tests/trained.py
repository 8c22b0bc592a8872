"""What tests of trained models share."""

import pandas as pd

from lesion_utils.study import StudyParams
from lesion_utils.training import Trained, train


def train_in(study: StudyParams, name: str, cases: pd.DataFrame) -> Trained:
    """Trains recipe ``name`` of a study into the study's folder, as its notebooks do."""
    return train(
        study.trainings[name],
        cases,
        seed=study.training_seed,
        threads=study.threads,
        weights=study.weights,
        folder=study.model_folder(name),
    )
