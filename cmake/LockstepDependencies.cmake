# Every library lockstep uses, found once. launch/setup installs what is missing.
find_program(LOCKSTEP_CCACHE ccache)
if(LOCKSTEP_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # A precompiled header is only reusable when ccache ignores its time stamps.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      "${LOCKSTEP_CCACHE}")
endif()

find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(PNG REQUIRED)
find_package(JPEG REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(Boost 1.74 REQUIRED COMPONENTS program_options)
find_package(Random123 REQUIRED)
find_package(MPI REQUIRED COMPONENTS CXX)
if(LOCKSTEP_CUDA)
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    # Volta is the oldest that CUDA 13 has dropped; 75 to 90 cover Turing to Hopper, and the PTX newer ones.
    set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 90)
  endif()
  # 17: CMake 3.25 knows no CUDA20 for nvcc, and nvcc refuses fmt 9 as C++20.
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  enable_language(CUDA)
  # Else nvcc gets -isystem /usr/include from imported libraries, and <cmath> no longer finds <math.h>.
  list(APPEND CMAKE_CUDA_IMPLICIT_INCLUDE_DIRECTORIES ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
  find_package(CUDAToolkit 12 REQUIRED)
endif()
find_package(LibTorch REQUIRED)
if(LOCKSTEP_CUDA)
  find_package(NCCL REQUIRED)
endif()
if(LOCKSTEP_TESTS)
  find_package(GTest REQUIRED)
endif()
if(LOCKSTEP_BENCHMARKS)
  find_package(benchmark REQUIRED)  # Debian: libbenchmark-dev
endif()
