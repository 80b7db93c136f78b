"""An experiment -> its plan -> records."""
