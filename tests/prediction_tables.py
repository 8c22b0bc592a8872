"""Made-up prediction tables that the tests of the judge share."""

import numpy as np
import pandas as pd

CLASSES = ["bkl", "df", "mel", "nv"]
CLASSES_P = [f"p_{name}" for name in CLASSES]


def prediction_table(truth, scores, lesions, classes=CLASSES):
    """A table of the contract from class indices, probabilities and lesion numbers."""
    table = pd.DataFrame({"image_id": [f"img{i:05}" for i in range(len(truth))]})
    table["lesion_id"] = [f"les{lesion:05}" for lesion in lesions]
    table["label"] = np.array(classes)[truth]
    return pd.concat([table, pd.DataFrame(scores, columns=[f"p_{name}" for name in classes])], axis=1)


def table_of(lesions_per_class, views=3, seed=0, classes=CLASSES):
    """A table with so many lesions a class, ``views`` images each, of a model better than chance."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.repeat(np.arange(len(classes)), lesions_per_class), views)
    scores = rng.dirichlet(np.ones(len(classes)), len(truth)) + 0.5 * np.eye(len(classes))[truth]
    scores /= scores.sum(1, keepdims=True)
    return prediction_table(truth, scores, np.arange(len(truth)) // views, classes)


def named_only(table):
    """``table`` with the class that it names instead of its probabilities."""
    columns = [column for column in table if column.startswith("p_")]
    named = np.array([column.removeprefix("p_") for column in columns])[table[columns].to_numpy().argmax(1)]
    return table.drop(columns=columns).assign(predicted=named)
