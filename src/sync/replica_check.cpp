#include "lockstep/sync/replica_check.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <vector>

#include "lockstep/base/cast.h"
#include "lockstep/base/error.h"
#include "lockstep/base/hash.h"
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

}  // namespace

void check_replicas(World& world, const FlatParameters& parameters, const std::string& moment) {
  if (world.size() == 1) return;
  const at::Tensor weights = parameters.weights().cpu();
  const std::vector<Sha256Digest> digests =
      world.all_gather_value(sha256(bytes_of(weights, 0, weights.numel())));
  if (std::ranges::all_of(digests, [&](const auto& digest) { return digest == digests[0]; }))
    return;

  const Sha256Digest reference = majority(digests);
  const auto reference_rank =
      static_cast<std::size_t>(std::ranges::find(digests, reference) - digests.begin());
  std::vector<std::string> wrong_ranks;
  for (std::size_t rank = 0; rank < digests.size(); ++rank) {
    if (digests[rank] != reference) {
      wrong_ranks.push_back(fmt::format("{} ({})", rank, world.host_of(checked_cast<int>(rank))));
    }
  }
  std::vector<std::string> wrong_tensors;
  for (const FlatParameters::View& view : parameters.views()) {
    const auto all = world.all_gather_value(sha256(bytes_of(weights, view.offset, view.count)));
    const bool equal =
        std::ranges::all_of(all, [&](const auto& digest) { return digest == all[reference_rank]; });
    if (!equal) wrong_tensors.push_back(view.name);
  }
  std::ranges::reverse(wrong_tensors);
  fail_together(
      world, ExitCode::kDiverged,
      fmt::format("{}: the weights of rank{} {} differ from rank {}'s{}; tensors: {}", moment,
                  wrong_ranks.size() == 1 ? "" : "s", fmt::join(wrong_ranks, ", "), reference_rank,
                  2 * wrong_ranks.size() == digests.size()
                      ? " (as many ranks on either side: which is right is not known)"
                      : "",
                  wrong_tensors.empty() ? "only in padding"
                                        : fmt::format("{}", fmt::join(wrong_tensors, ", "))));
}

}  // namespace lockstep
