#include <fmt/format.h>
#include <omp.h>

#include <cmath>
#include <cstdio>
#include <limits>
#include <thread>

#include "app/commands.h"
#include "core/device.h"
#include "core/errors.h"
#include "core/kernel_set.h"
#include "core/ops/densify.h"
#include "core/ops/matmul.h"
#include "core/ops/sddmm.h"
#include "core/ops/spmm.h"
#include "core/random.h"

namespace lacuna {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Largest difference of `got` from `expected`; NaN if a number is.
double largest_error(const Tensor& got, const std::vector<float>& expected) {
  const std::vector<float> values = got.to_vector<float>();
  double worst = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double error = std::abs(static_cast<double>(values[i]) - expected[i]);
    if (!(error <= worst)) worst = error;  // a NaN stays: no error is larger
    if (std::isnan(worst)) return worst;
  }
  return worst;
}

/// Largest error of a small SpMM and SDDMM on the device by every route, against dense products on the CPU: finds a
/// broken driver, toolkit or build.
double self_check(Device device) {
  constexpr std::int64_t kRows = 67, kCols = 45, kOther = 36;  // in fours: tensor cores take them
  const Tensor mask = Tensor::from<std::uint8_t>(
      [] {
        std::vector<std::uint8_t> bytes(kRows * kCols);
        for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = i % 4 == 0;
        return bytes;
      }(),
      {kRows, kCols});
  const TopologyPtr topology = Topology::from_mask(mask), there = topology->to(device);
  const SparseTensor a{random_normal({topology->nnz()}, 0, 1, {1, 0}, DType::f32, kCpu), topology};
  const Tensor b = random_normal({kCols, kOther}, 0, 1, {2, 0}, DType::f32, kCpu);
  const Tensor c = random_normal({kRows, kOther}, 0, 1, {3, 0}, DType::f32, kCpu);
  const std::vector<float> product = matmul(densify(a), b).to_vector<float>();
  const std::vector<float> gradient = sddmm(c, b, topology).values.to_vector<float>();
  double worst = 0;
  for (const Route route : {Route::sparse, Route::tensor, Route::dense}) {
    const Tensor out = Tensor::full({kRows, kOther}, kNan, DType::f32, device);
    spmm_into(out, {a.values.to(device), there}, b.to(device), route);
    const Tensor values = Tensor::full({topology->nnz()}, kNan, DType::f32, device);
    sddmm_into(values, c.to(device), b.to(device), there, 1, route);
    for (const double error : {largest_error(out, product), largest_error(values, gradient)})
      if (!(error <= worst)) worst = error;
    if (std::isnan(worst)) return worst;
  }
  return worst;
}

const char* yes_no(bool value) { return value ? "yes" : "no"; }

}  // namespace

int doctor_command(const DoctorArguments&) {
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
      const double error = self_check(device);
      const bool good = error < 1e-4;
      broken += !good;
      fmt::print("{:<11} {}: self-check of SpMM and SDDMM {} (largest error {:.1e})\n", to_string(device),
                 device_name(device), good ? "passed" : "FAILED", error);
      const std::string off = names_off(allowed_kernels(device));
      if (!off.empty()) fmt::print("            not used here: {}\n", off);
    } catch (const Error& e) {
      ++broken;
      fmt::print("{:<11} FAILED: {}\n", to_string(device), e.what());
    }
  }
  fmt::print("{}\n", broken == 0 ? "all good" : "something is broken: see above");
  return broken == 0 ? kExitDone : kExitRuntime;
}

}  // namespace lacuna
