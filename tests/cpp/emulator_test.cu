// Every mistake of emulator_kernels.cuh as a case: what to run, and the words by which the emulator must name
// it. tests/test_emulator.py runs them.
#include "tests/cpp/emulator_kernels.cuh"
#include "tests/cpp/on_device.h"

namespace fastnn::cuda {
namespace {

// A case's launch and what it must leave behind.
struct Run {
  Context ctx;
  std::vector<int*> owned;

  int* ints(const Ints& values) {
    int* p = static_cast<int*>(emulator::allocate(0, values.size() * sizeof(int)));
    emulator::copy(p, 0, values.data(), -1, values.size() * sizeof(int));
    owned.push_back(p);
    return p;
  }
  bool holds(const int* p, const Ints& want) {
    Ints got(want.size());
    return emulator::copy(got.data(), -1, p, 0, got.size() * sizeof(int)) && got == want;
  }
  ~Run() {
    for (int* p : owned) emulator::release(0, p);
  }
};
Ints iota(int n, int step = 1) {
  Ints v(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) v[static_cast<size_t>(i)] = i * step;
  return v;
}
Ints reversed(int n) {
  Ints v = iota(n);
  return {v.rbegin(), v.rend()};
}
constexpr size_t shared_ints(int n) { return SharedMemory::bytes<int>(static_cast<size_t>(n)); }

// ---- what the cases run: true when nothing was found and the result is right

template <auto kernel>
bool reverse(Run& r, int n) {
  int* y = r.ints(Ints(size_t(n)));
  const int* x = r.ints(iota(n));
  return launch<kernel>(r.ctx, 1, unsigned(n), shared_ints(n), y, x) == Status::ok && r.holds(y, reversed(n));
}
template <auto kernel>
bool in_place(Run& r, unsigned grid, unsigned block, size_t shared, const Ints& before, const Ints& after) {
  int* y = r.ints(before);
  return launch<kernel>(r.ctx, grid, block, shared, y) == Status::ok && r.holds(y, after);
}
template <class T, bool write, int at>
bool in_shared(Run& r) {
  int* y = r.ints({0});
  return launch<touch_shared<T, write>>(r.ctx, 1, 1, 3 * SharedMemory::bytes<T>(33), y, at) == Status::ok &&
         r.holds(y, {write ? 1 : at});
}
template <int mistake>
bool last_block_case(Run& r) {
  int *y = r.ints({0, 0}), *part = r.ints(Ints(10)), *ticket = r.ints({0}), *told = r.ints(Ints(5));
  return launch<sum_in_last_block<mistake>>(r.ctx, 5, 2, 0, y, part, reinterpret_cast<unsigned*>(ticket),
                                            told) == Status::ok &&
         r.holds(y, {15, 15}) && r.holds(ticket, {5});
}
template <class T, bool write, int at>
bool in_global(Run& r) {
  int* y = r.ints({0});
  T* x = static_cast<T*>(emulator::allocate(0, 33 * sizeof(T)));
  r.owned.push_back(reinterpret_cast<int*>(x));
  const T values[33] = {};
  emulator::copy(x, 0, values, -1, sizeof values);
  return launch<touch_global<T, write>>(r.ctx, 1, 1, 0, y, x, at) == Status::ok && r.holds(y, {1});
}
bool follow_pointer(Run& r, const int* p, int want) {
  int* y = r.ints({0});
  return launch<follow>(r.ctx, 1, 1, 0, y, p) == Status::ok && r.holds(y, {want});
}
template <int mistake>
bool stage_case(Run& r) {
  int* y = r.ints(Ints(kThreads));
  const int* x = r.ints(iota(4 * kThreads));
  return launch<stage<mistake>>(r.ctx, 1, kThreads, shared_ints(5 * kThreads), y, x) == Status::ok &&
         r.holds(y, staged());
}
template <int offset>
bool float4_case(Run& r) {
  float4* y = reinterpret_cast<float4*>(r.ints(Ints(4)));
  const float* x = reinterpret_cast<const float*>(r.ints(iota(8)));
  return launch<load_float4>(r.ctx, 1, 1, 0, y, x + offset) == Status::ok;
}
template <bool good>
bool hand_over_case(Run& r) {
  int* y = r.ints({0, 0});
  int* flag = r.ints({0});
  return launch<hand_over<good>>(r.ctx, 1, 2, 0, y, flag) == Status::ok && r.holds(y, {1, 1});
}
bool count_case(Run& r) {
  int *y = r.ints({0}), *bits = r.ints({0}), *largest = r.ints({-1});
  return launch<count>(r.ctx, 3, 40, 0, y, reinterpret_cast<unsigned*>(bits), largest) == Status::ok &&
         r.holds(y, {120}) && r.holds(bits, {-1}) && r.holds(largest, {119});
}
template <bool good>
bool rotate(Run& r) {
  Ints after = iota(kThreads);
  for (int& v : after) v = (v + 1) % kThreads;
  return in_place<rotate_in_place<good>>(r, 1, kThreads, shared_ints(kThreads), iota(kThreads), after);
}
bool struct_case(Run& r, int ints) {
  int* y = r.ints({0});
  const auto* x = reinterpret_cast<const Many*>(r.ints(iota(ints)));
  return launch<touch_struct>(r.ctx, 1, 1, 0, y, x) == Status::ok && r.holds(y, {55});
}
bool memcpy_case(Run& r, int n) {
  int* y = r.ints(Ints(200));
  const int* x = r.ints(iota(100));
  return launch<touch_memcpy>(r.ctx, 1, 1, 0, y, x, n) == Status::ok && r.holds(y, iota(100));
}
bool take_case(Run& r, int n) {
  int* y = r.ints({0});
  return launch<take_more>(r.ctx, 1, 1, 128, y, n) == Status::ok && r.holds(y, {1});
}
// y, a neighbour, x and another lie side by side in one allocation, as views of a tensor do.
template <int mistake>
bool operands_case(Run& r) {
  constexpr int n = 4;
  int* all = r.ints(iota(4 * n));
  int *y = all, *neighbour = all + n, *x = all + 2 * n, *s = r.ints(Ints(n, 10));
  const auto operand = [](int* p, bool reads, bool writes) {
    const auto at = reinterpret_cast<uintptr_t>(p);
    return emulator::Operand{at, at + n * sizeof(int), reads, writes};
  };
  const emulator::Operand told[] = {operand(y, false, true), operand(x, true, false), operand(s, true, true)};
  emulator::expect(told, 3);
  const Status status = launch<touch_operands<mistake>>(r.ctx, 1, n, 0, y, x, s, n);
  emulator::expect(nullptr, 0);
  return status == Status::ok && r.holds(y, {8, 9, 10, 11}) && r.holds(neighbour, {4, 5, 6, 7}) &&
         r.holds(s, {21, 20, 19, 18});
}
// Nothing is told: anything may be touched.
bool untold_case(Run& r) {
  int* all = r.ints(iota(8));
  return launch<touch_operands<kNeighbour>>(r.ctx, 1, 2, 0, all, all + 4, all + 6, 2) == Status::ok &&
         r.holds(all, {4, 5, 1, 1, 4, 5, 11, 11});
}
template <int mistake>
bool arithmetic_case(Run& r) {
  int* y = r.ints({0});
  return launch<arithmetic<mistake>>(r.ctx, 1, 1, 0, y, 3) == Status::ok && r.holds(y, {5 + 8 + 4});
}
template <bool written>
bool fresh_case(Run& r) {
  int* p = static_cast<int*>(emulator::allocate(0, 8));
  r.owned.push_back(p);
  const int one = 1;
  emulator::copy(written ? p + 1 : p, 0, &one, -1, sizeof one);
  return follow_pointer(r, p + 1, 1);
}
template <bool good>
bool matrices_case(Run& r) {
  Ints want(32);
  for (int t = 0; t < 32; ++t) want[size_t(t)] = 8 + t / 4;
  return in_place<load_matrices<good>>(r, 1, 32, SharedMemory::bytes<uint16_t>(264), Ints(32), want);
}
const int on_the_host = 7;
int writable_on_the_host = 7;

struct Case {
  const char* name;
  const char* fault;  // a regular expression; "" where there is nothing to find
  bool (*run)(Run&);
};

const Case kCases[] = {
    {"block barrier", "", [](Run& r) { return reverse<reverse_block<true>>(r, kThreads); }},
    {"no block barrier", "race: |has not written",
     [](Run& r) { return reverse<reverse_block<false>>(r, kThreads); }},
    {"warp barrier", "", [](Run& r) { return reverse<reverse_warp<true>>(r, 32); }},
    {"no warp barrier", "race: |has not written", [](Run& r) { return reverse<reverse_warp<false>>(r, 32); }},
    {"block barrier for two warps", "", [](Run& r) { return reverse<reverse_two_warps<true>>(r, 64); }},
    {"warp barrier for two warps", "race: |has not written",
     [](Run& r) { return reverse<reverse_two_warps<false>>(r, 64); }},
    {"barrier before writing again", "", [](Run& r) { return rotate<true>(r); }},
    {"no barrier before writing again", "race: (write|read) of 4 bytes at shared piece 0 of 512 bytes",
     [](Run& r) { return rotate<false>(r); }},
    {"barriers", "",
     [](Run& r) { return in_place<barriers<0>>(r, 1, kThreads, 0, Ints(kThreads), Ints(kThreads, 34)); }},
    {"threads exited before a barrier",
     "deadlock.*threads 0 to 63: waiting at __syncthreads at emulator_kernels.cuh:\\d+; 64 to 127: exited",
     [](Run& r) { return in_place<barriers<1>>(r, 1, kThreads, 0, Ints(kThreads), Ints(kThreads)); }},
    {"two places of a barrier", "divergent barrier: .* waits at __syncthreads at emulator_kernels.cuh",
     [](Run& r) { return in_place<barriers<2>>(r, 1, kThreads, 0, Ints(kThreads), Ints(kThreads)); }},
    {"half the threads at a barrier", "divergent barrier: .*__syncthreads_count",
     [](Run& r) { return in_place<barriers<3>>(r, 1, kThreads, 0, Ints(kThreads), Ints(kThreads)); }},

    {"shuffles and votes", "",
     [](Run& r) { return in_place<shuffles<0>>(r, 1, 32, 0, Ints(32), shuffled()); }},
    {"shuffle of half a warp",
     "deadlock.*0 to 15: waiting at __shfl_xor_sync at emulator_kernels.cuh:\\d+ with mask 0xffffffff; 16 to "
     "31: exited",
     [](Run& r) { return in_place<shuffles<1>>(r, 1, 32, 0, Ints(32), shuffled()); }},
    {"shuffle in two places", "divergent warp: .*__shfl_xor_sync",
     [](Run& r) { return in_place<shuffles<2>>(r, 1, 32, 0, Ints(32), shuffled()); }},
    {"shuffle from outside the mask", "takes the value of lane \\d+, which is not in the mask 0x0000ffff",
     [](Run& r) { return in_place<shuffles<3>>(r, 1, 32, 0, Ints(32), shuffled()); }},
    {"shuffle by a lane outside the mask", "lane \\d+ is not in its mask 0x0000ffff",
     [](Run& r) { return in_place<shuffles<4>>(r, 1, 32, 0, Ints(32), shuffled()); }},
    {"warp barrier without a lane", "deadlock.*threads 0: exited; 1 to 31: waiting at __syncwarp",
     [](Run& r) { return in_place<shuffles<5>>(r, 1, 32, 0, Ints(32), shuffled()); }},
    {"vote without a lane", "deadlock.*9: exited; 10 to 31: waiting at __ballot_sync",
     [](Run& r) { return in_place<shuffles<6>>(r, 1, 32, 0, Ints(32), shuffled()); }},

    {"last element of shared memory", "", in_shared<int, false, 32>},
    {"first element of shared memory", "", in_shared<int, true, 0>},
    {"read beyond shared memory", "out of bounds: read of 4 bytes at shared piece 1 of 132 bytes \\+ 132",
     in_shared<int, false, 33>},
    {"write beyond shared memory", "out of bounds: write of 4 bytes at shared piece 1 of 132 bytes \\+ 132",
     in_shared<int, true, 33>},
    {"read before shared memory", "out of bounds: read of 4 bytes at shared piece 1 of 132 bytes - 4",
     in_shared<int, false, -1>},
    {"write before shared memory", "out of bounds: write of 4 bytes at shared piece 1 of 132 bytes - 4",
     in_shared<int, true, -1>},
    {"byte beyond shared memory", "out of bounds: write of 1 byte at shared piece 1 of 33 bytes \\+ 33",
     in_shared<unsigned char, true, 33>},
    {"byte before shared memory", "out of bounds: read of 1 byte at shared piece 1 of 33 bytes - 1",
     in_shared<unsigned char, false, -1>},
    {"last element of global memory", "", in_global<int, false, 32>},
    {"first element of global memory", "", in_global<int, true, 0>},
    {"read beyond global memory",
     "out of bounds: read of 4 bytes at device 0, allocation of 132 bytes \\+ 132",
     in_global<int, false, 33>},
    {"write beyond global memory",
     "out of bounds: write of 4 bytes at device 0, allocation of 132 bytes \\+ 132",
     in_global<int, true, 33>},
    {"read before global memory", "out of bounds: read of 4 bytes at device 0, allocation of 132 bytes - 4",
     in_global<int, false, -1>},
    {"write before global memory", "out of bounds: write of 4 bytes at device 0, allocation of 132 bytes - 4",
     in_global<int, true, -1>},
    {"byte beyond global memory", "out of bounds: read of 1 byte at device 0, allocation of 33 bytes \\+ 33",
     in_global<unsigned char, false, 33>},
    {"byte before global memory", "out of bounds: write of 1 byte at device 0, allocation of 33 bytes - 1",
     in_global<unsigned char, true, -1>},
    {"struct", "", [](Run& r) { return struct_case(r, 11); }},
    {"struct that ends beyond its memory", "out of bounds: read of .* allocation of 40 bytes",
     [](Run& r) { return struct_case(r, 10); }},
    {"memcpy", "", [](Run& r) { return memcpy_case(r, 100); }},
    {"memcpy beyond", "out of bounds: read of .* allocation of 400 bytes \\+ 400",
     [](Run& r) { return memcpy_case(r, 101); }},
    {"shared memory written", "",
     [](Run& r) {
       return in_place<sum_shared<true>>(r, 3, kThreads, shared_ints(kThreads), Ints(3), Ints(3, kThreads));
     }},
    {"shared memory not written",
     "shared memory that this block has not written: read of 4 bytes at shared piece 0 of 512 bytes \\+ 308",
     [](Run& r) {
       return in_place<sum_shared<false>>(r, 3, kThreads, shared_ints(kThreads), Ints(3), Ints(3, kThreads));
     }},
    {"more shared memory than launched with", "up to byte 256, but the launch gave it 128",
     [](Run& r) { return take_case(r, 33); }},
    {"as much shared memory as launched with", "", [](Run& r) { return take_case(r, 32); }},

    {"device memory written", "", fresh_case<true>},
    {"device memory not written",
     "device memory that nobody has written: read of 4 bytes at device 0, allocation of 8 bytes \\+ 4",
     fresh_case<false>},
    {"operands as told", "", operands_case<kAsTold>},
    {"no operands told", "", untold_case},
    {"write to an operand that is only read", "an operand that .* call read only: write of 4 bytes",
     operands_case<kWriteRead>},
    {"atomic on an operand that is only read", "an operand that .* call read only: atomic access of 4 bytes",
     operands_case<kAtomicOnRead>},
    {"read of an operand that is only written", "call written only, before it is written: read of 4 bytes",
     operands_case<kReadWritten>},
    {"beyond an operand", "memory of no operand .*: read of 4 bytes at device 0, allocation of 64",
     operands_case<kBeyond>},
    {"the tensor beside an operand",
     "memory of no operand .*: write of 4 bytes at device 0, allocation of 64", operands_case<kNeighbour>},
    {"more shared memory than there is", "launched with .* 166913 bytes of shared memory",
     [](Run& r) { return in_place<multiply<true>>(r, 1, 32, (163 << 10) + 1, Ints(32), Ints(32, 4)); }},
    {"arithmetic", "", arithmetic_case<kRight>},
    {"index beyond a local array", "out of bounds: index 4 of 'int \\[4\\]' \\(emulator_kernels.cuh",
     arithmetic_case<kIndex>},
    {"shift by too much", "'int' 1 is shifted by 32", arithmetic_case<kShift>},
    {"division by zero", "division of 'int' by zero", arithmetic_case<kDivision>},
    {"use after free", "out of bounds: read of 4 bytes at device 0, freed allocation of 4 bytes \\+ 0",
     [](Run& r) {
       int* p = r.ints({7});
       emulator::release(0, p);
       r.owned.pop_back();
       return follow_pointer(r, p, 7);
     }},
    {"another device", "memory of another device: read of 4 bytes at device 1, allocation of 4 bytes",
     [](Run& r) {
       int* p = static_cast<int*>(emulator::allocate(1, 4));
       const bool good = follow_pointer(r, p, 7);
       emulator::release(1, p);
       return good;
     }},
    {"constant of the library", "", [](Run& r) { return follow_pointer(r, &on_the_host, 7); }},
    {"constant memory", "", [](Run& r) { return in_place<look_up>(r, 1, 4, 0, Ints(4), {2, 3, 5, 7}); }},
    {"beyond constant memory", "access to host memory: read of 4 bytes at ",
     [](Run& r) { return in_place<look_up>(r, 1, 5, 0, Ints(5), Ints(5)); }},
    {"variable of the host", "access to host memory",
     [](Run& r) { return follow_pointer(r, &writable_on_the_host, 7); }},
    {"local of the host", "access to host memory",
     [](Run& r) {
       const volatile int local = 7;
       return follow_pointer(r, const_cast<const int*>(&local), 7);
     }},
    {"null pointer", "null pointer", [](Run& r) { return follow_pointer(r, nullptr, 7); }},
    {"a thread's own local", "",
     [](Run& r) {
       return in_place<lend_local<true>>(r, 1, 32, SharedMemory::bytes<int*>(1), Ints(32), iota(32));
     }},
    {"another thread's local", "another thread's memory",
     [](Run& r) {
       return in_place<lend_local<false>>(r, 1, 32, SharedMemory::bytes<int*>(1), Ints(32), iota(32));
     }},
    {"aligned float4", "", float4_case<4>},
    {"misaligned float4", "misaligned: access to .*float4.*allocation of 32 bytes \\+ 4", float4_case<1>},

    {"blocks apart", "", [](Run& r) { return in_place<blocks<0>>(r, 4, 1, 0, Ints(4), iota(4)); }},
    {"blocks write one place", "race: write of 4 bytes .* against the write by thread 0 of another block",
     [](Run& r) { return in_place<blocks<1>>(r, 4, 1, 0, Ints(4), iota(4)); }},
    {"a block reads what another writes", "race: .* of another block",
     [](Run& r) { return in_place<blocks<2>>(r, 4, 1, 0, Ints(4), iota(4)); }},
    {"atomic and not", "race: .*atomic",
     [](Run& r) { return in_place<blocks<3>>(r, 4, 1, 0, Ints(4), iota(4)); }},
    {"atomics", "", count_case},
    {"hand-over through a flag", "", hand_over_case<true>},
    {"deadlock", "deadlock.*threads 0: spinning; 1: waiting at __syncthreads", hand_over_case<false>},

    {"last block", "", last_block_case<kInOrder>},
    {"last block without a barrier before its fence", "race: read of 4 bytes .* of another block",
     last_block_case<kNoBarrierBefore>},
    {"last block without a fence before its ticket", "race: read of 4 bytes .* of another block",
     last_block_case<kNoRelease>},
    {"last block without a fence behind its ticket", "race: read of 4 bytes .* of another block",
     last_block_case<kNoAcquire>},
    {"last block without a barrier behind its ticket", "race: read of 4 bytes .* of another block",
     last_block_case<kNoBarrierBehind>},

    {"asynchronous copy", "", stage_case<kNone>},
    {"no wait for a copy", "asynchronous copy, touched before its wait", stage_case<kNoWait>},
    {"wait for a group less", "asynchronous copy, touched before its wait: read of 4 bytes at shared piece 1",
     stage_case<kOneGroupLess>},
    {"no commit of a copy", "asynchronous copy, touched before its wait", stage_case<kNoCommit>},
    {"no barrier after the wait", "asynchronous copy, touched before its wait|race: |has not written",
     stage_case<kNoBarrier>},
    {"copy from beyond", "out of bounds: read of 16 bytes at device 0, allocation of 2048 bytes \\+ 2048",
     stage_case<kSource>},
    {"store under a copy", "asynchronous copy, touched before its wait: write", stage_case<kStore>},
    {"misaligned copy", "misaligned: copy_async at .* source", stage_case<kUnaligned>},
    {"tensor core", "", [](Run& r) { return in_place<multiply<true>>(r, 1, 32, 0, Ints(32), Ints(32, 4)); }},
    {"tensor core without a lane", "deadlock.*waiting at mma_bf16.*5: exited",
     [](Run& r) { return in_place<multiply<false>>(r, 1, 32, 0, Ints(32), Ints(32, 4)); }},
    {"ldmatrix", "", [](Run& r) { return matrices_case<true>(r); }},
    {"misaligned ldmatrix", "misaligned: load_matrix_x4", [](Run& r) { return matrices_case<false>(r); }},
};

}  // namespace
}  // namespace fastnn::cuda

EXPORT int emulator_test_count() { return sizeof fastnn::cuda::kCases / sizeof *fastnn::cuda::kCases; }
EXPORT const char* emulator_test_name(int i) { return fastnn::cuda::kCases[i].name; }
EXPORT const char* emulator_test_fault(int i) { return fastnn::cuda::kCases[i].fault; }
EXPORT bool emulator_test_run(int i) {
  fastnn::cuda::Run run;
  return fastnn::cuda::kCases[i].run(run);
}
