#include "cuda/common/forced_plan.h"

#include <stdlib.h>

#include <charconv>
#include <string_view>

#include "cuda/gemm/tile_plan.cuh"

namespace fastnn::cuda {
namespace {

constexpr int64_t kMostSplits = 65535;

struct Environment {
  ForcedPlan plan;
  std::string mistake;

  Environment() {
    if (const char* tile = getenv("FASTNN_CUDA_TILE"); tile && *tile && !read_tile(tile))
      mistake = std::string("FASTNN_CUDA_TILE must be one of ") + names() + ", got \"" + tile + "\"";
    if (const char* splits = getenv("FASTNN_CUDA_SPLITS"); splits && *splits && !read_splits(splits))
      mistake = "FASTNN_CUDA_SPLITS must be a number from 1 to " + std::to_string(kMostSplits) + ", got \"" +
                splits + "\"";
  }

  // f(block_m, block_n) of every tile of every list.
  template <class F>
  static void for_tiles(F f) {
    const auto each = [&](const auto& list) {
      for (const auto& tile : list) f(tile.block_m, tile.block_n);
    };
    each(SimtTiles<float, Matrix<float>>::list);
    each(SimtTiles<double, Matrix<double>>::list);
    each(MmaTiles<Precision::tf32, Matrix<float>>::list);
  }
  static std::string name(int m, int n) { return std::to_string(m) + "x" + std::to_string(n); }
  static std::string names() {
    std::string all;
    for_tiles([&](int m, int n) {
      if (const std::string one = name(m, n); (", " + all + ",").find(", " + one + ",") == std::string::npos)
        all += (all.empty() ? "" : ", ") + one;
    });
    return all;
  }

  bool read_tile(std::string_view text) {
    for_tiles([&](int m, int n) {
      if (name(m, n) == text) plan.block_m = m, plan.block_n = n;
    });
    return plan.block_m > 0;
  }
  bool read_splits(std::string_view text) {
    const auto [end, error] = std::from_chars(text.begin(), text.end(), plan.splits);
    return error == std::errc() && end == text.end() && plan.splits >= 1 && plan.splits <= kMostSplits;
  }
};

const Environment& environment() {
  static const Environment read;
  return read;
}

}  // namespace

const ForcedPlan& forced_plan() { return environment().plan; }
const std::string& forced_plan_mistake() { return environment().mistake; }

}  // namespace fastnn::cuda
