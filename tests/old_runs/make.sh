#!/usr/bin/env bash
# Writes the runs and sweeps that runs.tar.gz holds; was run in the repository at commit ea51c63,
# sweep-process at f0b29a6, the last with that engine.
set -uo pipefail
rm -rf old && mkdir old
tiny=(--config=configs/digits.py '--config.data.image_shape=(8, 8, 1)' --config.data.fit=exact --config.data.augment= --config.train.batch_size=128 --config.train.epochs=2 --config.train.log_every_steps=5 --config.report.page=end)
plain="--config.model.layers=conv(2, 3) | relu | max_pool(2) | flatten | dense(classes) | softmax"
normalised="--config.model.layers=conv(2, 3) | batch_norm | relu | max_pool(2) | flatten | dense(classes) | softmax"
python main.py "${tiny[@]}" "$normalised" '--config.train.average=ema(0.9)' --workdir=old/finished
python main.py "${tiny[@]}" "$plain" --config.optimizer.name=muon --workdir=old/finished-muon
for name in momentum adam nadam muon; do
    CNN_FAULT=step:term:2 python main.py "${tiny[@]}" "$plain" '--config.checkpoint.every=steps(5)' --config.optimizer.name=$name --workdir=old/unfinished-$name
done
python main.py sweep "${tiny[@]}" "$plain" '--grid=optimizer.learning_rate=1e-3,1e-2;seed=0,1' --workdir=old/sweep
cat > old/copies.py <<'END'
def get_sweep():
    return {"space": {"train.label_smoothing": [0.0, 0.1]}, "sampler": "random(seed=0)", "trials": 6}
END
python main.py sweep "${tiny[@]}" "$plain" --sweep=old/copies.py --workdir=old/sweep-copies
CNN_FAULT=settled:term:2 python main.py sweep "${tiny[@]}" "$plain" '--grid=optimizer.learning_rate=1e-3,1e-2;seed=0,1' --sweep.engine=process --sweep.jobs=2 --workdir=old/sweep-process
rm -rf old/*/figures old/*/report.html old/*/trials/*/report.html old/*/trials/*/figures
tar czf runs.tar.gz old
