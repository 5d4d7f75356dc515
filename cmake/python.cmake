# The Python package (python/) and its examples, tested with the shared library of this build. A test that cannot run
# here (no compiler, no setuptools, no openai package, ...) says so and counts as skipped.

find_package(Python3 3.9 COMPONENTS Interpreter QUIET)
if(NOT Python3_FOUND OR CMAKE_CROSSCOMPILING OR TERN_SANITIZE OR TERN_FUZZ)
  return() # an interpreter cannot load what needs a sanitizer's run-time library or is for another machine
endif()

set(python_environment "TERN_LIBRARY=$<TARGET_FILE:tern_shared>" "TERN=$<TARGET_FILE:tern_command>"
    "CC=${CMAKE_C_COMPILER}" "PYTHONDONTWRITEBYTECODE=1")
file(GLOB scripts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/python/tests/test_*.py)
foreach(script ${scripts})
  get_filename_component(name ${script} NAME_WE)
  string(REPLACE test_ python_ name ${name})
  add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} ${script})
  set_tests_properties(${name} PROPERTIES ENVIRONMENT "${python_environment}" SKIP_RETURN_CODE 77 TIMEOUT 600)
endforeach()
