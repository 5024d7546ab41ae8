// What the conformance suite tests: a backend, and the memory and work that go with it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "lockstep/comm/collectives.h"
#include "lockstep/comm/world.h"

namespace lockstep::testing {

/// A backend over the ranks of one world. write() and read() go through the compute stream where
/// there is one, so that only the backend's own ordering makes results right.
class Subject {
 public:
  virtual ~Subject() = default;
  virtual Collectives& collectives() = 0;
  /// Memory that the backend can work on; lives as long as the subject.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void write(void* to, std::span<const std::byte> from) = 0;
  /// `to` holds the bytes after finish().
  virtual void read(std::span<std::byte> to, const void* from) = 0;
  /// Waits on the host for the compute stream.
  virtual void finish() = 0;
};

struct SubjectFactory {
  std::string name;
  std::function<std::unique_ptr<Subject>(World&)> make;
  /// Empty, or why this subject cannot run on these ranks.
  std::function<std::string(World&)> unavailable = [](World&) { return std::string(); };
};

inline void PrintTo(const SubjectFactory& factory, std::ostream* out) { *out << factory.name; }

/// Defined by the file that is linked with the suite.
std::vector<SubjectFactory> subject_factories();

}  // namespace lockstep::testing
