# Tests, all run by ctest (`make test`). Where a test goes: CONTRIBUTING.md.

pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)

# Every tests/<kind>/test_*.c is one cmocka program that may look inside the library.
file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/test_*.c ${CMAKE_SOURCE_DIR}/tests/kernels/test_*.c
     ${CMAKE_SOURCE_DIR}/tests/golden/test_*.c)
foreach(source ${tests})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE tern_static PkgConfig::CMOCKA)
  target_compile_definitions(${name} PRIVATE TERN_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:${name}>)
endforeach()

# NVIDIA's library for the cards' energy, made up.
add_library(fake_nvml MODULE ${CMAKE_SOURCE_DIR}/tests/unit/fake_nvml.c)
set_target_properties(fake_nvml PROPERTIES PREFIX "" SUFFIX ".so" C_VISIBILITY_PRESET default
                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
target_compile_definitions(test_energy PRIVATE TERN_FAKE_NVML="$<TARGET_FILE:fake_nvml>")
add_dependencies(test_energy fake_nvml)

# Of the server only what needs no connection.
target_sources(test_progress PRIVATE ${CMAKE_SOURCE_DIR}/src/server/progress.c)

# The checks of IFEval are the command's, not the library's.
set(instruction_sources instructions.c instruction_checks.c instruction_bounds.c json_text.c pattern.c template.c)
list(TRANSFORM instruction_sources PREPEND ${CMAKE_SOURCE_DIR}/src/eval/)
target_sources(test_instructions PRIVATE ${instruction_sources})

# And so is what is right of generated answers.
set(answer_sources answers.c math_answer.c task.c template.c)
list(TRANSFORM answer_sources PREPEND ${CMAKE_SOURCE_DIR}/src/eval/)
target_sources(test_answers PRIVATE ${answer_sources})

# tests/train/test_*.c, tests/prune/test_*.c: the same, with the rooms of training and pruning.
file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/train/test_*.c ${CMAKE_SOURCE_DIR}/tests/prune/test_*.c)
foreach(source ${tests})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source} $<TARGET_OBJECTS:tern_train> $<TARGET_OBJECTS:tern_prune>)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE tern_static PkgConfig::CMOCKA ${CMAKE_DL_LIBS})
  target_compile_definitions(${name} PRIVATE TERN_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:${name}>)
endforeach()

# tests/quant/test_*.c: with the quantiser's room.
file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/quant/test_*.c)
foreach(source ${tests})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source} $<TARGET_OBJECTS:tern_quant>)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE tern_static PkgConfig::CMOCKA)
  target_compile_definitions(${name} PRIVATE TERN_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:${name}>)
endforeach()

# tests/rag/test_*.c: with the room of `tern rag`.
file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/rag/test_*.c)
foreach(source ${tests})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE tern_rag PkgConfig::CMOCKA)
  target_compile_definitions(${name} PRIVATE TERN_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:${name}>)
endforeach()

# tests/hub/test_*.c: with the room of `tern pull`; tests/hub/test_*.py: the command against a hub of the tests' own.
file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/hub/test_*.c)
foreach(source ${tests})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE tern_hub PkgConfig::CMOCKA)
  add_test(NAME ${name} COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:${name}>)
