// What kernels may read of the host's memory: the constants of the library that they are in.
#include <link.h>

#include "cuda/emulator/runtime.h"

namespace fastnn::emulator {
namespace {

// Ranges of the library that hold its constants: what the loader maps or makes read-only.
struct Ranges {
  struct {
    uintptr_t begin, end;
  } range[32];
  int count = 0;
};
int collect_constants(dl_phdr_info* info, size_t, void* arg) {
  auto& out = *static_cast<Ranges*>(arg);
  const auto self = reinterpret_cast<uintptr_t>(&collect_constants);
  bool own = false;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& p = info->dlpi_phdr[i];
    own |= p.p_type == PT_LOAD && self - (info->dlpi_addr + p.p_vaddr) < p.p_memsz;
  }
  if (!own) return 0;
  for (int i = 0; i < info->dlpi_phnum && out.count < 32; ++i) {
    const auto& p = info->dlpi_phdr[i];
    if ((p.p_type == PT_LOAD && !(p.p_flags & PF_W)) || p.p_type == PT_GNU_RELRO)
      out.range[out.count++] = {info->dlpi_addr + p.p_vaddr, info->dlpi_addr + p.p_vaddr + p.p_memsz};
  }
  return 1;
}

extern "C" char __start_fastnn_constant[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_fastnn_constant[] __attribute__((weak, visibility("hidden")));

}  // namespace

bool is_constant(uintptr_t a, size_t n) {
  static const Ranges constants = [] {
    Ranges r;
    dl_iterate_phdr(collect_constants, &r);
    return r;
  }();
  for (int i = 0; i < constants.count; ++i)
    if (a >= constants.range[i].begin && a + n <= constants.range[i].end) return true;
  return a >= reinterpret_cast<uintptr_t>(__start_fastnn_constant) &&
         a + n <= reinterpret_cast<uintptr_t>(__stop_fastnn_constant);
}

}  // namespace fastnn::emulator
