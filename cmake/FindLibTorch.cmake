# LibTorch as this project needs it: headers, libtorch_cpu and libc10, and with LOCKSTEP_CUDA
# libtorch_cuda and libc10_cuda. LibTorch's own TorchConfig.cmake demands a CUDA toolkit even for a
# CPU program, so this looks for the files itself, in this order:
#   1. what the user names: LIBTORCH_ROOT, Torch_DIR or CMAKE_PREFIX_PATH (-D or environment): an unpacked LibTorch zip, a site-packages folder, or a torch package folder;
#   2. the torch of the active Python;
#   3. the wheel launch/setup keeps in ${XDG_CACHE_HOME:-~/.cache}/lockstep.
# Defines LibTorch::LibTorch, LibTorch_VERSION and LibTorch_LIBRARY_DIRS; LibTorch_NCCL_ROOT where its
# wheel of NCCL lies beside it. For CUDA call it after find_package(CUDAToolkit).
set(LIBTORCH_ROOT "" CACHE PATH "Folder with LibTorch's include/ and lib/")

set(_candidates)
set(_named ${LIBTORCH_ROOT})
if(NOT _named)
  set(_named $ENV{LIBTORCH_ROOT})
endif()
foreach(_dir IN LISTS _named)
  list(APPEND _candidates "${_dir}" "${_dir}/torch")
endforeach()
set(_named ${Torch_DIR} $ENV{Torch_DIR})
foreach(_dir IN LISTS _named)
  get_filename_component(_root "${_dir}/../../.." ABSOLUTE)
  list(APPEND _candidates "${_root}")
endforeach()
string(REPLACE ":" ";" _environment_prefixes "$ENV{CMAKE_PREFIX_PATH}")
foreach(_dir IN LISTS CMAKE_PREFIX_PATH _environment_prefixes)
  get_filename_component(_up "${_dir}/../.." ABSOLUTE)  # torch.utils.cmake_prefix_path: torch/share/cmake
  list(APPEND _candidates "${_dir}" "${_dir}/torch" "${_dir}/libtorch" "${_up}")
endforeach()
set(_named ${_candidates})

find_program(LOCKSTEP_PYTHON NAMES python3 python)
if(LOCKSTEP_PYTHON)
  execute_process(
    COMMAND "${LOCKSTEP_PYTHON}" -c
            "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE _python_torch OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(_python_torch)
    list(APPEND _candidates "${_python_torch}")
  endif()
endif()

if(DEFINED ENV{XDG_CACHE_HOME} AND NOT "$ENV{XDG_CACHE_HOME}" STREQUAL "")
  set(_cache "$ENV{XDG_CACHE_HOME}")
else()
  set(_cache "$ENV{HOME}/.cache")
endif()
list(APPEND _candidates "${_cache}/lockstep/libtorch-2.11.0/torch")

set(_torch_root "")
foreach(_dir IN LISTS _candidates)
  if(EXISTS "${_dir}/include/ATen/ATen.h" AND EXISTS "${_dir}/lib/libtorch_cpu.so")
    if(LOCKSTEP_CUDA AND NOT EXISTS "${_dir}/lib/libtorch_cuda.so")
      message(STATUS "LibTorch in ${_dir} has no CUDA: looking on")
      continue()
    endif()
    set(_torch_root "${_dir}")
    break()
  endif()
endforeach()

if(_torch_root)
  set(_version_h "${_torch_root}/include/torch/csrc/api/include/torch/version.h")
  if(EXISTS "${_torch_root}/include/torch/headeronly/version.h")
    set(_version_h "${_torch_root}/include/torch/headeronly/version.h")
  endif()
  set(LibTorch_VERSION "")
  foreach(_part MAJOR MINOR PATCH)
    file(STRINGS "${_version_h}" _line REGEX "define TORCH_VERSION_${_part} ")
    string(REGEX MATCH "[0-9]+" _number "${_line}")
    list(APPEND LibTorch_VERSION "${_number}")
  endforeach()
  list(JOIN LibTorch_VERSION "." LibTorch_VERSION)
  set(LibTorch_LIBRARY_DIRS "${_torch_root}/lib")

  # A LibTorch built with CUDA needs the CUDA runtime and CUPTI even on a CPU. The wheel finds them
  # in nvidia/*/lib beside itself; otherwise they are linked by name so that RUNPATH reaches them.
  set(_runtime_libraries)
  if(EXISTS "${_torch_root}/lib/libtorch_cuda.so")
    foreach(_name cudart cupti)
      file(GLOB _beside "${_torch_root}/../nvidia/cu*/lib/lib${_name}.so.*"
                        "${_torch_root}/../nvidia/cuda_*/lib/lib${_name}.so.*"
                        "${_torch_root}/lib/lib${_name}*.so.*")
      if(_beside)
        list(GET _beside 0 _library)
        get_filename_component(_library_dir "${_library}" DIRECTORY)
      else()
        find_library(LIBTORCH_${_name}_LIBRARY NAMES ${_name}
                     PATHS /usr/local/cuda/lib64 /usr/local/cuda/extras/CUPTI/lib64)
        set(_library "${LIBTORCH_${_name}_LIBRARY}")
        get_filename_component(_library_dir "${_library}" DIRECTORY)
      endif()
      if(_library)
        list(APPEND _runtime_libraries "${_library}")
        list(APPEND LibTorch_LIBRARY_DIRS "${_library_dir}")
      endif()
    endforeach()
    list(REMOVE_DUPLICATES LibTorch_LIBRARY_DIRS)
  endif()

  set(LibTorch_NCCL_ROOT "")
  if(EXISTS "${_torch_root}/../nvidia/nccl/include/nccl.h")
    get_filename_component(LibTorch_NCCL_ROOT "${_torch_root}/../nvidia/nccl" ABSOLUTE)
  endif()

  # One CUDA runtime in the process, LibTorch's or the toolkit's, whichever is newer: neither
  # understands what was compiled for a newer one.
  set(_torch_cuda "")
  if(EXISTS "${_torch_root}/version.py")
    file(STRINGS "${_torch_root}/version.py" _line REGEX "^cuda.*= *'[0-9.]+'")
    string(REGEX MATCH "[0-9]+[.][0-9]+" _torch_cuda "${_line}")
  endif()
  if(LOCKSTEP_CUDA AND TARGET CUDA::cudart AND _torch_cuda)
    set(_toolkit "${CUDAToolkit_VERSION_MAJOR}.${CUDAToolkit_VERSION_MINOR}")
    string(REGEX MATCH "^[0-9]+" _torch_cuda_major "${_torch_cuda}")
    if(NOT _torch_cuda_major EQUAL CUDAToolkit_VERSION_MAJOR)
      message(FATAL_ERROR "LibTorch in ${_torch_root} is for CUDA ${_torch_cuda}, the toolkit in "
                          "${CUDAToolkit_BIN_DIR} is CUDA ${_toolkit}: their major versions must agree")
    endif()
    set(_beside ${_runtime_libraries})
    list(FILTER _beside INCLUDE REGEX "/libcudart")
    if(_beside AND _toolkit VERSION_GREATER _torch_cuda)
      list(REMOVE_ITEM _runtime_libraries ${_beside})
      # Before the folder of LibTorch's, which holds other libraries it needs.
      list(INSERT LibTorch_LIBRARY_DIRS 1 "${CUDAToolkit_LIBRARY_DIR}")
    elseif(_beside)
      set_target_properties(CUDA::cudart PROPERTIES IMPORTED_LOCATION "${_beside}")
    endif()
  endif()
  if(LOCKSTEP_CUDA AND CUDAToolkit_LIBRARY_DIR)
    list(APPEND LibTorch_LIBRARY_DIRS "${CUDAToolkit_LIBRARY_DIR}")  # cuBLAS and its like
    list(REMOVE_DUPLICATES LibTorch_LIBRARY_DIRS)
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  LibTorch REQUIRED_VARS _torch_root VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "run launch/setup, or name an unpacked LibTorch with -DLIBTORCH_ROOT=DIR")

