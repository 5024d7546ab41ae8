// main() of the tests that run under mpirun: MPI lives as long as the program, only the root
// reports successes, and every rank returns the worst result of all.
#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided);
  testing::InitGoogleTest(&argc, argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (rank != 0) {
    // Failures of other ranks are printed by this printer only; successes would be W-fold noise.
    struct FailuresOnly : testing::EmptyTestEventListener {
      int rank = 0;
      void OnTestPartResult(const testing::TestPartResult& result) override {
        if (result.failed()) {
          std::fprintf(stderr, "rank %d: %s:%d: %s\n", rank,
                       result.file_name() != nullptr ? result.file_name() : "?",
                       result.line_number(), result.message());
        }
      }
    };
    delete listeners.Release(listeners.default_result_printer());
    auto* printer = new FailuresOnly;
    printer->rank = rank;
    listeners.Append(printer);
  }
  const int own = RUN_ALL_TESTS();
  int worst = own;
  MPI_Allreduce(&own, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return worst;
}
