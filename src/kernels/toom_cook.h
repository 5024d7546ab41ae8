// The matrices of Toom-Cook (Winograd) convolution, at compile time and in double.
//
// A correlation of n = m + r - 1 inputs d with r weights g gives m outputs by n products:
//   y = A^T [ (G g) * (B^T d) ]      (elementwise product; A. Lavin and S. Gray, "Fast Algorithms
//   for
//                                     Convolutional Neural Networks", CVPR 2016, equation 3)
// with, for n - 1 distinct points p_j and the point at infinity as the last,
//   A^T[i][j] = p_j^i                    G[j][k] = p_j^k / (f_j s_j),  f_j = prod_{k != j} (p_j -
//   p_k) B^T[j]    = s_j * coefficients of prod_{k != j} (x - p_k), lowest first last:
//   A^T[m-1][n-1] = 1, G[n-1][r-1] = 1, B^T[n-1] = coefficients of prod_k (x - p_k)
// (S. Winograd, "Arithmetic Complexity of Computations", SIAM 1980; the transposition principle
// makes the correlation of Toom-Cook's polynomial product). s_j, a power of two, keeps G near 1. In
// two dimensions each matrix is applied to columns and to rows.
#pragma once

namespace lockstep::kernels {

/// F(4x4, 5x5): points 0, +-1, +-1/2, +-2.
struct Tile4x5 {
  static constexpr int kOutputs = 4;
  static constexpr int kKernel = 5;
  static constexpr double kPoints[] = {0, 1, -1, 0.5, -0.5, 2, -2};
};

/// F(5x5, 3x3): points +-tan(k pi / 14), k = 1, 3, 5: those of a half circle cut into seven.
struct Tile5x3 {
  static constexpr int kOutputs = 5;
  static constexpr int kKernel = 3;
  static constexpr double kPoints[] = {0.22824347439015,  -0.22824347439015, 0.79747338888240,
                                       -0.79747338888240, 2.0765213965723,   -2.0765213965723};
};

/// A matrix as a type, so that code is generated for its entries.
template <int Rows, int Columns>
struct Matrix {
  double values[Rows][Columns] = {};
};

template <class Tile>
struct ToomCook {
  static constexpr int kOutputs = Tile::kOutputs;
  static constexpr int kKernel = Tile::kKernel;
  static constexpr int kInputs = kOutputs + kKernel - 1;
  static constexpr int kFinite = kInputs - 1;

  static constexpr double power(double base, int exponent) {
    double result = 1;
    for (int i = 0; i < exponent; ++i) result *= base;
    return result;
  }
  static constexpr double denominator(int j) {
    double product = 1;
    for (int k = 0; k < kFinite; ++k) {
      if (k != j) product *= Tile::kPoints[j] - Tile::kPoints[k];
    }
    return product;
  }
  static constexpr double scale(int j) {
    double size = denominator(j) < 0 ? -denominator(j) : denominator(j);
    double result = 1;
    for (; size * result < 0.70710678; result *= 2) {
    }
    for (; size * result > 1.41421356; result /= 2) {
    }
    return result;
  }

  static constexpr Matrix<kInputs, kOutputs> output() {  // A
    Matrix<kInputs, kOutputs> a;
    for (int j = 0; j < kFinite; ++j) {
      for (int i = 0; i < kOutputs; ++i) a.values[j][i] = power(Tile::kPoints[j], i);
    }
    a.values[kFinite][kOutputs - 1] = 1;
    return a;
  }
  static constexpr Matrix<kInputs, kKernel> kernel() {  // G
    Matrix<kInputs, kKernel> g;
    for (int j = 0; j < kFinite; ++j) {
      for (int k = 0; k < kKernel; ++k) {
        g.values[j][k] = power(Tile::kPoints[j], k) / (denominator(j) * scale(j));
      }
    }
    g.values[kFinite][kKernel - 1] = 1;
    return g;
  }
  static constexpr Matrix<kInputs, kInputs> input() {  // B^T
    Matrix<kInputs, kInputs> b;
    for (int j = 0; j < kInputs; ++j) {
      double coefficients[kInputs + 1] = {1};
      for (int k = 0; k < kFinite; ++k) {
        if (k == j) continue;
        for (int i = kInputs; i > 0; --i) {
          coefficients[i] = coefficients[i - 1] - Tile::kPoints[k] * coefficients[i];
        }
        coefficients[0] *= -Tile::kPoints[k];
      }
      for (int i = 0; i < kInputs; ++i) {
        b.values[j][i] = coefficients[i] * (j < kFinite ? scale(j) : 1);
      }
    }
    return b;
  }
};

template <int Rows, int Columns>
constexpr Matrix<Columns, Rows> transposed(const Matrix<Rows, Columns>& m) {
  Matrix<Columns, Rows> result;
  for (int i = 0; i < Rows; ++i) {
    for (int j = 0; j < Columns; ++j) result.values[j][i] = m.values[i][j];
  }
  return result;
}

/// The six maps, each "out = matrix * in" with kRows outputs and kColumns inputs. Those named after
/// a direction of the data are used in it: Input forward, InputBack to return a gradient.
template <class Tile>
struct InputMap {  // B^T
  static constexpr int kRows = ToomCook<Tile>::kInputs, kColumns = ToomCook<Tile>::kInputs;
  static constexpr auto kMatrix = ToomCook<Tile>::input();
};
template <class Tile>
struct InputBackMap {  // B
  static constexpr int kRows = ToomCook<Tile>::kInputs, kColumns = ToomCook<Tile>::kInputs;
  static constexpr auto kMatrix = transposed(ToomCook<Tile>::input());
};
template <class Tile>
struct OutputMap {  // A^T
  static constexpr int kRows = ToomCook<Tile>::kOutputs, kColumns = ToomCook<Tile>::kInputs;
  static constexpr auto kMatrix = transposed(ToomCook<Tile>::output());
};
template <class Tile>
struct OutputBackMap {  // A
  static constexpr int kRows = ToomCook<Tile>::kInputs, kColumns = ToomCook<Tile>::kOutputs;
  static constexpr auto kMatrix = ToomCook<Tile>::output();
};
template <class Tile>
struct KernelMap {  // G
  static constexpr int kRows = ToomCook<Tile>::kInputs, kColumns = Tile::kKernel;
  static constexpr auto kMatrix = ToomCook<Tile>::kernel();
};
template <class Tile>
struct KernelBackMap {  // G^T
  static constexpr int kRows = Tile::kKernel, kColumns = ToomCook<Tile>::kInputs;
  static constexpr auto kMatrix = transposed(ToomCook<Tile>::kernel());
};

}  // namespace lockstep::kernels