# A script (cmake -P) asks where LibTorch is, and builds nothing.
if(LibTorch_FOUND AND NOT CMAKE_SCRIPT_MODE_FILE AND NOT TARGET LibTorch::LibTorch)
  message(STATUS "LibTorch ${LibTorch_VERSION}: ${_torch_root}")
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  # LibTorch's headers lie beside a copy of {fmt} that would hide the system's, whose library we link:
  # every entry but that one is reached through a folder of links.
  set(_headers "${CMAKE_BINARY_DIR}/libtorch-headers")
  file(REMOVE_RECURSE "${_headers}")
  file(MAKE_DIRECTORY "${_headers}")
  file(GLOB _entries RELATIVE "${_torch_root}/include" "${_torch_root}/include/*")
  list(REMOVE_ITEM _entries fmt)
  foreach(_entry IN LISTS _entries)
    file(CREATE_LINK "${_torch_root}/include/${_entry}" "${_headers}/${_entry}" SYMBOLIC)
  endforeach()
  target_include_directories(
    LibTorch::LibTorch SYSTEM INTERFACE "${_headers}" "${_headers}/torch/csrc/api/include")
  set(_abi 1)
  if(EXISTS "${_torch_root}/share/cmake/Torch/TorchConfig.cmake")
    file(STRINGS "${_torch_root}/share/cmake/Torch/TorchConfig.cmake" _abi_line
         REGEX "_GLIBCXX_USE_CXX11_ABI=[01]")
    if(_abi_line MATCHES "_GLIBCXX_USE_CXX11_ABI=0")
      message(FATAL_ERROR "LibTorch in ${_torch_root} uses the old C++ ABI, which Open MPI, Boost and "
                          "GoogleTest of this system do not: take a LibTorch from 2.7 on, or its cxx11-abi zip")
    endif()
  endif()
  set(_link "${_torch_root}/lib/libtorch_cpu.so" "${_torch_root}/lib/libc10.so")
  if(LOCKSTEP_CUDA)
    # Nothing refers to libtorch_cuda by symbol: it registers itself when it is loaded.
    list(APPEND _link "${_torch_root}/lib/libc10_cuda.so" -Wl,--no-as-needed
         "${_torch_root}/lib/libtorch_cuda.so")
    # It needs cuBLAS, cuDNN and more, which may lie where only the program's own path leads: unlike
    # RUNPATH, RPATH counts for the libraries of libraries too.
    list(APPEND _link -Wl,--disable-new-dtags)
  endif()
  target_link_libraries(LibTorch::LibTorch INTERFACE ${_link} -Wl,--no-as-needed
                        ${_runtime_libraries} -Wl,--as-needed)
endif()
