// What is measured on a problem: this library's kernels and what others offer for the same work. To add one, write a
// function that appends a Contender and name it in contenders(); docs/benchmarks.md shows an example.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "app/bench/problem.h"

namespace lacuna::bench {

enum class Kind : std::uint8_t {
  ours,    ///< this library
  sparse,  ///< another library's sparse kernel
  dense,   ///< a dense product (or softmax, or attention) of the same shape
};
const char* to_string(Kind kind);

/// A contender made ready for one problem: scratch, descriptors and plans are there.
struct Prepared {
  /// Enqueues call i on the device's stream and returns where its result will be. Calls use the problem's operands and
  /// topology of that call, so that they rotate. It must be capturable in a CUDA graph once it has run.
  std::function<Tensor(int call)> run;
  /// Whose result is compared: not the first, so that a contender which keeps its first operands is caught.
  int checked_call = 1;
  bool checked = true;  ///< false where the contender computes another function (dense causal attention)
  /// The problem's result from run's, where that is another thing (a whole dense product); null when it is the result.
  std::function<Tensor(const Tensor&, int call)> extract;
};

struct Contender {
  std::string name;
  Kind kind = Kind::ours;
  std::function<bool(const Problem&)> supports;
  /// May throw (an unsupported algorithm, no memory): the contender is then reported as failed on this problem.
  std::function<Prepared(const Problem&)> prepare;
};

/// All that this build has. The first of kind `ours` that supports a problem leads its headline.
std::vector<Contender> contenders();
/// Our kernels with one technique switched off each, named ablation_<what>; ablation_none has all of them. They take part
/// only where they are asked for by name.
std::vector<Contender> ablations();

void add_lacuna(std::vector<Contender>& list);  // the kernels, directly and through the ops that choose
void add_dense(
    std::vector<Contender>& list);  // oneDNN or Eigen, cuBLASLt f32 and TF32, through kernels/gemm; dense softmax
void add_eigen_sparse(std::vector<Contender>& list);  // CPU
void add_routes(std::vector<Contender>& list);         // the ops' routes, each forced; on CUDA, and only where asked for
#if LACUNA_HAS_CUDA
void add_cusparse(std::vector<Contender>& list);  // nothing when the build lacks cuSPARSE
void add_cublaslt_bf16(std::vector<Contender>& list);
#endif

/// Uninitialised [b, m, k] (no batch axis for b = 1), as many as exceed the cache twice, at most the rotation.
std::vector<Tensor> dense_buffers(const Problem& problem);
/// The same, each holding call 0's values, absent entries 0.
std::vector<Tensor> densified(const Problem& problem);

}  // namespace lacuna::bench
