#include <fmt/format.h>
#include <omp.h>

#include <cmath>
#include <cstdio>
#include <thread>

#include "app/commands.h"
#include "core/device.h"
#include "core/errors.h"
#include "core/ops/densify.h"
#include "core/ops/matmul.h"
#include "core/ops/spmm.h"
#include "core/random.h"

namespace lacuna {
namespace {

// A small SpMM on the device against the dense product on the CPU: finds a broken driver, toolkit or build.
double spmm_error(Device device) {
  const Tensor mask = Tensor::from<std::uint8_t>(
      [] {
        std::vector<std::uint8_t> bytes(67 * 45);
        for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = i % 7 == 0;
        return bytes;
      }(),
      {67, 45});
  const TopologyPtr topology = Topology::from_mask(mask);
  const SparseTensor a{random_normal({topology->nnz()}, 0, 1, {1, 0}, DType::f32, kCpu), topology};
  const Tensor b = random_normal({45, 33}, 0, 1, {2, 0}, DType::f32, kCpu);
  const std::vector<float> expected = matmul(densify(a), b).to_vector<float>();
  const std::vector<float> got =
      spmm(SparseTensor{a.values.to(device), topology->to(device)}, b.to(device)).to_vector<float>();
  double worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i)
    worst = std::max(worst, static_cast<double>(std::abs(got[i] - expected[i])));
  return worst;
}

const char* yes_no(bool value) { return value ? "yes" : "no"; }

}  // namespace

int doctor_command() {
  fmt::print("lacuna {}\n", LACUNA_VERSION);
  fmt::print("CPU         {} threads, OpenMP uses {}; AVX2 {}, AVX-512 {}\n", std::thread::hardware_concurrency(),
             omp_get_max_threads(), yes_no(__builtin_cpu_supports("avx2")), yes_no(__builtin_cpu_supports("avx512f")));
#if defined(LACUNA_WITH_ONEDNN)
  fmt::print("dense CPU   oneDNN\n");
#else
  fmt::print(
      "dense CPU   Eigen (oneDNN was not found when this was built: install libdnnl-dev for faster dense products)\n");
#endif
  const std::string why = cuda_unavailable_reason();
  if (!why.empty()) fmt::print("CUDA        none: {}\n", why);
  int broken = 0;
  for (const Device device : devices()) {
    try {
      const double error = spmm_error(device);
      const bool good = error < 1e-4;
      broken += !good;
      fmt::print("{:<11} {}: SpMM self-check {} (largest error {:.1e})\n", to_string(device), device_name(device),
                 good ? "passed" : "FAILED", error);
    } catch (const Error& e) {
      ++broken;
      fmt::print("{:<11} FAILED: {}\n", to_string(device), e.what());
    }
  }
  fmt::print("{}\n", broken == 0 ? "all good" : "something is broken: see above");
  return broken == 0 ? kExitDone : kExitRuntime;
}

}  // namespace lacuna
