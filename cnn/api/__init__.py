"""What the commands of `main.py` do, as functions: for scripts and notebooks; the commands call the same.

`import cnn` gives them their names:

| | |
|---|---|
| `cnn.configure(name, **changes)` | a config of `configs/` with fields changed, as a `ConfigDict` |
| `cnn.summary(config)` | what every layer makes of an image, without data and without JAX |
| `cnn.run(config, workdir)` | trains, evaluates and writes the run; again: continues it, or reads its result |
| `cnn.run(..., data=cnn.Arrays(train=(x, y), ...))` | the same on arrays; `save_data` writes them into a file |
| `cnn.load(workdir)` | a run that is there: its parameters, predictions, evaluations, curves, journeys; or a sweep |
| `cnn.load_data(config)` | its pictures and labels, as arrays: `summary()` tells what there is, `sheet()` draws some |
| `cnn.run_sweep(config, space, workdir)` | many runs, ranked; `grow` adds seeds, values and trials |
| `cnn.find_rate(config)` | fresh networks at many learning rates, and the rate to begin with |
| `cnn.smoke(config)` | every stage of a run, on a few pictures, in seconds |
| `cnn.overfit(config)` | trains on a few examples until they fit, and says why where they do not |
| `cnn.ensemble(sweep)`, `cnn.ensemble([run, run])` | several runs as one: evaluated, compared, predicting, exported |
| `cnn.convolve(picture, filter)` | the lesson's convolution by hand |

A wrong value raises `cnn.ConfigError` or `cnn.DataError`, both of them `ValueError`s, with the lines that the command
prints. Importing the modules of this package imports no JAX; what computes does.
"""
