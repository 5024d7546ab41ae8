// Compiled with -mavx512f.
#include "make_table.h"
#include "tables.h"
#include "vector_avx512.h"

namespace lockstep::kernels {

const KernelTable& avx512_table() {
  static constexpr KernelTable kTable = make_table<Avx512>("avx512");
  return kTable;
}

}  // namespace lockstep::kernels
