// What the kernels of each family are told: plain structs, filled and validated by the op, read by every
// backend. Strides and leading dimensions count elements, not bytes. Pointers are to the first element.
#pragma once
#include "backend/dtype.h"

namespace fastnn {

constexpr int kMaxDims = 8;

// ---- elementwise
// ---------------------------------------------------------------------------------------------------- A nest
// of loops over N operands; operand 0 is the output. Outermost dimension first, innermost last; dimensions
// that can be walked as one have been merged, size-1 dimensions dropped (a 0-d or one-element loop has ndim
// 1, shape {1}). A stride of 0 repeats an element (broadcasting). numel is the product of shape and may be 0.
template <int N>
struct Loop {
  int ndim;
  int64_t numel;
  int64_t shape[kMaxDims];
  int64_t stride[N][kMaxDims];
};

struct UnaryParams {
  void* y;
  const void* x;
  Loop<2> loop;
};
struct UnaryGradParams {  // dx = f'(saved) * dy, where saved is the forward's input or output, as the
                          // kernel's row says
  void* dx;
  const void* dy;
  const void* saved;
  Loop<3> loop;
};
struct BinaryParams {
  void* out;
  const void* a;
  const void* b;
  Loop<3> loop;
};
struct WhereParams {  // out = condition ? a : b; condition is bool
  void* out;
  const bool* condition;
  const void* a;
  const void* b;
  Loop<4> loop;
};
struct CastParams {  // y (dtype `to`) = x (the row's dtype); also the strided copy, with to == from
  void* y;
  const void* x;
  DType to;
  Loop<2> loop;
};
struct FillParams {  // y = value; integers and bools are passed in `integer`
  void* y;
  double value;
  int64_t integer;
  Loop<1> loop;
};
struct ArangeParams {  // y[i] = start + i * step
  void* y;
  int64_t numel;
  double start, step;
};

// ---- reductions
// -----------------------------------------------------------------------------------------------------
// y[kept] = reduce over `reduced` of x. Two nests: `kept` runs over the outputs (operand 0 is y, 1 is x),
// `reduced` over the elements that fall into one output (operand 0 is x). Both are merged as in Loop. y is
// dense in row-major order of `kept`.
struct ReduceParams {
  void* y;
  int64_t*
      index;  // argmax, argmin: position in row-major order of `reduced`; max, min: optional, may be null
  const void* x;
  Loop<2> kept;
  Loop<1> reduced;
  double scale;  // sum: y = scale * sum (mean passes 1/n)
};

// ---- matrix products
// ------------------------------------------------------------------------------------------------ C (m x n,
// row-major, ldc) = act(A B + bias) for each of `batch` products; element (i, p) of A is a[i * rs_a + p *
// cs_a]. One of (rs_a, cs_a) is 1, and so for B: NN, NT, TN and TT come without copies.
enum class Activation : int { none, relu };
struct GemmParams {
  int64_t m, n, k;
  const void* a;
  int64_t rs_a, cs_a;
  const void* b;
  int64_t rs_b, cs_b;
  void* c;
  int64_t ldc;
  const void* bias;  // length n, added to every row; or null
  Activation activation;
  int64_t batch;                      // >= 0
  int64_t batch_a, batch_b, batch_c;  // distance from one product to the next; 0 shares the operand
};

// ---- convolution and pooling
// ---------------------------------------------------------------------------------------- N images of C
// channels, H x W pixels; K filters of (C / groups) x R x S; outputs P x Q. All tensors row-major NCHW /
// KCRS.
struct ConvShape {
  int64_t n, c, h, w, k, r, s, p, q;
  int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
};
struct ConvParams {
  ConvShape shape;
  const void* x;     // N C H W      forward, grad weight: read
  const void* w;     // K C/g R S    forward, grad input: read
  const void* y;     // N K P Q      grad input, grad weight: dy, read
  void* out;         // y, dx or dw
  const void* bias;  // length K, forward only, or null
  Activation activation;
};
struct PoolParams {  // planes = N * C images of H x W to P x Q
  int64_t planes, h, w, p, q;
  int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  bool count_include_pad;  // avg: divide by the whole window
  const void* x;           // forward: x; backward: dy
  void* y;                 // forward: y; backward: dx (written whole)
  void* index;      // max: position of the maximum within its window, r * kernel_w + s; index_bytes each;
                    // max_pool2d: null where nobody will ask
  int index_bytes;  // 1 where kernel_h * kernel_w <= 256, else 4
};

// ---- softmax and cross-entropy
// --------------------------------------------------------------------------------------
struct SoftmaxParams {  // over `size` elements, `inner` apart, for each of outer * inner rows; dense
  int64_t outer, size, inner;
  void* y;
  const void* x;   // forward
  const void* dy;  // backward: y is dx, x is the forward's output
};
struct CrossEntropyParams {  // rows x classes, row-major
  int64_t rows, classes;
  const void* logits;
  const int64_t* labels;
  int64_t ignore_index;
  void* loss;         // forward: rows losses (0 where ignored)
  void* log_sum_exp;  // forward: written; backward: read; rows pairs {m, s}, log sum e^x = m + s (apart, for
                      // large logits)
  const void* dloss;  // backward: rows factors, the gradient of each row's loss
  void* dlogits;      // backward: written whole
};

// ---- normalisation
// y = (x - mean) rstd weight + bias, rstd = 1 / sqrt(variance + eps). All dense, row-major; weight and bias
// may be null (1 and 0). Backward: gradients that are not wanted are null.
struct LayerNormParams {  // of each of `rows` rows of `size` elements; weight and bias have `size`
  int64_t rows, size;
  const void* x;
  const void* weight;
  const void* bias;
  double eps;
  void* mean;  // rows; forward: written; backward: read
  void* rstd;
  void* y;         // forward
  const void* dy;  // backward
  void* dx;
  void* dweight;
  void* dbias;
};
struct BatchNormParams {  // of each of `c` channels of x (n c inner); everything per channel has `c` elements
  int64_t n, c, inner;
  const void* x;
  const void* weight;
  const void* bias;
  double eps;
  bool training;          // mean and variance are the batch's, else the running ones
  Activation activation;  // forward: of y; backward: dy passes where y is positive
  void* running_mean;     // forward; training: r += momentum (new - r), or null
  void* running_var;
  double momentum;
  void* mean;  // forward: written; backward: read
  void* rstd;
  void* y;         // forward
  const void* dy;  // backward
  void* dx;
  void* dweight;
  void* dbias;
};

// ---- random numbers
// ------------------------------------------------------------------------------------------------- Philox
// 4x32-10 keyed by (seed, op): element i always gets the same draw, whatever the number of threads.
struct RandomParams {
  void* y;
  int64_t numel;
  uint64_t seed, op;
  double a, b;  // uniform: [a, b); normal: mean a, deviation b; integers: [a, b) given in low, high
  int64_t low, high;
};
struct DropoutParams {  // y = keep(i) ? x * scale : 0; the mask is drawn again in backward; dense
  void* y;
  const void* x;
  int64_t numel;
  uint64_t seed, op;
  double p;
};

// ---- indexing
// -------------------------------------------------------------------------------------------------------
// Slices of `inner` dense elements. gather: y[i] = x[offset[i]]; scatter_add: y[offset[i]] += x[i], in order
// of i; put: y[offset[i]] = x[i], in order of i. Offsets count elements of x (of y for scatter_add and put)
// and are in range.
struct IndexParams {
  void* y;
  const void* x;
  const int64_t* offset;
  int64_t count, inner;
};
struct NonzeroParams {  // the offsets of the elements that are true, in row-major order of the loop, as many
                        // as there are
  int64_t* y;
  const bool* x;
  Loop<2> loop;  // dimensions in order; strides of operand 0 make the offset, of operand 1 walk x
};
struct IndexRangeParams {  // smallest and largest of `count` indices
  const int64_t* index;
  int64_t count;
  int64_t* range;  // {min, max}
};

// ---- optimisers: one call over all parameters
// -----------------------------------------------------------------------
struct OptimTensor {
  void* w;
  const void* g;
  void* state1;  // SGD: momentum; Adam: first moment
  void* state2;  // Adam: second moment
  int64_t numel;
};
struct SgdParams {
  const OptimTensor* tensors;
  int64_t count;
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize, first_step;
};
struct AdamParams {
  const OptimTensor* tensors;
  int64_t count;
  double lr, beta1, beta2, eps, weight_decay;
  bool decoupled, maximize;  // decoupled: AdamW
  int64_t step;              // 1 at the first
};

}  // namespace fastnn
