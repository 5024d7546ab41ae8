#include "lockstep/sync/replica_check.h"

#include <c10/util/accumulate.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/hash.h"
#include "lockstep/base/text.h"
#include "lockstep/comm/compare.h"
#include "lockstep/comm/together.h"

namespace lockstep {

namespace {

std::span<const std::byte> bytes_of(const at::Tensor& weights, std::int64_t offset,
                                    std::int64_t count) {
  const float* first = weights.const_data_ptr<float>() + offset;
  return std::as_bytes(std::span(first, checked_cast<std::size_t>(count)));
}

// The digest that most ranks have; the root's in a tie.
Sha256Digest majority(const std::vector<Sha256Digest>& digests) {
  std::map<Sha256Digest, int> votes;
  for (const Sha256Digest& digest : digests) ++votes[digest];
  Sha256Digest best = digests.front();
  for (const auto& [digest, count] : votes) {
    if (count > votes[best]) best = digest;
  }
  return best;
}

// Whether another digest is as frequent as the reference.
bool has_rival(const std::vector<Sha256Digest>& digests, const Sha256Digest& reference) {
  const auto votes = std::ranges::count(digests, reference);
  return std::ranges::any_of(digests, [&](const Sha256Digest& digest) {
    return digest != reference && std::ranges::count(digests, digest) >= votes;
  });
}

/// How a rank's tensor differs from another rank's.
struct Difference {
  std::int64_t element = -1;  // the first; -1: none
  std::int64_t count = 0;
  std::array<std::byte, sizeof(std::int64_t)> own{}, expected{};  // of that element
};

// Bits are compared, since NaN differs from itself and -0 does not differ from 0.
Difference compare(std::span<const std::byte> own, std::span<const std::byte> expected,
                   std::size_t size) {
  Difference found;
  for (std::size_t at = 0; at < expected.size(); at += size) {
    const auto mine = own.subspan(at, size), others = expected.subspan(at, size);
    if (std::ranges::equal(mine, others) || found.count++ > 0) continue;
    found.element = checked_cast<std::int64_t>(at / size);
    std::ranges::copy(mine, found.own.begin());
    std::ranges::copy(others, found.expected.begin());
  }
  return found;
}

template <typename T>
T value_of(const std::array<std::byte, sizeof(std::int64_t)>& bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

// "0x1.8p+1 (3)"; a whole number as it is.
std::string element_text(const std::array<std::byte, sizeof(std::int64_t)>& bytes,
                         c10::ScalarType type) {
  switch (type) {
    case c10::ScalarType::Long:
      return std::to_string(value_of<std::int64_t>(bytes));
    case c10::ScalarType::Int:
      return std::to_string(value_of<std::int32_t>(bytes));
    case c10::ScalarType::Byte:
    case c10::ScalarType::Bool:
      return std::to_string(value_of<std::uint8_t>(bytes));
    default:
      const auto value = value_of<float>(bytes);
      return fmt::format("{:a} ({})", value, value);
  }
}

// The first wrong rank's first wrong element of one tensor. Collective.
std::string first_difference(World& world, const at::Tensor& values, const std::string& name,
                             const FlatParameters::View& view, int reference_rank) {
  const std::size_t size = c10::elementSize(view.type);
  const std::int64_t count = c10::multiply_integers(view.shape);
  const auto own =
      bytes_of(values, view.offset, view.count).first(checked_cast<std::size_t>(count) * size);
  std::vector<std::byte> expected(own.begin(), own.end());
  world.broadcast(expected, reference_rank);
  const std::vector<Difference> all = world.all_gather_value(compare(own, expected, size));
  const auto first =
      std::ranges::find_if(all, [](const Difference& difference) { return difference.count > 0; });
  if (first == all.end()) return {};
  return fmt::format("; {}[{}] is {} on rank {} and {} on rank {}, {} of {} values differ", name,
                     first->element, element_text(first->own, view.type), first - all.begin(),
                     element_text(first->expected, view.type), reference_rank,
                     format_count(first->count), format_count(count));
}

/// What differs between ranks: the kinds ("weights and optimizer state"), the tensors, and the
/// first difference.
struct Findings {
  std::vector<std::string> kinds;
  std::vector<std::string> tensors;
  std::string detail;
};

// Collective.
Findings find_differences(World& world, const std::vector<Replica>& replicas,
                          std::size_t reference_rank) {
  Findings findings;
  for (const Replica& replica : replicas) {
    // Views lie in reverse order of registration.
    for (auto view = replica.views->rbegin(); view != replica.views->rend(); ++view) {
      const auto all =
          world.all_gather_value(sha256(bytes_of(replica.values, view->offset, view->count)));
      const auto equal = [&](const Sha256Digest& digest) { return digest == all[reference_rank]; };
      if (std::ranges::all_of(all, equal)) continue;
      const std::string name = replica.prefix + view->name;
      if (findings.tensors.empty()) {
        findings.detail =
            first_difference(world, replica.values, name, *view, checked_cast<int>(reference_rank));
      }
      if (std::ranges::find(findings.kinds, replica.what) == findings.kinds.end()) {
        findings.kinds.push_back(replica.what);
      }
      findings.tensors.push_back(name);
    }
  }
  return findings;
}

}  // namespace

void check_replicas(World& world, const std::vector<FlatParameters::View>& views,
                    std::span<const Replica> replicas, const std::string& moment) {
  if (world.size() == 1) return;
  std::vector<Replica> on_host;
  Sha256 own;
  for (const Replica& replica : replicas) {
    on_host.push_back({.what = replica.what,
                       .prefix = replica.prefix,
                       .values = replica.values.cpu(),
                       .views = replica.views == nullptr ? &views : replica.views});
    own.update(bytes_of(on_host.back().values, 0, on_host.back().values.numel()));
  }
  const Sha256Digest digest = own.finish();
  if (ranks_that_differ(world, digest).empty()) return;
  const std::vector<Sha256Digest> digests = world.all_gather_value(digest);

  const Sha256Digest reference = majority(digests);
  const auto reference_rank =
      static_cast<std::size_t>(std::ranges::find(digests, reference) - digests.begin());
  std::vector<int> wrong_ranks;
  for (std::size_t rank = 0; rank < digests.size(); ++rank) {
    if (digests[rank] != reference) wrong_ranks.push_back(checked_cast<int>(rank));
  }
  const Findings found = find_differences(world, on_host, reference_rank);
  fail_together(
      world, ExitCode::kDiverged,
      fmt::format(
          "{}: the {} of {} {} from rank {}'s{}; tensors: {}{}", moment,
          found.kinds.empty() ? "padding" : fmt::format("{}", fmt::join(found.kinds, " and ")),
          world.name_ranks(wrong_ranks),
          found.kinds.size() == 1 && found.kinds[0].ends_with("state") ? "differs" : "differ",
          reference_rank,
          has_rival(digests, reference) ? " (no majority: which is right is not known)" : "",
          found.tensors.empty() ? "none" : fmt::format("{}", fmt::join(found.tensors, ", ")),
          found.detail));
}

}  // namespace lockstep
