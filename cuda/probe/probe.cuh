// A probe writes down what instructions do with data: which lane holds which element, where in shared memory
// an operand is read, how numbers are rounded. On a GPU that is the truth; on the emulator it is what the
// twins believe. tests/golden/ptx_probe.json keeps the former, and a test compares.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "cuda/common/common.cuh"

namespace fastnn::cuda::probe {

struct Experiment {
  std::string name;
  int words;                                            // of 32 bits that it writes down
  std::function<std::string(uint32_t* on_device)> run;  // returns what went wrong, or nothing
};
using Experiments = std::vector<Experiment>;

void add_warp_experiments(Experiments& all);    // mma, ldmatrix, cvt
void add_hopper_experiments(Experiments& all);  // wgmma, TMA, stmatrix: not on the emulator

std::vector<float> numbers_to_round();

// What an arithmetic unit or a memory gives at best.
struct Ceiling {
  const char* name;
  const char* unit;
  // Queues `repeats` launches of about a hundred microseconds each on a GPU of `blocks` blocks; returns the
  // units of work of one.
  std::function<double(int blocks, int repeats, void* memory, size_t bytes)> queue;
};
using Ceilings = std::vector<Ceiling>;

void add_ceilings(Ceilings& all);
void add_hopper_ceilings(Ceilings& all);

// ---- the device, which is number 0, without the backend
void* allocate(size_t bytes);  // null where there is no more
void* allocate_zeros(size_t bytes);
void release(void* memory);
std::string copy_to_host(void* host, const void* device, size_t bytes);
std::string copy_to_device(void* device, const void* host, size_t bytes);
std::string finish();  // waits; what went wrong meanwhile, or nothing

// A host array on the device for the length of a scope.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& host)
      : memory_(static_cast<T*>(allocate(host.size() * sizeof(T)))) {
    if (memory_) copy_to_device(memory_, host.data(), host.size() * sizeof(T));
  }
  ~OnDevice() { release(memory_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  T* get() const { return memory_; }

 private:
  T* memory_;
};

template <auto Kernel, class... Args>
std::string run(dim3 grid, dim3 block, size_t shared, const Args&... args) {
  launch<Kernel>(Context{}, grid, block, shared, args...);
  return finish();
}

}  // namespace fastnn::cuda::probe
