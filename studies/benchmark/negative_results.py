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
- Wider convolutions gain less, and nothing was found against it. In one profile on a busy machine (one thread), an end-to-end
  update of 24-48-96 in batches of 64 took 0.69 of the processor time of the hand-written loop, and one of 16-32-64 in batches
  of 256 took 0.58. oneDNN's convolutions, which both call, were 79 % of the loop's time in the first and 69 % in the second. A
  likely reason: their work grows with the product of the channels, but what is saved, such as the gradients of biases, with the
  channels alone."""
