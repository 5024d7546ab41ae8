# cmake --log-level=NOTICE -DLOCKSTEP_CUDA=ON|OFF [-DLIBTORCH_ROOT=DIR] -P cmake/ShowLibTorch.cmake
# Prints the folder of the LibTorch that a configuration would use, or nothing: FindLibTorch.cmake
# without a project, whose targets are of no use here.
cmake_minimum_required(VERSION 3.25)
function(add_library)
endfunction()
function(target_include_directories)
endfunction()
function(target_link_libraries)
endfunction()
set(CMAKE_FIND_LIBRARY_PREFIXES lib)
set(CMAKE_FIND_LIBRARY_SUFFIXES .so)
list(PREPEND CMAKE_MODULE_PATH "${CMAKE_CURRENT_LIST_DIR}")
find_package(LibTorch QUIET)
if(LibTorch_FOUND)
  list(GET LibTorch_LIBRARY_DIRS 0 _lib)
  get_filename_component(_folder "${_lib}" DIRECTORY)
  execute_process(COMMAND "${CMAKE_COMMAND}" -E echo "${_folder}")
endif()
