#include "cpu/host/dispatch.h"

#include <stdlib.h>
#include <stdexcept>
#include <string>

// Weak: null unless the set was linked (FASTNN_ISAS), on which no object but the sets' own depends.
extern "C" {
[[gnu::weak]] void fastnn_cpu_kernels_avx512(fastnn::Kernels&);
[[gnu::weak]] void fastnn_cpu_kernels_avx2(fastnn::Kernels&);
[[gnu::weak]] void fastnn_cpu_kernels_baseline(fastnn::Kernels&);
}

namespace fastnn {
namespace {

#if defined(__x86_64__)
// The compiler's runtime asks cpuid and, through xgetbv, whether the system saves the registers. Every
// processor with these has the smaller members of x86-64-v3 and -v4 too.
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#else
bool has_avx2() { return false; }
bool has_avx512() { return false; }
#endif

}  // namespace

const Isa* isas(int* count) {
  static Isa built[3];
  static const int size = [] {
    const Isa all[] = {
        {"avx512", has_avx512(), fastnn_cpu_kernels_avx512},
        {"avx2", has_avx2(), fastnn_cpu_kernels_avx2},
        {"baseline", true, fastnn_cpu_kernels_baseline},
    };
    int n = 0;
    for (const Isa& isa : all)
      if (isa.fill) built[n++] = isa;
    return n;
  }();
  *count = size;
  return built;
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