endforeach()
file(GLOB scripts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/hub/test_*.py)
foreach(script ${scripts})
  if(CMAKE_CROSSCOMPILING OR NOT CURL_FOUND)
    break()
  endif()
  get_filename_component(name ${script} NAME_WE)
  add_test(NAME hub_${name} COMMAND python3 -B ${script} -v WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(hub_${name} PROPERTIES ENVIRONMENT "TERN=$<TARGET_FILE:tern_command>" SKIP_RETURN_CODE 77)
endforeach()

if(CMAKE_CROSSCOMPILING OR TERN_SANITIZE MATCHES "thread")
  foreach(name test_golden test_bits test_attention test_cpu_attention test_scheduler)
    target_compile_definitions(${name} PRIVATE TERN_SLOW_TESTS)
  endforeach()
  set_tests_properties(test_head_screen PROPERTIES ENVIRONMENT "TERN_SCREEN_STATES=500")
endif()

# Every tests/cli/test_*.sh gets the command as $TERN and the repository as its working directory.
file(GLOB scripts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/cli/test_*.sh)
foreach(script ${scripts})
  get_filename_component(name ${script} NAME_WE)
  add_test(NAME cli_${name} COMMAND bash ${script} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(cli_${name} PROPERTIES ENVIRONMENT "TERN=$<TARGET_FILE:tern_command>" SKIP_RETURN_CODE 77)
endforeach()

set_tests_properties(cli_test_energy PROPERTIES
  ENVIRONMENT "TERN=$<TARGET_FILE:tern_command>;FAKE_NVML_LIBRARY=$<TARGET_FILE:fake_nvml>")

# The command with allocations that fail when told to (tests/fault/failing_command.c), for tests/server/test_memory.py.
include(CheckFunctionExists)
check_function_exists(__libc_malloc TERN_HAVE_LIBC_MALLOC) # glibc's
if(TERN_HAVE_LIBC_MALLOC AND NOT CMAKE_CROSSCOMPILING)
  add_executable(failing_command ${CMAKE_SOURCE_DIR}/tests/fault/failing_command.c $<TARGET_OBJECTS:tern_command>
                 $<TARGET_OBJECTS:tern_train> $<TARGET_OBJECTS:tern_prune> $<TARGET_OBJECTS:tern_quant>)
  target_link_libraries(failing_command PRIVATE ${command_libraries})
  if(TERN_SANITIZE OR TERN_FUZZ)
    target_compile_definitions(failing_command PRIVATE TERN_SANITIZED)
    target_link_options(failing_command PRIVATE -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc
                        -Wl,--wrap=posix_memalign)
  endif()
endif()

# Every tests/server/test_*.py starts servers of its own, on free ports of the loopback.
file(GLOB scripts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/server/test_*.py)
foreach(script ${scripts})
  if(CMAKE_CROSSCOMPILING)
    break()
  endif()
  get_filename_component(name ${script} NAME_WE)
  add_test(NAME server_${name} COMMAND python3 -B ${script} -v WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(server_${name} PROPERTIES ENVIRONMENT "TERN=$<TARGET_FILE:tern_command>" SKIP_RETURN_CODE 77)
endforeach()
if(NOT CMAKE_CROSSCOMPILING)
  set_tests_properties(server_test_energy PROPERTIES
    ENVIRONMENT "TERN=$<TARGET_FILE:tern_command>;FAKE_NVML_LIBRARY=$<TARGET_FILE:fake_nvml>")
endif()
if(TARGET failing_command)
  set_tests_properties(server_test_memory PROPERTIES
    ENVIRONMENT "TERN=$<TARGET_FILE:tern_command>;TERN_FAILING=$<TARGET_FILE:failing_command>")
endif()

# tests/eval/test_*.py: `tern eval` against what lm-evaluation-harness gave.
file(GLOB scripts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/eval/test_*.py)
foreach(script ${scripts})
  if(CMAKE_CROSSCOMPILING)
    break()
  endif()
  get_filename_component(name ${script} NAME_WE)
  add_test(NAME eval_${name} COMMAND python3 -B ${script} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(eval_${name} PROPERTIES ENVIRONMENT "TERN=$<TARGET_FILE:tern_command>" SKIP_RETURN_CODE 77)
endforeach()

# The web page in a real browser; skipped where there is none.
if(NOT CMAKE_CROSSCOMPILING)
  add_test(NAME web_page COMMAND python3 -B ${CMAKE_SOURCE_DIR}/tests/web/test_page.py)
  set_tests_properties(web_page PROPERTIES ENVIRONMENT "TERN=$<TARGET_FILE:tern_command>" SKIP_RETURN_CODE 77)
endif()

# Out of memory at every allocation, and none at all in a step of training: the linker puts our malloc in front of the C
# library's.
if(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND EXISTS ${CMAKE_SOURCE_DIR}/tests/fault/alloc_fault.c)
  set(failing ${CMAKE_SOURCE_DIR}/tests/fault/failing.c)
  add_executable(alloc_fault ${CMAKE_SOURCE_DIR}/tests/fault/alloc_fault.c ${failing})
  add_executable(tools_fault ${CMAKE_SOURCE_DIR}/tests/fault/tools_fault.c ${failing} $<TARGET_OBJECTS:tern_train>
                 $<TARGET_OBJECTS:tern_prune> $<TARGET_OBJECTS:tern_quant>)
  add_executable(step_alloc ${CMAKE_SOURCE_DIR}/tests/fault/step_alloc.c $<TARGET_OBJECTS:tern_train>)
  target_link_libraries(step_alloc PRIVATE PkgConfig::CMOCKA ${CMAKE_DL_LIBS})
  target_link_libraries(tools_fault PRIVATE ${CMAKE_DL_LIBS})
  add_executable(rag_fault ${CMAKE_SOURCE_DIR}/tests/fault/rag_fault.c ${failing})
  target_link_libraries(rag_fault PRIVATE tern_rag)
  foreach(name alloc_fault tools_fault step_alloc rag_fault)
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
    target_link_libraries(${name} PRIVATE tern_static)
    target_compile_definitions(${name} PRIVATE TERN_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    target_link_options(${name} PRIVATE -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc
                        -Wl,--wrap=posix_memalign)
    add_test(NAME ${name} COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:${name}>)
  endforeach()
endif()

# Rooms: each one links with what it may use and nothing more. The whole archive goes in, so that every
# reference of every file of the room has to be met.
file(GLOB rooms CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/rooms/room_*.c)
foreach(source ${rooms})
  get_filename_component(name ${source} NAME_WE)
  string(REPLACE room_ tern_ room ${name})
  if(NOT TARGET ${room})
    continue()
  endif()
  add_executable(${name} ${source})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
  if(APPLE)
    target_link_options(${name} PRIVATE -Wl,-force_load,$<TARGET_FILE:${room}>)
  else()
    target_link_options(${name} PRIVATE -Wl,--whole-archive $<TARGET_FILE:${room}> -Wl,--no-whole-archive)
  endif()
  target_link_libraries(${name} PRIVATE $<TARGET_PROPERTY:${room},INTERFACE_LINK_LIBRARIES>)
  add_dependencies(${name} ${room})
  add_test(NAME ${name} COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:${name}>)
endforeach()
add_test(NAME room_includes COMMAND bash ${CMAKE_SOURCE_DIR}/tests/rooms/check_includes.sh ${CMAKE_SOURCE_DIR}/src)
add_test(NAME room_includes_can_fail COMMAND bash ${CMAKE_SOURCE_DIR}/tests/rooms/check_includes_can_fail.sh)

# No name twice in what the command is linked from.
if(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND NOT CMAKE_CROSSCOMPILING)
  add_test(NAME room_symbols COMMAND bash ${CMAKE_SOURCE_DIR}/tests/rooms/check_symbols.sh $<TARGET_OBJECTS:tern_command>
           $<TARGET_OBJECTS:tern_train> $<TARGET_OBJECTS:tern_prune> $<TARGET_OBJECTS:tern_quant> $<TARGET_FILE:tern_server> $<TARGET_FILE:tern_rag> $<TARGET_FILE:tern_hub>
           $<TARGET_FILE:tern_static> COMMAND_EXPAND_LISTS)
endif()

if(NOT CMAKE_CROSSCOMPILING)
  separate_arguments(c_flags UNIX_COMMAND "${CMAKE_C_FLAGS}")
  if(TERN_SANITIZE)
    list(APPEND c_flags -fsanitize=${TERN_SANITIZE})
  endif()
  # An upward call must not link: the proof that the room programs above can fail.
  add_test(NAME room_upward_call_fails
           COMMAND bash ${CMAKE_SOURCE_DIR}/tests/rooms/check_upward_call.sh ${CMAKE_SOURCE_DIR} $<TARGET_FILE:tern_base>
                   ${CMAKE_C_COMPILER} ${c_flags})

  # What the libraries export, and the library as an installed package. Sanitizers and fuzzers add symbols and
  # run-time libraries of their own, so only plain builds are looked at.
  if(NOT TERN_SANITIZE AND NOT TERN_FUZZ)
    add_test(NAME exports COMMAND bash ${CMAKE_SOURCE_DIR}/tests/rooms/check_exports.sh
             ${CMAKE_SOURCE_DIR}/include/tern/tern.h $<TARGET_FILE:tern_static> $<TARGET_FILE:tern_shared>)
    add_test(NAME install COMMAND bash ${CMAKE_SOURCE_DIR}/tests/rooms/check_install.sh ${CMAKE_SOURCE_DIR}
             ${CMAKE_BINARY_DIR} ${CMAKE_C_COMPILER})
  endif()
endif()

# examples/: each program is built and run on the built-in model.
file(GLOB examples CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/examples/*.c)
foreach(source ${examples})
  get_filename_component(name ${source} NAME_WE)
  add_executable(example_${name} ${source})
  target_link_libraries(example_${name} PRIVATE tern_static)
  add_test(NAME example_${name} COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:example_${name}>)
endforeach()

# examples/mqtt-log-watcher, with libmosquitto and, for its test, a broker.
pkg_check_modules(MOSQUITTO IMPORTED_TARGET libmosquitto)
if(MOSQUITTO_FOUND AND NOT CMAKE_CROSSCOMPILING)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/examples/mqtt-log-watcher/*.c)
  add_executable(log_watcher ${sources})
  target_link_libraries(log_watcher PRIVATE tern_static PkgConfig::MOSQUITTO PkgConfig::JANSSON)
  add_test(NAME example_mqtt_log_watcher
           COMMAND python3 -B ${CMAKE_SOURCE_DIR}/tests/examples/test_mqtt_log_watcher.py $<TARGET_FILE:log_watcher>)
  set_tests_properties(example_mqtt_log_watcher PROPERTIES SKIP_RETURN_CODE 77)
else()
  message(STATUS "examples/mqtt-log-watcher is skipped: no libmosquitto")
endif()

include(${CMAKE_CURRENT_LIST_DIR}/fuzz.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/python.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/emulator.cmake)
