// An elementwise op at run time: what its row says, and how its gradients are had.
#pragma once
#include <span>

#include "backend/elementwise.h"
#include "core/operand.h"

namespace fastnn {

struct ElementwiseOp {
  struct Gradient {
    bool fused;     // there is a kernel of its own, at least for some dtypes and devices
    unsigned uses;  // bit i: reads the i-th of {dy, operands, output}
    int operations;
    Tensor (*composed)(const Operand* of, const double* parameters);  // of differentiable ops
  };
  const Row* row;
  int id;
  int arity;
  int operations;        // of the formula
  Gradient gradient[2];  // of each operand; `composed` is null where there is none

  bool differentiable() const { return gradient[0].composed != nullptr; }
};

// By number, RowId.
std::span<const ElementwiseOp> elementwise_ops();

// `parameters` are the row's, all of them, or null where it has none.
Tensor unary(const ElementwiseOp& op, const Tensor& x, const double* parameters);
Tensor binary(const ElementwiseOp& op, const Operand& a, const Operand& b, const double* parameters);
// The result written into x's memory; it must fit x's shape and dtype.
Tensor unary_(const ElementwiseOp& op, const Tensor& x, const double* parameters);
Tensor binary_(const ElementwiseOp& op, const Tensor& x, const Operand& other, const double* parameters);

// dx of operand k by the op's fused kernel, undefined where it has none; `of` as in Gradient, what is not
// read left out.
Tensor fused_gradient(const ElementwiseOp& op, int k, const Operand* of, const double* parameters);

}  // namespace fastnn
