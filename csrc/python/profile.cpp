// fastnn._C._Profile: what python/fastnn/_profile.py shows.
#include "core/profile.h"

#include <memory>

#include "python/class.h"
#include "python/module.h"

namespace fastnn {

using ProfileHandle = std::shared_ptr<Profile>;
template <>
inline constexpr const char* class_name<ProfileHandle> = "_Profile";

namespace {
Object rows_of(const ProfileHandle& profile) {
  const Object list = Object::owned(PyList_New(0));
  const auto number = [](double value) { return Object::owned(PyFloat_FromDouble(value)); };
  for (const auto& [key, row] : profile->rows()) {
    Dict d;
    d.set("op", text(key.first));
    d.set("backward", truth(key.second));
    d.set("calls", integer(row.calls));
    d.set("kernels", integer(row.kernels));
    d.set("seconds", number(static_cast<double>(row.nanoseconds) * 1e-9));
    d.set("kernel_seconds", number(static_cast<double>(row.kernel_nanoseconds) * 1e-9));
    d.set("bytes", number(row.bytes));
    d.set("flops", number(row.flops));
    if (PyList_Append(list.get(), d.object().get()) < 0) throw PythonError();
  }
  return list;
}
}  // namespace

void define_profile(Definitions& d) {
  Class<ProfileHandle>(d, "Counts and times of a thread's ops.")
      .make("_Profile(cls)", [](PyObject*) { return std::make_shared<Profile>(); })
      .method("start(self)", [](ProfileHandle& p) { p->start(); })
      .method("stop(self)", [](ProfileHandle& p) { p->stop(); })
      .method("rows(self) -> list[dict[str, Any]]", [](ProfileHandle& p) { return rows_of(p); })
      .property("seconds(self)",
                [](ProfileHandle& p) { return static_cast<double>(p->nanoseconds()) * 1e-9; });
}

}  // namespace fastnn
