// Random numbers.
#pragma once
#include "ops/random/random.h"
#include "python/convert.h"

namespace fastnn {

inline void define_random(Definitions& d) {
  d.internal("dropout(x, p=0.5, training=True)", dropout,
             "x / (1 - p) or, with probability p, 0; x itself when not training.");
  d.method(
      "uniform_(self, low=0.0, high=1.0)",
      [](const Tensor& x, double low, double high) { return uniform_(x, low, high); },
      "Uniform numbers in [low, high) everywhere.");
  d.method(
      "normal_(self, mean=0.0, std=1.0)",
      [](const Tensor& x, double mean, double deviation) { return normal_(x, mean, deviation); },
      "Normal numbers everywhere.");
  d.internal(
      "_fresh_uniform(x)", [](const Tensor& x) { return uniform_(x, 0, 1, true); },
      "x.uniform_() of a new tensor.");
  d.internal(
      "_fresh_normal(x)", [](const Tensor& x) { return normal_(x, 0, 1, true); },
      "x.normal_() of a new tensor.");
  d.internal("_randint(low, high, shape, dtype, device)", randint);
  d.internal("_manual_seed(seed)", manual_seed);
  d.internal("_rng_state() -> tuple[int, int]", [] {
    const GeneratorState s = generator_state();
    return tuple_of(Object::owned(To<uint64_t>::of(s.seed)), Object::owned(To<uint64_t>::of(s.draws)));
  });
  d.internal("_set_rng_state(seed, draws)",
             [](uint64_t seed, uint64_t draws) { set_generator_state({.seed = seed, .draws = draws}); });
}

}  // namespace fastnn
