// Trains a LeNet without Python, with every allocation of the process counted, and prints how many there were
// while it warmed up and after. Our objects are linked with --wrap for the malloc family; operator new, which
// also the compiled parts of the standard library call, is replaced.
#include <stdio.h>
#include <stdlib.h>

#include <atomic>
#include <new>
#include <vector>

#include "core/autograd.h"
#include "cpu/host/thread_pool.h"
#include "ops/conv/conv.h"
#include "ops/elementwise/copy.h"
#include "ops/elementwise/elementwise.h"
#include "ops/gemm/matmul.h"
#include "ops/optim/optim.h"
#include "ops/pool/pool.h"
#include "ops/random/random.h"
#include "ops/softmax/softmax.h"
#include "ops/view/view.h"

static std::atomic<long> allocations{0};

extern "C" {
void* __real_malloc(size_t);
void* __real_calloc(size_t, size_t);
void* __real_realloc(void*, size_t);
void* __real_aligned_alloc(size_t, size_t);
void* __wrap_malloc(size_t n) { return ++allocations, __real_malloc(n); }
void* __wrap_calloc(size_t n, size_t size) { return ++allocations, __real_calloc(n, size); }
void* __wrap_realloc(void* p, size_t n) { return ++allocations, __real_realloc(p, n); }
void* __wrap_aligned_alloc(size_t align, size_t n) { return ++allocations, __real_aligned_alloc(align, n); }
}

void* operator new(size_t n) {
  if (void* p = malloc(n)) return p;
  throw std::bad_alloc();
}
void* operator new[](size_t n) { return operator new(n); }
void operator delete(void* p) noexcept { free(p); }
void operator delete[](void* p) noexcept { free(p); }
void operator delete(void* p, size_t) noexcept { free(p); }
void operator delete[](void* p, size_t) noexcept { free(p); }

namespace {
using namespace fastnn;

Tensor parameter(const Dims& shape) {
  Tensor w = empty("parameter", shape, DType::float32);
  uniform_(w, -0.05, 0.05);
  w.impl()->requires_grad = true;
  return w;
}

struct LeNet {  // 20 and 50 filters of 5 x 5, 500 hidden units
  Tensor w1 = parameter({20, 1, 5, 5}), b1 = parameter({20}), w2 = parameter({50, 20, 5, 5}),
         b2 = parameter({50});
  Tensor w3 = parameter({500, 800}), b3 = parameter({500}), w4 = parameter({10, 500}), b4 = parameter({10});

  Tensor operator()(const Tensor& images) const {
    const PoolOptions halves{{2, 2}, {2, 2}};
    Tensor x = max_pool2d(conv2d(images, w1, b1, {}, Activation::relu), halves);
    x = max_pool2d(conv2d(x, w2, b2, {}, Activation::relu), halves);
    x = dropout(linear(flatten(x, 1, -1), w3, b3, Activation::relu), 0.2, true);
    return linear(x, w4, b4, Activation::none);
  }
};

void step(const LeNet& net, const Tensors& parameters, const Tensors& momenta, const Tensor& images,
          const Tensor& labels, Tensors& grads, bool first) {
  const Tensor loss = cross_entropy(net(images), labels, {}, {});
  const Tensor none;
  backward(std::span(&loss, 1), std::span(&none, 1), false, false);
  for (size_t i = 0; i < parameters.size(); ++i) grads[i] = Tensor(parameters[i].impl()->grad);
  sgd_step(parameters, grads, momenta, {0.01, 0.9, 0, 1e-4, false, false, first});
  for (size_t i = 0; i < parameters.size(); ++i) parameters[i].impl()->grad = nullptr, grads[i] = Tensor();
}

}  // namespace

int main(int argc, char** argv) {
  set_num_threads(argc > 1 ? atoi(argv[1]) : 1);
  const LeNet net;
  const Tensors parameters{net.w1, net.b1, net.w2, net.b2, net.w3, net.b3, net.w4, net.b4};
  Tensors momenta, grads(parameters.size());
  for (const Tensor& p : parameters) momenta.push_back(zeros(p.shape(), p.dtype(), p.device()));
  Tensor images = empty("images", {16, 1, 28, 28}, DType::float32);
  uniform_(images, 0, 1);
  const Tensor labels = zeros({16}, DType::int64, {});

  for (int i = 0; i < 10; ++i) step(net, parameters, momenta, images, labels, grads, i == 0);
  const long warm_up = allocations;
  for (int i = 0; i < 20; ++i) step(net, parameters, momenta, images, labels, grads, false);
  printf("warm_up %ld\nafter %ld\n", warm_up, allocations - warm_up);
}
