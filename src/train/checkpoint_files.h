// Between a run in memory and the files of a checkpoint.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "lockstep/checkpoint/store.h"
#include "lockstep/model/flat_parameters.h"
#include "lockstep/optim/optimizer.h"
#include "lockstep/train/training_state.h"

namespace lockstep {

inline constexpr char kModelFile[] = "model.safetensors";
inline constexpr char kOptimizerFile[] = "optimizer.safetensors";
inline constexpr char kAverageFile[] = "ema.safetensors";
inline constexpr char kStateFile[] = "state.json";

/// Flat float32 buffers on the host: what the tensors of a checkpoint are cut from and read into.
struct HostBuffers {
  at::Tensor weights;
  at::Tensor module_buffers;          ///< ModuleBuffers::values()
  std::optional<at::Tensor> average;  ///< with EMA only
  struct OptimizerState {
    std::string prefix;
    at::Tensor values;
  };
  std::vector<OptimizerState> optimizer;
};

/// Makes `files` those of a checkpoint; tensors in the module's order of registration, its buffers
/// behind its parameters. Memory of files that were there is used again.
void encode_checkpoint(const TrainingState& state, const FlatParameters& parameters,
                       const HostBuffers& buffers, std::vector<CheckpointFile>& files);

/// Reads the tensors of a checkpoint into `buffers`, whose shapes and prefixes say what is
/// expected. Throws Error{kBadData} for a tensor that is missing, of another shape or type, or too
/// many.
void decode_checkpoint(const CheckpointStore::Loaded& loaded, const FlatParameters& parameters,
                       HostBuffers& buffers);

/// An optimizer's state as a flat tensor laid out like the weights; the memory stays the
/// optimizer's.
at::Tensor state_tensor(const Optimizer::State& state, const at::Tensor& weights);

/// Reads the weights that evaluation uses, the averaged ones where the checkpoint has them, and the
/// module's buffers, which lie beside them.
void decode_evaluation_weights(const CheckpointStore::Loaded& loaded,
                               const FlatParameters& parameters, at::Tensor& weights,
                               at::Tensor& module_buffers);

}  // namespace lockstep
