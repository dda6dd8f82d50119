"""A look into a network that is trained: what only its page reads."""

from pathlib import Path

from cnn import data, first_layer, journey, model
from cnn.config import Values


def look(
    values: Values, workdir: Path, variables: model.Variables, dataset: data.Dataset, *, step: int, judged: bool
) -> None:
    """Writes `first_layer.npz` and `journey.npz`, from the split that the run was evaluated on last.

    Args:
      values: the run's config.
      workdir: the run's directory.
      variables: the weights that the config chose.
      dataset: the run's.
      step: the updates behind the variables.
      judged: whether there is a validation split that training did not see.

    Raises:
      FloatingPointError: a layer's output is not finite.
      Disagreement: a number does not follow from what it is made of.
    """
    name = "test" if values.eval.test else "valid" if judged else "train"
    first_layer.write(values, workdir, variables, getattr(dataset, name).images)
    about = {"step": step, "weights": values.eval.weights}
    journey.follow_split(values, workdir, variables, dataset, name, about)
