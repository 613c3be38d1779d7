"""What was tried for speed and not kept, for the report: written by hand, each with what it gave where it was measured."""

TRIED = """\
- `torch.compile` of the loss of a phase, on two cores: updates of AutoEncoder224's five stages took 1.1 to 2.6 times as long as
  eager ones, its joint update 1.09 times, the three stages of conv 1-16-32-64 1.4 to 2.6 times; the first call took 8 to 26 s.
  Channels-last convolutions of oneDNN leave the compiler little to fuse.
- All seeds as one batched model, of wide nets: 784-500 on batches of 256 took 1.2 to 1.3 times as long as one seed after
  the other. Of narrow nets it is kept, as `stacked.runs.batched_seeds`.
- Codes kept in half precision: they would not equal recomputed ones to the bit.
- Transposed convolutions split into four by output phase (sub-pixel kernels): their backward pass was slower than oneDNN's.
- Rectifiers in place: what batch norm gives is not kept for its backward pass anyway, so nothing was saved.
- Channels padded to a multiple of the vector width: the copies cost what the kernels gained.
- Huge pages for the whole heap by glibc's own setting: slower than asking for them where torch allocates.
- Keeping only freed blocks of up to 8 MiB, where huge pages are had: AutoEncoder224 took 125 MB less, and 6 to
  9 % longer greedily."""
