# NCCL in NCCL_ROOT, beside LibTorch (which would be given any other one that the program has loaded,
# and needs its own or a newer one), beside the CUDA toolkit, or in the system's folders. Defines
# NCCL::NCCL.
set(_beside_libtorch)
if(LibTorch_NCCL_ROOT)
  set(_beside_libtorch "${LibTorch_NCCL_ROOT}")
endif()
find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${_beside_libtorch} ${CUDAToolkit_INCLUDE_DIRS}
          PATH_SUFFIXES include)
find_library(NCCL_LIBRARY NAMES nccl libnccl.so.2 NAMES_PER_DIR
             HINTS ${_beside_libtorch} ${CUDAToolkit_LIBRARY_DIR} "${CUDAToolkit_LIBRARY_ROOT}/lib"
             PATH_SUFFIXES lib)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(NCCL REQUIRED_VARS NCCL_LIBRARY NCCL_INCLUDE_DIR)
if(NCCL_FOUND AND NOT TARGET NCCL::NCCL)
  add_library(NCCL::NCCL UNKNOWN IMPORTED)
  set_target_properties(NCCL::NCCL PROPERTIES IMPORTED_LOCATION "${NCCL_LIBRARY}"
                        INTERFACE_INCLUDE_DIRECTORIES "${NCCL_INCLUDE_DIR}")
endif()
mark_as_advanced(NCCL_INCLUDE_DIR NCCL_LIBRARY)
