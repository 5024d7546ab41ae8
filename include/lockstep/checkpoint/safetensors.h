// The safetensors format: a u64 little-endian header length, a JSON header (name -> dtype, shape,
// data_offsets), and the tensors' bytes without gaps. https://huggingface.co/docs/safetensors
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

using TensorMetadata = std::map<std::string, std::string>;

/// One tensor to encode. Row-major, little-endian; `bytes` (not owned) has the size that dtype and
/// shape give.
struct TensorToWrite {
  std::string name;
  std::vector<std::int64_t> shape;  ///< empty: a scalar
  std::string dtype = "F32";        ///< a name of the format: F32, F64, I64, U8, ...
  std::span<const std::byte> bytes;
};

/// The file's bytes; the same input gives the same bytes. Tensors keep the given order, except that
/// wider element types come first, so that each tensor is aligned to its elements in the file. The
/// default metadata is what Python's safetensors.torch.load_file looks for. A name twice, an
/// unknown dtype or a wrong size is the caller's error: Error{kInternal}.
std::vector<std::byte> encode_safetensors(std::span<const TensorToWrite> tensors,
                                          const TensorMetadata& metadata = {{"format", "pt"}});
/// Likewise, in the place of what `file` held: its memory is used again. No tensor may lie in it.
void encode_safetensors(std::span<const TensorToWrite> tensors, std::vector<std::byte>& file,
                        const TensorMetadata& metadata = {{"format", "pt"}});

/// One tensor of a parsed file; `bytes` lies in the file's memory and need not be aligned.
struct StoredTensor {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

/// A parsed file, which owns the memory its tensors lie in. Move-only (moving keeps the spans
/// valid).
class SafetensorsFile {
 public:
  /// Checks all of the header before anything is taken from it: every tensor's dtype, shape and
  /// size, and that the tensors cover the data without overlap, gap or trailing bytes. Throws
  /// Error{kBadData} that names `origin`, what was found and what was expected.
  static SafetensorsFile parse(std::vector<std::byte> bytes, std::string_view origin);

  SafetensorsFile(SafetensorsFile&&) noexcept = default;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept = default;
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;
  ~SafetensorsFile() = default;

  /// nullptr when there is none of that name.
  const StoredTensor* find(std::string_view name) const;
  /// In the order of their data.
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  const TensorMetadata& metadata() const { return metadata_; }

 private:
  SafetensorsFile() = default;

  std::vector<std::byte> bytes_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
  TensorMetadata metadata_;
};

}  // namespace lockstep
