# precompile_headers(TARGET HEADERS...): the system's headers only, so that editing one of ours rebuilds what includes it and
# no more. They would be half a second of every unit.
function(precompile_headers target)
  target_precompile_headers(${target} PRIVATE ${ARGN})
  if(CCACHE)
    # ccache takes a precompiled header for what was in it, if it is told that no macro defined later changes it.
    set_target_properties(
      ${target} PROPERTIES CXX_COMPILER_LAUNCHER
                           "${CMAKE_COMMAND};-E;env;CCACHE_SLOPPINESS=pch_defines,time_macros;${CCACHE}")
  endif()
endfunction()

# add_isa(NAME FLAGS...): compiles FASTNN_CPU_KERNELS for one instruction set and merges the objects into one, in which a
# single symbol, fastnn_cpu_kernels_NAME, is global. All others become local: an inline function or a template instance
# that two sets share would otherwise be merged by the linker, and a machine without AVX-512 could run the AVX-512 copy.
function(add_isa name)
  set(target fastnn_cpu_${name})
  add_library(${target} OBJECT ${FASTNN_CPU_KERNELS})
  target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/csrc)
  target_compile_definitions(${target} PRIVATE FASTNN_ISA=${name} FASTNN_DEVICE=CPU)
  target_compile_options(
    ${target}
    PRIVATE ${FASTNN_OPTIMIZE_KERNELS} ${ARGN} -ffp-contract=off -fno-math-errno -fno-trapping-math -fno-exceptions -fno-rtti
            -fno-threadsafe-statics -Wno-uninitialized $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  set(intrinsics)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set(intrinsics <immintrin.h>)
  endif()
  precompile_headers(${target} ${intrinsics} <atomic> <stdint.h> <string.h> <type_traits>)
  set(objects $<FILTER:$<TARGET_OBJECTS:${target}>,EXCLUDE,cmake_pch>)
  set(merged ${CMAKE_CURRENT_BINARY_DIR}/${target}.o)
  add_custom_command(
    OUTPUT ${merged}
    COMMAND ${CMAKE_LINKER} -r --force-group-allocation -o ${merged}.all ${objects}
    COMMAND ${CMAKE_OBJCOPY} --keep-global-symbol=fastnn_cpu_kernels_${name} ${merged}.all ${merged}
    DEPENDS ${target} ${objects}
    COMMAND_EXPAND_LISTS VERBATIM)
  set_source_files_properties(${merged} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  set(FASTNN_ISA_OBJECTS ${FASTNN_ISA_OBJECTS} ${merged} PARENT_SCOPE)
endfunction()

# best_isa(OUT NAMES...): the first of NAMES, best first, that this machine's processor and system support.
function(best_isa out)
  set(macros_baseline "")
  set(macros_avx2 __AVX2__ __FMA__ __BMI2__)
  set(macros_avx512 ${macros_avx2} __AVX512F__ __AVX512BW__ __AVX512CD__ __AVX512DQ__ __AVX512VL__)
  execute_process(
    COMMAND ${CMAKE_CXX_COMPILER} -march=native -dM -E -x c++ /dev/null
    OUTPUT_VARIABLE defined
    ERROR_QUIET)
  foreach(name IN LISTS ARGN)
    set(missing FALSE)
    foreach(macro IN LISTS macros_${name})
      if(NOT defined MATCHES "#define ${macro} ")
        set(missing TRUE)
      endif()
    endforeach()
    if(NOT missing)
      set(${out} ${name} PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()
