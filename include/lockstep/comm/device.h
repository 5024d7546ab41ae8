// Questions about GPUs that need no LibTorch. A build without CUDA has none.
#pragma once

namespace lockstep {

class World;

/// Whether this build links CUDA and NCCL.
bool built_with_cuda();

/// GPUs this process can use; 0 without a driver or in a build without CUDA. Makes no context.
int device_count();

/// Chooses one GPU for this rank by its local rank and returns its index. Every rank calls it
/// before anything makes a CUDA context. Throws Error{kUsage} on every rank, naming ranks, host and
/// GPU, when a rank has no GPU or two ranks of a host would share one.
int select_device(World& world);

}  // namespace lockstep
