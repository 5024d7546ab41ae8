// The other ranks of this job on this host, found without MPI and without ledgers.
#pragma once

#include <string>

namespace lockstep {

/// "rank 1 (process 4711) is stopped (SIGSTOP)" for each process of this job on this host that is
/// halted, separated by "; "; empty when none is, or no launcher has said which job this is. For the
/// time before ranks have ledgers. Never throws.
std::string halted_siblings() noexcept;

}  // namespace lockstep
