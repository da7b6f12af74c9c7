// Stacks and the switch between them: callee-saved registers go onto the old stack and come off the new one.
#include <sys/mman.h>

#include "cuda/emulator/runtime.h"

#if defined(__x86_64__)
__asm__(R"(
  .text
  .globl fastnn_emulator_switch
  .hidden fastnn_emulator_switch
  .type fastnn_emulator_switch, @function
fastnn_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
  .size fastnn_emulator_switch, .-fastnn_emulator_switch
)");
#elif defined(__aarch64__)
__asm__(R"(
  .text
  .globl fastnn_emulator_switch
  .hidden fastnn_emulator_switch
  .type fastnn_emulator_switch, %function
fastnn_emulator_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
  .size fastnn_emulator_switch, .-fastnn_emulator_switch
)");
#else
#error "the emulator's context switch is written for x86-64 and AArch64"
#endif

namespace fastnn::emulator {
namespace {

constexpr size_t kGuardBytes = 4096 * 16;  // a whole page also where pages have 64 KiB
constexpr size_t kSlot = kStackBytes + kGuardBytes;
uintptr_t stacks = 0;

}  // namespace

bool map_stacks() {
  if (stacks) return true;
  void* p = mmap(nullptr, kSlot * kMaxThreads, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return false;
  const auto begin = reinterpret_cast<uintptr_t>(p);
  for (int i = 0; i < kMaxThreads; ++i)
    if (mprotect(reinterpret_cast<void*>(begin + i * kSlot + kGuardBytes), kStackBytes,
                 PROT_READ | PROT_WRITE))
      return false;
  stacks = begin;
  return true;
}

uintptr_t stack_of(unsigned thread) { return stacks + thread * kSlot + kGuardBytes; }
bool in_stacks(uintptr_t a) { return a - stacks < kSlot * kMaxThreads; }

void prepare(Fiber& f, void (*entry)()) {
  // Tops are staggered so that the hot ends of many stacks do not share a few cache sets.
  const uintptr_t top = f.stack + kStackBytes - 64 - f.thread % 31 * 192;
  auto* sp = reinterpret_cast<uintptr_t*>(top & ~uintptr_t{63});
#if defined(__x86_64__)
  *--sp = 0;  // where a return address would be: the stack is as after a call
  *--sp = reinterpret_cast<uintptr_t>(entry);
  for (int i = 0; i < 6; ++i) *--sp = 0;
#else
  sp -= 20;
  for (int i = 0; i < 20; ++i) sp[i] = 0;
  sp[11] = reinterpret_cast<uintptr_t>(entry);  // x30
#endif
  f.sp = sp;
}

}  // namespace fastnn::emulator
