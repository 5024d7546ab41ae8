// The mpi backend, bare and decorated.
#include <cstring>
#include <list>
#include <utility>

#include "comm/backends.h"
#include "lockstep/comm/decorators.h"
#include "subject.h"

namespace lockstep::testing {

namespace {

class HostSubject final : public Subject {
 public:
  explicit HostSubject(std::unique_ptr<Collectives> collectives)
      : collectives_(std::move(collectives)) {}
  Collectives& collectives() override { return *collectives_; }
  void* allocate(std::size_t bytes) override { return memory_.emplace_back(bytes).data(); }
  void write(void* to, std::span<const std::byte> from) override {
    if (!from.empty()) std::memcpy(to, from.data(), from.size());
  }
  void read(std::span<std::byte> to, const void* from) override {
    if (!to.empty()) std::memcpy(to.data(), from, to.size());
  }
  void finish() override {}

 private:
  std::list<std::vector<std::byte>> memory_;
  std::unique_ptr<Collectives> collectives_;
};

// Memory from the collectives while it lasts: every rank takes the same pieces in the same order.
class SharingSubject final : public Subject {
 public:
  explicit SharingSubject(std::unique_ptr<Collectives> collectives)
      : host_(std::move(collectives)), arena_(host_.collectives().allocate(kBytes)) {}
  Collectives& collectives() override { return host_.collectives(); }
  void* allocate(std::size_t bytes) override {
    const std::size_t begin = std::exchange(used_, used_ + (bytes + 63) / 64 * 64);
    return arena_ && used_ <= kBytes ? arena_.get() + begin : host_.allocate(bytes);
  }
  void write(void* to, std::span<const std::byte> from) override { host_.write(to, from); }
  void read(std::span<std::byte> to, const void* from) override { host_.read(to, from); }
  void finish() override {}

 private:
  static constexpr std::size_t kBytes = std::size_t{32} << 20;
  HostSubject host_;
  std::shared_ptr<std::byte> arena_;
  std::size_t used_ = 0;
};

template <typename Make>
SubjectFactory host_factory(std::string name, Make make) {
  return {std::move(name), [make](World& world) -> std::unique_ptr<Subject> {
            return std::make_unique<HostSubject>(make(world));
          }};
}

}  // namespace

std::vector<SubjectFactory> subject_factories() {
  return {
      host_factory("Mpi", [](World& world) { return make_mpi_collectives(world); }),
      host_factory("MpiInShortMessages",
                   [](World& world) {
                     return make_mpi_collectives(
                         world, {.limits = {.all_reduce_bytes = 9000, .count = 1021}});
                   }),
      {.name = "MpiInSharedMemory",
       .make = [](World& world) -> std::unique_ptr<Subject> {
         return std::make_unique<SharingSubject>(make_mpi_collectives(world));
       }},
      {.name = "FaultyRecordingMpiInSharedMemory",
       .make = [](World& world) -> std::unique_ptr<Subject> {
         return std::make_unique<SharingSubject>(
             make_faulty(make_recording(world, make_mpi_collectives(world)), {}, world.rank()));
       }},
      host_factory("RecordingMpi",
                   [](World& world) { return make_collectives(world, {}, false, nullptr); }),
      host_factory("FaultyRecordingMpi",
                   [](World& world) {
                     return make_faulty(make_recording(world, make_mpi_collectives(world)), {},
                                        world.rank());
                   }),
      host_factory("RecordingDelayedMpi",
                   [](World& world) {
                     // One rank is held up in the second operation; nothing else changes.
                     auto plan = FaultPlan::parse("slow@all-reduce:rank=0,pass=2,seconds=0.01");
                     return make_recording(world, make_faulty(make_mpi_collectives(world),
                                                              std::move(plan), world.rank()));
                   }),
  };
}

}  // namespace lockstep::testing
