# The rooms: each folder of src/ is a static library, and its link line says
# which rooms it may use (docs/ARCHITECTURE.md). tests/rooms links each one with
# nothing more, so an upward call fails to link.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(EDIT REQUIRED IMPORTED_TARGET libedit)
pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)

set(TERN_ROOMS "")

# tern_room(NAME USES room... LIBRARIES target...)
function(tern_room name)
  cmake_parse_arguments(ROOM "" "" "USES;LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.c)
  list(FILTER sources EXCLUDE REGEX "_tmpl\\.c$")
  list(FILTER sources EXCLUDE REGEX "/mpi/")
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    list(FILTER sources EXCLUDE REGEX "/x86/")
  endif()
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    list(FILTER sources EXCLUDE REGEX "/arm/")
  endif()
  add_library(tern_${name} STATIC ${sources})
  target_include_directories(tern_${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
  foreach(used ${ROOM_USES})
    target_link_libraries(tern_${name} PUBLIC tern_${used})
  endforeach()
  target_link_libraries(tern_${name} PUBLIC ${ROOM_LIBRARIES})
  # Instruction-set flags stand on the files of that set only; run-time dispatch does the rest.
  foreach(source ${sources})
    if(source MATCHES "_avx2\\.c$")
      set(flags "-mavx2 -mfma -mf16c")
    elseif(source MATCHES "_avxvnni\\.c$")
      set(flags "-mavx2 -mfma -mf16c -mavxvnni")
    elseif(source MATCHES "_avx512vnni\\.c$")
      set(flags "-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mprefer-vector-width=512")
    elseif(source MATCHES "_avx512vbmi\\.c$")
      set(flags "-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512vbmi -mprefer-vector-width=512")
    elseif(source MATCHES "_avx512popcnt\\.c$")
      set(flags "-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vpopcntdq -mprefer-vector-width=512")
    elseif(source MATCHES "_avx512bf16\\.c$")
      set(flags "-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mprefer-vector-width=512")
    elseif(source MATCHES "_dotprod\\.c$")
      set(flags "-march=armv8.2-a+dotprod")
    elseif(source MATCHES "_i8mm\\.c$")
      set(flags "-march=armv8.2-a+dotprod+i8mm")
    else()
      continue()
    endif()
    set_source_files_properties(${source} PROPERTIES COMPILE_FLAGS "${flags}")
  endforeach()
  set(TERN_ROOMS ${TERN_ROOMS} ${name} PARENT_SCOPE)
endfunction()

# The demo model becomes part of the library (src/model/demo.c says how).
set(TERN_DEMO ${CMAKE_SOURCE_DIR}/models/demo.gguf)
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/model/demo.c PROPERTIES
  COMPILE_DEFINITIONS TERN_DEMO_PATH="${TERN_DEMO}" OBJECT_DEPENDS ${TERN_DEMO})

# And the page of `tern serve` and its description a part of the server.
set(TERN_WEB ${CMAKE_SOURCE_DIR}/src/server/web)
file(GLOB web_files CONFIGURE_DEPENDS ${TERN_WEB}/*.html ${TERN_WEB}/*.css ${TERN_WEB}/*.js ${TERN_WEB}/*.svg)
set_source_files_properties(${TERN_WEB}/assets.c PROPERTIES
  COMPILE_DEFINITIONS TERN_WEB_DIR="${TERN_WEB}" OBJECT_DEPENDS "${web_files}")
set(TERN_OPENAPI ${CMAKE_SOURCE_DIR}/docs/openapi.json)
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/server/openapi.c PROPERTIES
  COMPILE_DEFINITIONS TERN_OPENAPI_PATH="${TERN_OPENAPI}" OBJECT_DEPENDS ${TERN_OPENAPI})

# Where the command's modules are installed (src/base/module.c finds them from there).
include(GNUInstallDirs)
set(TERN_MODULE_DIR ${CMAKE_INSTALL_LIBDIR}/tern)
file(RELATIVE_PATH TERN_MODULE_FROM_BIN /${CMAKE_INSTALL_BINDIR} /${TERN_MODULE_DIR})
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/base/module.c PROPERTIES
  COMPILE_DEFINITIONS TERN_MODULE_FROM_BIN="${TERN_MODULE_FROM_BIN}")

tern_room(base LIBRARIES Threads::Threads m ${CMAKE_DL_LIBS})
tern_room(format USES base LIBRARIES PkgConfig::JANSSON)
tern_room(tokenizer USES base LIBRARIES PkgConfig::JANSSON PkgConfig::PCRE2)
tern_room(kernels USES base)
tern_room(model USES base format tokenizer kernels)
tern_room(grammar USES base tokenizer LIBRARIES PkgConfig::JANSSON)
tern_room(runtime USES base tokenizer kernels model grammar)
tern_room(cuda USES base format tokenizer kernels model grammar runtime LIBRARIES ${CMAKE_DL_LIBS})
if(TARGET tern_cuda_kernels)
  add_dependencies(tern_cuda tern_cuda_kernels)
endif()
