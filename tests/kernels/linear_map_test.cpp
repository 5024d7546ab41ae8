// The matrices of Toom-Cook convolution and the code that is made from them, in double.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/linear_map.h"

namespace lockstep::kernels {
namespace {

// One double in the place of a vector.
struct Scalar {
  using Vector = double;
  static Vector zero() { return 0; }
  static Vector fill(float x) { return x; }
  static Vector add(Vector a, Vector b) { return a + b; }
  static Vector subtract(Vector a, Vector b) { return a - b; }
  static Vector multiply(Vector a, Vector b) { return a * b; }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return a * b + c; }
};

template <class Map>
void expect_code_like_matrix(std::mt19937_64& random) {
  std::uniform_real_distribution<double> uniform(-1, 1);
  double in[Map::kColumns], out[Map::kRows];
  for (double& value : in) value = uniform(random);
  apply<Scalar, Map>(in, out);
  for (int i = 0; i < Map::kRows; ++i) {
    double expected = 0, size = 0;
    for (int j = 0; j < Map::kColumns; ++j) {
      expected += Map::kMatrix.values[i][j] * in[j];
      size += std::abs(Map::kMatrix.values[i][j] * in[j]);
    }
    // The code's coefficients are floats.
    EXPECT_NEAR(out[i], expected, 1e-7 * size) << "row " << i;
  }
}

template <class Tile>
class Tiles : public ::testing::Test {};
using AllTiles = ::testing::Types<Tile4x5, Tile5x3>;
TYPED_TEST_SUITE(Tiles, AllTiles);

TYPED_TEST(Tiles, MultiplyPolynomialsExactly) {
  using Cook = ToomCook<TypeParam>;
  constexpr auto a = Cook::output();
  constexpr auto g = Cook::kernel();
  constexpr auto b = Cook::input();
  // sum over j of A^T[i][j] G[j][k] B^T[j][n] must be 1 where n = i + k, else 0.
  for (int i = 0; i < Cook::kOutputs; ++i) {
    for (int k = 0; k < Cook::kKernel; ++k) {
      for (int n = 0; n < Cook::kInputs; ++n) {
        double sum = 0;
        for (int j = 0; j < Cook::kInputs; ++j) {
          sum += a.values[j][i] * g.values[j][k] * b.values[j][n];
        }
        EXPECT_NEAR(sum, n == i + k ? 1 : 0, 1e-11) << i << ' ' << k << ' ' << n;
      }
    }
  }
}

TYPED_TEST(Tiles, CodeIsTheMatrix) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20; ++i) {
    expect_code_like_matrix<InputMap<TypeParam>>(random);
    expect_code_like_matrix<InputBackMap<TypeParam>>(random);
    expect_code_like_matrix<OutputMap<TypeParam>>(random);
    expect_code_like_matrix<OutputBackMap<TypeParam>>(random);
    expect_code_like_matrix<KernelMap<TypeParam>>(random);
    expect_code_like_matrix<KernelBackMap<TypeParam>>(random);
  }
}

TYPED_TEST(Tiles, PointsOfBothSignsShareTheirWork) {
  EXPECT_EQ(count_mirrored_rows<InputMap<TypeParam>>(), 3);
  EXPECT_EQ(count_mirrored_rows<OutputBackMap<TypeParam>>(), 3);
  EXPECT_EQ(count_mirrored_rows<KernelMap<TypeParam>>(), 3);
  EXPECT_EQ(count_mirrored_rows<OutputMap<TypeParam>>(), 0);
  EXPECT_TRUE(mirrored_columns<OutputMap<TypeParam>>(TypeParam::kKernel == 5 ? 1 : 0));
}

}  // namespace
}  // namespace lockstep::kernels
