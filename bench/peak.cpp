// The ceiling of arithmetic: multiply-adds on the widest vectors of this machine, with nothing to load or
// store. Twelve independent chains cover two ports times the four or five cycles that one multiply-add takes.
#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
typedef float Vector __attribute__((vector_size(kBytes)));
constexpr int kChains = 12;

// Runs `steps` rounds and returns how many floating-point operations that was, an addition and a
// multiplication each.
extern "C" double fma_flops(long steps) {
  Vector chain[kChains], scale = {}, shift = {};
  for (int i = 0; i < kChains; ++i) chain[i] = Vector{} + float(i);
  scale += 0.5f;
  shift += 1.0f;
  asm volatile("" : "+x"(scale), "+x"(shift));  // unknown to the compiler, so it cannot fold the loop
  for (long step = 0; step < steps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) chain[i] = chain[i] * scale + shift;
  }
  for (int i = 0; i < kChains; ++i) asm volatile("" ::"x"(chain[i]));
  return 2.0 * kChains * (kBytes / sizeof(float)) * steps;
}
