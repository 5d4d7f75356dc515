# What belongs to the command besides the program (cmake/targets.cmake) and its tests (cmake/tests.cmake): the man
# page and the completions.

include(GNUInstallDirs)

install(FILES ${CMAKE_SOURCE_DIR}/man/tern.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${CMAKE_SOURCE_DIR}/completions/tern.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
        RENAME tern)
install(FILES ${CMAKE_SOURCE_DIR}/completions/_tern DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
