// Compiled with -mavx2 -mfma.
#include "make_table.h"
#include "tables.h"
#include "vector_avx2.h"

namespace lockstep::kernels {

const KernelTable& avx2_table() {
  static constexpr KernelTable kTable = make_table<Avx2>("avx2");
  return kTable;
}

}  // namespace lockstep::kernels
