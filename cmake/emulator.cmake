# The kernels of src/cuda on a CPU: tests/cuda/emulator is C++, so its tests are there where a C++ compiler is.

include(CheckLanguage)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|aarch64|arm64)$" AND NOT TERN_FUZZ
   AND (NOT CMAKE_CROSSCOMPILING OR CMAKE_CXX_COMPILER))
  check_language(CXX)
endif()
if(NOT CMAKE_CXX_COMPILER)
  message(STATUS "the tests of the CUDA kernels are skipped: no C++ compiler")
  return()
endif()
enable_language(CXX)

set(emulator ${CMAKE_SOURCE_DIR}/tests/cuda/emulator)

# Fibers have stacks that no sanitizer knows; the emulator looks for bad addresses itself.
function(tern_emulated target)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests/cuda)
  target_compile_features(${target} PRIVATE cxx_std_17)
  target_compile_definitions(${target} PRIVATE TERN_CUDA_EMULATOR)
  target_compile_options(${target} PRIVATE -fno-sanitize=all -fvisibility=hidden -U_FORTIFY_SOURCE)
endfunction()

add_executable(test_emulator ${CMAKE_SOURCE_DIR}/tests/cuda/test_emulator.cc ${emulator}/fibers.cc ${emulator}/memory.cc)
tern_emulated(test_emulator)
add_test(NAME cuda_test_emulator COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:test_emulator>)
