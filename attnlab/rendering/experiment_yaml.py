"""An experiment as YAML: what differs from the defaults, in the form that ``attnlab sweep FILE`` reads."""

from __future__ import annotations

import yaml

from attnlab.config.experiment import Experiment


def experiment_yaml(experiment: Experiment) -> str:
    """Write an experiment as YAML.

    Args:
        experiment: The experiment.

    Returns:
        YAML that reads as the same experiment.
    """
    data = experiment.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)
