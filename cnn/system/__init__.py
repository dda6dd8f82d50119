"""The machine and the process: environment, memory, devices, hosts, signals. Knows nothing of networks."""
