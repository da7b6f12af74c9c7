// The parameters of elementwise kernels as operands of a map.
#pragma once
#include "cuda/common/loops.cuh"

namespace fastnn::cuda {

template <class T, class F>
Status map(Context& ctx, const UnaryParams& p, const F& f) {
  return map<T, T>(ctx, p.loop, {{p.y, p.x}}, f);
}
template <class T, class F>
Status map(Context& ctx, const UnaryGradParams& p, const F& f) {
  return map<T, T, T>(ctx, p.loop, {{p.dx, p.dy, p.saved}}, f);
}
template <class T, class Out = T, class F>
Status map(Context& ctx, const BinaryParams& p, const F& f) {
  return map<Out, T, T>(ctx, p.loop, {{p.out, p.a, p.b}}, f);
}
template <class T, class F>
Status map(Context& ctx, const WhereParams& p, const F& f) {
  return map<T, bool, T, T>(ctx, p.loop, {{p.out, p.condition, p.a, p.b}}, f);
}

}  // namespace fastnn::cuda
