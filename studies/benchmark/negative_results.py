"""Optimisations that were tried and rejected, with their measured effect: hand-written text for the report."""

TRIED = """\
- `torch.compile` of the loss of a phase, on two cores: updates of the five stages of AutoEncoder224 took 1.1 to 2.6 times as long
  as without it, its joint update 1.09 times, and the three stages of conv 1-16-32-64 1.4 to 2.6 times; the first call took 8 to
  26 s. With channels-last convolutions of oneDNN the compiler has little to fuse.
- All seeds as one batched model, for wide networks: 784-500 with batches of 256 took 1.2 to 1.3 times as long as one seed after
  the other. For narrow networks it is faster and is used in `stacked.runs.batched_seeds`.
- Cached codes in half precision: they would differ from recomputed codes.
- Transposed convolutions split into four by output phase (sub-pixel kernels): their backward pass was slower than that of oneDNN.
- In-place ReLU: the output of batch norm is not stored for the backward pass anyway, so no memory was saved.
- Channels padded to a multiple of the vector width: the copies took as much time as the kernels saved.
- Huge pages for the whole heap by glibc's setting: slower than huge pages for torch's allocations only.
- Keeping only freed blocks of up to 8 MiB, with huge pages: AutoEncoder224 took 125 MB less memory, but 6 to 9 % more time with
  greedy training.
- Wider convolutions gain less, and nothing was found against it that does not change the results. 24-48-96 in batches of 64
  took 0.67 to 0.79 of the processor time of a loop without a DataLoader with 3 epochs in each phase (three pairs on a busy
  machine, one thread), and 0.80 to 0.83 with a single epoch, in which no code is read twice. By operation, convolutions were
  two thirds of both: 247 instead of 320 ms for 8 updates in each of four phases, all else 119 instead of 165 ms. What is saved,
  such as the gradients of biases, grows with the channels alone, and the work of a convolution with their product. Between 24,
  48 and 96 channels our convolutions made 57 to 120 GFLOP/s, and a matrix product beside them 92 to 100, so that little is
  left. The first and the last convolution, of one channel, made 7 to 18 GFLOP/s, but were only 2 of the 14 ms of all
  convolutions of an end-to-end update.
- On the processor of the latest rows, the dense workload took 0.79 of the time of the loop with a DataLoader; with rows of commit
  b2c72d7, measured on another one, it was 0.68. The code is not the reason: on the latest one, a shortened workload took 7.8 and
  8.6 s with b2c72d7, and 9.0 and 8.0 s with today's code, with bitwise equal errors."""
