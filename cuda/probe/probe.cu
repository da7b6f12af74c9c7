#include "cuda/probe/probe.cuh"

#include <chrono>
#include <memory>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace fastnn::cuda::probe {

#ifdef FASTNN_EMULATOR
void* allocate(size_t bytes) { return emulator::allocate(0, bytes); }
void* allocate_zeros(size_t bytes) {
  void* memory = allocate(bytes);
  if (memory) copy_to_device(memory, std::vector<char>(bytes).data(), bytes);
  return memory;
}
void release(void* memory) { emulator::release(0, memory); }
std::string copy_to_host(void* host, const void* device, size_t bytes) {
  return emulator::copy(host, kHost, device, 0, bytes) ? "" : fastnn_emulator_fault();
}
std::string copy_to_device(void* device, const void* host, size_t bytes) {
  return emulator::copy(device, 0, host, kHost, bytes) ? "" : fastnn_emulator_fault();
}
std::string finish() { return fastnn_emulator_fault(); }
constexpr bool kHopper = false;
#else
static std::string said(cudaError_t result) {
  return result == cudaSuccess ? ""
                               : std::string(cudaGetErrorName(result)) + ": " + cudaGetErrorString(result);
}
void* allocate(size_t bytes) {
  void* memory = nullptr;
  return cudaMalloc(&memory, bytes) == cudaSuccess ? memory : nullptr;
}
void* allocate_zeros(size_t bytes) {
  void* memory = allocate(bytes);
  if (memory) cudaMemset(memory, 0, bytes);
  return memory;
}
void release(void* memory) { cudaFree(memory); }
std::string copy_to_host(void* host, const void* device, size_t bytes) {
  return said(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost));
}
std::string copy_to_device(void* device, const void* host, size_t bytes) {
  return said(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice));
}
std::string finish() {
  const cudaError_t launched = cudaGetLastError(), ran = cudaDeviceSynchronize();
  return said(launched != cudaSuccess ? launched : ran);
}
constexpr bool kHopper = true;
#endif

static const Experiments& experiments() {
  static const Experiments made = [] {
    Experiments all;
    add_warp_experiments(all);
    if constexpr (kHopper) add_hopper_experiments(all);
    return all;
  }();
  return made;
}
static const Ceilings& ceilings() {
  static const Ceilings made = [] {
    Ceilings all;
    add_ceilings(all);
    if constexpr (kHopper) add_hopper_ceilings(all);
    return all;
  }();
  return made;
}

static const char* kept(std::string text) {  // until the calling thread's next question
  thread_local std::string last;
  last = std::move(text);
  return last.c_str();
}

}  // namespace fastnn::cuda::probe

using namespace fastnn::cuda::probe;

EXPORT int fastnn_probe_count() { return static_cast<int>(experiments().size()); }
EXPORT const char* fastnn_probe_name(int i) { return experiments()[static_cast<size_t>(i)].name.c_str(); }
EXPORT int fastnn_probe_words(int i) { return experiments()[static_cast<size_t>(i)].words; }
// Fills `out`; returns what went wrong, or "".
EXPORT const char* fastnn_probe_run(int i, uint32_t* out) {
  const Experiment& e = experiments()[static_cast<size_t>(i)];
  const OnDevice<uint32_t> memory(std::vector<uint32_t>(static_cast<size_t>(e.words), 0xffffffffu));
  if (!memory.get()) return kept("no memory on the device: " + finish());
  std::string wrong = e.run(memory.get());
  if (wrong.empty()) wrong = copy_to_host(out, memory.get(), static_cast<size_t>(e.words) * 4);
  return kept(wrong);
}

EXPORT int fastnn_ceiling_count() { return static_cast<int>(ceilings().size()); }
EXPORT const char* fastnn_ceiling_name(int i) { return ceilings()[static_cast<size_t>(i)].name; }
EXPORT const char* fastnn_ceiling_unit(int i) { return ceilings()[static_cast<size_t>(i)].unit; }
// Units of work a second, the best of `samples`, into *rate; returns what went wrong, or "".
EXPORT const char* fastnn_ceiling_run(int i, int blocks, int repeats, int samples, size_t bytes,
                                      double* rate) {
  using Clock = std::chrono::steady_clock;
  const Ceiling& c = ceilings()[static_cast<size_t>(i)];
  const std::unique_ptr<void, void (*)(void*)> memory(allocate_zeros(bytes), release);
  if (!memory) return kept("no memory on the device: " + finish());
  *rate = 0;
  for (int sample = 0; sample <= samples; ++sample) {  // the first warms up
    const auto start = Clock::now();
    const double work = c.queue(blocks, repeats, memory.get(), bytes) * repeats;
    if (std::string wrong = finish(); !wrong.empty()) return kept(wrong);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (sample > 0 && work / seconds > *rate) *rate = work / seconds;
  }
  return kept("");
}
