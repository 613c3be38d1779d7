"""The workloads of the benchmark: functions that train or start something and return its time and memory."""
