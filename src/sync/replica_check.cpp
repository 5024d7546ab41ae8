#include "lockstep/sync/replica_check.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <vector>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/hash.h"
#include "lockstep/base/text.h"
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
  float own = 0;
  float expected = 0;
};

// Bits are compared, since NaN differs from itself and -0 does not differ from 0.
Difference compare(const float* own, const std::vector<float>& expected) {
  Difference found;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::memcmp(own + i, &expected[i], sizeof(float)) == 0) continue;
    if (found.count++ > 0) continue;
    found.element = static_cast<std::int64_t>(i);
    found.own = own[i];
    found.expected = expected[i];
  }
  return found;
}

// The first wrong rank's first wrong element of one tensor. Collective.
std::string first_difference(World& world, const at::Tensor& values, const std::string& name,
                             const FlatParameters::View& view, int reference_rank) {
  const float* own = values.const_data_ptr<float>() + view.offset;
  std::vector<float> expected(own, own + view.count);
  world.broadcast(std::as_writable_bytes(std::span(expected)), reference_rank);
  const std::vector<Difference> all = world.all_gather_value(compare(own, expected));
  const auto first =
      std::ranges::find_if(all, [](const Difference& difference) { return difference.count > 0; });
  if (first == all.end()) return {};
  return fmt::format(
      "; {}[{}] is {:a} ({}) on rank {} and {:a} ({}) on rank {}, {} of {} values "
      "differ",
      name, first->element, first->own, first->own, first - all.begin(), first->expected,
      first->expected, reference_rank, format_count(first->count), format_count(view.count));
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
  const std::vector<Sha256Digest> digests = world.all_gather_value(own.finish());
  if (std::ranges::all_of(digests, [&](const auto& digest) { return digest == digests[0]; }))
    return;

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
