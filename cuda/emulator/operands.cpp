// The operands of a kernel: its parameters tell what it reads and writes, and any other access is a fault
// even where some tensor's memory lies.
#include <vector>

#include "cuda/emulator/runtime.h"

namespace fastnn::emulator {
namespace {

struct Expected {
  std::vector<Operand> operands;
  size_t last = 0;     // that held the access before: accesses come in runs
  uint64_t since = 0;  // what is written from this epoch on, the kernels have written themselves
};
thread_local Expected expected;

bool written_since(const Region& g, uintptr_t a, size_t n, uint64_t epoch) {
  for (size_t i = a - g.begin; i < a - g.begin + n; ++i)
    if (epoch_of(g.written[i]) < epoch) return false;
  return true;
}

}  // namespace

void expect(const Operand* operands, int count) {
  expected.operands.assign(operands, operands + count);
  expected.last = 0;
  expected.since = machine.epoch + 1;
}

const char* unexpected(const Region& g, uintptr_t a, size_t n, Access access) {
  const auto& operands = expected.operands;
  if (operands.empty()) return nullptr;
  const auto holds = [&](const Operand& o) { return a >= o.begin && a + n <= o.end; };
  const auto allows = [&](const Operand& o) {
    if (!holds(o) || (access != Access::read && !o.writes)) return false;
    return access == Access::write || o.reads || written_since(g, a, n, expected.since);
  };
  if (allows(operands[expected.last])) return nullptr;
  bool held = false, written = false;
  for (size_t i = 0; i < operands.size(); ++i) {
    if (allows(operands[i])) {
      expected.last = i;
      return nullptr;
    }
    if (!holds(operands[i])) continue;
    held = true;
    written |= operands[i].writes;
  }
  if (!held) return "memory of no operand that the kernel's parameters tell of";
  return written ? "an operand that the parameters call written only, before it is written"
                 : "an operand that the parameters call read only";
}

}  // namespace fastnn::emulator
