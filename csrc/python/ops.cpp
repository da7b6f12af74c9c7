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

Object describe_rows() {
  const Object list = Object::owned(PyList_New(0));
  for (const ElementwiseOp& op : elementwise_ops()) {
    const Row& row = *op.row;
    const Object dtypes = Object::owned(PyList_New(0)), parameters = Object::owned(PyList_New(0));
    const auto append = [](const Object& to, const Object& value) {
      if (PyList_Append(to.get(), value.get()) < 0) throw_python_error();
    };
    for (int t = 0; t < kDTypes; ++t)
      if (contains(row.dtypes, static_cast<DType>(t))) append(dtypes, text(name_of(static_cast<DType>(t))));
    for (int i = 0; i < parameters_of(row); ++i) {
      Dict p;
      p.set("name", text(row.parameters[i].name));
      p.set("default", Object::owned(PyFloat_FromDouble(row.parameters[i].value)));
      append(parameters, p.object());
    }
    Dict d;
    d.set("name", text(row.name));
    d.set("kind", text(op.arity == 1 ? "unary" : "binary"));
    d.set("dtypes", dtypes);
    d.set("ulp", row.ulp == 0 ? none() : Object::owned(PyFloat_FromDouble(row.ulp)));
    if (row.ulp64 != 0) d.set("ulp64", Object::owned(PyFloat_FromDouble(row.ulp64)));
    d.set("differentiable", integer(op.differentiable() ? 2 : 0));
    d.set("method", truth(row.bound));
    d.set("inplace", truth(row.bound && row.result == Result::same));
    d.set("parameters", parameters);
    d.set("doc", text(row.doc));
    append(list, d.object());
  }
  return list;
}

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
