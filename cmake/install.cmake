# make install: command, both libraries, header, pkg-config file, man page, completions, licence.

include(GNUInstallDirs)

install(TARGETS tern_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS tern_static tern_shared
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(module tern_mpi tern_curl)
  if(TARGET ${module})
    install(TARGETS ${module} LIBRARY DESTINATION ${TERN_MODULE_DIR})
  endif()
endforeach()
install(FILES ${CMAKE_SOURCE_DIR}/include/tern/tern.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tern)
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE ${CMAKE_SOURCE_DIR}/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

# The pkg-config file finds its prefix from where it lies, so DESTDIR, --prefix and moved trees all work.
file(RELATIVE_PATH TERN_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" TERN_PC_PREFIX "${TERN_PC_PREFIX}")
if(CMAKE_DL_LIBS)
  set(TERN_PC_DL "-l${CMAKE_DL_LIBS}")
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/tern.pc.in ${CMAKE_BINARY_DIR}/tern.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/tern.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
