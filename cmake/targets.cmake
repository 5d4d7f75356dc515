# libtern (static and shared) and the command.

file(GLOB library_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/*.c)
foreach(room ${TERN_ROOMS})
  list(APPEND library_sources $<TARGET_OBJECTS:tern_${room}>)
endforeach()

add_library(tern_static STATIC ${library_sources})
add_library(tern_shared SHARED ${library_sources})
foreach(library tern_static tern_shared)
  set_target_properties(${library} PROPERTIES OUTPUT_NAME tern VERSION ${PROJECT_VERSION} SOVERSION 0)
  target_include_directories(${library} PUBLIC ${CMAKE_SOURCE_DIR}/include PRIVATE ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${library} PUBLIC PkgConfig::JANSSON PkgConfig::PCRE2 Threads::Threads m ${CMAKE_DL_LIBS})
endforeach()

# Training is the command's, not the library's. Its objects, not its archive: that would bring the rooms' archives
# beside the library that has them already.
tern_room(train USES base format tokenizer kernels model LIBRARIES PkgConfig::JANSSON ${CMAKE_DL_LIBS})

# Pruning stands on it; both are the command's.
tern_room(prune USES base format tokenizer kernels model train LIBRARIES PkgConfig::JANSSON)

# Post-training quantisation is the command's, too.
tern_room(quant USES base format tokenizer kernels model)

# Training over several processes: a module that is loaded in processes which mpirun started, so that the command itself
# needs no libmpi. Without MPI's development files tern is built without it.
pkg_check_modules(MPI IMPORTED_TARGET ompi-c)
if(MPI_FOUND)
  add_library(tern_mpi MODULE ${CMAKE_SOURCE_DIR}/src/train/mpi/comm_mpi.c)
  set_target_properties(tern_mpi PROPERTIES PREFIX "" SUFFIX ".so" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  target_include_directories(tern_mpi PRIVATE ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(tern_mpi PRIVATE PkgConfig::MPI)
endif()

# The server is the command's, too; it is written against tern.h.
file(GLOB_RECURSE server_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/server/*.c)
add_library(tern_server STATIC ${server_sources})
target_include_directories(tern_server PRIVATE ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(tern_server PUBLIC tern_static PkgConfig::MICROHTTPD)

# The table of devices becomes a part of the command (src/eval/devices_data.c).
set(TERN_DEVICES ${CMAKE_SOURCE_DIR}/data/devices.json)
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/eval/devices_data.c PROPERTIES
  COMPILE_DEFINITIONS TERN_DEVICES_PATH="${TERN_DEVICES}" OBJECT_DEPENDS ${TERN_DEVICES})

# And so do the task files of `tern eval` (src/eval/task_files.c), through a list of them.
file(GLOB task_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/data/tasks/*.json)
set(incbin "#define TERN_TASKS_INCBIN")
foreach(task_file ${task_files})
  string(APPEND incbin " \".incbin \\\"${task_file}\\\"\\n\"")
endforeach()
set(TERN_TASKS_LIST ${CMAKE_BINARY_DIR}/tasks_list.h)
file(CONFIGURE OUTPUT ${TERN_TASKS_LIST} CONTENT "@incbin@\n" @ONLY)
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/eval/task_files.c PROPERTIES
  COMPILE_DEFINITIONS TERN_TASKS_LIST="${TERN_TASKS_LIST}" OBJECT_DEPENDS "${task_files};${TERN_TASKS_LIST}")

# And so is question answering over files.
file(GLOB rag_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/rag/*.c)
add_library(tern_rag STATIC ${rag_sources})
target_include_directories(tern_rag PRIVATE ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(tern_rag PUBLIC tern_static PkgConfig::SQLITE)

# And what the Hugging Face hub has: src/hub. HTTP is a module of its own, which is loaded when the hub is asked: linked
# with libcurl, every `tern run` would load its two dozen libraries. Where a program does not know its own folder it is
# linked. Without libcurl's development files tern is built without it.
pkg_check_modules(CURL IMPORTED_TARGET libcurl)
file(GLOB hub_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/hub/*.c)
add_library(tern_hub STATIC ${hub_sources})
target_include_directories(tern_hub PRIVATE ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(tern_hub PUBLIC tern_static PkgConfig::JANSSON ${CMAKE_DL_LIBS})
if(CURL_FOUND AND CMAKE_SYSTEM_NAME STREQUAL "Linux")
  add_library(tern_curl MODULE ${CMAKE_SOURCE_DIR}/src/hub/curl/http_curl.c)
  set_target_properties(tern_curl PROPERTIES PREFIX "" SUFFIX ".so" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  target_include_directories(tern_curl PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
  target_link_libraries(tern_curl PRIVATE PkgConfig::CURL)
elseif(CURL_FOUND)
  target_sources(tern_hub PRIVATE ${CMAKE_SOURCE_DIR}/src/hub/curl/http_curl.c)
  target_compile_definitions(tern_hub PRIVATE TERN_CURL_LINKED)
  target_link_libraries(tern_hub PUBLIC PkgConfig::CURL)
else()
  message(STATUS "tern pull is built without network: no libcurl")
endif()

# The command stands on the static library, so that build/tern runs from anywhere.
# It sees tern.h, base and the entry headers of train, prune, quant, server, rag and hub only
# (tests/rooms/check_includes.sh).
file(GLOB_RECURSE command_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/cli/*.c ${CMAKE_SOURCE_DIR}/src/eval/*.c)
add_executable(tern_command ${command_sources} $<TARGET_OBJECTS:tern_train> $<TARGET_OBJECTS:tern_prune>
               $<TARGET_OBJECTS:tern_quant>)
set_target_properties(tern_command PROPERTIES OUTPUT_NAME tern RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
target_include_directories(tern_command PRIVATE ${CMAKE_SOURCE_DIR}/src)
set(command_libraries tern_server tern_rag tern_hub tern_static PkgConfig::EDIT ${CMAKE_DL_LIBS})
target_link_libraries(tern_command PRIVATE ${command_libraries})
foreach(module tern_mpi tern_curl)
  if(TARGET ${module})
    add_dependencies(tern_command ${module})
  endif()
endforeach()
