#include "cpu/host/dispatch.h"

#include <stdlib.h>
#include <stdexcept>
#include <string>

// Those that are built, as CMake says by FASTNN_HAS_<name>.
extern "C" void fastnn_cpu_kernels_avx512(fastnn::Kernels&);
extern "C" void fastnn_cpu_kernels_avx2(fastnn::Kernels&);
extern "C" void fastnn_cpu_kernels_baseline(fastnn::Kernels&);

namespace fastnn {
namespace {

#if defined(__x86_64__)
// The compiler's runtime asks cpuid and, through xgetbv, whether the system saves the registers. Every
// processor with these has the smaller members of x86-64-v3 and -v4 too.
[[maybe_unused]] bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}
[[maybe_unused]] bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

}  // namespace

const Isa* isas(int* count) {
  static const Isa all[] = {
#ifdef FASTNN_HAS_avx512
      {"avx512", has_avx512(), fastnn_cpu_kernels_avx512},
#endif
#ifdef FASTNN_HAS_avx2
      {"avx2", has_avx2(), fastnn_cpu_kernels_avx2},
#endif
#ifdef FASTNN_HAS_baseline
      {"baseline", true, fastnn_cpu_kernels_baseline},
#endif
  };
  *count = sizeof(all) / sizeof(all[0]);
  return all;
}

const Isa& current_isa() {
  static const Isa& chosen = []() -> const Isa& {
    int count;
    const Isa* all = isas(&count);
    const char* wanted = getenv("FASTNN_ISA");
    std::string names;
    for (int i = 0; i < count; ++i) {
      if (wanted && *wanted ? std::string(wanted) == all[i].name && all[i].supported : all[i].supported)
        return all[i];
      if (all[i].supported) names += (names.empty() ? "" : ", ") + std::string(all[i].name);
    }
    if (names.empty())
      throw std::invalid_argument(
          "fastnn was built for another processor (FASTNN_ISAS=native); build it here");
    throw std::invalid_argument("FASTNN_ISA=" + std::string(wanted) +
                                " cannot be used here; this machine runs " + names);
  }();
  return chosen;
}

}  // namespace fastnn
