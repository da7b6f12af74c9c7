#include "ops/elementwise/elementwise.h"

#include <string.h>
#include <cmath>

#include "core/promotion.h"
#include "ops/elementwise/copy.h"
#include "ops/support.h"

namespace fastnn {
namespace {

// out's strides: those of an operand that fills the output and is dense, so that memory order is kept.
Tensor empty_result(const char* op, const Dims& shape, DType dtype, Device device, const Operand* x, int n) {
  for (int k = 0; k < n; ++k)
    if (!x[k].is_number() && x[k].tensor().shape() == shape && x[k].tensor().dim() > 0)
      return empty_like(x[k].tensor(), dtype);
  return empty(op, shape, dtype, device);
}

void copy_parameters(double* to, const double* from, const Row& row) {
  for (int i = 0; i < kMaxParameters && row.parameters[i].name; ++i) to[i] = from[i];
}

// The nest over y's shape where some operand is broadcast or lies in memory in another order than y.
[[gnu::noinline]] void describe_nest(ElementwiseParams& p, const Tensor& y, const Operand* x, int n) {
  Dims strides[1 + kMaxInputs];
  strides[0] = y.strides();
  for (int k = 0; k < n; ++k)
    strides[k + 1] = x[k].is_number() ? Dims(y.dim(), 0) : broadcast_strides(x[k].tensor(), y.shape());
  fill_loop(n + 1, y.shape(), strides, &p.loop.ndim, &p.loop.numel, p.loop.shape, p.loop.stride);
}

// Describes y = f(x[0], x[1], ...) over y's shape to a kernel whose elements are `dtype`.
void describe(ElementwiseParams& p, const Tensor& y, const Operand* x, int n, DType dtype, const Row* row,
              int operations, const double* parameters) {
  p.inputs = n;
  p.numbers = 0;
  p.operand[0].pointer = y.data();
  p.size[0] = static_cast<int>(size_of(y.dtype()));
  bool flat = y.is_contiguous();  // the common case: one run of as many steps in each tensor
  for (int k = 0; k < n; ++k) {
    if (x[k].is_number()) {
      p.numbers |= 1u << (k + 1);
      p.operand[k + 1].bits = x[k].number().bits(dtype);
      p.size[k + 1] = static_cast<int>(size_of(dtype));
      p.loop.stride[k + 1][0] = 0;
    } else {
      const Tensor& t = x[k].tensor();
      p.operand[k + 1].pointer = t.data();
      p.size[k + 1] = static_cast<int>(size_of(t.dtype()));
      p.loop.stride[k + 1][0] = 1;
      flat = flat && t.numel() == y.numel() && (t.strides() == y.strides() || t.is_contiguous());
    }
  }
  if (flat) {
    p.loop.ndim = 1;
    p.loop.numel = p.loop.shape[0] = y.numel();
    p.loop.stride[0][0] = 1;
  } else {
    describe_nest(p, y, x, n);
  }
  p.cost = row ? row->cost : 0;
  p.operations = operations;
  if (row) copy_parameters(p.parameters, parameters, *row);
}

inline void announce_parameters(OpScope& scope, const Row& row, const double* parameters) {
  if (!scope.heard()) return;
  for (int i = 0; i < kMaxParameters && row.parameters[i].name; ++i)
    scope.with(row.parameters[i].name, parameters[i]);
}

void check_operand(const ElementwiseOp& op, const char* argument, const Operand& x) {
  if (!x.is_number()) check_defined(op.row->name, argument, x.tensor());
}

// Operands promoted to one dtype, beside each other on one device. Refers to the given tensors, or to its own
// copies.
struct Promoted {
  Operand operand[2];
  DType dtype;

  Promoted(const char* op, Promotion promotion, const Operand& a, const Operand& b, bool compares = false)
      : operand{a, b} {
    if (!a.is_number() && !b.is_number() && a.tensor().dtype() == b.tensor().dtype() &&
        a.tensor().device() == b.tensor().device() &&
        (promotion == Promotion::common || is_floating(a.tensor().dtype()))) [[likely]]
      dtype = a.tensor().dtype();
    else
      promote(op, promotion, compares);
  }
  Promoted(const Promoted&) = delete;

