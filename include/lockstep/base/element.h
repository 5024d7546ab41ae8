// What is computed element by element, written once for host and device: apart for CUDA sources,
// which are compiled as C++17.
#pragma once

#if defined(__CUDACC__)
#define LOCKSTEP_ELEMENT __host__ __device__ __forceinline__
#else
#define LOCKSTEP_ELEMENT [[gnu::always_inline]] inline
#endif
