"""From a ConfigDict, or a run's `config.json`, to frozen values and the list of all that is wrong with it. No JAX."""
