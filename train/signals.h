// Signals, kept off the threads that compute.
#pragma once

namespace lacuna {

/// Blocks every asynchronous signal in the calling thread, and so in all threads that are started from it afterwards, and starts
/// a thread that takes them: handlers then run there, and dispositions (to end, to stop) are as before. Call it first in
/// main(), before anything computes. Where no thread can be had, nothing is changed.
///
/// Why: oneDNN's sgemm without packing (seen in 2.6.3, AVX2) points the stack pointer into its workspace on the heap. A
/// handler that interrupts it, even an empty one, has its frame of a few KiB written below that workspace, over whatever
/// lies there: NaN weights, or "corrupted size vs. prev_size" much later. A program of your own that trains on a CPU and has
/// a handler needs this call, or sigaltstack() and SA_ONSTACK in every thread, OpenMP's too.
void keep_signals_off_computing_threads();

}  // namespace lacuna
