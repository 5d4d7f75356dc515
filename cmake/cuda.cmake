# The kernels for NVIDIA GPUs (src/cuda/kernels), compiled by nvcc into one file for all architectures, which becomes
# part of the library (src/cuda/image.c). Without nvcc the rest of the CUDA backend is built all the same, and says when
# it is asked for that this build has no kernels. Nothing links to CUDA: the driver is opened when the program runs.
#
# TERN_CUDA=AUTO: if nvcc is there and works; ON: or fail; OFF: never.

set(TERN_CUDA AUTO CACHE STRING "Compile the CUDA kernels with nvcc: AUTO, ON or OFF")
set_property(CACHE TERN_CUDA PROPERTY STRINGS AUTO ON OFF)
set(TERN_CUDA_ARCHITECTURES "75;80;86;89;90" CACHE STRING "Compute capabilities to compile the CUDA kernels for")

# In the caller: nvcc_architectures, those of the wanted ones that this nvcc knows; empty: it does not work.
function(tern_check_nvcc nvcc)
  set(nvcc_architectures "" PARENT_SCOPE)
  execute_process(COMMAND ${nvcc} --list-gpu-code OUTPUT_VARIABLE known ERROR_QUIET RESULT_VARIABLE failed)
  if(failed)
    return()
  endif()
  set(found "")
  foreach(architecture ${TERN_CUDA_ARCHITECTURES})
    if(known MATCHES "sm_${architecture}([^0-9]|$)")
      list(APPEND found ${architecture})
    endif()
  endforeach()
  if(NOT found)
    return()
  endif()
  # A compiler for the host that nvcc does not get on with is found out here, not in the middle of a build.
  list(GET found 0 first)
  file(WRITE ${CMAKE_BINARY_DIR}/cuda/check.cu "extern \"C\" __global__ void check(int *x) { *x = 1; }\n")
  execute_process(COMMAND ${nvcc} -cubin -arch=sm_${first} -o ${CMAKE_BINARY_DIR}/cuda/check.cubin
                          ${CMAKE_BINARY_DIR}/cuda/check.cu RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
  if(NOT failed)
    set(nvcc_architectures ${found} PARENT_SCOPE)
  endif()
endfunction()

set(nvcc_architectures "")
if(TERN_CUDA AND NOT APPLE)
  find_program(TERN_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda /opt/cuda PATH_SUFFIXES bin)
  if(TERN_NVCC AND NOT CMAKE_CROSSCOMPILING)
    tern_check_nvcc(${TERN_NVCC})
  endif()
  if(NOT nvcc_architectures AND NOT TERN_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "TERN_CUDA=${TERN_CUDA}, but there is no nvcc that works and knows one of the compute "
                        "capabilities ${TERN_CUDA_ARCHITECTURES}: set TERN_NVCC to one, or TERN_CUDA=AUTO")
  endif()
endif()

if(nvcc_architectures)
  # Drivers of an older major version do not load what this nvcc makes; src/cuda/device.c says so then.
  execute_process(COMMAND ${TERN_NVCC} --version OUTPUT_VARIABLE version)
  if(NOT version MATCHES "release ([0-9]+)\\.([0-9]+)")
    message(FATAL_ERROR "${TERN_NVCC} --version gives no version: '${version}'")
  endif()
  math(EXPR toolkit "${CMAKE_MATCH_1} * 1000 + ${CMAKE_MATCH_2} * 10")
  set(fatbin ${CMAKE_BINARY_DIR}/cuda/kernels.fatbin)
  set(gencode "")
  foreach(architecture ${nvcc_architectures})
    list(APPEND gencode -gencode arch=compute_${architecture},code=sm_${architecture})
  endforeach()
  set(newest 0)
  set(oldest 1000)
  foreach(architecture ${nvcc_architectures})
    string(REGEX MATCH "^[0-9]+" number ${architecture})
    if(number GREATER newest)
      set(newest ${number})
    endif()
    if(number LESS oldest)
      set(oldest ${number})
    endif()
  endforeach()
  # and the largest as PTX, which drivers translate for what comes after it
  list(APPEND gencode -gencode arch=compute_${newest},code=compute_${newest})
  file(GLOB kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/cuda/kernels/*)
  add_custom_command(
    OUTPUT ${fatbin}
    COMMAND ${TERN_NVCC} -fatbin -O3 -std=c++17 --fmad=false ${gencode} -I ${CMAKE_SOURCE_DIR}/src -o ${fatbin}
            ${CMAKE_SOURCE_DIR}/src/cuda/kernels/kernels.cu
    DEPENDS ${kernels} ${CMAKE_SOURCE_DIR}/src/cuda/args.h ${CMAKE_SOURCE_DIR}/src/cuda/layout.h
    COMMENT "Compiling the CUDA kernels for ${nvcc_architectures}")
  add_custom_target(tern_cuda_kernels DEPENDS ${fatbin})
  set_source_files_properties(${CMAKE_SOURCE_DIR}/src/cuda/image.c PROPERTIES
    COMPILE_DEFINITIONS "TERN_CUDA_FATBIN=\"${fatbin}\";TERN_CUDA_TOOLKIT=${toolkit};TERN_CUDA_CAPABILITY=${oldest}"
    OBJECT_DEPENDS ${fatbin})
  message(STATUS "CUDA kernels: ${TERN_NVCC}, compute capabilities ${nvcc_architectures}")
else()
  message(STATUS "CUDA kernels: none (TERN_CUDA=${TERN_CUDA}, no nvcc that works)")
endif()