  bool alike() const {  // in shape: the common case
    const Operand &a = operand[0], &b = operand[1];
    return !a.is_number() &&
           (b.is_number() ? a.tensor().dim() > 0 : a.tensor().shape() == b.tensor().shape());
  }
  Device device() const { return operand[operand[0].is_number()].tensor().device(); }
  Dims shape(const char* op) const {
    const Operand &a = operand[0], &b = operand[1];
    if (a.is_number()) return b.tensor().shape();
    if (b.is_number()) return a.tensor().shape();
    return broadcast_shapes(op, a.tensor().shape(), b.tensor().shape());
  }

 private:
  [[gnu::noinline]] void promote(const char* op, Promotion promotion, bool compares) {
    Operand &a = operand[0], &b = operand[1];
    dtype = result_type(a.spoken(), b.spoken());
    if (compares && a.is_number() != b.is_number()) compare_exactly(a, b);
    if (compares && !is_floating(dtype) && (may_exceed(a, dtype) || may_exceed(b, dtype)))
      dtype = DType::int64;  // uint8 values against -1
    if (promotion == Promotion::floating && !is_floating(dtype)) dtype = DType::float32;
    if (a.is_number() && b.is_number()) {
      converted_[0] = empty(op, {}, dtype);
      const uint64_t bits = a.number().bits(dtype);
      memcpy(converted_[0].data(), &bits, size_of(dtype));
      a = converted_[0];
    }
    for (int k = 0; k < 2; ++k) {
      if (operand[k].is_number() || operand[k].tensor().dtype() == dtype) continue;
      converted_[k] = cast(operand[k].tensor(), dtype);
      operand[k] = converted_[k];
    }
    if (!a.is_number() && !b.is_number() && a.tensor().device() != b.tensor().device()) {
      const bool b_moves = b.tensor().device().type == DeviceType::cpu;
      Tensor& moved = converted_[b_moves ? 1 : 0];
      moved = beside(op, b_moves ? b.tensor() : a.tensor(), b_moves ? a.tensor() : b.tensor());
      (b_moves ? b : a) = moved;
    }
  }

  // Integers with a number of float's or beyond 64 bits, which rounds neither.
  void compare_exactly(Operand& a, Operand& b) {
    Operand& number = a.is_number() ? a : b;
    const DType elements = (a.is_number() ? b : a).tensor().dtype();
    const double value = number.number().as_double();
    if (number.number().kind < Number::huge || is_floating(elements)) return;
    const bool huge = number.number().kind == Number::huge;
    if (!huge && value == std::trunc(value) && -0x1p63 <= value && value < 0x1p63) {
      number = Operand(Number(static_cast<int64_t>(value)));
      dtype = elements;
    } else {  // what rounds to 2^63 or, beyond 64 bits, to -2^63 lies beyond what the elements round to
      const bool edge = value == 0x1p63 || (huge && value == -0x1p63);
      number = Operand(Number(edge ? value * (1 + 0x1p-52) : value));
      dtype = DType::float64;
    }
  }
  static bool may_exceed(const Operand& x, DType dtype) {
    if (!x.is_number())
      return x.tensor().dtype() != dtype && fastnn::promote(x.tensor().dtype(), dtype) != dtype;
    const Number n = x.number();
    return n.kind == Number::integer && !fits(n.whole, dtype);
  }

  Tensor converted_[2];
};

bool needs_grad(const Operand& x) {  // where gradients are recorded
  return !x.is_number() && (x.tensor().requires_grad() || x.tensor().is_stale_view());
}
bool wants_grad(const Operand& x) { return !x.is_number() && wants_grad(x.tensor()); }

void launch_row(const ElementwiseOp& op, const char* name, const Tensor& y, const Operand* x, DType dtype,
                const double* parameters) {
  ElementwiseParams p;
  describe(p, y, x, op.arity, dtype, op.row, op.operations, parameters);
  const Backend& backend = backend_of(y.device());
  launch_kernel(name, backend, backend.kernels->of<ElementwiseTable>().forward[op.id], dtype, y.device(), p);
}

// ---- the tape

// By the fused kernel where there is one and nobody asks for a graph.
Tensor operand_gradient(const ElementwiseOp& op, int k, const Operand* of, const double* parameters) {
  if (op.gradient[k].fused && !grad_enabled())
    if (Tensor dx = fused_gradient(op, k, of, parameters); dx.defined()) return dx;
  return op.gradient[k].composed(of, parameters);
}

class ElementwiseNode final : public Node {
 public:
  ElementwiseNode(const char* name, const ElementwiseOp& op, const double* parameters)
      : Node(name, static_cast<size_t>(op.arity), 1), op_(op) {
    copy_parameters(parameters_, parameters, *op.row);
  }

