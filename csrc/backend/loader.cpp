#include "backend/loader.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <string>

namespace fastnn {
namespace {

constexpr const char* kLibrary = "libfastnn_cuda.so";

bool forked = false;  // this process is the child of one that uses CUDA

// Beside the library that this code is part of, unless FASTNN_CUDA_LIBRARY names another.
std::string library_path() {
  if (const char* chosen = getenv("FASTNN_CUDA_LIBRARY"); chosen && *chosen) return chosen;
  Dl_info self;
  static const char here = 0;
  if (!dladdr(&here, &self)) return kLibrary;
  const std::string path = self.dli_fname;
  return path.substr(0, path.rfind('/') + 1) + kLibrary;
}

struct Cuda {
  const Backend* backend = nullptr;
  std::string why_not;

  Cuda() {
    const std::string path = library_path();
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      const std::string reason = dlerror();
      const bool missing = access(path.c_str(), F_OK) != 0;  // not one that it needs
      why_not =
          missing
              ? "fastnn was built without CUDA (FASTNN_CUDA=on at build time adds it): there is no " + path
              : "the CUDA backend cannot be loaded: " + reason;
      return;
    }
    using Entry = const Backend* (*)(const char** why_not);
    const auto entry = reinterpret_cast<Entry>(dlsym(library, "fastnn_cuda_backend"));
    if (!entry) {
      why_not = path + " is not a CUDA backend of fastnn";
      return;
    }
    const char* reason = "no reason was given";
    const Backend* found = entry(&reason);
    if (!found)
      why_not = reason;
    else if (found->abi != FASTNN_ABI)
      why_not = path + " belongs to another build of fastnn";
    else
      backend = found;
    // A driver that was started before fork() does not work in the child.
    pthread_atfork(nullptr, nullptr, [] { forked = true; });
  }
};

const Cuda& cuda() {
  static const Cuda& loaded = *new Cuda;  // never unloaded: tensors may outlive every static
  return loaded;
}

}  // namespace

const Backend* find_backend(DeviceType type) {
  return type == DeviceType::cpu ? &cpu_backend() : cuda().backend;
}

bool lost_in_fork() { return forked; }

const char* cuda_why_not() {
  if (!cuda().backend) return cuda().why_not.c_str();
  return forked ? "this process was forked from one that had used CUDA; start it with multiprocessing's "
                  "\"spawn\" method, or fork first"
                : nullptr;
}

}  // namespace fastnn
