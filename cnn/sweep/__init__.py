"""Many runs from one declaration: a space over config paths, drawn by Optuna, trained together on accelerators.

Every trial is an ordinary run directory below the sweep's own; Optuna's storage says which worker is at which trial.
"""
