// The algorithms of convolution, each in the file that it is named after: whether it applies to a shape, or
// pays, and its run. Shapes have been flattened (shape.h). conv.cpp orders them.
#pragma once
#include "backend/context.h"
#include "backend/conv.h"
#include "cpu/simd/simd.h"

namespace fastnn::FASTNN_ISA {

// depthwise.cpp: one channel in, one filter.
template <class T>
bool is_depthwise(const ConvShape& s);
template <class T>
Status depthwise_forward(Context& ctx, const ConvParams& params, const ConvShape& s);
template <class T>
Status depthwise_grad_weight(Context& ctx, const ConvParams& params, const ConvShape& s);

// pointwise.cpp: 1x1 filters, a product of filters and each image.
template <class T>
bool is_pointwise(const ConvShape& s);
template <class T>
Status pointwise_forward(Context& ctx, const ConvParams& params, const ConvShape& s);
template <class T>
Status pointwise_grad_input(Context& ctx, const ConvParams& params, const ConvShape& s);

// winograd.cpp, winograd_grad_weight.cpp: 3x3 filters that step by one, in tiles of m x m pixels with fewer
// products; float32. The filters' gradient pays where forward does.
template <int m>
bool winograd_pays(const ConvShape& s);
template <int m>
Status winograd_forward(Context& ctx, const ConvParams& params, const ConvShape& s);
template <int m>
bool winograd_grad_pays(const ConvShape& s);
template <int m>
Status winograd_grad_input(Context& ctx, const ConvParams& params, const ConvShape& s);
template <int m>
Status winograd_grad_weight(Context& ctx, const ConvParams& params, const ConvShape& s);

// direct.cpp: no packing per tap; the input gradient of filters that step by one.
template <class T>
bool direct_pays(const ConvShape& s);
template <class T>
Status direct_forward(Context& ctx, const ConvParams& params, const ConvShape& s);
template <class T>
bool direct_grad_pays(const ConvShape& s);
template <class T>
Status direct_grad_input(Context& ctx, const ConvParams& params, const ConvShape& s);

// product.cpp: packed filters with panels of pixels; any shape.
template <class T>
Status product_forward(Context& ctx, const ConvParams& params, const ConvShape& s);
template <class T>
Status product_grad_input(Context& ctx, const ConvParams& params, const ConvShape& s);

// fold.cpp: filters that shrink their image a lot.
template <class T>
bool fold_pays(const ConvShape& s);
template <class T>
Status fold_grad_input(Context& ctx, const ConvParams& params, const ConvShape& s);

// few_pixels.cpp: one panel of output pixels or less, of all images together; the input gradient of filters
// that step by one.
template <class T>
bool has_few_pixels(const ConvShape& s);
template <class T>
Status few_pixels_grad_input(Context& ctx, const ConvParams& params, const ConvShape& s);
template <class T>
Status few_pixels_grad_weight(Context& ctx, const ConvParams& params, const ConvShape& s);

// few_channels.cpp
template <class T>
bool few_channels_pays(const ConvShape& s);
template <class T>
Status few_channels_grad_weight(Context& ctx, const ConvParams& params, const ConvShape& s);

// grad_weight.cpp: any shape.
template <class T>
Status panel_grad_weight(Context& ctx, const ConvParams& params, const ConvShape& s);

}  // namespace fastnn::FASTNN_ISA
