# Cross-compile for 64-bit Arm Linux and run the tests under qemu-user (CONTRIBUTING.md):
#   cmake -B build-arm -G Ninja -DCMAKE_TOOLCHAIN_FILE=cmake/toolchain-aarch64.cmake && ninja -C build-arm && ctest --test-dir build-arm
#
# Debian: gcc-aarch64-linux-gnu qemu-user, and for the libraries
#   dpkg --add-architecture arm64 && apt-get update
#   apt-get install --no-install-recommends libjansson-dev:arm64 libpcre2-dev:arm64 libedit-dev:arm64 libcmocka-dev:arm64
#
# TERN_QEMU_CPU is the CPU that the tests run on: max (all rungs), neoverse-n1 or cortex-a76 (no i8mm), cortex-a53 (no
# dot product).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
find_program(TERN_CROSS_CXX aarch64-linux-gnu-g++) # for tests only (cmake/emulator.cmake)
if(TERN_CROSS_CXX)
  set(CMAKE_CXX_COMPILER ${TERN_CROSS_CXX})
endif()

set(TERN_QEMU_CPU max CACHE STRING "qemu-user's CPU for the tests")
find_program(TERN_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
# The C library that the tests load: arm64's own if it is installed (the libraries above bring it), else the one beside
# the cross compiler. Not a mixture: one's loader with the other's libc hangs in pthread_create.
if(EXISTS /lib/ld-linux-aarch64.so.1)
  set(TERN_ARM_ROOT /)
else()
  set(TERN_ARM_ROOT /usr/aarch64-linux-gnu)
endif()
if(TERN_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${TERN_QEMU} -L ${TERN_ARM_ROOT} -cpu ${TERN_QEMU_CPU})
endif()

# Libraries of the target only, programs of the host only. Debian keeps both in one tree, by architecture.
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
