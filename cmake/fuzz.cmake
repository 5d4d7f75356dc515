# Every tests/fuzz/fuzz_NAME.c defines LLVMFuzzerTestOneInput(). With TERN_FUZZ (Clang) it becomes a libFuzzer
# program; without, a program that replays the committed corpus tests/fuzz/corpus/NAME/, run by ctest.

if(TERN_FUZZ AND NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "TERN_FUZZ needs Clang (libFuzzer): configure with -DCMAKE_C_COMPILER=clang")
endif()

file(GLOB fuzzers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_*.c)
foreach(source ${fuzzers})
  get_filename_component(name ${source} NAME_WE)
  string(REPLACE fuzz_ "" parser ${name})
  set(corpus ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${parser})
  if(TERN_FUZZ)
    add_executable(${name} ${source})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    # -runs=0: each file of the corpus once
    add_test(NAME ${name} COMMAND ${name} -runs=0 ${corpus})
  else()
    add_executable(${name} ${source} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay.c)
    add_test(NAME ${name} COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:${name}> ${corpus})
  endif()
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE TERN_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE tern_static)
  if(parser STREQUAL "shard") # the training room is not in the library
    target_sources(${name} PRIVATE $<TARGET_OBJECTS:tern_train>)
    target_link_libraries(${name} PRIVATE ${CMAKE_DL_LIBS})
  endif()
endforeach()
