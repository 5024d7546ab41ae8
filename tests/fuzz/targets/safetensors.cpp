#include "lockstep/checkpoint/safetensors.h"

#include <algorithm>

#include "../fuzz.h"

namespace lockstep::fuzz {

// JSON's tree takes some hundred bytes for a value of two.
std::size_t most_memory(std::size_t size) { return (std::size_t{1} << 20) + 400 * size; }

bool accepts(Input input) {
  return unless_refused({ExitCode::kBadData}, [&] {
    const auto bytes = std::as_bytes(input);
    const auto file = SafetensorsFile::parse({bytes.begin(), bytes.end()}, "input");
    // What was read must be what would be written, and lie within the file.
    std::vector<TensorToWrite> tensors;
    std::size_t total = 0;
    for (const StoredTensor& tensor : file.tensors()) {
      LOCKSTEP_CHECK(file.find(tensor.name) == &tensor, "a tensor is not found by its name");
      total += tensor.bytes.size();
      tensors.push_back({tensor.name, tensor.shape, tensor.dtype, tensor.bytes});
    }
    LOCKSTEP_CHECK(total <= input.size(), "tensors are larger than their file");
    const auto again =
        SafetensorsFile::parse(encode_safetensors(tensors, file.metadata()), "written again");
    LOCKSTEP_CHECK(again.metadata() == file.metadata(), "metadata changed");
    for (const StoredTensor& tensor : file.tensors()) {
      const StoredTensor* copy = again.find(tensor.name);
      LOCKSTEP_CHECK(copy != nullptr && copy->dtype == tensor.dtype &&
                         copy->shape == tensor.shape &&
                         std::ranges::equal(copy->bytes, tensor.bytes),
                     "a tensor changed");
    }
  });
}

}  // namespace lockstep::fuzz
