// fastnn._C._Profile: counts and times of ops, as Python sees them.
#pragma once
#include "core/profile.h"
#include "python/instance.h"

namespace fastnn {

template <>
inline constexpr const char* class_name<Profile> = "_Profile";

}  // namespace fastnn
