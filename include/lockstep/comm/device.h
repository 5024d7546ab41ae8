// Questions about GPUs that need no LibTorch. A build without CUDA has none.
#pragma once

namespace lockstep {

class World;

/// Whether this build links CUDA and NCCL.
bool built_with_cuda();

/// GPUs this process can use; 0 without a driver or in a build without CUDA. Makes no context.
int device_count();

/// Chooses a GPU for this rank, makes it the current device of this thread and returns its index.
/// Every rank calls it before anything makes a CUDA context. Among the GPUs this process sees it
/// takes the one of its local rank; a launcher may instead show each rank its own only. Throws
/// AgreedError{kUsage}, naming ranks, host and GPU, when a rank has no GPU or when two would share
/// one (known by its UUID), AgreedError{kUnavailable} when a GPU cannot be used.
int select_device(World& world);

}  // namespace lockstep
