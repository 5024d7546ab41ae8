# cmake --install: the program, the libraries with their headers, the settings files, and a CMake package
# (find_package(lockstep), targets lockstep::<module>). src/data installs the embedded data set.
include(CMakePackageConfigHelpers)
set(package_directory "${CMAKE_INSTALL_LIBDIR}/cmake/lockstep")

if(TARGET lockstep)
  set_target_properties(lockstep PROPERTIES INSTALL_RPATH "${LOCKSTEP_RPATH}")
  install(TARGETS lockstep RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
  # The program writes them itself, from the tables that its --help is made of.
  install(CODE "
    foreach(pair --man>share/man/man1/lockstep.1 --bash-completion>share/bash-completion/completions/lockstep)
      string(REPLACE \">\" \";\" pair \"\${pair}\")
      list(GET pair 0 option)
      list(GET pair 1 file)
      set(file \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/\${file}\")
      get_filename_component(folder \"\${file}\" DIRECTORY)
      file(MAKE_DIRECTORY \"\${folder}\")
      execute_process(COMMAND \"$<TARGET_FILE:lockstep>\" \${option} OUTPUT_FILE \"\${file}\"
                      COMMAND_ERROR_IS_FATAL ANY)
      message(STATUS \"Installing: \${file}\")
    endforeach()")
endif()

get_property(modules GLOBAL PROPERTY LOCKSTEP_MODULES)
install(TARGETS ${modules} EXPORT lockstepTargets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/lockstep" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/configs" DESTINATION "${CMAKE_INSTALL_DATADIR}/lockstep")

# A program is linked with the LibTorch that the libraries were compiled against, unless it names one.
list(GET LibTorch_LIBRARY_DIRS 0 libtorch_lib)
get_filename_component(LOCKSTEP_LIBTORCH_ROOT "${libtorch_lib}" DIRECTORY)
get_property(LOCKSTEP_INSTALLED_DATA GLOBAL PROPERTY LOCKSTEP_INSTALLED_DATA)
configure_package_config_file(
  "${CMAKE_CURRENT_LIST_DIR}/lockstepConfig.cmake.in" "${PROJECT_BINARY_DIR}/lockstepConfig.cmake"
  INSTALL_DESTINATION "${package_directory}" PATH_VARS LOCKSTEP_INSTALLED_DATA)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/lockstepConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(EXPORT lockstepTargets NAMESPACE lockstep:: DESTINATION "${package_directory}")
install(FILES "${PROJECT_BINARY_DIR}/lockstepConfig.cmake"
              "${PROJECT_BINARY_DIR}/lockstepConfigVersion.cmake"
              "${CMAKE_CURRENT_LIST_DIR}/FindLibTorch.cmake"
              "${CMAKE_CURRENT_LIST_DIR}/FindNCCL.cmake"
              "${CMAKE_CURRENT_LIST_DIR}/FindRandom123.cmake"
        DESTINATION "${package_directory}")
