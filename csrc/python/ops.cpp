// The ops: a header per family in csrc/python/ops, a line per op.
#include "python/module.h"
#include "python/ops/conv.h"
#include "python/ops/elementwise.h"
#include "python/ops/gemm.h"
#include "python/ops/index.h"
#include "python/ops/norm.h"
#include "python/ops/optim.h"
#include "python/ops/pool.h"
#include "python/ops/random.h"
#include "python/ops/reduce.h"
#include "python/ops/softmax.h"
#include "python/ops/view.h"

namespace fastnn {

void define_ops(Definitions& d) {
  define_elementwise(d);
  define_copies(d);
  define_gemm(d);
  define_conv(d);
  define_norm(d);
  define_pool(d);
  define_reduce(d);
  define_softmax(d);
  define_index(d);
  define_random(d);
  define_optim(d);
  define_view(d);
}

}  // namespace fastnn
