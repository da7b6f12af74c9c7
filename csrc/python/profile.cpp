// What python/fastnn/_profile.py shows.
#include "python/profile.h"

#include "python/module.h"

namespace fastnn {

namespace {
Object rows_of(const Profile& profile) {
  const Object list = Object::owned(PyList_New(0));
  const auto number = [](double value) { return Object::owned(PyFloat_FromDouble(value)); };
  for (const auto& [key, row] : profile.rows()) {
    Dict d;
    d.set("op", text(key.first));
    d.set("backward", truth(key.second));
    d.set("calls", integer(row.calls));
    d.set("kernels", integer(row.kernels));
    d.set("seconds", number(static_cast<double>(row.nanoseconds) * 1e-9));
    d.set("kernel_seconds", number(static_cast<double>(row.kernel_nanoseconds) * 1e-9));
    d.set("bytes", number(row.bytes));
    d.set("flops", number(row.flops));
    if (PyList_Append(list.get(), d.object().get()) < 0) throw_python_error();
  }
  return list;
}
}  // namespace

void define_profile(Definitions& d) { d.internal("_profile_rows(profile) -> list[dict[str, Any]]", rows_of); }

}  // namespace fastnn