  // What the wanted gradients read; y stands in memory already, for its version is kept too.
  void keep(const Operand* x, const Tensor& y, bool alike) {
    for (int k = 0; k < op_.arity; ++k) {
      if (x[k].is_number()) {
        numbers_[k] = x[k].number();
        is_number_ |= 1u << k;
        continue;
      }
      edge(static_cast<size_t>(k)) = edge_of(x[k].tensor());
      if (edge(static_cast<size_t>(k))) uses_ |= op_.gradient[k].uses;
      if (!alike && x[k].tensor().shape() != y.shape())
        shape_[k] = x[k].tensor().shape(), stretched_ |= 1u << k;
    }
    for (int k = 0; k < op_.arity; ++k)
      if (reads(1 + k) && !(is_number_ >> k & 1)) saved_[k] = save(x[k].tensor());
    if (reads(1 + op_.arity)) saved_[op_.arity] = save_output(y);
  }

  void apply(Backward& g) override {
    Tensor tensor[3];
    for (int i = 0; i <= op_.arity; ++i) tensor[i] = g.get(saved_[i]);
    auto value = [&](int i) {
      return i < op_.arity && is_number_ >> i & 1 ? Operand(numbers_[i]) : Operand(tensor[i]);
    };
    const Operand of[4] = {g.dy(), value(0), value(1), op_.arity == 2 ? Operand(tensor[2]) : Operand(0)};
    for (int k = 0; k < op_.arity; ++k) {
      if (!g.needs(static_cast<size_t>(k))) continue;
      const Tensor dx = operand_gradient(op_, k, of, parameters_);
      g.set(static_cast<size_t>(k), stretched_ >> k & 1 ? sum_to(dx, shape_[k]) : dx);
    }
  }

  void free_saved() override {
    freed = true;
    for (Saved& s : saved_) s = {};
  }
  static void* operator new(size_t bytes) { return small_alloc(bytes); }
  static void operator delete(void* p, size_t bytes) { small_free(p, bytes); }

 private:
  bool reads(int i) const { return uses_ >> i & 1; }

