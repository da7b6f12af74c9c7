// TMA and stmatrix: where in shared memory boxes of a tensor and fragments of a matrix come to lie. Compiled
// for sm_90a alone.
#include <cuda.h>

#include "cuda/probe/hopper.cuh"

namespace fastnn::cuda::probe {
namespace {

// ---- stmatrix

template <bool transposed>
__global__ void stored_matrices(uint32_t* out) {
  SharedMemory memory;
  uint32_t* s = memory.take<uint32_t>(128);
  uint32_t r[4];
  for (uint32_t i = 0; i < 4; ++i) r[i] = (8 * threadIdx.x + 2 * i) | (8 * threadIdx.x + 2 * i + 1) << 16;
  if constexpr (transposed)
    ptx::store_matrix_x4_transposed(s + threadIdx.x * 4, r);
  else
    ptx::store_matrix_x4(s + threadIdx.x * 4, r);
  __syncwarp();
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = s[threadIdx.x * 4 + i];
}

// ---- TMA. The driver's functions are asked for at run time: nothing links it.

template <class Function>
Function driver(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result;
  if (cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result) != cudaSuccess ||
      result != cudaDriverEntryPointSuccess)
    return nullptr;
  return reinterpret_cast<Function>(found);
}

constexpr int kBoxBytes = 4096;
constexpr unsigned kPatience = 1u << 16;  // tries; a box that never comes is told, not waited for

struct Place {  // of a box: (x, y), or pixel (w, h) of image n from channel c on and the filter's tap (dw,
                // dh)
  int x = 0, y = 0, c = 0, w = 0, h = 0, n = 0;
  uint16_t dw = 0, dh = 0;
};

// One box; its bytes as they lie in shared memory, over bytes of 0xee.
template <bool pixels>
__global__ void loaded_box(uint32_t* out, const __grid_constant__ CUtensorMap map, Place place,
                           unsigned bytes) {
  SharedMemory memory;
  unsigned char* box = aligned(memory, kBoxBytes);
  uint64_t* barrier = memory.take<uint64_t>(1);
  auto* words = reinterpret_cast<uint32_t*>(box);
  for (int i = threadIdx.x; i < kBoxBytes / 4; i += kGroup) words[i] = 0xeeeeeeeeu;
  ptx::fence_async();
  __shared__ bool came;
  __syncthreads();
  if (threadIdx.x == 0) {
    ptx::init_barrier(barrier, 1);
    ptx::arrive_expecting(barrier, bytes);
    if constexpr (pixels)
      ptx::load_pixels(box, &map, barrier, place.c, place.w, place.h, place.n, place.dw, place.dh);
    else
      ptx::load_box_2d(box, &map, barrier, place.x, place.y);
    came = false;
    for (unsigned i = 0; i < kPatience && !came; ++i) came = ptx::try_wait(barrier, 0);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kBoxBytes / 4; i += kGroup) out[i] = came ? words[i] : 0xddddddddu;
}
constexpr size_t kBoxShared =
    SharedMemory::bytes<unsigned char>(kBoxBytes + kAlign) + SharedMemory::bytes<uint64_t>(1);

// A numbered box to a place that the tensor only partly covers.
__global__ void stored_box(const __grid_constant__ CUtensorMap map, int x, int y) {
  SharedMemory memory;
  unsigned char* box = aligned(memory, kBoxBytes);
  auto* elements = reinterpret_cast<uint16_t*>(box);
  for (int i = threadIdx.x; i < kBoxBytes / 2; i += kGroup) elements[i] = static_cast<uint16_t>(i);
  ptx::fence_async();
  __syncthreads();
  if (threadIdx.x == 0) ptx::store_box_2d(&map, box, x, y);
}

struct Tensor {
  CUtensorMap map;
  std::string wrong;
};

constexpr int kWidth = 72, kHeight = 24;  // of the tensor that boxes are cut from, elements of 16 or 32 bits

Tensor tiled(void* memory, int element_bytes, unsigned box_width, unsigned box_height,
             CUtensorMapSwizzle swizzle, bool fill_nan) {
  Tensor t{};
  const auto encode = driver<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  if (!encode) return t.wrong = "the driver has no cuTensorMapEncodeTiled", t;
  const cuuint64_t sizes[] = {kWidth, kHeight}, strides[] = {cuuint64_t(kWidth * element_bytes)};
  const cuuint32_t box[] = {box_width, box_height}, steps[] = {1, 1};
  const CUresult result = encode(
      &t.map, element_bytes == 2 ? CU_TENSOR_MAP_DATA_TYPE_UINT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 2,
      memory, sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
      CU_TENSOR_MAP_L2_PROMOTION_NONE,
      fill_nan ? CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA : CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) t.wrong = "cuTensorMapEncodeTiled: error " + std::to_string(result);
  return t;
}

constexpr int kC = 16, kW = 7, kH = 6, kN = 2;  // the images

Tensor images(void* memory, unsigned channels, unsigned pixels, int lower, int upper, unsigned step,
              CUtensorMapSwizzle swizzle) {
  Tensor t{};
  const auto encode = driver<decltype(&cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
  if (!encode) return t.wrong = "the driver has no cuTensorMapEncodeIm2col", t;
  const cuuint64_t sizes[] = {kC, kW, kH, kN}, strides[] = {kC * 2, kC * kW * 2, kC * kW * kH * 2};
  const int first[] = {lower, lower}, last[] = {upper, upper};
  const cuuint32_t steps[] = {1, step, step, 1};
  const CUresult result = encode(&t.map, CU_TENSOR_MAP_DATA_TYPE_UINT16, 4, memory, sizes, strides, first,
                                 last, channels, pixels, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                                 CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) t.wrong = "cuTensorMapEncodeIm2col: error " + std::to_string(result);
  return t;
}

template <class T>
std::vector<T> numbers(size_t count) {  // 1, 2, 3, ...: zero is what lies outside
  std::vector<T> all(count);
  for (size_t i = 0; i < count; ++i) all[i] = static_cast<T>(i + 1);
  return all;
}

CUtensorMapSwizzle box_swizzle(ptx::Swizzle swizzle) {
  switch (swizzle) {
    case ptx::Swizzle::bytes32:
      return CU_TENSOR_MAP_SWIZZLE_32B;
    case ptx::Swizzle::bytes64:
      return CU_TENSOR_MAP_SWIZZLE_64B;
    case ptx::Swizzle::bytes128:
      return CU_TENSOR_MAP_SWIZZLE_128B;
    default:
      return CU_TENSOR_MAP_SWIZZLE_NONE;
  }
}

void add_boxes(Experiments& all, const Lines& lines) {
  const unsigned width = lines.bytes / 2, height = 8;
  for (const auto& [x, y] : {std::pair{0, 0}, {8, 3}, {-3, -2}, {kWidth - 5, kHeight - 3}, {kWidth, 0}})
    all.push_back({std::string("TMA box of 16 bits, ") + lines.name + ", at " + std::to_string(x) + ", " +
                       std::to_string(y),
                   kBoxBytes / 4, [=, swizzle = box_swizzle(lines.swizzle), x = x, y = y](uint32_t* out) {
                     const OnDevice<uint16_t> source(numbers<uint16_t>(kWidth * kHeight));
                     const Tensor t = tiled(source.get(), 2, width, height, swizzle, false);
                     if (!t.wrong.empty()) return t.wrong;
                     return run<loaded_box<false>>(1, kGroup, kBoxShared, out, t.map, Place{.x = x, .y = y},
                                                   width * height * 2);
                   }});
}

void add_images(Experiments& all) {
  struct Case {
    const char* name;
    unsigned channels, pixels;
    int lower, upper;
    unsigned step;
    CUtensorMapSwizzle swizzle;
    Place place;
  };
  // 3 x 3 filters padded by 1: the upper corner is padding - 2, and pixels start at -1.
  for (const Case& c :
       {Case{"3x3, first tap", 8, 32, -1, -1, 1, CU_TENSOR_MAP_SWIZZLE_NONE, {.w = -1, .h = -1}},
        Case{"3x3, tap 2, 1",
             8,
             32,
             -1,
             -1,
             1,
             CU_TENSOR_MAP_SWIZZLE_NONE,
             {.w = -1, .h = -1, .dw = 2, .dh = 1}},
        Case{"3x3, from the middle of a row",
             8,
             32,
             -1,
             -1,
             1,
             CU_TENSOR_MAP_SWIZZLE_NONE,
             {.c = 8, .w = 2, .h = 3, .dw = 1, .dh = 2}},
        Case{"3x3, past the last image",
             8,
             64,
             -1,
             -1,
             1,
             CU_TENSOR_MAP_SWIZZLE_NONE,
             {.w = -1, .h = -1, .n = 1, .dw = 1, .dh = 1}},
        Case{"3x3, step 2", 8, 16, -1, -1, 2, CU_TENSOR_MAP_SWIZZLE_NONE, {.w = -1, .h = -1, .dw = 1}},
        Case{"1x1, swizzle 32", 16, 32, 0, 0, 1, CU_TENSOR_MAP_SWIZZLE_32B, {}},
        Case{"1x1, channels past the last", 16, 32, 0, 0, 1, CU_TENSOR_MAP_SWIZZLE_32B, {.c = 8}}})
    all.push_back({std::string("TMA im2col, ") + c.name, kBoxBytes / 4, [c](uint32_t* out) {
                     const OnDevice<uint16_t> source(numbers<uint16_t>(kC * kW * kH * kN));
                     const Tensor t =
                         images(source.get(), c.channels, c.pixels, c.lower, c.upper, c.step, c.swizzle);
                     if (!t.wrong.empty()) return t.wrong;
                     return run<loaded_box<true>>(1, kGroup, kBoxShared, out, t.map, c.place,
                                                  c.channels * c.pixels * 2);
                   }});
}

}  // namespace

void add_box_experiments(Experiments& all) {
  all.push_back({"stmatrix", 128, [](uint32_t* out) {
                   return run<stored_matrices<false>>(1, 32, SharedMemory::bytes<uint32_t>(128), out);
                 }});
  all.push_back({"stmatrix transposed", 128, [](uint32_t* out) {
                   return run<stored_matrices<true>>(1, 32, SharedMemory::bytes<uint32_t>(128), out);
                 }});
  for (const Lines& lines : kLines) add_boxes(all, lines);
  for (const bool nan : {false, true})
    all.push_back({std::string("TMA box of floats, beyond an edge, filled with ") + (nan ? "NaN" : "zeros"),
                   kBoxBytes / 4, [nan](uint32_t* out) {
                     const OnDevice<float> source(numbers<float>(kWidth * kHeight));
                     const Tensor t = tiled(source.get(), 4, 16, 8, CU_TENSOR_MAP_SWIZZLE_NONE, nan);
                     if (!t.wrong.empty()) return t.wrong;
                     return run<loaded_box<false>>(1, kGroup, kBoxShared, out, t.map,
                                                   Place{.x = kWidth - 6, .y = -2}, 16 * 8 * 4);
                   }});
  all.push_back({"TMA box stored beyond an edge", kWidth * kHeight / 2, [](uint32_t* out) {
                   const Tensor t = tiled(out, 2, 16, 8, CU_TENSOR_MAP_SWIZZLE_NONE, false);
                   if (!t.wrong.empty()) return t.wrong;
                   return run<stored_box>(1, kGroup, kBoxShared, t.map, kWidth - 6, -2);
                 }});
  add_images(all);
}

}  // namespace fastnn::cuda::probe
