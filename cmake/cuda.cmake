# The CUDA backend: libfastnn_cuda.so beside the extension module, which opens it when asked for a CUDA device. It links
# neither the driver nor a shared runtime, so it can be shipped to and loaded on any machine.
#
# FASTNN_CUDA           auto: where both nvcc and a GPU are, for that GPU; on: for the architectures below; off: not at all
# FASTNN_CUDA_ARCHS     as CMAKE_CUDA_ARCHITECTURES; "native" is this machine's
# FASTNN_CUDA_BLACKWELL machine code for 10.0 and 12.0, too, where FASTNN_CUDA is on and names no architectures
# FASTNN_CUDA_FLAGS     more options for nvcc
set(FASTNN_CUDA auto CACHE STRING "Build the CUDA backend: auto, on or off")
set_property(CACHE FASTNN_CUDA PROPERTY STRINGS auto on off)
if(NOT FASTNN_CUDA MATCHES "^(auto|on|off)$")
  message(FATAL_ERROR "FASTNN_CUDA must be auto, on or off, got \"${FASTNN_CUDA}\"")
endif()
set(FASTNN_CUDA_ARCHS "" CACHE STRING "GPU architectures to build for")
option(FASTNN_CUDA_BLACKWELL "Add machine code for compute capability 10.0 and 12.0 to what FASTNN_CUDA=on builds for" OFF)

set(FASTNN_CUDA_LEAST_NVCC 12.8)
if(FASTNN_CUDA STREQUAL off)
  return()
endif()
if(FASTNN_CUDA STREQUAL auto AND NOT EXISTS /dev/nvidiactl)
  message(STATUS "CUDA backend: not built (FASTNN_CUDA=auto, and this machine has no GPU)")
  return()
endif()

include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(FASTNN_CUDA STREQUAL on)
    message(FATAL_ERROR "FASTNN_CUDA=on, but no nvcc was found on PATH or in CUDACXX. `make nvcc` installs one from PyPI; "
                        "README.md says how.")
  endif()
  message(STATUS "CUDA backend: not built (no nvcc)")
  return()
endif()

set(default_archs 80-real 90a-real 80-virtual) # Ampere and Ada, Hopper, and PTX for what comes after
if(FASTNN_CUDA_BLACKWELL)
  list(INSERT default_archs 2 100-real 120-real)
endif()
if(FASTNN_CUDA STREQUAL auto)
  set(default_archs native)
endif()
if(FASTNN_CUDA_ARCHS)
  set(CMAKE_CUDA_ARCHITECTURES ${FASTNN_CUDA_ARCHS})
else()
  set(CMAKE_CUDA_ARCHITECTURES ${default_archs})
endif()
if(CCACHE AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS ${FASTNN_CUDA_LEAST_NVCC})
  if(FASTNN_CUDA STREQUAL on)
    message(FATAL_ERROR "FASTNN_CUDA=on needs nvcc ${FASTNN_CUDA_LEAST_NVCC} or newer, found ${CMAKE_CUDA_COMPILER_VERSION}")
  endif()
  message(STATUS "CUDA backend: not built (nvcc ${CMAKE_CUDA_COMPILER_VERSION} is older than ${FASTNN_CUDA_LEAST_NVCC})")
  return()
endif()
message(STATUS "CUDA backend: nvcc ${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")

# CMake 3.25 does not know yet that nvcc speaks C++20.
foreach(kind STANDARD EXTENSION)
  if(NOT CMAKE_CUDA20_${kind}_COMPILE_OPTION)
    set(CMAKE_CUDA20_${kind}_COMPILE_OPTION -std=c++20)
  endif()
endforeach()
file(GLOB_RECURSE FASTNN_CUDA_SOURCES CONFIGURE_DEPENDS cuda/*.cu)
file(GLOB FASTNN_CUDA_PROBE CONFIGURE_DEPENDS cuda/probe/*.cu)
list(REMOVE_ITEM FASTNN_CUDA_SOURCES ${FASTNN_CUDA_PROBE})
set_property(SOURCE cuda/host/backend.cu APPEND PROPERTY COMPILE_DEFINITIONS ${FASTNN_ABI})
set(FASTNN_CUDA_FLAGS "" CACHE STRING "More options for nvcc, to try them: as FASTNN_CUDA_LIBRARY such a library stands beside the usual one")
separate_arguments(more_flags NATIVE_COMMAND "${FASTNN_CUDA_FLAGS}")

# cuda_target(NAME KIND ARCHITECTURES SOURCES...): objects or a library of what nvcc makes for these architectures.
function(cuda_target target kind archs)
  add_library(${target} ${kind} ${ARGN})
  target_include_directories(${target} PRIVATE . csrc)
  target_compile_definitions(${target} PRIVATE FASTNN_DEVICE=CUDA)
  # 445 is about the pickers of FASTNN_FILL: a lambda whose template parameter only its body uses.
  # As on the CPU, a * b + c is rounded twice unless a kernel asks for fma: results do not hang on the compiler's mood.
  target_compile_options(
    ${target}
    PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-O3 --fmad=false --compress-mode=size --diag-suppress=445 --expt-relaxed-constexpr
            -Xcompiler=-fvisibility=hidden ${more_flags}>)
  set_target_properties(
    ${target}
    PROPERTIES CUDA_ARCHITECTURES "${archs}"
               CUDA_STANDARD 20
               CUDA_RUNTIME_LIBRARY Static
               CUDA_VISIBILITY_PRESET hidden
               POSITION_INDEPENDENT_CODE ON)
  if(kind STREQUAL SHARED)
    target_link_options(${target} PRIVATE LINKER:--exclude-libs,ALL LINKER:--no-undefined)
  endif()
endfunction()

# Hopper's code is a part of its own: the target fastnn_cuda_sm90a makes a library of it alone, hopper/libfastnn_cuda.so, in
# place of which FASTNN_CUDA_LIBRARY may name it, whatever else this build folder is for.
cuda_target(fastnn_cuda_sm90a_objects OBJECT 90a-real ${FASTNN_CUDA_SOURCES})
cuda_target(fastnn_cuda_sm90a SHARED 90a-real $<TARGET_OBJECTS:fastnn_cuda_sm90a_objects>)
set_target_properties(fastnn_cuda_sm90a PROPERTIES OUTPUT_NAME fastnn_cuda LINKER_LANGUAGE CUDA LIBRARY_OUTPUT_DIRECTORY hopper
                                                   EXCLUDE_FROM_ALL ON)
# What tools/gpu_check asks of the hardware itself.
cuda_target(fastnn_cuda_probe SHARED 90a-real ${FASTNN_CUDA_PROBE})
set_target_properties(fastnn_cuda_sm90a_objects fastnn_cuda_probe PROPERTIES EXCLUDE_FROM_ALL ON)

if(CMAKE_CUDA_ARCHITECTURES STREQUAL 90a-real)
  cuda_target(fastnn_cuda SHARED 90a-real $<TARGET_OBJECTS:fastnn_cuda_sm90a_objects>)
  set_target_properties(fastnn_cuda PROPERTIES LINKER_LANGUAGE CUDA)
else()
  cuda_target(fastnn_cuda SHARED "${CMAKE_CUDA_ARCHITECTURES}" ${FASTNN_CUDA_SOURCES})
endif()
install(TARGETS fastnn_cuda DESTINATION fastnn)
