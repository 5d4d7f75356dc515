# The kernels of src/cuda on a CPU: tests/cuda/emulator is C++, so its tests are there where a C++ compiler is.

include(CheckLanguage)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|aarch64|arm64)$" AND NOT TERN_FUZZ
   AND (NOT CMAKE_CROSSCOMPILING OR CMAKE_CXX_COMPILER))
  check_language(CXX)
endif()
if(NOT CMAKE_CXX_COMPILER)
  message(STATUS "the tests of the CUDA kernels are skipped: no C++ compiler")
  add_test(NAME cuda_kernels COMMAND sh -c "echo 'skipped: no C++ compiler for the emulator'; exit 77")
  set_tests_properties(cuda_kernels PROPERTIES SKIP_RETURN_CODE 77)
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

# The kernels, compiled for it, and the emulator as the driver's library, which src/cuda/driver.c then finds.
set(kernels ${CMAKE_SOURCE_DIR}/src/cuda/kernels)
file(GLOB kernel_headers CONFIGURE_DEPENDS ${kernels}/*.cuh)
add_library(emulated_kernels OBJECT ${kernels}/kernels.cu)
set_source_files_properties(${kernels}/kernels.cu PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++"
                            OBJECT_DEPENDS "${kernel_headers}")
tern_emulated(emulated_kernels)
# Enumerators stand beside other integers there, as in C, and nvcc's pragmas.
target_compile_options(emulated_kernels PRIVATE -Wno-extra -Wno-unknown-pragmas)
add_library(emulated_driver SHARED ${emulator}/driver.cc ${emulator}/stream.cc ${emulator}/kernels.cc
            ${emulator}/fibers.cc ${emulator}/memory.cc $<TARGET_OBJECTS:emulated_kernels>)
tern_emulated(emulated_driver)
set_target_properties(emulated_driver PROPERTIES OUTPUT_NAME cuda SOVERSION 1
                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/cuda)

add_executable(test_matrices ${CMAKE_SOURCE_DIR}/tests/cuda/test_matrices.cc ${emulator}/kernels.cc
               ${emulator}/fibers.cc ${emulator}/memory.cc $<TARGET_OBJECTS:emulated_kernels>)
tern_emulated(test_matrices)
target_link_libraries(test_matrices PRIVATE tern_static)
add_test(NAME cuda_test_matrices COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:test_matrices>)

# The backend on it, in one process with the CPU's.
add_executable(test_cuda_device ${CMAKE_SOURCE_DIR}/tests/cuda/test_device.c)
target_link_libraries(test_cuda_device PRIVATE tern_static PkgConfig::CMOCKA ${CMAKE_DL_LIBS})
target_compile_definitions(test_cuda_device PRIVATE TERN_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
if(NOT CMAKE_CROSSCOMPILING)
  add_test(NAME cuda_test_device COMMAND test_cuda_device)
  set_tests_properties(cuda_test_device PROPERTIES ENVIRONMENT
    "LD_LIBRARY_PATH=$<TARGET_FILE_DIR:emulated_driver>;TERN_EMULATED_CUDA=1;TERN_EMULATOR_ORDER=reverse")
endif()

# The command on it (tests/cli/test_cuda*.sh), and the golden models.
if(NOT CMAKE_CROSSCOMPILING)
  set_tests_properties(cli_test_cuda cli_test_cuda_faults cli_test_cuda_shapes PROPERTIES
    ENVIRONMENT "TERN=$<TARGET_FILE:tern_command>;CUDA_EMULATOR=$<TARGET_FILE_DIR:emulated_driver>")
  add_test(NAME cuda_golden COMMAND test_golden)
  set_tests_properties(cuda_golden PROPERTIES ENVIRONMENT
    "LD_LIBRARY_PATH=$<TARGET_FILE_DIR:emulated_driver>;TERN_BACKEND=cuda;TERN_GOLDEN_COMMITTED=1")
endif()
