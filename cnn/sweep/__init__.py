"""Many runs from one declaration: a space over config paths, drawn by Optuna, trained together on accelerators.

Every trial is an ordinary run directory below the sweep's own; what Optuna stores only says who is at which trial.
"""