  const ElementwiseOp& op_;
  unsigned uses_ = 0, is_number_ = 0, stretched_ = 0;
  Saved saved_[3];  // the operands and the output
  Number numbers_[2];
  Dims shape_[2];  // of an operand that was broadcast
  double parameters_[kMaxParameters];
};

Tensor recorded(const ElementwiseOp& op, const char* name, Tensor y, const Operand* x,
                const double* parameters, bool alike = false) {
  Ref<ElementwiseNode> node(new ElementwiseNode(name, op, parameters));
  node->keep(x, y, alike);
  attach(node.get(), y, 0);
  return y;
}

}  // namespace

Tensor fused_gradient(const ElementwiseOp& op, int k, const Operand* of, const double* parameters) {
  const Tensor& dy = of[0].tensor();
  const Backend& backend = backend_of(dy.device());
  const auto& row = backend.kernels->of<ElementwiseTable>().gradient[op.id][k];
  if (!row.fn[static_cast<int>(dy.dtype())]) return {};
  Operand x[kMaxInputs] = {0, 0, 0, 0};
  int n = 0;
  for (int i = 0; i < op.arity + 2; ++i)
    if (op.gradient[k].uses >> i & 1) x[n++] = of[i];
  // In the memory order of what was saved: a parameter's gradient lies as the parameter does.
  const Tensor dx = empty_result(op.row->name, dy.shape(), dy.dtype(), dy.device(), x + (n > 1), n - (n > 1));
  ElementwiseParams p;
  describe(p, dx, x, n, dy.dtype(), op.row, op.gradient[k].operations, parameters);
  launch_kernel(op.row->name, backend, row, dy.dtype(), dy.device(), p);
  return dx;
}

Tensor unary(const ElementwiseOp& op, const Tensor& x, const double* parameters) {
  const Row& row = *op.row;
  check_defined(row.name, "input", x);
  if (row.dtypes == FLOATS) check_floating(row.name, "input", x);
  OpScope scope(row.name, x);
  announce_parameters(scope, row, parameters);
  const Operand operand(x);
  Tensor y = empty_like(x, row.result == Result::boolean ? DType::boolean : x.dtype());
  launch_row(op, row.name, y, &operand, x.dtype(), parameters);
  if (op.differentiable() && wants_grad(x)) y = recorded(op, row.name, std::move(y), &operand, parameters);
  return scope.returns(std::move(y));
}

Tensor binary(const ElementwiseOp& op, const Operand& a, const Operand& b, const double* parameters) {
  const Row& row = *op.row;
  check_operand(op, "the first operand", a);
  check_operand(op, "the second operand", b);
  OpScope scope(row.name, a, b);
  announce_parameters(scope, row, parameters);
  const Promoted x(row.name, row.promotion, a, b, row.result == Result::boolean);
  const DType dtype = row.result == Result::boolean ? DType::boolean : x.dtype;
  const bool alike = x.alike();
  Tensor y = alike ? empty_like(x.operand[0].tensor(), dtype)
                   : empty_result(row.name, x.shape(row.name), dtype, x.device(), x.operand, 2);
  launch_row(op, row.name, y, x.operand, x.dtype, parameters);
  if (op.differentiable() && grad_enabled() && (needs_grad(x.operand[0]) || needs_grad(x.operand[1])))
    y = recorded(op, row.name, std::move(y), x.operand, parameters, alike);
  return scope.returns(std::move(y));
}

namespace {
// The names of the in-place forms: "add_".
const char* in_place_name(const ElementwiseOp& op) {
  static const auto& names = *[] {
    auto* all = new std::vector<std::string>;
    for (const ElementwiseOp& each : elementwise_ops()) all->push_back(std::string(each.row->name) + "_");
    return all;
  }();
  return names[static_cast<size_t>(op.id)].c_str();
}

// Whether an op whose operands meet in `dtype` can write into x.
void check_fits(const char* name, const Row& row, DType dtype, const Tensor& x) {
  if (row.promotion == Promotion::floating && !is_floating(dtype)) dtype = DType::float32;
  check_type(dtype == x.dtype(), name, ": the result is ", dtype, " and cannot be written into a tensor of ",
             x.dtype());
}

// x = op(x, ...) in x's memory. A gradient that reads x as it was gets a copy, made before the write.
Tensor write_in_place(const ElementwiseOp& op, const char* name, const Tensor& x, Operand* operands,
                      const double* parameters) {
  bool wanted = false, reads_x = false;
  for (int k = 0; k < op.arity; ++k)
    if (op.differentiable() && wants_grad(operands[k])) {
      wanted = true;
      reads_x |= op.gradient[k].uses >> 1 & 1;
    }
  const Tensor before = before_in_place(name, x, wanted);
  Tensor kept;
  if (wanted && reads_x) {
    GradMode off(false);
    kept = clone(before);
    kept.impl()->grad_fn = before.impl()->grad_fn;
    kept.impl()->output_nr = before.impl()->output_nr;
  }
  launch_row(op, name, x, operands, x.dtype(), parameters);
  x.bump_version();
  if (wanted) {
    const Operand history[2] = {kept.defined() ? Operand(kept) : Operand(before), operands[1]};
    recorded(op, name, x, history, parameters);
  }
  return x;
}
}  // namespace

Tensor unary_(const ElementwiseOp& op, const Tensor& x, const double* parameters) {
  const char* name = in_place_name(op);
  check_defined(name, "input", x);
  if (op.row->dtypes == FLOATS) check_floating(name, "input", x);
  OpScope scope(name, x);
  announce_parameters(scope, *op.row, parameters);
  Operand operands[2] = {x, 0};
  return scope.returns(write_in_place(op, name, x, operands, parameters));
}

Tensor binary_(const ElementwiseOp& op, const Tensor& x, const Operand& given, const double* parameters) {
  const char* name = in_place_name(op);
  check_defined(name, "input", x);
  OpScope scope(name, x, given);
  announce_parameters(scope, *op.row, parameters);
  if (given.is_number()) {
    check_fits(name, *op.row, result_type(Operand(x).spoken(), given.spoken()), x);
    Operand operands[2] = {x, given};
    return scope.returns(write_in_place(op, name, x, operands, parameters));
  }
  check_defined(name, "the operand", given.tensor());
  const Tensor other = beside(name, given.tensor(), x);
  const DType dtype = result_type(x, other);
  check_fits(name, *op.row, dtype, x);
  check_value(broadcast_shapes(name, x.shape(), other.shape()) == x.shape(), name, ": an operand of shape ",
              other.shape(), " does not broadcast into a tensor of shape ", x.shape());
  // x[1:] += x[:-1], x += x.T: what the write changes before it is read is copied first. Also x *= x where it
  // is recorded, for x would be saved for its own gradient and hold itself alive.
  const bool shared = may_overlap(other, x);
  const bool same = shared && other.data() == x.data() && other.dtype() == x.dtype() &&
                    other.shape() == x.shape() && other.strides() == x.strides() && !wants_grad(x, other);
  const Tensor b = cast(shared && !same ? clone(other) : other, dtype);
  Operand operands[2] = {x, b};
  return scope.returns(write_in_place(op, name, x, operands, parameters));
}

void add_into(const Tensor& sum, const Tensor& term) {
  GradMode off(false);
  binary_(elementwise_ops()[kRowId<rows::Add>], sum, term, nullptr);
}

Tensor accumulate(Tensor sum, const Tensor& term) {
  if (grad_enabled() || !sum.sole_owner() || !sum.is_dense()) return add(sum, term);
  add_into(sum, term);
  return sum;
}

Tensor gelu(const Tensor& x, bool approximate) {
  check_defined("gelu", "input", x);
  check_floating("gelu", "input", x);
  return approximate ? gelu_tanh(x) : gelu(x);
}

Tensor relu_gradient(const Tensor& dy, const Tensor& y) {
  const ElementwiseOp& relu = elementwise_ops()[kRowId<rows::Relu>];
  const Operand of[] = {dy, 0, y};
  return operand_gradient(relu, 0, of, nullptr);
}

// ---- choice
Tensor where(const Tensor& given, const Operand& first, const Operand& second) {
  check_defined("where", "condition", given);
  check_type(given.dtype() == DType::boolean, "where: condition must be bool, got ", given.dtype());
  OpScope scope("where", given, first, second);
  Promoted x("where", Promotion::common, first, second);
  const bool scalars = (x.operand[0].is_number() || x.operand[0].tensor().dim() == 0) &&
                       (x.operand[1].is_number() || x.operand[1].tensor().dim() == 0);
  const Tensor like = x.operand[0].is_number() ? x.operand[1].tensor() : x.operand[0].tensor();
  const Tensor condition = scalars ? given : beside("where", given, like);
  Tensor moved[2];
  auto move = [&](Operand& operand, Tensor& own) {
    if (operand.is_number()) return;
    own = beside("where", operand.tensor(), condition);
    operand = own;
  };
  move(x.operand[0], moved[0]), move(x.operand[1], moved[1]);
  const Dims shape = broadcast_shapes("where", condition.shape(), x.shape("where"));
  Tensor y = empty("where", shape, x.dtype, condition.device());
  const Operand operands[] = {condition, x.operand[0], x.operand[1]};
  ElementwiseParams p;
  describe(p, y, operands, 3, x.dtype, nullptr, 1, nullptr);
  launch<&ElementwiseTable::where>("where", y, p);
  if (wants_grad(x.operand[0]) || wants_grad(x.operand[1])) {
    const Tensor a = x.operand[0].is_number() ? Tensor() : x.operand[0].tensor(),
                 b = x.operand[1].is_number() ? Tensor() : x.operand[1].tensor();
    record("where", y, {a, b},
           [c = save(condition), sa = a.defined() ? a.shape() : shape,
            sb = b.defined() ? b.shape() : shape](Backward& g) {
             const Tensor condition = g.get(c);
             if (g.needs(0)) g.set(0, sum_to(where(condition, g.dy(), 0.0), sa));
             if (g.needs(1)) g.set(1, sum_to(where(condition, 0.0, g.dy()), sb));
           });
  }
  return scope.returns(std::move(y));
}

}  // namespace fastnn
